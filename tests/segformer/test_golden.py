"""Equality with the official code: its parameter names with seeded weights, and what it computes."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from d2seg.checkpoint.layouts import find_layout
from d2seg.config.loading import load_config
from families.undrawn import build_undrawn
from golden.pictures import read_picture
from golden.seeded_weights import seeded_state_dict

# Absolute, of values up to 4. Measured, at worst of three instruction sets on one and two threads:
# logits 2.1e-6, statistics of features 8e-7; the loss 8e-8, relative.
TOLERANCE = 1e-5
FEATURE_TOLERANCE = 5e-6
LOSS_TOLERANCE = 5e-7


def build(repo_dir: Path, config: str) -> nn.Module:
    cfg = load_config(str(repo_dir / "configs" / "segformer" / f"{config}.yaml"))
    cfg.MODEL.DEVICE = "cpu"
    return build_undrawn(cfg)


def load_official(repo_dir: Path, model: nn.Module, case: str, *, seeded: bool = True) -> None:
    """``seeded``: draw the weights, or take zeros, where the names are all that counts."""
    names = json.loads((repo_dir / "tests" / "golden" / "keys" / f"{case}.json").read_text())
    state = {name: torch.zeros(shape) for name, shape in names.items()}
    state = seeded_state_dict(state) if seeded else state
    layout = find_layout(state.keys())
    assert layout is not None
    assert layout.name == "official SegFormer"
    model.load_state_dict(layout.convert(state))  # every name on both sides


def test_every_official_name_of_b5_is_consumed(repo_dir: Path) -> None:
    model = build(repo_dir, "ade20k_semantic_mit_b5")
    load_official(repo_dir, model, "segformer_b5_ade20k", seeded=False)


@pytest.fixture(scope="module")
def golden(repo_dir: Path) -> dict:
    case = "segformer_b0_ade20k"
    model = build(repo_dir, "ade20k_semantic_mit_b0")
    load_official(repo_dir, model, case)
    outputs = np.load(repo_dir / "tests" / "golden" / "outputs" / f"{case}.npz")
    return {"model": model, "image": read_picture("512x512_seed0"), "outputs": outputs}


def recorded_features(model: nn.Module, image: Tensor) -> dict[str, Tensor]:
    """Tokens (N, C) under the names of the golden file, and the logits."""
    found: dict[str, Tensor] = {}

    def record(name: str):
        def hook(module: nn.Module, inputs: tuple, output: Tensor | tuple) -> None:
            output = output[0] if isinstance(output, tuple) else output
            found[name] = (output.flatten(2).mT if output.dim() == 4 else output)[0]

        return hook

    handles = []
    for i, stage in enumerate(model.backbone.stages, start=1):
        parts = {f"patch_embed{i}": stage.patch_embed, f"block{i}_0": stage.blocks[0]}
        for name, module in (parts | {f"stage{i}": stage}).items():
            handles.append(module.register_forward_hook(record(name)))
    with torch.no_grad():
        found["logits"] = model.window_logits(model.normalise(image)[None])[0]
    for handle in handles:
        handle.remove()
    return found


def test_features_and_logits(golden: dict) -> None:
    outputs = golden["outputs"]
    found = recorded_features(golden["model"], golden["image"])
    logits = found.pop("logits")
    assert len(found) == 12
    for name, tokens in found.items():
        tokens = tokens.double()
        for statistic, value in {
            "mean": tokens.mean(0),
            "rms": tokens.square().mean(0).sqrt(),
        }.items():
            expected = torch.from_numpy(outputs[f"feat_{name}_{statistic}"]).double()
            torch.testing.assert_close(
                value, expected, atol=FEATURE_TOLERANCE, rtol=0, msg=f"{name} {statistic}"
            )
    expected = torch.from_numpy(outputs["head_logits"])
    torch.testing.assert_close(logits[:, ::4, ::4], expected, atol=TOLERANCE, rtol=0)


def test_scores_at_the_size_of_the_image(golden: dict) -> None:
    outputs = golden["outputs"]
    (result,) = golden["model"]([{"image": golden["image"]}])
    scores = result["sem_seg"]
    expected = torch.from_numpy(outputs["logits"])
    torch.testing.assert_close(scores[:, ::32, ::32], expected, atol=TOLERANCE, rtol=0)
    means = torch.from_numpy(outputs["logits_channel_mean"])
    torch.testing.assert_close(scores.mean((1, 2)), means, atol=TOLERANCE, rtol=0)


def test_loss(golden: dict) -> None:
    """The official loss divides by the number of all pixels, ours by that of the valid ones."""
    model, outputs = golden["model"], golden["outputs"]
    labels = torch.from_numpy(outputs["labels"].astype(np.int64))[None]
    with torch.no_grad():
        logits = model.window_logits(model.normalise(golden["image"])[None])
        loss = model.loss(logits, labels)["ce"]
    official = dict(zip(outputs["loss_names"].tolist(), outputs["loss"].tolist(), strict=True))
    assert 0 < (labels == 255).float().mean() < 1
    share = (labels != 255).double().mean().item()
    names = [name for name in official if "loss" in name]
    assert len(names) == 1
    assert loss.item() * share == pytest.approx(official[names[0]], rel=LOSS_TOLERANCE)
