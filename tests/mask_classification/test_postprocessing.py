"""Semantic and panoptic inference on masks written by hand."""

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from d2seg.layers.chunking import budget
from d2seg.mask_classification import mask_resizer
from d2seg.mask_classification.mask_resizer import MaskResizer
from d2seg.mask_classification.postprocessing import (
    instance_inference,
    panoptic_inference,
    semantic_inference,
)
from families.dense_masks import image_masks
from families.drawn_queries import (
    LEFT,
    NO_OBJECT,
    OTHER_THING,
    RIGHT,
    STUFF,
    THING,
    TOP,
    logits_of,
    masks_of,
)

AS_IS = MaskResizer((4, 4), (4, 4))


def panoptic(
    logits: Tensor, masks: Tensor, resize: MaskResizer = AS_IS, **changes: Any
) -> tuple[Tensor, list[dict]]:
    settings = {
        "thing_ids": frozenset({THING, OTHER_THING}),
        "object_mask_threshold": 0.5,
        "overlap_threshold": 0.8,
        "intersect": False,
    }
    return panoptic_inference(logits, image_masks(masks), resize, **(settings | changes))


@pytest.fixture(params=[False, True], ids=["MaskFormer", "Mask2Former"])
def intersect(request: pytest.FixtureRequest) -> bool:
    return request.param


def plain_panoptic(logits: Tensor, masks: Tensor, intersect: bool) -> tuple[Tensor, list[tuple]]:
    """One query after the other, with thresholds of 0.5: ids, and (id, category) of the segments."""
    scores, classes = logits.softmax(-1).max(-1)
    keep = (classes != NO_OBJECT) & (scores > 0.5)
    classes, masks = classes[keep], masks[keep].sigmoid()
    owner = (scores[keep, None, None] * masks).argmax(0)
    result, segments = torch.zeros(masks.shape[1:], dtype=torch.int32), []
    for query, category in enumerate(classes.tolist()):
        own, won = masks[query] >= 0.5, owner == query
        visible = own & won if intersect else won
        if not own.any() or not visible.any() or won.sum() / own.sum() < 0.5:
            continue
        same = [s for s in segments if s[1] == category == STUFF]
        if not same:
            segments.append((len(segments) + 1, category))
        result[visible] = (same or segments[-1:])[0][0]
    return result, segments


def categories(segments: list[dict]) -> list[int]:
    return [segment["category_id"] for segment in segments]


