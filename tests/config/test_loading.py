"""Loading of configs: order of precedence, the model zoo, and what users get wrong."""

from pathlib import Path

import pytest
from detectron2 import model_zoo
from detectron2.config import CfgNode, get_cfg

from d2seg.config.loading import load_config
from d2seg.config.tasks import tasks_of

ZOO_TASKS = {
    "COCO-PanopticSegmentation/panoptic_fpn_R_50_3x.yaml": ("panoptic", "semantic", "instance"),
    "COCO-InstanceSegmentation/mask_rcnn_R_50_FPN_3x.yaml": ("instance",),
    "COCO-InstanceSegmentation/mask_rcnn_R_50_C4_1x.yaml": ("instance",),
    "COCO-Detection/retinanet_R_50_FPN_3x.yaml": ("instance",),
    "COCO-Detection/rpn_R_50_FPN_1x.yaml": ("instance",),
    "Cityscapes/mask_rcnn_R_50_FPN.yaml": ("instance",),
    "LVISv0.5-InstanceSegmentation/mask_rcnn_R_50_FPN_1x.yaml": ("instance",),
    "Misc/semantic_R_50_FPN_1x.yaml": ("semantic",),
}


def leaves(node: CfgNode, prefix: str = "") -> dict[str, object]:
    found: dict[str, object] = {}
    for key, value in node.items():
        if isinstance(value, CfgNode):
            found |= leaves(value, f"{prefix}{key}.")
        else:
            found[f"{prefix}{key}"] = value
    return found


def write(path: Path, text: str) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return str(path)


def error_of(config_file: str | None, *opts: str) -> str:
    with pytest.raises(ValueError) as caught:  # noqa: PT011  (the tests look at the message)
        load_config(config_file, list(opts))
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_defaults_are_those_of_detectron2_and_not_frozen():
    cfg = load_config(None)
    ours, stock = leaves(cfg), leaves(get_cfg())
    assert {key: ours[key] for key in stock} == stock
    assert not cfg.is_frozen()
    assert cfg.INPUT.MAPPER == "detectron2"
    assert load_config(None, None) == cfg


@pytest.mark.parametrize(("name", "tasks"), ZOO_TASKS.items())
def test_a_zoo_config_loads_unchanged(name, tasks):
    cfg = load_config(name)
    reference = get_cfg()
    reference.merge_from_file(model_zoo.get_config_file(name))
    ours, stock = leaves(cfg), leaves(reference)
    changed = {
        key for key in stock if ours[key] != stock[key] or type(ours[key]) is not type(stock[key])
    }
    assert changed <= {"MODEL.WEIGHTS"}
    assert (cfg.INPUT.MAPPER, cfg.SOLVER.OPTIMIZER) == ("detectron2", "SGD")
    assert tasks_of(cfg) == tasks


def test_a_zoo_name_brings_its_checkpoint_unless_weights_are_given():
    name = "COCO-PanopticSegmentation/panoptic_fpn_R_50_3x.yaml"
    url = load_config(name).MODEL.WEIGHTS
    assert url.startswith("https://")
    assert url.endswith("panoptic_fpn_R_50_3x/139514569/model_final_c10459.pkl")
    assert load_config(name, ["MODEL.WEIGHTS", "my.pth"]).MODEL.WEIGHTS == "my.pth"


def test_a_zoo_config_without_checkpoint_keeps_its_weights_and_says_so(caplog):
    name = "Misc/semantic_R_50_FPN_1x.yaml"
    assert load_config(name).MODEL.WEIGHTS == "detectron2://ImageNetPretrained/MSRA/R-50.pkl"
    assert "no checkpoint" in caplog.text


def test_a_zoo_config_given_as_a_file_keeps_its_weights():
    path = model_zoo.get_config_file("COCO-InstanceSegmentation/mask_rcnn_R_50_FPN_3x.yaml")
    assert load_config(path).MODEL.WEIGHTS == "detectron2://ImageNetPretrained/MSRA/R-50.pkl"


def test_a_local_file_comes_before_one_of_the_zoo(tmp_path, monkeypatch):
    name = "Misc/semantic_R_50_FPN_1x.yaml"
    write(tmp_path / name, "SEED: 7\n")
    monkeypatch.chdir(tmp_path)
    assert load_config(name).SEED == 7


