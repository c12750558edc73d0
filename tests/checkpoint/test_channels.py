"""Pretrained weights for pictures of more channels than they know, or of one."""

import logging
from pathlib import Path

import pytest
import torch
from torch import nn

from d2seg.checkpoint import Checkpointer
from d2seg.checkpoint.channels import fit_channels

WEIGHT = torch.randn(4, 3, 2, 2)


class Model(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.register_buffer("pixel_mean", torch.zeros(channels, 1, 1), False)
        self.backbone = nn.ModuleDict(
            {"stem": nn.Conv2d(channels, 4, 2), "next": nn.Conv2d(4, 4, 1)}
        )


def loaded(folder: Path, old: int, new: int, **options: object) -> tuple[nn.Module, nn.Module]:
    """Models of so many channels; the second has the weights of the first."""
    source, target = Model(old), Model(new)
    torch.save({"model": source.state_dict()}, folder / "m.pth")
    complete = options.pop("require_complete", False)
    Checkpointer(target, **options).load(str(folder / "m.pth"), require_complete=complete)
    return source, target


def test_zero_keeps_what_is_seen_of_the_first_channels(tmp_path: Path, caplog) -> None:
    with caplog.at_level(logging.INFO):
        source, target = loaded(tmp_path, 3, 5, new_channels="zero")
    images = torch.randn(2, 5, 8, 8)
    expected = source.backbone["stem"](images[:, :3])
    torch.testing.assert_close(target.backbone["stem"](images), expected)
    line = "backbone.stem.weight: from 3 to 5 channels, the new ones zero"
    assert line in caplog.text


def test_mean_keeps_what_is_seen_of_equal_channels(tmp_path: Path, caplog) -> None:
    with caplog.at_level(logging.INFO):
        source, target = loaded(tmp_path, 3, 5)
    grey = torch.randn(2, 1, 8, 8)
    expected = source.backbone["stem"](grey.expand(-1, 3, -1, -1))
    actual = target.backbone["stem"](grey.expand(-1, 5, -1, -1))
    torch.testing.assert_close(actual, expected, atol=1e-5, rtol=1e-5)
    weight = target.backbone["stem"].weight
    torch.testing.assert_close(weight[:, 3], weight[:, :3].mean(1))
    assert "mean of the others, all times 3/5" in caplog.text


def test_a_grey_picture_is_seen_as_its_three_channels_were(tmp_path: Path) -> None:
    source, target = loaded(tmp_path, 3, 1)
    grey = torch.randn(2, 1, 8, 8)
    expected = source.backbone["stem"](grey.expand(-1, 3, -1, -1))
    torch.testing.assert_close(target.backbone["stem"](grey), expected, atol=1e-5, rtol=1e-5)


def test_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"m.pth is for pictures of 3 channels, MODEL.PIXEL_MEAN"):
        loaded(tmp_path, 3, 5, require_complete=True)
    with pytest.raises(ValueError, match=r"5 channels, MODEL.PIXEL_MEAN has 2 .*more channels, or"):
        loaded(tmp_path, 5, 2)


@pytest.mark.parametrize("key", ["stem.conv1.weight", "conv1_w"])
def test_names_that_detectron2_matches_by_their_ends(key: str) -> None:
    name = "backbone.bottom_up.stem.conv1.weight"
    ours = {name: torch.zeros(4, 6, 2, 2), "head.conv1.weight": torch.zeros(6, 6, 2, 2)}
    state = {key: WEIGHT.numpy()}
    options = {"source": "m.pkl", "require_complete": False}
    fit_channels(state, ours, 6, "zero", **options)
    assert state[key].shape == (4, 3, 2, 2)
    fit_channels(state, ours, 6, "zero", by_ends=True, **options)
    assert torch.equal(state[key][:, :3], WEIGHT)
    assert not state[key][:, 3:].any()


def test_other_convolutions_stay() -> None:
    """Of five channels that are no picture's, and depth-wise ones of a grey model."""
    for channels, shape in ((5, (8, 5, 1, 1)), (1, (8, 1, 3, 3))):
        state = {"head.weight": torch.randn(shape)}
        before = state["head.weight"]
        ours = {"head.weight": torch.zeros(shape)}
        fit_channels(state, ours, channels, "mean", source="m.pth", require_complete=False)
        assert state["head.weight"] is before
