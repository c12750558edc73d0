"""Masks, colours and labels of predictions."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from detectron2.data import Metadata
from detectron2.structures import Boxes, Instances

from d2seg.visualization.segments import (
    absent_expressions,
    class_name,
    instance_labels,
    instance_segments,
    panoptic_segments,
    referring_segments,
    semantic_segments,
    shorten,
)

METADATA = Metadata(
    thing_classes=["cat", "dog"],
    thing_colors=[(255, 0, 0), (0, 255, 0)],
    stuff_classes=["cat", "dog", "wall-other-merged"],
    stuff_colors=[(255, 0, 0), (0, 255, 0), (0, 0, 255)],
)


def test_panoptic_segments():
    ids = torch.tensor([[7, 7, 0], [9, 4, 4], [5, 0, 0]], dtype=torch.int32)
    info = [
        {"id": 4, "isthing": True, "category_id": 0, "score": 0.876},
        {"id": 7, "isthing": False, "category_id": 2, "score": 0.9},
        {"id": 5, "isthing": True, "category_id": 0},
        {"id": 6, "isthing": True, "category_id": 1},  # nowhere in the map
    ]
    cat, wall, other_cat = panoptic_segments(ids, info, METADATA)
    assert np.array_equal(cat.whole_mask((3, 3)), [[0, 0, 0], [0, 1, 1], [0, 0, 0]])
    assert (cat.mask.shape, cat.corner) == ((1, 2), (1, 1))
    assert (cat.label, cat.color, cat.category_id, cat.is_thing) == ("cat 88%", (1, 0, 0), 0, True)
    assert (wall.label, wall.color, wall.is_thing) == ("wall", (0, 0, 1), False)
    assert other_cat.label == "cat"
    # 0 and 9 stand in no info
    assert int(sum(s.mask.sum() for s in (cat, wall, other_cat))) == 5


def test_instances_of_one_class_differ_in_colour():
    number = 24
    ids = torch.arange(number)[None]
    info = [{"id": i, "isthing": True, "category_id": 0} for i in range(number)]
    colors = [np.array(s.color) for s in panoptic_segments(ids, info, METADATA)]
    assert all(0 <= c.min() <= c.max() <= 1 for c in colors)
    distances = [np.abs(a - b).max() for i, a in enumerate(colors) for b in colors[:i]]
    assert min(distances) > 0.02
    for a, b in pairwise(colors):
        assert np.abs(a - b).max() > 0.1
    # and they remain red
    assert all(c[0] >= max(c[1], c[2]) for c in colors)


def test_stuff_keeps_its_colour_in_every_part():
    info = [{"id": i, "isthing": False, "category_id": 1} for i in (1, 2)]
    first, second = panoptic_segments(torch.tensor([[1, 2]]), info, METADATA)
    assert first.color == second.color == (0, 1, 0)


def test_semantic_segments_leave_negative_classes_bare():
    cat, wall = semantic_segments(torch.tensor([[0, 0, -1], [2, -1, -1]]), METADATA)
    assert (cat.label, cat.whole_mask((2, 3)).tolist()) == (
        "cat",
        [[True, True, False], [False] * 3],
    )
    assert (wall.label, wall.whole_mask((2, 3)).tolist()) == (
        "wall",
        [[False] * 3, [True, False, False]],
    )
    assert semantic_segments(torch.full((2, 2), -1), METADATA) == []


def instances(**fields) -> Instances:
    return Instances((2, 2), **fields)


def test_instance_segments_come_best_first_in_colours_of_their_own():
    masks = torch.zeros(3, 2, 2, dtype=torch.bool)
    masks[0, 0, 0] = masks[1, 0, 1] = masks[2, 1] = True
    found = instances(
        pred_masks=masks,
        scores=torch.tensor([0.5, 0.9, 0.7]),
        pred_classes=torch.tensor([0, 1, 1]),
    )
    segments = instance_segments(found, METADATA)
    assert [s.label for s in segments] == ["dog 90%", "dog 70%", "cat 50%"]
    assert [s.category_id for s in segments] == [1, 1, 0]
    assert segments[2].whole_mask((2, 2)).tolist() == [[True, False], [False, False]]
    assert len({s.color for s in segments}) == 3


def test_labels_without_classes_or_names():
    scores = torch.tensor([0.25])
    assert instance_labels(instances(scores=scores), METADATA) == ["25%"]
    found = instances(
        scores=scores, pred_classes=torch.tensor([3]), pred_boxes=Boxes([[0, 0, 1, 1]])
    )
    assert instance_labels(found, Metadata()) == ["class 3 25%"]


@pytest.mark.parametrize(
    ("name", "short"),
    [
        ("tree-merged", "tree"),
        ("wall-brick", "wall-brick"),
        ("sky-other-merged", "sky"),
        ("building, edifice", "building"),
        ("desk;table", "desk"),
    ],
)
def test_class_names_are_short(name, short):
    assert class_name(Metadata(stuff_classes=[name]), "stuff", 0) == short


def test_expressions_keep_their_colours_whatever_is_found():
    masks = torch.zeros(3, 2, 2, dtype=torch.bool)
    masks[0, 0, 0] = masks[2, 1] = True
    found = instances(pred_masks=masks, scores=torch.tensor([0.874, 0.1, 0.5]))
    found.expressions = ["the  red\ncar", "a dog", "a cat"]
    first, last = referring_segments(found)
    assert (first.label, last.label) == ("the red car 87%", "a cat 50%")
    assert last.whole_mask((2, 2)).tolist() == [[False, False], [True, True]]
    assert absent_expressions({"referring": found}) == ["a dog"]
    assert absent_expressions({"sem_seg": masks}) == []
    found.pred_masks[1] = True
    assert [s.color for s in referring_segments(found)][::2] == [first.color, last.color]
    assert len({s.color for s in referring_segments(found)}) == 3


@pytest.mark.parametrize(
    ("text", "short"),
    [
        ("the red car", "the red car"),
        ("the man, who is sitting", "the man…"),
        ("the men who sit", "the men who…"),
        ("incomprehensibilities", "incomprehen…"),
        ("twelve words", "twelve words"),
    ],
)
def test_long_expressions_are_cut_after_a_word(text, short):
    assert shorten(text, 12) == short


@pytest.mark.parametrize("ids", [(3, 4, 5), (-7, 0, 4), (1, 2**24, 2**40), (5, 5, 9)])
def test_ids_of_every_size_are_found(ids):
    ids_map = torch.tensor([[ids[0], ids[0], 77], [ids[2], ids[1], -99]])
    info = [{"id": i, "isthing": False, "category_id": 1} for i in ids]
    found = panoptic_segments(ids_map, info, METADATA)
    assert len(found) == 3
    for segment, number in zip(found, ids, strict=True):
        assert np.array_equal(segment.whole_mask((2, 3)), (ids_map == number).numpy())


def test_many_small_segments_hold_no_more_pixels_than_the_picture():
    rows, columns = np.mgrid[:200, :240]
    ids = torch.from_numpy(rows // 4 * 60 + columns // 4)
    info = [{"id": i, "isthing": True, "category_id": 0} for i in range(3000)]
    segments = panoptic_segments(ids, info, METADATA)
    assert len(segments) == 3000
    assert sum(segment.mask.size for segment in segments) == 200 * 240
    semantic = semantic_segments(ids, METADATA)
    assert sum(segment.mask.size for segment in semantic) == 200 * 240
    masks = torch.zeros(3, 200, 240, dtype=torch.bool)
    masks[:, 50:60, 70:90] = True
    found = Instances((200, 240), pred_masks=masks, scores=torch.ones(3))
    assert sum(segment.mask.size for segment in instance_segments(found, METADATA)) == 3 * 200
