"""Equality with the official TransUNet under seeded weights, see ``golden/seeded_weights.py``.

The transformer hardly shows in the logits under these weights, so its layers are compared too, and
the logits once more with a position embedding 200 times as large.
"""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from d2seg.checkpoint.layouts import find_layout
from families.golden import relative_error
from families.transunet_config import published_model
from golden.pictures import read_picture
from golden.seeded_weights import seeded_state_dict

CASE = "transunet_synapse_R50_ViT_B16"
# Measured, at worst of three instruction sets on one and two threads: logits, up to 1.1, 6.6e-6;
# features 1.3e-5, of norms, since they range from 0.4 to 15; losses 2.2e-7, relative. The official
# code itself differs by 7e-6 in the logits between single and double precision.
TOLERANCE = 2e-5
FEATURE_TOLERANCE = 5e-5
LOSS_TOLERANCE = 1e-6


@pytest.fixture(scope="module")
def outputs(repo_dir: Path) -> dict[str, np.ndarray]:
    return dict(np.load(repo_dir / "tests" / "golden" / "outputs" / f"{CASE}.npz"))


@pytest.fixture(scope="module")
def image() -> Tensor:
    """(3, 224, 224): the grey picture three times."""
    return read_picture("224x224_seed0_grey")


@pytest.fixture(scope="module")
def official_state(repo_dir: Path) -> dict[str, Tensor]:
    shapes = json.loads((repo_dir / "tests" / "golden" / "keys" / f"{CASE}.json").read_text())
    return seeded_state_dict({name: torch.zeros(shape) for name, shape in shapes.items()})


@pytest.fixture(scope="module")
def model(repo_dir: Path, official_state: dict[str, Tensor]) -> nn.Module:
    model = published_model(repo_dir, "synapse_semantic_r50_vit_base", PIXEL_STD=[255.0] * 3)
    layout = find_layout(official_state.keys())
    assert layout.name == "official TransUNet"
    model.load_state_dict(layout.convert(official_state))  # every name is consumed
    return model.eval()


@pytest.fixture(scope="module")
def features(model: nn.Module, image: Tensor) -> dict[str, Tensor]:
    """Of each module that the official outputs hold, (C, positions)."""
    found: dict[str, Tensor] = {}
    backbone, head = model.backbone, model.decode_head
    modules = {"embeddings": backbone.pos_drop, "encoder_norm": backbone.norm}
    modules |= {f"layer{i}": backbone.blocks[i] for i in (0, 5, 11)}
    modules |= {f"decoder_block{i}": block for i, block in enumerate(head.blocks)}
    modules |= {"conv_more": head.conv_more, "resnet_out": backbone.cnn.block3}
    handles = [
        module.register_forward_hook(
            lambda _, __, output, name=name: found.update({name: output[0]})
        )
        for name, module in modules.items()
    ]
    with torch.no_grad():
        maps = backbone(model.normalise(image)[None])
        found["logits"] = head(maps)[0]
    for handle in handles:
        handle.remove()
    found |= {f"skip{i}": maps[name][0] for i, name in enumerate(("res3", "res2", "stem"))}
    # tokens are (N, C), maps (C, h, w)
    return {n: f.T if f.dim() == 2 else f.flatten(1) for n, f in found.items()}


def test_features(features: dict[str, Tensor], outputs: dict[str, np.ndarray]) -> None:
    names = [name[len("feat_") : -len("_rms")] for name in outputs if name.endswith("_rms")]
    assert len(names) == 14
    for name in names:
        feature = features[name]
        statistics = {"mean": feature.mean(1), "rms": feature.square().mean(1).sqrt()}
        for kind, ours in statistics.items():
            error = relative_error(ours, outputs[f"feat_{name}_{kind}"])
            assert error < FEATURE_TOLERANCE, f"{name} {kind}"


def test_logits(features: dict[str, Tensor], outputs: dict[str, np.ndarray]) -> None:
    logits = features["logits"].unflatten(1, (224, 224))[:, ::4, ::4]
    torch.testing.assert_close(logits, torch.from_numpy(outputs["logits"]), atol=TOLERANCE, rtol=0)


def test_logits_with_a_large_position_embedding(
    model: nn.Module, image: Tensor, outputs: dict[str, np.ndarray]
) -> None:
    positions = model.backbone.pos_embed
    before = positions.detach().clone()
    with torch.no_grad():
        positions.mul_(200)
        logits = model.window_logits(model.normalise(image)[None])[0, :, ::4, ::4]
        positions.copy_(before)
    expected = torch.from_numpy(outputs["pos_scaled_logits"])
    torch.testing.assert_close(logits, expected, atol=TOLERANCE, rtol=0)
    assert not torch.allclose(expected, torch.from_numpy(outputs["logits"]), atol=1e-3)


def test_losses(
    model: nn.Module, features: dict[str, Tensor], outputs: dict[str, np.ndarray]
) -> None:
    expected = dict(zip(outputs["loss_names"].tolist(), outputs["loss"].tolist(), strict=True))
    logits = features["logits"].unflatten(1, (224, 224))[None]
    terms = model.loss(logits, torch.from_numpy(outputs["labels"])[None].long())
    assert 2 * terms["ce"].item() == pytest.approx(expected["ce"], rel=LOSS_TOLERANCE)
    assert 2 * terms["dice"].item() == pytest.approx(expected["dice"], rel=LOSS_TOLERANCE)
    assert sum(terms.values()).item() == pytest.approx(expected["total"], rel=LOSS_TOLERANCE)


def test_export_gives_back_the_official_names(
    model: nn.Module, official_state: dict[str, Tensor]
) -> None:
    layout = find_layout(official_state.keys())
    exported = layout.export.convert(model.state_dict())
    assert exported.keys() == official_state.keys()
    for name, tensor in exported.items():
        if not name.endswith("num_batches_tracked"):  # an integer, not seeded
            assert torch.equal(tensor, official_state[name]), name
