"""Equality with the official code: its parameter names with seeded weights, and what it computes.

``golden/keys`` lists names and shapes of the published checkpoints, ``golden/outputs`` what the
official model gives in fp32 under weights drawn from the names (``golden/seeded_weights.py``).
"""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from detectron2.modeling import build_model
from torch import Tensor, nn

from d2seg.checkpoint.layouts import find_layout
from d2seg.configuration import load_config
from d2seg.mask_classification.query_masks import QueryMasks
from d2seg.mask_classification.targets import MaskTargets
from golden.seeded_weights import seeded_image, seeded_state_dict

CASES = {
    "maskformer_ade20k_semantic_R50": "ade20k_semantic_resnet50",
    "maskformer_coco_panoptic_R50": "coco_panoptic_resnet50",
}
ONLY_KEYS = {
    "maskformer_ade20k_semantic_R101c": "ade20k_semantic_resnet101c",
    "maskformer_coco_panoptic_swin_large": "coco_panoptic_swin_large",
}
TOLERANCE = 1e-3  # relative error of norms; about 1e-6 is what fp32 gives


def relative_error(actual: Tensor, expected: np.ndarray) -> float:
    reference = torch.from_numpy(np.asarray(expected)).double()
    return float((actual.double() - reference).norm() / reference.norm())


def build(repo_dir: Path, config: str) -> nn.Module:
    cfg = load_config(str(repo_dir / "configs" / "maskformer" / f"{config}.yaml"))
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
    """A loaded model, the official outputs, and our own (L, B, ...) predictions."""
    case = request.param
    outputs = np.load(repo_dir / "tests" / "golden" / "outputs" / f"{case}.npz")
    meta = json.loads(str(outputs["meta"]))
    model = build(repo_dir, CASES[case])
    load_official(model, official_state(repo_dir, case))
    image = seeded_image(*meta["size"], seed=meta.get("seed", 0))
    with torch.no_grad():
        features = model.backbone(model._normalise(image)[None])
        model.transformer_decoder.training = True  # all layers' predictions, but no dropout
        logits, masks = model.transformer_decoder(model.pixel_decoder(features))
        model.transformer_decoder.training = False
    size = tuple(meta["size"])
    truth = np.unpackbits(outputs["target_masks"], axis=-1)[..., : size[1]].astype(bool)
    labels = torch.from_numpy(outputs["target_labels"])
    target = MaskTargets(labels, torch.from_numpy(truth), case)
    return {
        "model": model,
        "image": image,
        "outputs": outputs,
        "logits": logits,
        "masks": masks,
        "targets": [target],
        "size": size,
    }


def test_predictions_of_the_last_layer(golden: dict) -> None:
    logits, masks = golden["logits"][-1, 0], golden["masks"].all()[-1, 0, :, ::4, ::4]
    assert relative_error(logits, golden["outputs"]["pred_logits"]) < TOLERANCE
    assert relative_error(masks, golden["outputs"]["pred_masks"]) < TOLERANCE


@pytest.mark.parametrize("layer", [0, 4])
def test_predictions_of_auxiliary_layers(golden: dict, layer: int) -> None:
    outputs = golden["outputs"]
    logits, means = golden["logits"][layer, 0], golden["masks"].all()[layer, 0].mean((1, 2))
    assert relative_error(logits, outputs[f"aux{layer}_pred_logits"]) < TOLERANCE
    assert relative_error(means, outputs[f"aux{layer}_pred_masks_mean"]) < TOLERANCE


def test_semantic_map(golden: dict) -> None:
    model = golden["model"]
    model.inference_settings = type(model.inference_settings)(
        **(vars(model.inference_settings) | {"tasks": ("semantic",), "semantic_output": "scores"})
    )
    with torch.no_grad():
        (result,) = model([{"image": golden["image"]}])
    assert (
        relative_error(result["sem_seg"][:, ::16, ::16], golden["outputs"]["sem_seg"]) < TOLERANCE
    )


def test_losses(golden: dict) -> None:
    outputs = golden["outputs"]
    losses = golden["model"].criterion(
        golden["logits"], golden["masks"], golden["targets"], golden["size"]
    )
    names = outputs["loss_names"].tolist()
    assert set(losses) == set(names)
    for name, expected in zip(names, outputs["loss_mean"], strict=True):
        assert losses[name].item() == pytest.approx(expected, rel=TOLERANCE), name


def test_matching(golden: dict) -> None:
    """The official assignment and ours cost the same; where queries differ at all, they are equal.

    Under the seeded COCO weights two queries predict the same to rounding, so that swapping their
    targets changes nothing.
    """
    outputs, (target,) = golden["outputs"], golden["targets"]
    matcher = golden["model"].criterion.matcher
    logits = golden["logits"][-1:]
    masks = QueryMasks(golden["masks"].embeddings[-1:], golden["masks"].features)
    ((queries, indices),) = matcher(logits, masks, [target], golden["size"])[0]
    cost = matcher._cost(logits[:, 0], masks, 0, target, golden["size"])[0].double()
    official = cost[outputs["match_pred"], outputs["match_target"]].sum()
    torch.testing.assert_close(cost[queries, indices].sum(), official, rtol=1e-7, atol=0)
    assert queries.tolist() == outputs["match_pred"].tolist()
    if "ade20k" in target.name:
        assert indices.tolist() == outputs["match_target"].tolist()
