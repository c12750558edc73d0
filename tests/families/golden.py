"""What the official mask-classification models compute, next to our predictions.

``golden/keys`` lists names and shapes of the published checkpoints, ``golden/outputs`` what the
official model gives in fp32 under weights drawn from the names (``golden/seeded_weights.py``) for a
picture of ``golden/images``.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from d2seg.checkpoint.layouts import find_layout
from d2seg.config.loading import load_config
from d2seg.mask_classification.query_masks import QueryMasks
from d2seg.mask_classification.targets import MaskTargets
from golden.pictures import read_picture
from golden.seeded_weights import seeded_state_dict

from .undrawn import build_undrawn


@dataclass(frozen=True)
class GoldenCase:
    """A model under the official weights.

    outputs, meta: as recorded. logits (L, B, Q, K+1), masks: our predictions of every layer.
    targets: of the only image, of ``size`` (h, w), without padding.
    """

    model: nn.Module
    outputs: Mapping[str, np.ndarray]
    meta: dict
    image: Tensor
    logits: Tensor
    masks: QueryMasks
    targets: list[MaskTargets]
    size: tuple[int, int]

    def prediction_errors(self) -> dict[str, float]:
        """Relative errors of the last layer's logits and masks, and of the semantic map."""
        ours = {
            "pred_logits": self.logits[-1, 0],
            "pred_masks": self.masks.all()[-1, 0, :, ::4, ::4],
            "sem_seg": self._semantic_map()[:, ::16, ::16],
        }
        return {name: relative_error(ours[name], self.outputs[name]) for name in ours}

    def auxiliary_errors(self, layer: int) -> tuple[float, float]:
        """Relative errors of a layer's logits and of its masks' means."""
        means = self.masks.all()[layer, 0].mean((1, 2))
        return (
            relative_error(self.logits[layer, 0], self.outputs[f"aux{layer}_pred_logits"]),
            relative_error(means, self.outputs[f"aux{layer}_pred_masks_mean"]),
        )

    def losses(self) -> dict[str, float]:
        with torch.no_grad():
            losses = self.model.criterion(self.logits, self.masks, self.targets, self.size)
        return {name: value.item() for name, value in losses.items()}

    def _semantic_map(self) -> Tensor:
        model, settings = self.model, self.model.inference_settings
        model.inference_settings = replace(settings, tasks=("semantic",), semantic_output="scores")
        with torch.no_grad():
            (result,) = model([{"image": self.image}])
        model.inference_settings = settings
        return result["sem_seg"]


def relative_error(actual: Tensor, expected: np.ndarray) -> float:
    """Of norms."""
    reference = torch.from_numpy(np.asarray(expected)).double()
    return float((actual.double() - reference).norm() / reference.norm())


def official_model(repo_dir: Path, config: str, case: str, *, seeded: bool = True) -> nn.Module:
    """The model of a config of ours under the weights of a case, whose names it all consumes.

    Args:
        seeded: draw the weights, or take zeros, where the names are all that counts.
    """
    cfg = load_config(str(repo_dir / "configs" / f"{config}.yaml"))
    cfg.MODEL.DEVICE = "cpu"
    model = build_undrawn(cfg)
    shapes = json.loads((repo_dir / "tests" / "golden" / "keys" / f"{case}.json").read_text())
    state = {name: torch.zeros(shape) for name, shape in shapes.items()}
    state = seeded_state_dict(state) if seeded else state
    layout = find_layout(state.keys())
    assert layout is not None
    converted = layout.convert(state)
    indices = {k for k in model.state_dict() if k.endswith("relative_position_index")}
    for name in indices:  # computed by the model, not seeded
        converted.pop(name, None)
    missing, unexpected = model.load_state_dict(converted, strict=False)
    assert set(missing) == indices
    assert not unexpected
    return model


def golden_case(repo_dir: Path, config: str, case: str) -> GoldenCase:
    model = official_model(repo_dir, config, case)
    outputs = np.load(repo_dir / "tests" / "golden" / "outputs" / f"{case}.npz")
    meta = json.loads(str(outputs["meta"]))
    size = tuple(meta["size"])
    image = read_picture(f"{size[0]}x{size[1]}_seed{meta.get('seed', 0)}")
    with torch.no_grad():
        features = model.backbone(model.normalise(image)[None])
        model.transformer_decoder.training = True  # all layers' predictions, but no dropout
        logits, masks = model.transformer_decoder(model.pixel_decoder(features))
        model.transformer_decoder.training = False
    truth = np.unpackbits(outputs["target_masks"], axis=-1)[..., : size[1]].astype(bool)
    labels = torch.from_numpy(outputs["target_labels"])
    targets = [MaskTargets(labels, torch.from_numpy(truth), case)]
    return GoldenCase(model, outputs, meta, image, logits, masks, targets, size)
