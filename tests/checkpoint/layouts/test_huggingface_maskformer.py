"""transformers' layout of MaskFormer: every name consumed, every tensor given, exact round trips."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from d2seg.checkpoint.conversion import to_flavour
from d2seg.checkpoint.layouts import find_layout
from d2seg.checkpoint.layouts.huggingface_maskformer import LAYOUT

transformers = pytest.importorskip("transformers")

IN_HUGGING_FACE = ["ade20k_semantic_resnet50", "coco_panoptic_swin_tiny"]
NOT_IN_HUGGING_FACE = [
    "ade20k_semantic_resnet101c",
    "coco_panoptic_resnet50",
    "ade20k_semantic_per_pixel_resnet50",
    "ade20k_semantic_per_pixel_plus_resnet50",
]
COMPUTED = "relative_position_index"


@pytest.fixture(scope="module", params=["swin", "resnet", "timm_resnet", "timm"])
def their_model(request: pytest.FixtureRequest, randomised: Callable) -> nn.Module:
    four = {"out_features": ["stage1", "stage2", "stage3", "stage4"]}
    backbone = {
        "swin": lambda: transformers.SwinConfig(
            embed_dim=12, depths=[2, 1, 1, 1], num_heads=[3, 6, 12, 24], **four
        ),
        "resnet": lambda: transformers.ResNetConfig(
            embedding_size=64,
            hidden_sizes=[64, 128, 256, 512],
            depths=[2, 2, 2, 2],
            layer_type="basic",
            **four,
        ),
        "timm_resnet": lambda: transformers.TimmBackboneConfig(
            backbone="resnet18", use_pretrained_backbone=False, out_indices=[1, 2, 3, 4]
        ),
        "timm": lambda: transformers.TimmBackboneConfig(
            backbone="convnext_atto", use_pretrained_backbone=False, out_indices=[0, 1, 2, 3]
        ),
    }[request.param]()
    decoder = transformers.DetrConfig(
        d_model=32,
        decoder_layers=6,
        decoder_attention_heads=4,
        decoder_ffn_dim=64,
        num_queries=7,
    )
    config = transformers.MaskFormerConfig(
        backbone_config=backbone,
        decoder_config=decoder,
        fpn_feature_size=64,
        mask_feature_size=32,
        num_labels=5,
    )
    model = randomised(transformers.MaskFormerForInstanceSegmentation(config))
    model.kind = request.param
    return model


def our_model(small_model: Callable, kind: str) -> nn.Module:
    if kind == "swin":
        return small_model("coco_panoptic_swin_tiny")
    if kind == "timm":
        return small_model(BACKBONE__NAME="build_timm_backbone", TIMM__NAME="convnext_atto")
    return small_model()


@pytest.mark.parametrize("saved", [False, True])
def test_every_name_is_consumed_and_every_tensor_given(
    their_model: nn.Module, small_model: Callable, tmp_path: Path, saved: bool
) -> None:
    """In memory and on disk transformers 5 has different names."""
    state = their_model.state_dict()
    if saved:
        their_model.save_pretrained(tmp_path)
        state = load_file(tmp_path / "model.safetensors")
    ours = LAYOUT.convert(state)
    expected = our_model(small_model, their_model.kind).state_dict()
    assert {n: t.shape for n, t in ours.items()} == {n: t.shape for n, t in expected.items()}
    for name in expected:
        if name.endswith(COMPUTED):
            assert torch.equal(ours[name], expected[name])


@pytest.mark.parametrize("their_model", ["swin", "resnet", "timm"], indirect=True)
def test_round_trip_from_their_side(
    their_model: nn.Module, tmp_path: Path, same_state: Callable
) -> None:
    """Through the files of transformers, which finds every weight it looks for. timm's ResNet would
    come back as transformers' own."""
    state = their_model.state_dict()
    exported = to_flavour(LAYOUT.convert(state), "huggingface")
    their_model.config.save_pretrained(tmp_path)
    save_file(exported, tmp_path / "model.safetensors", metadata={"format": "pt"})
    loaded, info = type(their_model).from_pretrained(tmp_path, output_loading_info=True)
    assert not info["unexpected_keys"]
    assert not info["mismatched_keys"]
    assert set(info["missing_keys"]) <= {"criterion.empty_weight"}
    ignored = (
        "num_batches_tracked",
        "empty_weight",
        "encoder.model.layernorm.weight",
        "encoder.model.layernorm.bias",
    )  # no output depends on them
    same_state(
        {n: t for n, t in loaded.state_dict().items() if not n.endswith(ignored)},
        {n: t for n, t in state.items() if not n.endswith(ignored)},
    )


@pytest.mark.parametrize("config", IN_HUGGING_FACE)
def test_round_trip_from_our_side(
    small_model: Callable, randomised: Callable, same_state: Callable, config: str
) -> None:
    state = randomised(small_model(config)).state_dict()
    theirs = to_flavour(state, "huggingface")
    layout = find_layout(theirs.keys())
    assert layout is LAYOUT
    same_state(layout.convert(theirs), state)


@pytest.mark.parametrize("config", NOT_IN_HUGGING_FACE)
def test_what_it_cannot_hold_is_refused(small_model: Callable, config: str) -> None:
    state = small_model(config).state_dict()
    with pytest.raises(ValueError, match="no 'huggingface' layout holds this model"):
        to_flavour(state, "huggingface")
