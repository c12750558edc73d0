"""d2seg.mask_classification.targets: what of an example goes to the device, and how."""

from typing import Any

import pytest
import torch
from detectron2.structures import BitMasks, Instances, PolygonMasks

from d2seg.mask_classification.targets import targets_of

CPU = torch.device("cpu")


def example() -> dict[str, Any]:
    instances = Instances((4, 6))
    instances.gt_classes = torch.tensor([1])
    instances.gt_masks = BitMasks(torch.ones(1, 4, 6, dtype=torch.bool))
    return {"image": torch.zeros(3, 4, 6), "instances": instances, "content_size": (3, 5)}


def test_padding_is_cut_off() -> None:
    targets = targets_of(example(), 2, CPU)
    assert targets.labels.tolist() == [1]
    assert targets.masks.shape == (1, 3, 5)
    assert targets.masks.dtype == torch.bool


def test_polygons_are_drawn_first() -> None:
    mapped = example()
    mapped["instances"].gt_masks = PolygonMasks([[torch.tensor([2, 0, 6, 0, 6, 2, 2, 2]).numpy()]])
    expected = torch.zeros(1, 3, 5, dtype=torch.bool)
    expected[0, :2, 2:] = True
    assert torch.equal(targets_of(mapped, 2, CPU).masks, expected)


@pytest.mark.parametrize("size", [(3, 5), None])
def test_no_instances(size: tuple[int, int] | None) -> None:
    """Without ``content_size`` the masks are of the image's size."""
    mapped = example()
    mapped["instances"] = mapped["instances"][[]]
    if size is None:
        del mapped["content_size"]
    targets = targets_of(mapped, 2, CPU)
    assert len(targets) == 0
    assert targets.masks.shape == (0, *(size or (4, 6)))
    assert targets.labels.dtype == torch.int64


def test_copies_do_not_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    mapped, calls = example(), []
    to = torch.Tensor.to

    def record(self: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
        calls.append(kwargs.get("non_blocking", False))
        return to(self, *args, **kwargs)

    monkeypatch.setattr(torch.Tensor, "to", record)
    targets_of(mapped, 2, CPU)
    assert calls == [True, True]