def test_bases_merge_in_order_relative_to_the_file_that_names_them(tmp_path):
    write(tmp_path / "_base_" / "a.yaml", "SEED: 1\nSOLVER: {MAX_ITER: 10, GAMMA: 0.5}\n")
    write(tmp_path / "_base_" / "b.yaml", "SOLVER: {MAX_ITER: 20}\nOUTPUT_DIR: b\n")
    write(
        tmp_path / "m" / "mid.yaml", "_BASE_: [../_base_/a.yaml, ../_base_/b.yaml]\nOUTPUT_DIR: m\n"
    )
    leaf = write(tmp_path / "m" / "n" / "leaf.yaml", "_BASE_: ../mid.yaml\nSEED: 3\n")
    cfg = load_config(leaf, ["SEED", "4"])
    assert (cfg.SOLVER.MAX_ITER, cfg.SOLVER.GAMMA) == (
        20,
        0.5,
    )  # the later base; kept of the earlier
    assert (cfg.OUTPUT_DIR, cfg.SEED) == ("m", 4)
    assert load_config(leaf).SEED == 3


def test_values_are_read_as_pythons_notation(tmp_path):
    opts = ["SOLVER.STEPS", "(1, 2)", "DATASETS.TRAIN", "['a']", "SOLVER.AMP.ENABLED", "True"]
    opts += ["OUTPUT_DIR", "some/folder", "SOLVER.BASE_LR", "1e-4", "MODEL.WEIGHTS", ""]
    cfg = load_config(None, opts)
    assert cfg.SOLVER.STEPS == (1, 2)
    assert cfg.DATASETS.TRAIN == ("a",)  # a list becomes a tuple, where the default is one
    assert cfg.SOLVER.AMP.ENABLED is True
    assert (cfg.OUTPUT_DIR, cfg.SOLVER.BASE_LR, cfg.MODEL.WEIGHTS) == ("some/folder", 1e-4, "")
    path = write(
        tmp_path / "c.yaml", "SOLVER: {BASE_LR: 1e-3, STEPS: [5]}\n"
    )  # YAML's own: a string
    cfg = load_config(path)
    assert (cfg.SOLVER.BASE_LR, cfg.SOLVER.STEPS) == (1e-3, (5,))


def test_whole_numbers_serve_as_float_and_as_string(tmp_path):
    cfg = load_config(None, ["SOLVER.BASE_LR", "1", "OUTPUT_DIR", "2024"])
    assert type(cfg.SOLVER.BASE_LR) is float
    assert cfg.OUTPUT_DIR == "2024"
    assert load_config(write(tmp_path / "c.yaml", "SOLVER: {GAMMA: 1}\n")).SOLVER.GAMMA == 1.0


@pytest.mark.parametrize(
    ("key", "nearest"),
    [
        ("SOLVER.LR", "SOLVER.BASE_LR"),
        ("SOLVER.BASELR", "SOLVER.BASE_LR"),
        ("solver.base_lr", "SOLVER.BASE_LR"),
        ("MODEL.NUM_QUERIES", "MODEL.MASK_CLASSIFICATION.NUM_QUERIES"),
        ("MODEL.MASKFORMER.NUM_DECODER_LAYER", "MODEL.MASKFORMER.NUM_DECODER_LAYERS"),
        ("MODEL.WEIGHTS.FILE", "MODEL.WEIGHTS"),
    ],
)
def test_an_unknown_key_is_named_with_the_nearest(tmp_path, key, nearest):
    message = error_of(None, key, "1")
    assert f"'{key}'" in message
    assert message.endswith(f"the nearest is {nearest}")
    nested = "".join(f"{'  ' * i}{part}:\n" for i, part in enumerate(key.split(".")))
    path = write(tmp_path / "c.yaml", nested.rstrip() + " 1\n")
    assert error_of(path) == f"{path}: {message}"


@pytest.mark.parametrize(
    ("key", "value", "parts"),
    [
        ("SOLVER.BASE_LR", "fast", ["'fast'", "float", "0.001"]),
        ("SOLVER.MAX_ITER", "2.5", ["'2.5'", "int", "40000"]),
        ("SOLVER.MAX_ITER", "True", ["'True'", "bool", "int"]),
        ("SOLVER.AMP.ENABLED", "1", ["'1'", "bool", "False"]),
        ("DATASETS.TRAIN", "coco_2017_train", ["'coco_2017_train'", "str", "tuple"]),
    ],
)
def test_a_value_of_the_wrong_type_is_named(tmp_path, key, value, parts):
    message = error_of(None, key, value)
    assert all(part in message for part in [key, *parts]), message
    group, leaf = key.rsplit(".", 1)
    nested = (
        "{" + group.replace(".", ": {") + f": {{{leaf}: {value}}}" + "}" * (group.count(".") + 1)
    )
    path = write(tmp_path / "c.yaml", nested)
    message = error_of(path)
    assert message.startswith(f"{path}: {key} is ")


