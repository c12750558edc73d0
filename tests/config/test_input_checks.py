"""Sizes and names of INPUT with which no picture can be mapped."""

import pytest

from d2seg.config.input_checks import check_input
from d2seg.config.loading import load_config

CROP = ("INPUT.CROP.ENABLED", True, "INPUT.CROP.TYPE")
REFUSED = [
    ((*CROP, "absolute", "INPUT.CROP.SIZE", [0.9, 0.9]), r"SIZE is \[0\.9, 0\.9\]; .* absolute"),
    ((*CROP, "absolute", "INPUT.CROP.SIZE", [512.0, 512.0]), "two whole numbers of pixels"),
    ((*CROP, "absolute", "INPUT.CROP.SIZE", [512]), r"SIZE is \[512\]"),
    ((*CROP, "absolute", "INPUT.CROP.SIZE", [0, 512]), r"SIZE is \[0, 512\]"),
    ((*CROP, "absolute", "INPUT.CROP.SIZE", ["a", 512]), r"SIZE is \['a', 512\]"),
    ((*CROP, "absolute_range", "INPUT.CROP.SIZE", [0.5, 1.0]), "TYPE absolute_range"),
    ((*CROP, "absolute_range", "INPUT.CROP.SIZE", [600, 384]), "shortest and the longest side"),
    ((*CROP, "relative", "INPUT.CROP.SIZE", [512, 512]), "above 0 and at most 1"),
    ((*CROP, "relative_range", "INPUT.CROP.SIZE", [0.5, 0.0]), r"\[0\.5, 0\.0\]"),
    ((*CROP, "relative", "INPUT.CROP.SIZE", [0.5]), r"\[0\.5\]"),
    ((*CROP, "square"), "TYPE is 'square'; it is one of relative, relative_range, absolute"),
    (("INPUT.MIN_SIZE_TRAIN", ()), r"MIN_SIZE_TRAIN is \(\)"),
    (("INPUT.MIN_SIZE_TRAIN", (0.5,)), r"MIN_SIZE_TRAIN is 0\.5"),
    (("INPUT.MIN_SIZE_TRAIN_SAMPLING", "range"), "two with INPUT.MIN_SIZE_TRAIN_SAMPLING range"),
    (("INPUT.MIN_SIZE_TRAIN_SAMPLING", "random"), "SAMPLING is 'random'"),
    (("INPUT.MAX_SIZE_TRAIN", 0), "MAX_SIZE_TRAIN is 0"),
    (("INPUT.MIN_SIZE_TEST", -1), r"MIN_SIZE_TEST is -1; .* 0 or more \(0: as the file has it\)"),
    (("INPUT.RANDOM_FLIP", "both"), "RANDOM_FLIP is 'both'; it is one of none, horizontal"),
    (("INPUT.FORMAT", "rgb"), "FORMAT is 'rgb'; it is one of RGB, BGR"),
    (("INPUT.PAD_SIZE", (512, 0)), r"PAD_SIZE is \[512, 0\]"),
    (("INPUT.REFERRING_SIZE", (480,)), r"REFERRING_SIZE is \[480\]"),
]


@pytest.mark.parametrize(("pairs", "message"), REFUSED)
def test_refused(pairs: tuple, message: str) -> None:
    cfg = load_config(None)
    check_input(cfg, training=True)
    cfg.merge_from_list(list(pairs))
    with pytest.raises(ValueError, match=message) as caught:
        check_input(cfg, training=True)
    assert str(caught.value).startswith("INPUT.")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("std", [[0.0, 1.0, 1.0], [1.0, 1.0, -1.0]])
def test_pictures_are_divided_by_what_is_above_0(std: list[float]) -> None:
    cfg = load_config(None)
    cfg.MODEL.PIXEL_STD = std
    with pytest.raises(ValueError, match=r"MODEL\.PIXEL_STD is .*; each of its values is above 0"):
        check_input(cfg, training=False)


def test_what_detectron2_takes_is_taken() -> None:
    for pairs in (
        [*CROP, "relative", "INPUT.CROP.SIZE", [1.0, 1]],
        ["INPUT.MIN_SIZE_TRAIN", (640, 800), "INPUT.MIN_SIZE_TRAIN_SAMPLING", "range"],
        ["INPUT.MIN_SIZE_TRAIN", (0,), "INPUT.MIN_SIZE_TEST", 0],
        ["INPUT.FORMAT", "L", "MODEL.PIXEL_MEAN", [100.0], "MODEL.PIXEL_STD", [50.0]],
    ):
        cfg = load_config(None)
        cfg.merge_from_list(pairs)
        check_input(cfg, training=True)
    cfg = load_config(None)
    cfg.merge_from_list([*CROP, "square"])
    check_input(cfg, training=False)  # nothing is cropped then
