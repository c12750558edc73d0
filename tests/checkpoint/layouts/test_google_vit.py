"""Google's .npz vision transformers in the hybrid and the pure backbone."""

from pathlib import Path

import numpy as np
import pytest
import torch
from detectron2.modeling import build_model
from torch import Tensor, nn

from d2seg.checkpoint import Checkpointer
from d2seg.checkpoint.layouts import find_layout
from d2seg.transunet.hybrid_vit import HybridViT
from d2seg.transunet.resnetv2 import ResNetV2
from families.transunet_config import small_config

ATTENTION = "MultiHeadDotProductAttention_1"


def published_names(num_blocks: int, dim: int, heads: int, mlp: int) -> dict[str, tuple[int, ...]]:
    """Names and shapes of the transformer in a published file of 224 x 224 pixels."""
    shapes: dict[str, tuple[int, ...]] = {
        "cls": (1, 1, dim),
        "Transformer/posembed_input/pos_embedding": (1, 197, dim),
        "pre_logits/kernel": (dim, dim),
        "pre_logits/bias": (dim,),
        "head/kernel": (dim, 21843),
        "head/bias": (21843,),
        "embedding/bias": (dim,),
    }
    norms = ["encoder_norm"]
    for i in range(num_blocks):
        block = f"encoderblock_{i}"
        norms += [f"{block}/LayerNorm_0", f"{block}/LayerNorm_2"]
        for part in ("query", "key", "value"):
            shapes[f"Transformer/{block}/{ATTENTION}/{part}/kernel"] = (dim, heads, dim // heads)
            shapes[f"Transformer/{block}/{ATTENTION}/{part}/bias"] = (heads, dim // heads)
        shapes[f"Transformer/{block}/{ATTENTION}/out/kernel"] = (heads, dim // heads, dim)
        shapes[f"Transformer/{block}/{ATTENTION}/out/bias"] = (dim,)
        for layer, (rows, columns) in enumerate([(dim, mlp), (mlp, dim)]):
            shapes[f"Transformer/{block}/MlpBlock_3/Dense_{layer}/kernel"] = (rows, columns)
            shapes[f"Transformer/{block}/MlpBlock_3/Dense_{layer}/bias"] = (columns,)
    for norm in norms:
        shapes |= {f"Transformer/{norm}/{part}": (dim,) for part in ("scale", "bias")}
    return shapes


def published_resnet(depths: tuple[int, ...], width: int) -> dict[str, tuple[int, ...]]:
    shapes = {"conv_root/kernel": (7, 7, 3, width)}
    shapes |= {f"gn_root/{part}": (1, 1, 1, width) for part in ("scale", "bias")}
    channels = width
    for stage, depth in enumerate(depths, start=1):
        inner = width * 2 ** (stage - 1)
        for unit in range(1, depth + 1):
            prefix = f"block{stage}/unit{unit}"
            convs = {
                "1": (1, 1, channels, inner),
                "2": (3, 3, inner, inner),
                "3": (1, 1, inner, 4 * inner),
            }
            if unit == 1:
                convs["_proj"] = (1, 1, channels, 4 * inner)
            for name, shape in convs.items():
                shapes[f"{prefix}/conv{name}/kernel"] = shape
                for part in ("scale", "bias"):
                    shapes[f"{prefix}/gn{name}/{part}"] = shape[-1:]
            channels = 4 * inner
    return shapes


def converted(shapes: dict[str, tuple[int, ...]]) -> dict[str, tuple[int, ...]]:
    state = {name: torch.empty(shape, device="meta") for name, shape in shapes.items()}
    layout = find_layout(state.keys())
    assert layout.name == "ImageNet vision transformer (.npz)"
    assert layout.backbone_only
    return {name: tuple(tensor.shape) for name, tensor in layout.convert(state).items()}


@pytest.mark.parametrize("hybrid", [True, False])
def test_published_names_and_shapes_fill_the_published_models(hybrid: bool) -> None:
    shapes = published_names(12, 768, 12, 3072)
    shapes["embedding/kernel"] = (1, 1, 1024, 768) if hybrid else (16, 16, 3, 768)
    if hybrid:
        shapes |= published_resnet((3, 4, 9), 64)
    with torch.device("meta"):
        cnn = ResNetV2(in_channels=3, depths=(3, 4, 9), width=64) if hybrid else None
        backbone = HybridViT(cnn=cnn)
    expected = {f"backbone.{name}": tuple(t.shape) for name, t in backbone.state_dict().items()}
    expected["backbone.pos_embed"] = (1, 197, 768)  # with the class token's
    expected["backbone.cls_token"] = (1, 1, 768)
    assert converted(shapes) == expected


def as_published(state: dict[str, Tensor], heads: int) -> dict[str, np.ndarray]:
    """A backbone's weights as Google's files hold them, written out from the definitions of
    flax's layers: a kernel maps inputs (rows) to outputs (columns)."""
    arrays: dict[str, np.ndarray] = {}

    def put(name: str, tensor: Tensor) -> None:
        arrays[name] = tensor.detach().numpy()

    for name, tensor in state.items():
        if name == "pos_embed":  # has no slot for a class token
            continue
        *module, kind = name.split(".")
        kind = "kernel" if kind == "weight" and tensor.dim() > 1 else kind
        kind = "scale" if kind == "weight" else kind
        if tensor.dim() == 4:
            tensor = tensor.permute(2, 3, 1, 0)
        if module[0] == "cnn" and module[1] == "root":
            put(f"{module[2]}_root/{kind}", tensor)
        elif module[0] == "cnn":
            put("/".join([*module[1:], kind]), tensor)
        elif module[:1] == ["patch_embed"]:
            put(f"embedding/{kind}", tensor)
        elif module[:1] == ["norm"]:
            put(f"Transformer/encoder_norm/{kind}", tensor)
        elif module[:1] == ["blocks"]:
            put_block(put, f"Transformer/encoderblock_{module[1]}", module[2:], kind, tensor, heads)
    return arrays


def put_block(put, prefix: str, module: list[str], kind: str, tensor: Tensor, heads: int) -> None:
    dim = tensor.shape[-1]
    part = ".".join(module)
    if part == "attn.qkv":
        for third, name in zip(tensor.chunk(3), ("query", "key", "value"), strict=True):
            third = third.T.reshape(dim, heads, -1) if kind == "kernel" else third.view(heads, -1)
            put(f"{prefix}/{ATTENTION}/{name}/{kind}", third)
    elif part == "attn.proj":
        tensor = tensor.T.reshape(heads, -1, dim) if kind == "kernel" else tensor
        put(f"{prefix}/{ATTENTION}/out/{kind}", tensor)
    else:
        names = {"norm1": "LayerNorm_0", "norm2": "LayerNorm_2"}
        names |= {"mlp.fc1": "MlpBlock_3/Dense_0", "mlp.fc2": "MlpBlock_3/Dense_1"}
        put(f"{prefix}/{names[part]}/{kind}", tensor.T if kind == "kernel" else tensor)


def write_npz(path: Path, backbone: nn.Module, heads: int, grid: int) -> Tensor:
    """Returns the position embedding that is written, (1, 1 + grid * grid, C)."""
    arrays = as_published(backbone.state_dict(), heads)
    dim = backbone.pos_embed.shape[-1]
    positions = torch.randn(1, 1 + grid * grid, dim)
    arrays["Transformer/posembed_input/pos_embedding"] = positions.numpy()
    arrays["cls"] = np.full((1, 1, dim), 7, np.float32)
    arrays["head/kernel"], arrays["head/bias"] = np.zeros((dim, 10)), np.zeros(10)
    np.savez(path, **arrays)
    return positions


@pytest.mark.parametrize("name", ["synapse_semantic_r50_vit_base", "synapse_semantic_vit_base"])
def test_a_file_gives_the_same_features(repo_dir: Path, tmp_path: Path, name: str) -> None:
    torch.manual_seed(0)
    cfg = small_config(repo_dir, name)
    source, target = build_model(cfg).eval(), build_model(cfg).eval()
    images = torch.randn(2, 3, 64, 64)
    heads = cfg.MODEL.HYBRID_VIT.NUM_HEADS
    for parameter in source.backbone.parameters():
        nn.init.normal_(parameter, std=0.3)
    positions = write_npz(tmp_path / "vit.npz", source.backbone, heads, grid=4)
    Checkpointer(target).load(str(tmp_path / "vit.npz"))
    with torch.no_grad():
        source.backbone.pos_embed.copy_(positions[:, 1:])  # without the class token's
        expected, features = source.backbone(images), target.backbone(images)
    for feature in expected:
        torch.testing.assert_close(features[feature], expected[feature])
    assert not torch.equal(target.decode_head.predictor.weight, source.decode_head.predictor.weight)


def test_positions_of_another_grid_are_resized(repo_dir: Path, tmp_path: Path) -> None:
    cfg = small_config(repo_dir, "synapse_semantic_vit_base")
    model = build_model(cfg)
    positions = write_npz(tmp_path / "vit.npz", model.backbone, 4, grid=8)
    Checkpointer(model).load(str(tmp_path / "vit.npz"))
    table = positions[:, 1:].transpose(1, 2).unflatten(2, (8, 8))
    expected = nn.functional.avg_pool2d(table, 2)  # what halving bilinearly is
    resized = model.backbone.pos_embed.detach().transpose(1, 2).unflatten(2, (4, 4))
    torch.testing.assert_close(resized, expected)


def test_the_pure_transformer_does_not_fit_the_hybrid(repo_dir: Path, tmp_path: Path) -> None:
    pure = build_model(small_config(repo_dir, "synapse_semantic_vit_base"))
    hybrid = build_model(small_config(repo_dir))
    write_npz(tmp_path / "vit.npz", pure.backbone, 4, grid=4)
    with pytest.raises(ValueError, match="another architecture"):
        Checkpointer(hybrid).load(str(tmp_path / "vit.npz"))