def test_a_group_takes_no_value(tmp_path):
    assert "MODEL is a group of keys" in error_of(None, "MODEL", "3")
    # the whole group would be lost without a word
    assert "SOLVER is a group of keys" in error_of(write(tmp_path / "c.yaml", "SOLVER:\n"))


def test_malformed_overrides():
    assert "'SEED' has no value" in error_of(None, "SEED")
    assert "'SEED=3'" in error_of(None, "SEED=3")
    assert "unknown option '--eval-onyl'" in error_of(None, "--eval-onyl", "SEED", "3")


def test_a_missing_file_names_the_path_looked_for_and_near_ones(tmp_path, monkeypatch):
    right = write(tmp_path / "shapes_panoptic_R50.yaml", "SEED: 1\n")
    message = error_of(str(tmp_path / "shapes_panoptic_R5.yaml"))
    assert str(tmp_path / "shapes_panoptic_R5.yaml") in message
    assert f"did you mean {right}?" in message
    monkeypatch.chdir(tmp_path)
    assert str(tmp_path / "sub/none.yaml") in error_of("sub/none.yaml")


def test_a_mistyped_zoo_name_names_near_ones():
    right = "COCO-PanopticSegmentation/panoptic_fpn_R_50_3x.yaml"
    assert f"did you mean {right}" in error_of("COCO-Panoptic/panoptic_fpn_R_50_3x.yaml")
    assert f"did you mean {right}" in error_of("panoptic_fpn_R_50_3x")
    assert "does not exist" in error_of("COCO-PanopticSegmentation")


def test_lazy_configs_are_refused():
    for name in ("new_baselines/mask_rcnn_R_50_FPN_100ep_LSJ.py", "mine.py"):
        assert "lazy" in error_of(name)


def test_a_missing_base_names_both_files(tmp_path):
    write(tmp_path / "right.yaml", "SEED: 1\n")
    path = write(tmp_path / "c.yaml", "_BASE_: [right.yaml, rigth.yaml]\n")
    message = error_of(path)
    assert message.startswith(f"{path}: its _BASE_ '{tmp_path / 'rigth.yaml'}' does not exist")
    assert message.endswith(f"did you mean {tmp_path / 'right.yaml'}?")


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("", "expected lines"),
        ("just a text\n", "expected lines"),
        ("- a\n- list\n", "expected lines"),
        ("_BASE_: 3\n", "expected lines"),
        ("SOLVER: [1, 2\n", "not valid YAML"),
        ("_BASE_: c.yaml\n", "in a circle"),
        ("VERSION: 1\n", "version 2"),
    ],
)
def test_unusable_files_are_named(tmp_path, text, part):
    path = write(tmp_path / "c.yaml", text)
    message = error_of(path)
    assert message.startswith(str(path))
    assert part in message


def test_a_group_and_a_value_of_one_name_in_base_and_leaf(tmp_path):
    write(tmp_path / "base.yaml", "SOLVER: 3\n")
    message = error_of(write(tmp_path / "c.yaml", "_BASE_: base.yaml\nSOLVER: {MAX_ITER: 1}\n"))
    assert "SOLVER" in message


def test_a_binary_file_is_refused(tmp_path):
    path = tmp_path / "model.yaml"
    path.write_bytes(b"\x80\x02\xff\xfe\x00")
    assert str(path) in error_of(str(path))


def test_a_key_of_before_is_read_under_its_new_name(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    old, new = "MODEL.MASK2FORMER.IMPORTANCE_RATIO", "MODEL.MASK2FORMER.IMPORTANCE_SAMPLE_RATIO"
    file = write(tmp_path / "old.yaml", "MODEL: {MASK2FORMER: {IMPORTANCE_RATIO: 0.5}}\n")
    cfg = load_config(file)
    assert cfg.MODEL.MASK2FORMER.IMPORTANCE_SAMPLE_RATIO == 0.5
    assert f"{file}: {old} is called {new} now" in caplog.text
    assert load_config(file, [old, "0.25"]).MODEL.MASK2FORMER.IMPORTANCE_SAMPLE_RATIO == 0.25
    assert "IMPORTANCE_RATIO" not in cfg.dump()
    with pytest.raises(KeyError, match=f"{old} was renamed to {new}"):
        load_config(None).merge_from_file(file)
