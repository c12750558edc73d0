"""Two ImageNet checkpoints of Swin to one for DS-TransUNet's encoders."""

from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
import torch
from detectron2.modeling import build_model
from torch import Tensor, nn

from d2seg.checkpoint.checkpointer import Checkpointer
from families.dstransunet_config import small_config


@pytest.fixture(scope="module")
def tool(load_tool: Callable[[str], ModuleType]) -> ModuleType:
    return load_tool("join_swin_checkpoints")


@pytest.fixture(scope="module")
def model(repo_dir: Path) -> nn.Module:
    return build_model(small_config(repo_dir))


def imagenet_state(encoder: nn.Module, value: float) -> dict[str, Tensor]:
    """As of a classifier of this architecture on patches of 4 x 4 pixels."""
    state = {
        name: torch.full_like(tensor, value)
        for name, tensor in encoder.state_dict().items()
        if not name.startswith("norm") and tensor.is_floating_point()
    }
    width = len(state["patch_embed.proj.weight"])
    state["patch_embed.proj.weight"] = torch.full((width, 3, 4, 4), value)
    return state | {"norm.weight": torch.ones(8 * width), "head.weight": torch.ones(10, 8 * width)}


def test_both_encoders_are_filled(tool: ModuleType, model: nn.Module, tmp_path: Path) -> None:
    sources = []
    for value, name in ((2.0, "fine"), (3.0, "coarse")):
        state = imagenet_state(getattr(model.backbone, name), value)
        sources.append(str(tmp_path / f"{name}.pth"))
        torch.save({"model": state}, sources[-1])
    out = tmp_path / "both.pth"
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    assert tool.main([*sources, str(out)]) == 0
    Checkpointer(model).load(str(out))
    for name, tensor in model.state_dict().items():
        of_swin = ".patch_embed." in name or ".layers." in name
        if not of_swin or not name.startswith("backbone.") or name.endswith("_index"):
            assert torch.equal(tensor, before[name]), name
        elif name == "backbone.coarse.patch_embed.proj.weight":
            assert torch.equal(tensor, before[name])
        else:
            assert (tensor == (2.0 if "fine" in name else 3.0)).all(), name


def test_another_file_is_refused(tool: ModuleType, model: nn.Module, tmp_path, capsys) -> None:
    torch.save({"model": model.state_dict()}, tmp_path / "whole.pth")
    assert tool.main([str(tmp_path / "whole.pth")] * 2 + [str(tmp_path / "out.pth")]) == 2
    error = capsys.readouterr().err
    assert "whole.pth is of d2seg's or detectron2's own layout; give an ImageNet" in error
    assert not (tmp_path / "out.pth").exists()


def test_the_ending_is_checked(tool: ModuleType, tmp_path: Path, capsys) -> None:
    assert tool.main(["a", "b", str(tmp_path / "o\n\x1b[31mut.txt")]) == 2
    [line] = capsys.readouterr().err.splitlines()
    assert line.endswith(r"o\n\x1b[31mut.txt; give it the ending .pth")
