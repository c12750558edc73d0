"""What the tests of transformers' layouts of MaskFormer and Mask2Former share."""

from pathlib import Path
from typing import Any

import torch
import transformers
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from d2seg.checkpoint.conversion import to_flavour
from d2seg.checkpoint.layouts import Layout

BACKBONES = ["swin", "resnet", "timm_resnet", "timm"]
# which they compute, and the files of older versions hold
COMPUTED = "relative_position_index"
# no output depends on them
UNUSED = (
    "num_batches_tracked",
    "empty_weight",
    *(f"encoder.{swin}.layernorm.{n}" for swin in ("swin", "model") for n in ("weight", "bias")),
)


def backbone_config(kind: str) -> Any:
    """The config of a small one of ``BACKBONES``."""
    four = {"out_features": ["stage1", "stage2", "stage3", "stage4"]}
    if kind == "swin":
        return transformers.SwinConfig(
            embed_dim=12, depths=[2, 1, 1, 1], num_heads=[3, 6, 12, 24], **four
        )
    if kind == "resnet":
        return transformers.ResNetConfig(
            embedding_size=64,
            hidden_sizes=[64, 128, 256, 512],
            depths=[2, 2, 2, 2],
            layer_type="basic",
            **four,
        )
    name, indices = {
        "timm_resnet": ("resnet18", [1, 2, 3, 4]),
        "timm": ("convnext_atto", [0, 1, 2, 3]),
    }[kind]
    return transformers.TimmBackboneConfig(
        backbone=name, use_pretrained_backbone=False, out_indices=indices
    )


def states(model: nn.Module, folder: Path) -> list[dict[str, Tensor]]:
    """A model's tensors in memory and on disk, where transformers 5 has different names."""
    model.save_pretrained(folder)
    return [model.state_dict(), load_file(folder / "model.safetensors")]


def assert_round_trip(model: nn.Module, layout: Layout, folder: Path) -> None:
    """To our names and back through the files of transformers, which finds every weight that it
    looks for, with its value."""
    state = model.state_dict()
    exported = to_flavour(layout.convert(state), "huggingface")
    model.config.save_pretrained(folder)
    save_file(exported, folder / "model.safetensors", metadata={"format": "pt"})
    loaded, info = type(model).from_pretrained(folder, output_loading_info=True)
    assert not info["unexpected_keys"]
    assert not info["mismatched_keys"]
    assert set(info["missing_keys"]) <= {"criterion.empty_weight"}
    actual = loaded.state_dict()
    assert actual.keys() == state.keys()
    used = [name for name in state if not name.endswith(UNUSED)]
    assert not [name for name in used if not torch.equal(actual[name], state[name])]
