"""SegFormer's layouts, the authors' and transformers', and the ImageNet models of both."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from detectron2.modeling import build_model
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from d2seg.checkpoint import Checkpointer
from d2seg.checkpoint.conversion import to_flavour
from d2seg.checkpoint.layouts import find_layout
from d2seg.checkpoint.layouts.official_segformer import LAYOUT as OFFICIAL
from families.segformer_config import small_config

State = dict[str, Tensor]


@pytest.fixture
def model(repo_dir: Path, randomised: Callable[[nn.Module], nn.Module]) -> nn.Module:
    return randomised(build_model(small_config(repo_dir)))


def theirs(model: nn.Module) -> nn.Module:
    """transformers' model of the same architecture."""
    transformers = pytest.importorskip("transformers")
    backbone, head = model.backbone, model.decode_head
    config = transformers.SegformerConfig(
        depths=[len(stage.blocks) for stage in backbone.stages],
        hidden_sizes=[stage.norm.normalized_shape[0] for stage in backbone.stages],
        num_attention_heads=[1, 2, 5, 8],
        decoder_hidden_size=head.norm.num_features,
        num_labels=head.predictor.out_channels,
    )
    return transformers.SegformerForSemanticSegmentation(config)


@pytest.mark.parametrize("case", ["segformer_b0_ade20k", "segformer_b5_ade20k"])
def test_official_names(official_state: Callable, case: str) -> None:
    state = official_state(case)
    ours = OFFICIAL.convert(state)
    assert len(ours) == len(state) - 2  # conv_seg
    for name, expected in [
        ("backbone.stages.0.patch_embed.conv.weight", "backbone.patch_embed1.proj.weight"),
        ("backbone.stages.3.norm.bias", "backbone.norm4.bias"),
        ("backbone.stages.2.blocks.1.norm2.weight", "backbone.block3.1.norm2.weight"),
        (
            "backbone.stages.1.blocks.0.attention.reduction_norm.bias",
            "backbone.block2.0.attn.norm.bias",
        ),
        ("decode_head.linears.res5.weight", "decode_head.linear_c4.proj.weight"),
        ("decode_head.norm.running_var", "decode_head.linear_fuse.bn.running_var"),
        ("decode_head.predictor.bias", "decode_head.linear_pred.bias"),
    ]:
        assert torch.equal(ours[name], state[expected]), name
    back = to_flavour(ours, "official")
    assert set(back) == {name for name in state if "conv_seg" not in name}
    assert all(torch.equal(tensor, state[name]) for name, tensor in back.items())


@pytest.mark.parametrize("flavour", ["official", "huggingface"])
def test_round_trip_from_our_side(model: nn.Module, same_state: Callable, flavour: str) -> None:
    state = model.state_dict()
    written = to_flavour(state, flavour)
    assert not written.keys() & {name for name in state if name.startswith("backbone.stages.")}
    same_state(find_layout(written.keys()).convert(written), state)


def test_names_in_memory_and_in_files_of_transformers(
    model: nn.Module, tmp_path: Path, same_state: Callable, randomised: Callable
) -> None:
    other = randomised(theirs(model))
    other.save_pretrained(tmp_path)
    in_file, in_memory = load_file(tmp_path / "model.safetensors"), other.state_dict()
    assert set(in_file) != set(in_memory)
    layout = find_layout(in_file.keys())
    assert layout is find_layout(in_memory.keys())
    assert layout.name == "Hugging Face SegFormer"
    same_state(layout.convert(in_file), layout.convert(in_memory))
    model.load_state_dict(layout.convert(in_file))
    same_state(to_flavour(model.state_dict(), "huggingface"), in_file)


def test_transformers_reads_what_is_written(
    model: nn.Module, tmp_path: Path, same_state: Callable
) -> None:
    other = theirs(model)
    other.config.save_pretrained(tmp_path)
    written = to_flavour(model.state_dict(), "huggingface")
    save_file(written, tmp_path / "model.safetensors", metadata={"format": "pt"})
    loaded, info = type(other).from_pretrained(tmp_path, output_loading_info=True)
    assert not any(info[kind] for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    state = loaded.state_dict()
    same_state(find_layout(state.keys()).convert(state), model.state_dict())


def imagenet_official(model: nn.Module) -> State:
    state = to_flavour(model.state_dict(), "official")
    state = {n.removeprefix("backbone."): t for n, t in state.items() if n.startswith("backbone.")}
    return state | {"head.weight": torch.zeros(1000, 32), "head.bias": torch.zeros(1000)}


def imagenet_huggingface(model: nn.Module) -> State:
    state = to_flavour(model.state_dict(), "huggingface")
    state = {name: t for name, t in state.items() if name.startswith("segformer.")}
    return state | {
        "classifier.weight": torch.zeros(1000, 32),
        "classifier.bias": torch.zeros(1000),
    }


@pytest.mark.parametrize("make", [imagenet_official, imagenet_huggingface])
def test_imagenet_models_fill_the_backbone(
    repo_dir: Path, model: nn.Module, tmp_path: Path, same_state: Callable, make: Callable
) -> None:
    state = make(model)
    layout = find_layout(state.keys())
    assert layout.backbone_only
    torch.save(state, tmp_path / "mit.pth")
    fresh = build_model(small_config(repo_dir))
    Checkpointer(fresh).load(str(tmp_path / "mit.pth"))
    same_state(fresh.backbone.state_dict(), model.backbone.state_dict())


def test_key_without_value_is_named(model: nn.Module) -> None:
    state = to_flavour(model.state_dict(), "huggingface")
    del state["segformer.encoder.block.0.0.attention.self.value.bias"]
    with pytest.raises(ValueError, match=r"has the tensor of .*attention\.key\.bias, but none for"):
        find_layout(state.keys()).convert(state)


def test_the_pyramid_vision_transformer_is_left_alone() -> None:
    names = {"pos_embed1", "patch_embed1.proj.weight", "block1.0.mlp.dwconv.dwconv.weight"}
    assert find_layout(names) is None
