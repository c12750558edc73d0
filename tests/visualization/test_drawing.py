"""The pixels of pictures."""

import numpy as np
import pytest
import torch
from detectron2.data import Metadata
from detectron2.structures import Boxes, Instances

from d2seg.visualization import Segment, SegmentVisualizer, draw_prediction
from d2seg.visualization.segments import instance_segments, palette_color, track_color
from d2seg.visualization.tracking import ObjectTracker, track_prediction

METADATA = Metadata(
    thing_classes=["cat"],
    thing_colors=[(255, 0, 0)],
    stuff_classes=["cat", "sky"],
    stuff_colors=[(255, 0, 0), (0, 0, 255)],
)
GRAY = np.full((120, 160, 3), 100, np.uint8)


def square(top: int, left: int, size: int) -> np.ndarray:
    mask = np.zeros(GRAY.shape[:2], bool)
    mask[top : top + size, left : left + size] = True
    return mask


def blend(color: tuple[int, int, int]) -> np.ndarray:
    return (np.full(3, 100) + np.array(color)) / 2


def panoptic() -> dict:
    ids = torch.zeros(GRAY.shape[:2], dtype=torch.int32)
    ids[square(10, 10, 60)] = 1
    ids[60:, 100:] = 2
    info = [
        {"id": 1, "isthing": True, "category_id": 0, "score": 0.9},
        {"id": 2, "isthing": False, "category_id": 1, "score": 0.9},
    ]
    return {"panoptic_seg": (ids, info)}


def test_a_panoptic_picture_has_the_classes_colours_and_leaves_the_rest():
    picture = draw_prediction(GRAY, panoptic(), METADATA)
    assert picture.shape == GRAY.shape
    assert picture.dtype == np.uint8
    assert picture[20, 20] == pytest.approx(blend((255, 0, 0)), abs=2)
    assert picture[110, 155] == pytest.approx(blend((0, 0, 255)), abs=2)
    assert (picture[90, 50] == 100).all()
    assert (picture[10, 20:60].astype(int).min(1) > 130).all()  # the white contour


def test_scale_enlarges_the_picture():
    picture = draw_prediction(GRAY, panoptic(), METADATA, scale=2.5)
    assert picture.shape == (300, 400, 3)
    assert picture[50, 50] == pytest.approx(blend((255, 0, 0)), abs=2)


def test_pictures_are_the_same_in_every_run():
    first = draw_prediction(GRAY, panoptic(), METADATA)
    assert np.array_equal(first, draw_prediction(GRAY, panoptic(), METADATA))


def test_a_semantic_picture():
    labels = torch.full(GRAY.shape[:2], -1)
    labels[60:] = 1
    picture = draw_prediction(GRAY, {"sem_seg": labels}, METADATA)
    assert picture[115, 5] == pytest.approx(blend((0, 0, 255)), abs=2)
    assert (picture[5:50] == 100).all()


def test_a_hole_stays_open():
    mask = square(10, 10, 100)
    mask[40:80, 40:80] = False
    found = Instances(GRAY.shape[:2], pred_masks=torch.from_numpy(mask)[None])
    found.scores, found.pred_classes = torch.ones(1), torch.zeros(1, dtype=torch.int64)
    picture = draw_prediction(GRAY, {"instances": found}, METADATA)
    assert (picture[45:75, 45:75] == 100).all()
    assert not (picture[20:30, 20:100] == 100).all(-1).any()


def test_of_overlapping_masks_the_smaller_is_on_top():
    small, large = square(40, 40, 20), square(10, 10, 90)
    for order in ((small, large), (large, small)):
        segments = [
            Segment(mask, (0.0, 1.0, 0.0) if mask is small else (1.0, 0.0, 0.0), "", 0, True)
            for mask in order
        ]
        visualizer = SegmentVisualizer(GRAY, METADATA)
        visualizer.draw_segments(segments)
        red, green, _ = visualizer.output.get_image()[50, 50]
        assert green > red


def test_labels_are_written_and_tiny_segments_have_none():
    def dark_pixels(size: int) -> int:
        segments = [Segment(square(50, 50, size), (1.0, 0.0, 0.0), "cat", 0, True)]
        visualizer = SegmentVisualizer(GRAY, METADATA)
        visualizer.draw_segments(segments)
        return int((visualizer.output.get_image().max(2) < 60).sum())

    assert dark_pixels(40) > 50
    assert dark_pixels(2) == 0


