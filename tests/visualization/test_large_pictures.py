"""Large pictures are painted: what small ones show, for work that does not grow with the number of
segments."""

import numpy as np
import pytest
import torch
from detectron2.data import Metadata
from detectron2.structures import Instances

from d2seg.views.mask_crops import Crop, MaskCrops
from d2seg.visualization import draw_prediction, predictions
from d2seg.visualization import painting as painting_module
from d2seg.visualization.segments import palette_color
from d2seg.visualization.tracking import ObjectTracker, track_prediction

SIDE = 400
METADATA = Metadata(thing_classes=["cat"], stuff_classes=["cat", "sky"])
GRAY = np.full((SIDE, SIDE, 3), 100, np.uint8)


@pytest.fixture(autouse=True)
def painted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything here is large, and its labels find their places on half the side."""
    monkeypatch.setattr(predictions, "LARGEST_TRACED", 1000)
    monkeypatch.setattr(painting_module, "_REDUCED_SIDE", 200)
    monkeypatch.setattr(painting_module, "_BAND", 37 * SIDE)


def blend(color: tuple[float, float, float]) -> list[float]:
    return [(100 + 255 * channel) / 2 for channel in color]


def disc(size: int) -> torch.Tensor:
    rows, columns = np.mgrid[:size, :size] + 0.5 - size / 2
    return torch.from_numpy(rows**2 + columns**2 < (size / 2) ** 2)


def grid_of_discs(number: int) -> tuple[torch.Tensor, list[tuple[int, int]]]:
    """A mask, and ``number`` places for it next to each other."""
    per_row = round(number**0.5)
    step = SIDE // per_row
    return disc(step - 1), [(i // per_row * step, i % per_row * step) for i in range(number)]


def panoptic(number: int) -> dict:
    mask, places = grid_of_discs(number)
    size = len(mask)
    ids = torch.full((SIDE, SIDE), number + 1, dtype=torch.int32)
    for i, (top, left) in enumerate(places, start=1):
        ids[top : top + size, left : left + size][mask] = i
    info = [{"id": i, "isthing": True, "category_id": 0} for i in range(1, number + 1)]
    return {"panoptic_seg": (ids, [*info, {"id": number + 1, "isthing": False, "category_id": 1}])}


def instances(number: int, *, as_crops: bool = True) -> dict:
    mask, places = grid_of_discs(number)
    crops = MaskCrops([Crop(mask, *place) for place in places], (SIDE, SIDE))
    found = Instances((SIDE, SIDE), scores=torch.linspace(1, 0.5, number))
    found.pred_masks = crops if as_crops else crops.tensor
    found.pred_classes = torch.zeros(number, dtype=torch.int64)
    return {"instances": found}


@pytest.mark.parametrize("kind", [panoptic, instances])
def test_the_same_as_traced_but_for_contours_and_labels(
    kind: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    painted = draw_prediction(GRAY, kind(9), METADATA)
    monkeypatch.setattr(predictions, "LARGEST_TRACED", 1 << 22)
    traced = draw_prediction(GRAY, kind(9), METADATA)
    # away from contours and labels, all over the first row of discs
    inside = (slice(15, 40), slice(None))
    differing = np.abs(painted[inside].astype(int) - traced[inside]).max(-1) > 3
    assert differing.mean() < 0.1
    assert not differing[:, 55:80].any()


def test_masks_and_crops_of_them_give_one_picture() -> None:
    crops, masks = (
        draw_prediction(GRAY, instances(9, as_crops=as_crops), METADATA)
        for as_crops in (True, False)
    )
    assert np.array_equal(crops, masks)
    assert crops[20, 66] == pytest.approx(blend(palette_color(0)), abs=1)


def test_scattered_classes_keep_their_colours_and_negative_ones_stay_bare() -> None:
    labels = torch.arange(SIDE)[None].expand(SIDE, SIDE) // 40 % 2
    labels = labels.clone()
    labels[:50] = -1
    picture = draw_prediction(GRAY, {"sem_seg": labels}, METADATA)
    for column, category in ((20, 0), (60, 1), (100, 0)):
        middle = np.median(picture[60:, column], axis=0)  # beside the labels
        assert middle == pytest.approx(blend(palette_color(category)), abs=1)
    assert (picture[:50] == 100).all()
    assert np.median(picture[60:, 39], axis=0).min() > 150  # the edge between them


def test_of_overlapping_masks_the_smaller_is_on_top() -> None:
    found = Instances((SIDE, SIDE), scores=torch.tensor([0.9, 0.8]))
    found.pred_classes = torch.zeros(2, dtype=torch.int64)
    small, large = (
        Crop(torch.ones(40, 40).bool(), 150, 150),
        Crop(torch.ones(300, 300).bool(), 9, 9),
    )
    for order in ([small, large], [large, small]):
        found.pred_masks = MaskCrops(order, (SIDE, SIDE))
        picture = draw_prediction(GRAY, {"instances": found}, METADATA)
        ranks = (0, 1) if order[0] is large else (1, 0)
        colors = [palette_color(rank) for rank in ranks]
        expected = np.full(3, 100.0)
        for color in colors:
            expected = (expected + 255 * np.array(color)) / 2
        assert picture[153, 170] == pytest.approx(expected, abs=2)


def test_labels_and_what_was_not_found_are_written() -> None:
    def dark(picture: np.ndarray) -> int:
        return int((picture.max(2) < 60).sum())

    assert dark(draw_prediction(GRAY, panoptic(4), METADATA)) > 1000
    masks = torch.zeros(2, SIDE, SIDE, dtype=torch.bool)
    masks[0, 100:300, 100:300] = True
    found = Instances((SIDE, SIDE), pred_masks=masks, scores=torch.tensor([0.9, 0.1]))
    found.expressions = ["a $5 note", "a dog"]
    picture = draw_prediction(GRAY, {"referring": found}, METADATA)
    assert dark(picture[100:300]) > 500
    assert dark(picture[330:]) > 500


def test_objects_of_a_large_video_keep_their_colours() -> None:
    tracker = ObjectTracker()
    first, second = (track_prediction(instances(4), tracker) for _ in range(2))
    places = [3, 1, 0, 2]  # another order of the same objects
    second["instances"] = second["instances"][places]
    frames = [draw_prediction(GRAY, each, METADATA) for each in (first, second)]
    assert np.array_equal(*frames)


def test_a_scale_is_obeyed() -> None:
    assert draw_prediction(GRAY, panoptic(4), METADATA, scale=1.5).shape == (600, 600, 3)


@pytest.mark.parametrize("kind", ["panoptic", "semantic", "instances"])
def test_work_grows_with_pixels_not_with_segments(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pixels that are blended for 16 and for 400 segments."""
    worked = []
    blend_pixels = painting_module._blend

    def counted(target: np.ndarray, *args: np.ndarray) -> None:
        worked[-1] += target[..., 0].size
        blend_pixels(target, *args)

    def whole(*_: object) -> None:
        raise AssertionError("a mask was made as large as the picture")

    monkeypatch.setattr(painting_module, "_blend", counted)
    monkeypatch.setattr(MaskCrops, "__getitem__", whole)
    for number in (16, 400):
        worked.append(0)
        if kind == "semantic":  # classes all over the picture
            draw_prediction(
                GRAY, {"sem_seg": torch.arange(SIDE**2).view(SIDE, -1) % number}, METADATA
            )
        else:
            draw_prediction(
                GRAY, {"panoptic": panoptic, "instances": instances}[kind](number), METADATA
            )
    assert worked[1] <= worked[0] <= SIDE**2
