"""Ids of a video's objects, on made-up videos whose objects are known."""

from pathlib import Path

import av
import numpy as np
import pytest
import torch
from crossing_shapes import found_in, masks_of_frames, num_switches
from detectron2.data import Metadata
from detectron2.structures import Boxes, Instances

from d2seg.visualization.runner import Runner
from d2seg.visualization.segments import instance_segments, panoptic_segments, track_color
from d2seg.visualization.tracking import ObjectTracker, TrackedObject, track_prediction
from d2seg.visualization.video_reading import VideoReader
from d2seg.visualization.video_writing import VideoWriter

METADATA = Metadata(thing_classes=["ball", "box"], stuff_classes=["ball", "box", "sky", "sea"])
FRAME = (100, 140)


def square(top: int, left: int, side: int = 20) -> TrackedObject:
    mask = np.ones((side, side), bool)
    return TrackedObject(0, mask, (top, left))


@pytest.mark.parametrize("categories", [[0] * 5, [0, 1, 0, 1, 0]])
def test_five_crossing_shapes_keep_ids_and_colours(categories: list[int]) -> None:
    """60 frames, of which each misses one object in twelve: at most one switch in a video, on
    average, and in most of them; two at most."""
    switches = []
    for seed in range(6):
        rng, tracker, ids = np.random.default_rng(1000 + seed), ObjectTracker(), []
        colors: dict[int, set] = {}
        for masks in masks_of_frames(seed):
            found, shapes = found_in(masks, categories, rng)
            tracked = track_prediction({"instances": found}, tracker)["instances"]
            numbers = tracked.track_ids.tolist()
            assert len(set(numbers)) == len(numbers)
            ids.append(dict(zip(shapes, numbers, strict=True)))
            order = np.argsort(-found.scores.numpy(), kind="stable")
            for i, segment in zip(order, instance_segments(tracked, METADATA), strict=True):
                colors.setdefault(numbers[i], set()).add(segment.color)
        switches.append(num_switches(ids))
        assert all(seen == {track_color(number)} for number, seen in colors.items())
        assert len({color for seen in colors.values() for color in seen}) == len(colors)
    assert np.mean(switches) <= 1
    assert np.median(switches) <= 1
    assert max(switches) <= 2


def test_the_measure_counts_switches() -> None:
    assert num_switches([{0: 1, 1: 2}, {0: 2, 1: 1}, {1: 1}, {0: 2}]) == 2


def test_an_object_behind_another_gets_its_id_back() -> None:
    """A square passes behind a wall of its own class, out of sight for ten frames."""
    tracker, seen = ObjectTracker(), []
    wall = TrackedObject(0, np.ones((100, 40), bool), (0, 50))
    for frame in range(40):
        left = 3 * frame
        shown = [x for x in range(left, left + 20) if not 50 <= x < 90]
        parts = [wall]
        if shown:
            parts.append(TrackedObject(0, np.ones((20, len(shown)), bool), (40, shown[0])))
        ids = tracker.update(parts, FRAME)
        assert ids[0] == 1
        seen += ids[1:]
    assert len(seen) < 36
    assert set(seen) == {2}


def test_objects_that_swap_places_keep_their_ids() -> None:
    """Two squares of one class run into each other: the overlap alone would swap them."""
    tracker = ObjectTracker()
    for frame in range(30):
        left, right = square(40, 4 * frame), square(42, 116 - 4 * frame)
        assert tracker.update([left, right], FRAME) == [1, 2]


def test_for_how_long_an_object_is_remembered() -> None:
    for num_missed, expected in ((3, [1]), (4, [2])):
        tracker = ObjectTracker(max_missed=3)
        tracker.update([square(10, 10)], FRAME)
        for _ in range(num_missed):
            tracker.update([], FRAME)
        assert tracker.update([square(10, 10)], FRAME) == expected
    with pytest.raises(ValueError, match="max_missed is -1; it is 0 or more"):
        ObjectTracker(-1)


def test_a_frame_of_another_size_is_refused() -> None:
    tracker = ObjectTracker()
    tracker.update([square(10, 10)], FRAME)
    with pytest.raises(ValueError, match=r"a frame has 90x140 pixels .* before 100x140"):
        tracker.update([square(10, 10)], (90, 140))


