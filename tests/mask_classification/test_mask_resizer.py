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


@pytest.mark.parametrize("width", [1, 31, 32, 33, 64, 100, 257])
@pytest.mark.parametrize(("cells", "padded", "content"), [(1, 4, 4), (9, 36, 33), (70, 288, 257)])
def test_columns_in_bands_are_those_of_each_stage(
    cells: int, padded: int, content: int, width: int
) -> None:
    rows = torch.randn(3, 2, cells, generator=torch.Generator().manual_seed(0))
    resize = MaskResizer((2, padded), (2, content), (2, width))
    actual = resize.rows(rows, slice(0, 2))
    assert actual.is_contiguous()
    expected = resize.plain_columns(rows.double()).float()  # torch counts positions in its dtype
    torch.testing.assert_close(actual, expected, rtol=0, atol=2e-6)


def test_maps_of_the_final_size_are_as_they_were() -> None:
    maps = torch.randn(3, 6, 40)
    maps[0, 0, 0] = float("inf")  # which a product would bring to its neighbours
    resize = MaskResizer((6, 40), (6, 40))
    assert torch.equal(resize.rows(maps, slice(2, 6)), maps[:, 2:])


def test_fp32_under_autocast() -> None:
    maps = torch.randn(3, 8, 8)
    resize = MaskResizer((32, 32), (30, 27), (45, 40))
    expected = resize.rows(maps, slice(0, 45))
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(resize.rows(maps, slice(0, 45)), expected)
        assert torch.equal(resize.rows(maps.double(), slice(0, 45)), expected)


def test_no_maps_are_none() -> None:
    resize = MaskResizer((32, 32), (30, 27), (45, 40))
    assert resize.rows(torch.empty(0, 8, 8), slice(0, 3)).shape == (0, 3, 40)


@pytest.mark.parametrize("output", [None, (45, 40), (17, 9), (3, 1)])
def test_strips_are_the_whole_in_bounded_pieces(
    output: tuple[int, int] | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also on the way, where a CPU has the columns of a block of strips, and their bands."""
    masks = torch.randn(5, 8, 8, generator=torch.Generator().manual_seed(0))
    resize = MaskResizer((32, 32), (30, 27), output)
    whole = resize.rows(masks, slice(0, resize.final_size[0]))
    columns, bmm, sizes = mask_resizer.resize_columns, torch.bmm, []

    def record(maps: torch.Tensor, width: int) -> torch.Tensor:
        sizes.append(len(maps) * maps.shape[1] * width)
        return columns(maps, width)

    def record_bands(cells: torch.Tensor, matrices: torch.Tensor) -> torch.Tensor:
        bands = bmm(cells, matrices)
        sizes.extend([cells.numel(), bands.numel()])
        return bands

    monkeypatch.setattr(mask_resizer, "resize_columns", record)
    monkeypatch.setattr(mask_resizer.torch, "bmm", record_bands)
    monkeypatch.setattr(mask_resizer, "_BAND", 8)
    at_once = 5 * 40 * 2
    monkeypatch.setattr(mask_resizer, "STRIP", budget(at_once))
    monkeypatch.setattr(mask_resizer, "_STRIPS_OF_BLOCK", 3)
    strips = list(resize.strips(masks))
    assert [rows.start for rows, _ in strips] == list(range(0, resize.final_size[0], 2))
    assert sizes
    torch.testing.assert_close(torch.cat([strip for _, strip in strips], dim=1), whole)
    for rows, strip in strips:
        plain = resize.plain_columns(resize._rows(masks, rows, resize._steps(0, 8)))
        torch.testing.assert_close(strip, plain)
    assert max(sizes) <= 3 * at_once
