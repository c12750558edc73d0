"""transformers' layout of Mask2Former: every name consumed, every tensor given, round trips."""

from collections.abc import Callable
from pathlib import Path

import pytest
from detectron2.modeling import build_model
from safetensors.torch import load_file, save_file
from torch import nn

from d2seg.checkpoint.conversion import to_flavour
from d2seg.checkpoint.layouts import find_layout
from d2seg.checkpoint.layouts.huggingface_mask2former import LAYOUT
from families.mask2former_config import small_config

transformers = pytest.importorskip("transformers")

KINDS = ["swin", "resnet", "timm_resnet", "timm"]
COMPUTED = "relative_position_index"


@pytest.fixture(scope="module", params=KINDS)
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
    config = transformers.Mask2FormerConfig(
        backbone_config=backbone,
        feature_size=64,
        mask_feature_size=32,
        hidden_dim=32,
        num_attention_heads=4,
        encoder_layers=2,
        encoder_feedforward_dim=64,
        dim_feedforward=64,
        decoder_layers=5,
        num_queries=7,
        num_labels=5,
    )
    model = randomised(transformers.Mask2FormerForUniversalSegmentation(config))
    model.kind = request.param
    return model


def our_model(repo_dir: Path, kind: str, **changes: object) -> nn.Module:
    cfg = small_config(
        repo_dir, "coco_panoptic_swin_tiny" if kind == "swin" else "coco_panoptic_resnet50"
    )
    cfg.MODEL.SWIN.EMBED_DIM = 12
    cfg.MODEL.SWIN.DEPTHS = [2, 1, 1, 1]
    if kind == "timm":
        cfg.MODEL.BACKBONE.NAME = "build_timm_backbone"
        cfg.MODEL.TIMM.NAME = "convnext_atto"
    cfg.MODEL.MASK2FORMER.update(changes)
    return build_model(cfg)


@pytest.mark.parametrize("saved", [False, True])
def test_every_name_is_consumed_and_every_tensor_given(
    their_model: nn.Module, repo_dir: Path, tmp_path: Path, saved: bool
) -> None:
    """In memory and on disk transformers 5 has different names. It computes the indices of Swin's
    relative positions, which the files of older versions hold."""
    state = their_model.state_dict()
    if saved:
        their_model.save_pretrained(tmp_path)
        state = load_file(tmp_path / "model.safetensors")
    assert find_layout(state.keys()) is LAYOUT
    ours = LAYOUT.convert(state)
    expected = our_model(repo_dir, their_model.kind).state_dict()
    expected = {n: tensor for n, tensor in expected.items() if not n.endswith(COMPUTED)}
    assert {n: t.shape for n, t in ours.items()} == {n: t.shape for n, t in expected.items()}


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
        "encoder.swin.layernorm.weight",
        "encoder.swin.layernorm.bias",
    )  # no output depends on them
    same_state(
        {n: t for n, t in loaded.state_dict().items() if not n.endswith(ignored)},
        {n: t for n, t in state.items() if not n.endswith(ignored)},
    )


@pytest.mark.parametrize("kind", ["swin", "resnet"])
def test_round_trip_from_our_side(
    repo_dir: Path, randomised: Callable, same_state: Callable, kind: str
) -> None:
    state = randomised(our_model(repo_dir, kind)).state_dict()
    theirs = to_flavour(state, "huggingface")
    assert find_layout(theirs.keys()) is LAYOUT
    same_state(LAYOUT.convert(theirs), state)


@pytest.mark.parametrize(
    "changes", [{"PIXEL_DECODER": "fpn"}, {"ENCODER_IN_FEATURES": ["res4", "res5"]}]
)
def test_what_it_cannot_hold_is_refused(repo_dir: Path, changes: dict[str, object]) -> None:
    state = our_model(repo_dir, "resnet", **changes).state_dict()
    with pytest.raises(ValueError, match="no 'huggingface' layout holds this model"):
        to_flavour(state, "huggingface")
