"""Results in a graph against those in detectron2's formats, on the same queries."""

import pytest
import torch
from torch import Tensor

from d2seg.mask_classification import graph_results
from d2seg.mask_classification.label_tiles import semantic_labels
from d2seg.mask_classification.mask_resizer import MaskResizer
from d2seg.mask_classification.postprocessing import (
    instance_inference,
    panoptic_inference,
)
from families.dense_masks import image_masks

SIZE, THINGS, NUM_CLASSES = (32, 48), frozenset({0, 2}), 4
IS_THING = torch.tensor([c in THINGS for c in range(NUM_CLASSES)])


@pytest.fixture(params=range(3))
def queries(request: pytest.FixtureRequest) -> tuple[Tensor, Tensor]:
    """(1, 9, 5) and (1, 9, 8, 12): blobs, of few classes, so that stuff is merged."""
    generator = torch.Generator().manual_seed(request.param)
    logits = 3 * torch.randn(1, 9, NUM_CLASSES + 1, generator=generator)
    coarse = 6 * torch.randn(1, 9, 3, 4, generator=generator)
    masks = torch.nn.functional.interpolate(coarse, (8, 12), mode="bilinear")
    return logits, masks


def test_labels(queries: tuple[Tensor, Tensor]) -> None:
    logits, masks = queries
    found = graph_results.semantic_labels(logits, masks, SIZE)["labels"]
    expected = semantic_labels(logits[0], image_masks(masks[0]), MaskResizer(SIZE, SIZE), SIZE)
    assert (found == expected).float().mean() > 0.999


@pytest.mark.parametrize("intersect", [True, False])
@pytest.mark.parametrize("thresholds", [(0.3, 0.5), (0.0, 0.0), (0.99, 0.5)])
def test_panoptic(
    queries: tuple[Tensor, Tensor], intersect: bool, thresholds: tuple[float, float]
) -> None:
    logits, masks = queries
    settings = dict(zip(("object_mask_threshold", "overlap_threshold"), thresholds, strict=True))
    settings["intersect"] = intersect
    found = graph_results.panoptic_map(logits, masks, SIZE, is_thing=IS_THING, **settings)
    expected, segments = panoptic_inference(
        logits[0], image_masks(masks[0]), MaskResizer(SIZE, SIZE), thing_ids=THINGS, **settings
    )
    assert (found["segments"] == expected).float().mean() > 0.999
    rows = [
        {"id": i, "isthing": c in THINGS, "category_id": c, "score": pytest.approx(s, abs=1e-5)}
        for i, c, s in zip(
            *(found[f"segment_{key}"].tolist() for key in ("ids", "classes", "scores")), strict=True
        )
        if i
    ]
    assert rows == segments


def test_instances(queries: tuple[Tensor, Tensor]) -> None:
    logits, masks = queries
    found = graph_results.instances(logits, masks, SIZE, is_thing=IS_THING, max_instances=20)
    expected = instance_inference(
        logits[0],
        image_masks(masks[0]),
        MaskResizer(SIZE, SIZE),
        thing_ids=THINGS,
        max_instances=20,
        score_threshold=0.0,
    )
    is_real = found["scores"] > 0
    wanted = expected[expected.scores > 0]
    torch.testing.assert_close(found["scores"][is_real], wanted.scores, atol=1e-5, rtol=1e-4)
    assert torch.equal(found["classes"][is_real].long(), wanted.pred_classes)
    torch.testing.assert_close(found["boxes"][is_real], wanted.pred_boxes.tensor)
    assert (found["masks"][is_real] == wanted.pred_masks).float().mean() > 0.999
    assert len(found["scores"]) == 20
    assert (found["scores"].diff() <= 0).all()