def panoptic(frame: int) -> dict:
    """A ball that moves, sky, and from frame 2 on sea; the ids of the model change."""
    ids = torch.full(FRAME, 7 + frame)
    infos = [{"id": 7 + frame, "isthing": False, "category_id": 2}]
    if frame >= 2:
        ids[80:] = 3
        infos.insert(0, {"id": 3, "isthing": False, "category_id": 3})
    ids[20:40, 10 + 5 * frame : 30 + 5 * frame] = 100 - frame
    infos.insert(0, {"id": 100 - frame, "isthing": True, "category_id": 0, "score": 0.9})
    infos.append({"id": 50, "isthing": True, "category_id": 1})  # of no pixel
    return {"panoptic_seg": (ids, infos)}


def test_panoptic_ids_are_those_of_the_video() -> None:
    tracker, numbers = ObjectTracker(), {}
    for frame in range(5):
        ids, infos = track_prediction(panoptic(frame), tracker)["panoptic_seg"]
        assert sorted(ids.unique().tolist()) == sorted(info["id"] for info in infos)
        for info in infos:
            numbers.setdefault(info["category_id"], set()).add(info["id"])
            assert ("track_id" in info) == info["isthing"]
        assert (ids[30, 15 + 5 * frame], ids[0, 0]) == (
            next(info["id"] for info in infos if info["isthing"]),
            next(info["id"] for info in infos if info["category_id"] == 2),
        )
        ball = next(s for s in panoptic_segments(ids, infos, METADATA) if s.is_thing)
        assert ball.color == track_color(1)
    assert numbers.keys() == {0, 2, 3}  # the segment without pixels is gone
    assert all(len(found) == 1 for found in numbers.values())


def test_boxes_have_ids_too() -> None:
    def boxes(*places: tuple[int, int, int, int]) -> dict:
        number = len(places)
        found = Instances(FRAME, pred_boxes=Boxes(torch.tensor(places).float()))
        found.scores, found.pred_classes = torch.ones(number), torch.zeros(number).long()
        return {"instances": found}

    tracker, left, right = ObjectTracker(), (10, 10, 50, 50), (90, 10, 130, 50)
    first = track_prediction(boxes(left, right), tracker)["instances"].track_ids.tolist()
    second = track_prediction(boxes(right, left), tracker)["instances"].track_ids.tolist()
    assert (first, second) == ([1, 2], [2, 1])


def test_empty_masks_and_other_results_are_let_through() -> None:
    found = Instances(FRAME, pred_masks=torch.zeros(1, *FRAME).bool(), scores=torch.ones(1))
    tracked = track_prediction({"instances": found}, ObjectTracker())["instances"]
    assert tracked.track_ids.tolist() == [0]
    semantic = {"sem_seg": torch.zeros(FRAME)}
    assert track_prediction(semantic, ObjectTracker()) is semantic


def test_a_drawn_video_is_h264_with_colours_that_stay(tmp_path: Path) -> None:
    """Two squares that pass each other, found in turns in one order and in the other, in a video
    of odd sides."""
    size, num_frames = (151, 223), 8
    corners = [[(10, 10 + 20 * f), (90, 160 - 20 * f)] for f in range(num_frames)]
    with VideoWriter(tmp_path / "in.mp4", 5.0) as writer:
        for _ in range(num_frames):
            writer.write(np.full((*size, 3), 100, np.uint8))
    given = iter(enumerate(corners))

    def predict(image: np.ndarray) -> dict:
        number, places = next(given)
        masks = torch.zeros(2, *image.shape[:2], dtype=torch.bool)
        for mask, (top, left) in zip(masks, places[:: (-1) ** number], strict=True):
            mask[top : top + 50, left : left + 50] = True
        found = Instances(image.shape[:2], pred_masks=masks, pred_classes=torch.zeros(2).long())
        found.scores = torch.rand(2)
        return {"instances": found}

    runner = Runner(predict, METADATA, show_ids=True)
    runner.run_files([tmp_path / "in.mp4"], [tmp_path / "out.mp4"])
    with av.open(str(tmp_path / "out.mp4")) as container:
        assert container.streams.video[0].codec_context.name == "h264"
    painted = np.array(
        [
            [
                np.median(drawn[top + 3 : top + 9, left + 3 : left + 9], axis=(0, 1))
                for top, left in p
            ]
            for p, drawn in zip(corners, VideoReader(tmp_path / "out.mp4"), strict=True)
        ]
    )  # (frames, squares, 3)
    expected = [50 + 127.5 * np.array(color) for color in map(track_color, (1, 2))]
    nearest = np.abs(painted[:, :, None] - np.array(expected)).max(axis=-1)
    first = nearest[0, 0].argmin()  # the id of the upper one
    assert (nearest[:, 0, first] < 12).all()
    assert (nearest[:, 1, 1 - first] < 12).all()
