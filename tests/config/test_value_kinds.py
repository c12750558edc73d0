"""Values that no key can have: nothing, not finite, beyond 64 bits, or of other kinds in a list."""

import pytest

from d2seg.config.loading import load_config
from d2seg.config.value_kinds import check_kind

CONFIG = "segformer/shapes_semantic_small"
REFUSED = {
    ("SOLVER.MAX_ITER", "None"): r"is empty \(None\); set it to a value, as \d+, or leave it out",
    ("SOLVER.BASE_LR", "None"): "is empty",
    ("TEST.AUG.FLIP", "None"): "is empty",
    ("INPUT.CROP.SIZE", "None"): "is empty",
    ("SOLVER.BASE_LR", "1e400"): "is inf; it is finite, as 0",
    ("SOLVER.STEPS", "(1e400,)"): r"it is finite, as \(",
    ("SEED", "99999999999999999999"): "which is beyond 64 bits; set it to",
    ("SOLVER.BASE_LR", "9" * 400): "of type int; expected float",
    ("SOLVER.BASE_LR", "-1.0"): r"is -1\.0; it is 0 or more",
    ("SOLVER.CLIP_GRADIENTS.CLIP_VALUE", "-1.0"): r"is -1\.0; it is 0 or more",
    ("SOLVER.WARMUP_ITERS", "-1"): "is -1; it is 0 or more",
    ("DATALOADER.NUM_WORKERS", "-1"): "is -1; it is 0 or more",
    ("MODEL.SEM_SEG_HEAD.NUM_CLASSES", "-1"): "is -1; it is 0 or more",
    ("MODEL.SEM_SEG_HEAD.NUM_CLASSES", "0"): "is 0; it is 1 or more, as",
    ("MODEL.MASKFORMER.NUM_HEADS", "0"): "is 0; it is 1 or more, as 8",
    ("MODEL.MASK_CLASSIFICATION.NUM_QUERIES", "0"): "is 0; it is 1 or more",
    ("SOLVER.STEPS", "('a',)"): r"is \('a',\); it is a list of numbers, as \(",
    ("SOLVER.STEPS", "(None,)"): "it is a list of numbers",
    ("MODEL.PIXEL_MEAN", "[1, 2, True]"): "it is a list of numbers",
    ("MODEL.SWIN.NUM_HEADS", "[3, 0, 12, 24]"): r"each of its numbers is 1 or more, as \[3, 6",
    ("MODEL.MIT.EMBED_DIMS", "[0, 64, 160, 256]"): "each of its numbers is 1 or more",
    ("MODEL.MIT.REDUCTIONS", "[8, 4, 2, 0]"): "each of its numbers is 1 or more, as",
    ("MODEL.MIT.DEPTHS", "[2, -2, 2, 2]"): "each of its numbers is 0 or more",
    ("MODEL.SEM_SEG_HEAD.IN_FEATURES", "[1]"): "it is a list of names, as",
    ("DATASETS.TRAIN", "(1,)"): r"is \(1,\); it is a list of names",
    ("DATASETS.DECLARATIONS", "[None]"): "it is a list of names",
    ("IMPORTS", "[3]"): "it is a list of names",
}


@pytest.mark.parametrize("pair", REFUSED)
@pytest.mark.parametrize("in_file", [True, False])
def test_what_no_key_can_be(tmp_path, pair: tuple[str, str], in_file: bool) -> None:
    key, value = pair
    file = tmp_path / "own.yaml"
    file.write_text(f"{key}: {value!r}\n" if in_file else "SEED: 3\n")
    with pytest.raises(ValueError, match=rf"{key} is .*") as caught:
        load_config(str(file) if in_file else CONFIG, None if in_file else [key, value])
    assert "\n" not in str(caught.value)
    assert ("own.yaml: " in str(caught.value)) == in_file
    if not in_file:
        with pytest.raises(ValueError, match=REFUSED[pair]):
            load_config(CONFIG, [key, value])


def test_what_keys_can_be() -> None:
    pairs = {
        "MODEL.WEIGHTS": "None",  # nothing: no path
        "SOLVER.WEIGHT_DECAY_BIAS": "None",  # as by default
        "MODEL.BACKBONE.FREEZE_AT": "-1",
        "TEST.EVAL_PERIOD": "-1",
        "SEED": "-1",
        "SOLVER.STEPS": "()",
        "DATASETS.TEST": "()",
        "INPUT.CROP.SIZE": "[1.0, 1]",
    }
    cfg = load_config(CONFIG, [part for pair in pairs.items() for part in pair])
    assert cfg.MODEL.WEIGHTS == ""
    assert cfg.SOLVER.WEIGHT_DECAY_BIAS is None
    assert cfg.SOLVER.STEPS == ()


def test_kinds_are_those_of_the_default() -> None:
    check_kind("X", float("inf"), float("inf"))
    check_kind("X", [["a"], [1]], [[1]])  # of lists nothing is known
    with pytest.raises(ValueError, match="X is nan"):
        check_kind("X", float("nan"), 1.0)