class TestPanoptic:
    def test_two_things_side_by_side(self, intersect: bool) -> None:
        result, segments = panoptic(
            logits_of((THING, 0.9), (THING, 0.8)), masks_of(LEFT, RIGHT), intersect=intersect
        )
        assert result.dtype == torch.int32
        assert result.tolist() == [[1, 1, 2, 2]] * 4
        assert [s["id"] for s in segments] == [1, 2]
        assert [s["isthing"] for s in segments] == [True, True]
        assert [s["score"] for s in segments] == pytest.approx([0.9, 0.8])

    def test_nothing_confident_is_empty(self, intersect: bool) -> None:
        result, segments = panoptic(
            logits_of((NO_OBJECT, 0.99), (THING, 0.4)), masks_of(LEFT, RIGHT), intersect=intersect
        )
        assert result.shape == (4, 4)
        assert not result.any()
        assert segments == []

    def test_stuff_queries_merge_into_one_segment(self, intersect: bool) -> None:
        result, segments = panoptic(
            logits_of((STUFF, 0.9), (STUFF, 0.7)), masks_of(LEFT, RIGHT), intersect=intersect
        )
        assert result.unique().tolist() == [1]
        assert categories(segments) == [STUFF]
        assert segments[0]["score"] == pytest.approx(0.8)

    def test_ids_stay_unique_after_a_merge(self, intersect: bool) -> None:
        """A thing that follows merged stuff gets an id of its own."""
        result, segments = panoptic(
            logits_of((STUFF, 0.9), (STUFF, 0.9), (THING, 0.9)),
            masks_of("9000 9000 9000 9000", "0900 0900 0900 0900", RIGHT),
            intersect=intersect,
        )
        assert [s["id"] for s in segments] == [1, 2]
        assert result.tolist() == [[1, 1, 2, 2]] * 4

    def test_score_times_mask_decides_a_pixel(self) -> None:
        # 0.9 x 0.6 < 0.7 x 0.9 although the first class score is higher
        result, segments = panoptic(
            logits_of((THING, 0.9), (OTHER_THING, 0.7)),
            masks_of("6666 6666 6666 6666", LEFT),
            overlap_threshold=0.4,
        )
        assert categories(segments) == [THING, OTHER_THING]
        assert result.tolist() == [[2, 2, 1, 1]] * 4

    def test_mostly_hidden_query_is_dropped(self) -> None:
        """A query that keeps a quarter of its mask goes, and its pixels are void."""
        logits = logits_of((THING, 0.9), (OTHER_THING, 0.6))
        masks = masks_of("9990 9990 9990 9990", "9999 9999 9999 9999")
        result, segments = panoptic(logits, masks)
        assert categories(segments) == [THING]
        assert result.tolist() == [[1, 1, 1, 0]] * 4

    def test_thresholds_exactly_met(self, intersect: bool) -> None:
        """An overlap equal to the threshold stays; a class score equal to it goes."""
        logits = logits_of((THING, 0.9), (OTHER_THING, 0.6))
        masks = masks_of("9000 0000 0000 0000", "9999 9000 0000 0000")
        # the second keeps 4 of 5 pixels
        _, segments = panoptic(logits, masks, overlap_threshold=0.8, intersect=intersect)
        assert categories(segments) == [THING, OTHER_THING]
        score = logits.softmax(-1)[1].max().item()
        _, segments = panoptic(logits, masks, object_mask_threshold=score, intersect=intersect)
        assert categories(segments) == [THING]

    def test_ties_go_to_the_first_query(self, intersect: bool) -> None:
        result, segments = panoptic(
            logits_of((THING, 0.9), (OTHER_THING, 0.9)), masks_of(LEFT, LEFT), intersect=intersect
        )
        assert categories(segments) == [THING]
        # the right half is owned by the first query too, which MaskFormer does not cut at 0.5
        assert result.tolist() == [[1, 1, 0, 0] if intersect else [1, 1, 1, 1]] * 4

    def test_intersection_leaves_unsure_pixels_void(self) -> None:
        logits = logits_of((THING, 0.9), (OTHER_THING, 0.8))
        result, _ = panoptic(logits, masks_of(LEFT, "0009 0009 0009 0009"), intersect=True)
        assert result.tolist() == [[1, 1, 0, 2]] * 4

    def test_mask_below_one_half_everywhere_is_no_segment(self, intersect: bool) -> None:
        result, segments = panoptic(
            logits_of((THING, 0.9)), masks_of("4444 4444 4444 4444"), intersect=intersect
        )
        assert segments == []
        assert not result.any()

    def test_pixels_won_outside_the_own_mask_count(self) -> None:
        """The second query keeps 3 of its 5 pixels, and wins the last row, where it is unsure."""
        logits = logits_of((THING, 0.9), (OTHER_THING, 0.8))
        masks = masks_of("9900 0000 0000 0000", "9999 9000 0000 4444")
        result, segments = panoptic(logits, masks, intersect=True)
        assert categories(segments) == [THING, OTHER_THING]
        assert result.tolist() == [[1, 1, 2, 2], [2, 0, 0, 0], [0] * 4, [0] * 4]

    @pytest.mark.parametrize("size", [(2, 2), (9, 7)])  # the first: more queries than pixels
    def test_equals_a_loop_over_the_queries(self, size: tuple[int, int], intersect: bool) -> None:
        torch.manual_seed(0)
        for _ in range(5):
            logits, masks = torch.randn(50, 4) * 4, torch.randn(50, *size) * 4
            resize = MaskResizer(size, size)
            result, segments = panoptic(
                logits, masks, resize, overlap_threshold=0.5, intersect=intersect
            )
            expected, expected_segments = plain_panoptic(logits, masks, intersect)
            assert torch.equal(result, expected)
            assert [(s["id"], s["category_id"]) for s in segments] == expected_segments
            assert set(result.unique().tolist()) - {0} == {s["id"] for s in segments}

    def test_chunks_do_not_change_the_result(
        self, intersect: bool, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        torch.manual_seed(1)
        logits, masks = torch.randn(23, 4) * 4, torch.randn(23, 8, 8) * 3
        resize = MaskResizer((32, 32), (30, 27), (45, 40))
        settings = {
            "intersect": intersect,
            "overlap_threshold": 0.02,
            "object_mask_threshold": 0.3,
        }
        whole, whole_segments = panoptic(logits, masks, resize, **settings)
        monkeypatch.setattr(mask_resizer, "STRIP", budget(23 * 40 * 4))
        pieces, segments = panoptic(logits, masks, resize, **settings)
        assert len(segments) > 2
        assert torch.equal(whole, pieces)
        assert whole_segments == segments


class TestSemantic:
    def test_scores_by_hand(self) -> None:
        scores = semantic_inference(
            logits_of((THING, 0.7), (STUFF, 0.4)), image_masks(masks_of(LEFT, TOP)), AS_IS
        )
        assert scores.shape == (3, 4, 4)
        # top left: both queries at 0.9; the first gives 0.7 and 0.1, the second 0.2 and 0.4
        assert scores[:, 0, 0].tolist() == pytest.approx([0.81, 0.45, 0.27], abs=1e-3)
        assert scores[:, 3, 3].tolist() == pytest.approx([0.0, 0.0, 0.0], abs=1e-3)

    def test_chunks_and_resizing_equal_the_plain_formula(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        torch.manual_seed(0)
        logits, masks = torch.randn(11, 4), torch.randn(11, 8, 8)
        full = F.interpolate(masks[None], size=(32, 32), mode="bilinear")[0, :, :30, :27]
        plain = torch.einsum("qc,qhw->chw", logits.softmax(-1)[:, :-1], full.sigmoid())
        monkeypatch.setattr(mask_resizer, "STRIP", budget(11 * 27 * 4))
        scores = semantic_inference(logits, image_masks(masks), MaskResizer((32, 32), (30, 27)))
        torch.testing.assert_close(scores, plain)

    def test_inputs_are_left_alone(self) -> None:
        logits, masks = logits_of((THING, 0.9)), masks_of(LEFT)
        before = masks.clone()
        semantic_inference(logits, image_masks(masks), AS_IS)
        panoptic(logits, masks)
        assert torch.equal(masks, before)


def test_results_where_gradients_are_on() -> None:
    """Of a model that was called without ``torch.no_grad()``."""
    logits = logits_of((THING, 0.9), (STUFF, 0.8))
    masks = masks_of(LEFT, RIGHT)
    instances = {"thing_ids": frozenset({THING}), "max_instances": 5, "score_threshold": 0.0}
    expected = semantic_inference(logits, image_masks(masks), AS_IS)
    found = instance_inference(logits, image_masks(masks), AS_IS, **instances)
    ids, _ = panoptic(logits, masks)
    logits.requires_grad_()
    watched = image_masks(masks.clone().requires_grad_())
    scores = semantic_inference(logits, watched, AS_IS)
    assert scores.requires_grad  # for who looks at what decides them
    torch.testing.assert_close(scores, expected)
    again = instance_inference(logits, watched, AS_IS, **instances)
    assert torch.equal(again.pred_masks, found.pred_masks)
    assert torch.equal(again.scores, found.scores)
    assert torch.equal(panoptic(logits, masks.requires_grad_())[0], ids)


def test_results_under_autocast() -> None:
    """Of a model of the user's own that calls them there."""
    torch.manual_seed(0)
    logits, masks = torch.randn(11, 4), torch.randn(11, 8, 150)
    resize = MaskResizer((32, 600), (30, 599))
    plain = panoptic(logits, masks, resize, object_mask_threshold=0.3)
    scores = semantic_inference(logits, image_masks(masks), resize)
    with torch.autocast("cpu", torch.bfloat16):
        ids, segments = panoptic(logits, masks, resize, object_mask_threshold=0.3)
        rounded = semantic_inference(logits, image_masks(masks), resize)
    # the products that make masks are in bf16 there
    torch.testing.assert_close(rounded, scores, rtol=0, atol=0.01)
    assert [info["category_id"] for info in segments] == categories(plain[1])
    assert (ids == plain[0]).float().mean() > 0.99
