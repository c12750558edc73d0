"""What a checkpoint says of its model."""

import json
from pathlib import Path

import pytest
import torch
from detectron2.data import Metadata, MetadataCatalog

from d2seg.config.description import config_from_description, describe, warn_of_other_classes
from d2seg.data.class_metadata import class_metadata, to_plain
from families.maskformer_config import small_config

CLASSES = "d2seg_test_description"
MetadataCatalog.get(CLASSES).set(
    thing_classes=["cat", "dog"],
    thing_colors=[(1, 2, 3), [4, 5, 6]],
    stuff_classes=["cat", "dog", "sky"],
    thing_dataset_id_to_contiguous_id={17: 0, 18: 1},
    ignore_label=255,
    image_root="/somewhere",
)


def test_a_config_comes_back_with_its_classes(repo_dir: Path, tmp_path: Path) -> None:
    cfg = small_config(repo_dir)
    cfg.DATASETS.TEST = (CLASSES,)
    cfg.DATASETS.DECLARATIONS = ("/gone/data.yaml",)
    cfg.INPUT.PAD_SIZE = (64, 96)
    torch.save({"d2seg": describe(cfg)}, tmp_path / "a.pth")
    stored = torch.load(tmp_path / "a.pth", weights_only=True)["d2seg"]
    found = config_from_description(stored, "a.pth")
    metadata = class_metadata(found)
    assert to_plain(metadata) == to_plain(MetadataCatalog.get(CLASSES))
    assert metadata.thing_colors == [[1, 2, 3], [4, 5, 6]]
    assert metadata.get("image_root") is None
    (name,) = found.DATASETS.TEST
    assert name != CLASSES
    for side in (cfg, found):
        side.DATASETS.DECLARATIONS = side.DATASETS.TEST = side.DATASETS.TRAIN = ()
    plain = [json.dumps(side, sort_keys=True) for side in (cfg, found)]  # tuples in tuples as lists
    assert plain[0] == plain[1]
    assert type(found.INPUT.PAD_SIZE) is tuple
    assert (name,) == config_from_description(stored, "a.pth").DATASETS.TEST  # and again


def test_classes_come_from_the_first_data_set_that_names_them(repo_dir: Path) -> None:
    cfg = small_config(repo_dir)
    cfg.DATASETS.TEST, cfg.DATASETS.TRAIN = ("d2seg_test_nameless",), (CLASSES,)
    assert class_metadata(cfg).thing_classes == ["cat", "dog"]
    cfg.DATASETS.TEST = cfg.DATASETS.TRAIN = ()
    assert to_plain(class_metadata(cfg)) == to_plain(Metadata()) == {}


@pytest.mark.parametrize("entry", [{}, None, {"config": "a: [", "classes": {}}, {"config": 1}])
def test_a_damaged_entry_is_refused(entry: object) -> None:
    with pytest.raises(ValueError, match=r"a\.pth: its entry 'd2seg' is damaged; give the config"):
        config_from_description(entry, "a.pth")


def test_an_unknown_key_is_named() -> None:
    entry = {"config": "MODEL:\n  MASKFORMER:\n    NEWER: 1\n", "classes": {}}
    with pytest.raises(ValueError, match=r"a\.pth: its stored config: unknown config key 'MODEL\."):
        config_from_description(entry, "a.pth")


def test_a_training_that_takes_over_other_classes_is_told(repo_dir: Path, caplog) -> None:
    cfg = small_config(repo_dir)
    cfg.DATASETS.TEST = cfg.DATASETS.TRAIN = (CLASSES,)
    content = {"d2seg": describe(cfg)}
    warn_of_other_classes(cfg, content)
    warn_of_other_classes(cfg, {"model": {}})
    assert not caplog.text
    content["d2seg"]["classes"]["thing_classes"] = ["dog", "cat"]
    warn_of_other_classes(cfg, content)
    (record,) = caplog.records
    text = "class 0 'dog', where data set 'd2seg_test_description' has 'cat': the class head starts"
    assert text in record.getMessage()
