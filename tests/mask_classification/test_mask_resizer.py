import pytest
import torch
from detectron2.modeling.postprocessing import sem_seg_postprocess
from torch.nn import functional as F

from d2seg.layers.chunking import budget
from d2seg.mask_classification import mask_resizer
from d2seg.mask_classification.mask_resizer import MaskResizer


@pytest.mark.parametrize("output", [(45, 40), (17, 9)])
def test_equals_detectron2(output: tuple[int, int]) -> None:
    masks = torch.randn(5, 8, 8, generator=torch.Generator().manual_seed(0))
    padded = F.interpolate(masks[None], size=(32, 32), mode="bilinear")[0]
    expected = sem_seg_postprocess(padded, (30, 27), *output)
    resize = MaskResizer((32, 32), (30, 27), output)
    torch.testing.assert_close(resize.rows(masks, slice(0, output[0])), expected)


@pytest.mark.parametrize("output", [None, (45, 40), (17, 9), (3, 1)])
def test_strips_are_the_whole_in_bounded_pieces(
    output: tuple[int, int] | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also on the way, where the columns are those of the padded batch."""
    masks = torch.randn(5, 8, 8, generator=torch.Generator().manual_seed(0))
    resize = MaskResizer((32, 32), (30, 27), output)
    whole = resize.rows(masks, slice(0, resize.final_size[0]))
    columns, sizes = mask_resizer.resize_columns, []

    def record(maps: torch.Tensor, width: int) -> torch.Tensor:
        sizes.append(len(maps) * maps.shape[1] * width)
        return columns(maps, width)

    monkeypatch.setattr(mask_resizer, "resize_columns", record)
    at_once = 5 * 40 * 2
    monkeypatch.setattr(mask_resizer, "STRIP", budget(at_once))
    strips = list(resize.strips(masks))
    assert [rows.start for rows, _ in strips] == list(range(0, resize.final_size[0], 2))
    assert max(sizes) <= at_once
    torch.testing.assert_close(torch.cat([strip for _, strip in strips], dim=1), whole)