def test_instances_without_masks_have_boxes():
    found = Instances(
        GRAY.shape[:2],
        pred_boxes=Boxes(torch.tensor([[20.0, 30.0, 120.0, 100.0]])),
        scores=torch.tensor([0.9]),
        pred_classes=torch.tensor([0]),
    )
    picture = draw_prediction(GRAY, {"instances": found}, METADATA)
    assert not (picture[60, 18:23] == 100).all()
    assert (picture[60, 40:100] == 100).all()


@pytest.mark.parametrize("masked", [True, False])
def test_nothing_detected_leaves_the_image(masked):
    found = Instances(GRAY.shape[:2], pred_boxes=Boxes(torch.zeros(0, 4)), scores=torch.zeros(0))
    found.pred_classes = torch.zeros(0, dtype=torch.int64)
    if masked:
        found.pred_masks = torch.zeros(0, *GRAY.shape[:2], dtype=torch.bool)
    assert np.array_equal(draw_prediction(GRAY, {"instances": found}, METADATA), GRAY)
    tracked = track_prediction({"instances": found}, ObjectTracker())
    assert np.array_equal(draw_prediction(GRAY, tracked, METADATA), GRAY)


def test_ids_of_a_video_choose_colours_and_stand_in_labels():
    found = Instances(GRAY.shape[:2], scores=torch.tensor([0.9, 0.8]))
    found.pred_masks = torch.from_numpy(np.stack([square(10, 10, 30), square(60, 80, 30)]))
    found.pred_classes = torch.zeros(2, dtype=torch.int64)
    found.track_ids = torch.tensor([4, 2])
    segments = instance_segments(found, METADATA, show_ids=True)
    assert [s.color for s in segments] == [track_color(4), track_color(2)]
    assert [s.label for s in segments] == ["#4 cat 90%", "#2 cat 80%"]
    assert [s.label for s in instance_segments(found, METADATA)] == ["cat 90%", "cat 80%"]
    picture = draw_prediction(GRAY, {"instances": found}, METADATA)
    expected = tuple(round(255 * channel) for channel in track_color(4))
    assert picture[12, 12] == pytest.approx(blend(expected), abs=2)


def referring(*texts: str) -> dict:
    """The first is found where ``square(10, 10, 60)`` is, the others nowhere."""
    masks = torch.zeros(len(texts), *GRAY.shape[:2], dtype=torch.bool)
    masks[0] = torch.from_numpy(square(10, 10, 60))
    found = Instances(GRAY.shape[:2], pred_masks=masks, scores=torch.full((len(texts),), 0.9))
    found.expressions = list(texts)
    return {"referring": found}


def dark(picture: np.ndarray, rows: slice) -> int:
    """Pixels of labels, whose background is black."""
    return int((picture[rows].max(2) < 60).sum())


def test_expressions_are_drawn_labelled_and_listed_where_they_are_not_found():
    first = tuple(round(255 * channel) for channel in palette_color(0))
    picture = draw_prediction(GRAY, referring("a cat", "a dog"), METADATA)
    assert picture[15, 15] == pytest.approx(blend(first), abs=2)
    assert dark(picture, slice(20, 80)) > 50
    assert dark(picture, slice(100, 120)) > 50
    picture = draw_prediction(GRAY, referring("a cat"), METADATA)
    assert dark(picture, slice(100, 120)) == 0


def test_a_found_expression_too_small_for_a_label_is_listed():
    prediction = referring("a cat")
    prediction["referring"].pred_masks[0] = torch.from_numpy(square(50, 50, 2))
    picture = draw_prediction(GRAY, prediction, METADATA)
    assert dark(picture, slice(0, 90)) == 0
    assert dark(picture, slice(100, 120)) > 50


def test_dollar_signs_are_no_formula():
    for text in ("a $5 note and a $10 one", r"$\frac$"):
        picture = draw_prediction(GRAY, referring("a cat", text), METADATA)
        assert dark(picture, slice(100, 120)) > 50
