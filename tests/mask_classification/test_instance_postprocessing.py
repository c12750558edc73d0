"""Instance inference on masks written by hand."""

from typing import Any

import pytest
import torch
from detectron2.structures import BitMasks, Instances
from torch import Tensor

from d2seg.mask_classification.mask_resizer import MaskResizer
from d2seg.mask_classification.postprocessing import instance_inference, tight_boxes
from families.dense_masks import image_masks
from families.drawn_queries import LEFT, OTHER_THING, STUFF, THING, TOP, logits_of, masks_of

AS_IS = MaskResizer((4, 4), (4, 4))


def instances(
    logits: Tensor, masks: Tensor, resize: MaskResizer = AS_IS, **changes: Any
) -> Instances:
    settings = {
        "thing_ids": frozenset({THING, OTHER_THING}),
        "max_instances": 100,
        "score_threshold": 0.0,
    }
    return instance_inference(logits, image_masks(masks), resize, **(settings | changes))


def test_nothing_left_to_enlarge() -> None:
    """As at a high confidence threshold: no masks, but a change of size."""
    resize = MaskResizer((16, 16), (15, 13), (20, 30))
    result = instances(logits_of((THING, 0.5)), masks_of(LEFT), resize, score_threshold=0.99)
    assert result.pred_masks.shape == (0, 20, 30)


def test_scores_masks_and_boxes() -> None:
    result = instances(
        logits_of((THING, 0.9), (OTHER_THING, 0.8)),
        masks_of(LEFT, "0000 0060 0000 0000"),
        max_instances=2,
    )
    assert result.pred_classes.tolist() == [THING, OTHER_THING]
    # class probability times the mean probability inside the mask
    assert result.scores.tolist() == pytest.approx([0.9 * 0.9, 0.8 * 0.6], abs=1e-4)
    assert result.pred_masks.dtype == torch.bool
    assert result.pred_masks[1].nonzero().tolist() == [[1, 2]]
    assert result.pred_boxes.tensor.tolist() == [[0, 0, 2, 4], [2, 1, 3, 2]]


def test_stuff_is_no_instance() -> None:
    result = instances(logits_of((STUFF, 0.97)), masks_of(LEFT), max_instances=1)
    assert len(result) == 0
    assert result.pred_masks.shape == (0, 4, 4)
    assert result.pred_boxes.tensor.shape == (0, 4)


def test_top_k_is_bounded_by_queries_times_classes() -> None:
    result = instances(logits_of((THING, 0.9)), masks_of(LEFT), max_instances=1000)
    assert len(result) == 2  # one query, two thing classes


def test_threshold_applies_to_the_final_score() -> None:
    logits, masks = logits_of((THING, 0.9), (OTHER_THING, 0.8)), masks_of(LEFT, "6666 " * 4)
    kept = instances(logits, masks, score_threshold=0.5)
    assert kept.pred_classes.tolist() == [THING]
    assert len(instances(logits, masks, score_threshold=0.95)) == 0


def test_empty_mask_scores_zero() -> None:
    result = instances(logits_of((THING, 0.9)), masks_of("0000 0000 0000 0000"))
    assert result.scores.tolist() == [0.0, 0.0]
    assert result.pred_boxes.tensor.tolist() == [[0, 0, 0, 0]] * 2


def test_one_query_under_two_classes_keeps_one_mask() -> None:
    logits = torch.tensor([[0.5, 0.05, 0.4, 0.05]]).log()
    result = instances(logits, masks_of(TOP))
    assert result.pred_classes.tolist() == [THING, OTHER_THING]
    assert torch.equal(result.pred_masks[0], result.pred_masks[1])


def test_inputs_are_left_alone() -> None:
    logits, masks = logits_of((THING, 0.9)), masks_of(LEFT)
    before = masks.clone()
    instances(logits, masks)
    assert torch.equal(masks, before)


@pytest.mark.parametrize("number", [0, 1, 40])
def test_boxes_equal_those_of_detectron2(number: int) -> None:
    generator = torch.Generator().manual_seed(0)
    masks = torch.rand(number, 7, 5, generator=generator) > 0.97  # some are empty
    expected = BitMasks(masks).get_bounding_boxes().tensor
    boxes = tight_boxes(masks.any(1), masks.any(2)).tensor
    assert boxes.dtype == torch.float32
    assert torch.equal(boxes, expected)


def test_boxes_lie_on_the_device_of_the_masks() -> None:
    masks = torch.empty(3, 7, 5, dtype=torch.bool, device="meta")
    assert tight_boxes(masks.any(1), masks.any(2)).device.type == "meta"
