"""Equality with the official code: its parameter names with seeded weights, and what it computes.

``golden/keys`` lists names and shapes of the published checkpoints, ``golden/outputs`` what the
official model gives in fp32 under weights drawn from the names (``golden/seeded_weights.py``).
"""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from detectron2.modeling import build_model
from torch import Tensor, nn

from d2seg.checkpoint.layouts import find_layout
from d2seg.configuration import load_config
from d2seg.mask_classification.targets import MaskTargets
from golden.seeded_weights import seeded_image, seeded_state_dict

CASES = {
    "mask2former_coco_panoptic_R50": "coco_panoptic_resnet50",
    "mask2former_ade20k_semantic_swin_tiny": "ade20k_semantic_swin_tiny",
}
ONLY_KEYS = {
    "mask2former_coco_instance_R101": "coco_instance_resnet101",
    "mask2former_coco_panoptic_swin_large": "coco_panoptic_swin_large",
}
# Relative error of norms. Where a mask's logit is zero to rounding, the layers after attend to one
# cell more or less: the errors of later layers are a few 1e-4, those of the first one 1e-6.
TOLERANCE = 1e-3


def relative_error(actual: Tensor, expected: np.ndarray) -> float:
    reference = torch.from_numpy(np.asarray(expected)).double()
    return float((actual.double() - reference).norm() / reference.norm())


def build(repo_dir: Path, config: str) -> nn.Module:
    cfg = load_config(str(repo_dir / "configs" / "mask2former" / f"{config}.yaml"))
    cfg.MODEL.DEVICE = "cpu"
    return build_model(cfg).eval()


def official_state(repo_dir: Path, case: str) -> dict[str, Tensor]:
    names = json.loads((repo_dir / "tests" / "golden" / "keys" / f"{case}.json").read_text())
    return seeded_state_dict({name: torch.zeros(shape) for name, shape in names.items()})


def load_official(model: nn.Module, state: dict[str, Tensor]) -> None:
    layout = find_layout(state.keys())
    assert layout is not None
    converted = layout.convert(state)
    indices = {k for k in model.state_dict() if k.endswith("relative_position_index")}
    for name in indices:  # computed by the model, not seeded
        converted.pop(name, None)
    missing, unexpected = model.load_state_dict(converted, strict=False)
    assert set(missing) == indices
    assert not unexpected


@pytest.mark.parametrize("case", ONLY_KEYS)
def test_every_official_name_is_consumed(repo_dir: Path, case: str) -> None:
    load_official(build(repo_dir, ONLY_KEYS[case]), official_state(repo_dir, case))


@pytest.fixture(scope="module", params=CASES)
def golden(request: pytest.FixtureRequest, repo_dir: Path) -> dict:
    """A loaded model, the official outputs, and our own predictions of every layer."""
    case = request.param
    outputs = np.load(repo_dir / "tests" / "golden" / "outputs" / f"{case}.npz")
    meta = json.loads(str(outputs["meta"]))
    model = build(repo_dir, CASES[case])
    load_official(model, official_state(repo_dir, case))
    image = seeded_image(*meta["size"], seed=meta.get("seed", 0))
    with torch.no_grad():
        features = model.backbone(model._normalise(image)[None])
        model.transformer_decoder.training = True  # all layers' predictions
        logits, masks = model.transformer_decoder(model.pixel_decoder(features))
        model.transformer_decoder.training = False
    size = tuple(meta["size"])
    truth = np.unpackbits(outputs["target_masks"], axis=-1)[..., : size[1]].astype(bool)
    labels = torch.from_numpy(outputs["target_labels"])
    return {
        "model": model,
        "image": image,
        "outputs": outputs,
        "logits": logits,
        "masks": masks,
        "targets": [MaskTargets(labels, torch.from_numpy(truth), case)],
        "size": size,
        "loss_repeats": meta["loss_repeats"],
    }


def test_predictions_of_the_last_layer(golden: dict) -> None:
    logits, masks = golden["logits"][-1, 0], golden["masks"].all()[-1, 0, :, ::4, ::4]
    assert relative_error(logits, golden["outputs"]["pred_logits"]) < TOLERANCE
    assert relative_error(masks, golden["outputs"]["pred_masks"]) < TOLERANCE


@pytest.mark.parametrize("layer", [0, 8])
def test_predictions_of_auxiliary_layers(golden: dict, layer: int) -> None:
    """0 is what the initial queries predict."""
    outputs = golden["outputs"]
    logits = golden["logits"][layer, 0]
    means = golden["masks"].all()[layer, 0].mean((1, 2))
    assert len(golden["logits"]) == 10
    assert relative_error(logits, outputs[f"aux{layer}_pred_logits"]) < TOLERANCE
    assert relative_error(means, outputs[f"aux{layer}_pred_masks_mean"]) < TOLERANCE


def test_semantic_map(golden: dict) -> None:
    model = golden["model"]
    model.inference_settings = replace(
        model.inference_settings, tasks=("semantic",), semantic_output="scores"
    )
    with torch.no_grad():
        (result,) = model([{"image": golden["image"]}])
    assert (
        relative_error(result["sem_seg"][:, ::16, ::16], golden["outputs"]["sem_seg"]) < TOLERANCE
    )


def test_losses(golden: dict) -> None:
    """Points are random on both sides: the means agree within 4 standard errors."""
    outputs, num_runs = golden["outputs"], 8
    runs = []
    for seed in range(num_runs):
        torch.manual_seed(seed)
        with torch.no_grad():
            losses = golden["model"].criterion(
                golden["logits"], golden["masks"], golden["targets"], golden["size"]
            )
        runs.append({name: value.item() for name, value in losses.items()})
    names = outputs["loss_names"].tolist()
    assert all(set(run) == set(names) for run in runs)
    spread = np.sqrt(1 / num_runs + 1 / golden["loss_repeats"])
    for name, mean, std in zip(names, outputs["loss_mean"], outputs["loss_std"], strict=True):
        ours = np.mean([run[name] for run in runs])
        # a class loss hardly depends on the points, but on the predictions, see TOLERANCE
        assert abs(ours - mean) < 4 * std * spread + 1e-4 * abs(mean), name


def test_matching(golden: dict) -> None:
    """The official assignment, although each side takes its own points."""
    outputs, matcher = golden["outputs"], golden["model"].criterion.matcher
    torch.manual_seed(0)
    per_layer = matcher(golden["logits"], golden["masks"], golden["targets"], golden["size"])
    ((queries, indices),) = per_layer[-1]
    assert queries.tolist() == outputs["match_pred"].tolist()
    assert indices.tolist() == outputs["match_target"].tolist()
