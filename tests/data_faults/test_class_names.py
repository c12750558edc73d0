"""Classes are compared by name: between data sets, and between a checkpoint and a data set."""

import json
import logging
from pathlib import Path

import pytest
import yaml
from coco_cases import instances, panoptic
from dataset_files import unique_name, write_semantic
from detectron2.data import DatasetCatalog, MetadataCatalog
from mapper_samples import make_cfg

from d2seg.config.description import check_stored_classes, use_stored_classes
from d2seg.data.catalog import check_class_names
from d2seg.data.class_metadata import class_metadata, to_plain
from d2seg.data.datasets.declaration import read_declaration, register_declarations


def semantic(folder: Path, **keys: object) -> str:
    name = unique_name("named")
    content = {"name": name, "task": "semantic", **keys}
    content["splits"] = {"val": {"images": "images/train", "labels": "labels/train"}}
    (folder / f"{name}.yaml").write_text(yaml.safe_dump(content, sort_keys=False))
    return register_declarations([folder / f"{name}.yaml"])[0]


@pytest.mark.parametrize(
    ("classes", "difference"),
    [
        (["b", "a", "c"], "class 0 of data set '.*' is 'b', that of '.*' 'a'"),
        (["a", "c", "b"], "class 1 of data set '.*' is 'c', that of '.*' 'b'"),
        (["a", "b", "d"], "class 2 of data set '.*' is 'd', that of '.*' 'c'"),
    ],
)
def test_another_order_is_refused_and_can_be_mapped(tmp_path, classes, difference: str) -> None:
    write_semantic(tmp_path)
    first = semantic(tmp_path, classes=["a", "b", "c"])
    other = semantic(tmp_path, classes=classes)
    with pytest.raises(ValueError, match=difference) as caught:
        check_class_names([first, other])
    assert "list them alike under 'classes' of a declaration" in str(caught.value)
    # the files stay as they are: value 0 is the first of `classes`, under the name of the others
    names = dict(enumerate(["a" if name == "d" else name for name in classes]))
    if set(names.values()) == {"a", "b", "c"}:
        mapped = semantic(tmp_path, classes=["a", "b", "c"], values=names)
        check_class_names([first, mapped])
        values = DatasetCatalog.get(mapped)[0]["label_values"]
        assert dict(values.labels)[0] == ["a", "b", "c"].index(classes[0])


@pytest.mark.parametrize("task", ["instance", "panoptic"])
def test_categories_of_a_file_are_put_in_a_declared_order(tmp_path, task: str) -> None:
    made = {"instance": instances, "panoptic": panoptic}[task](tmp_path)
    if task == "instance":
        made["content"]["categories"] = [{"id": 5, "name": "table"}, {"id": 9, "name": "chair"}]
        made["file"].write_text(json.dumps(made["content"]))
    names = sorted(category["name"] for category in made["content"]["categories"])
    folders = {"images": ".", "annotations": "wrong.json"}
    folders |= {"images": "images", "panoptic": "png"} if task == "panoptic" else {}
    content = {"task": task, "splits": {"val": folders}}
    orders = [names, names[::-1]]
    for order in orders:
        file = tmp_path / "order.yaml"
        file.write_text(yaml.safe_dump({**content, "name": unique_name("order"), "classes": order}))
        name = register_declarations([file])[0]
        metadata = MetadataCatalog.get(name)
        key = "thing_classes" if task == "instance" else "stuff_classes"
        assert metadata.get(key) == order
        ids = {category["name"]: category["id"] for category in made["content"]["categories"]}
        mapping = metadata.get("thing_dataset_id_to_contiguous_id")
        assert mapping[ids["chair"]] == order.index("chair")
    for wrong in (names[:1], [*names, "door"], [*names[:-1], names[0]]):
        file.write_text(yaml.safe_dump({**content, "name": "x", "classes": wrong}))
        with pytest.raises(ValueError, match=r"order\.yaml: 'classes' lists the . categories"):
            read_declaration(file)


def trained_with(classes: list[str]) -> dict:
    return {"d2seg": {"config": "", "classes": {"stuff_classes": classes, "ignore_label": 255}}}


def test_a_checkpoint_is_scored_on_its_own_classes_alone(tmp_path) -> None:
    write_semantic(tmp_path)
    cfg = make_cfg("semantic", 3)
    cfg.DATASETS.TEST = (semantic(tmp_path, classes=["a", "b", "c"]),)
    check_stored_classes(cfg, trained_with(["A", "b", "c"]))  # but for case
    check_stored_classes(cfg, {"model": {}})  # an official one says nothing
    check_stored_classes(cfg, {"d2seg": "damaged"})
    with pytest.raises(ValueError, match=r"trained with class 1 'c', where data set '.*' has 'b'"):
        check_stored_classes(cfg, trained_with(["a", "c", "b"]))


def warnings(caplog) -> list[str]:
    """What was logged as one; an earlier test may have set a logger of d2seg to log more."""
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]


def test_names_that_look_the_same_are_the_same(tmp_path) -> None:
    write_semantic(tmp_path)
    first = semantic(tmp_path, classes=["caf\u00e9", "b"])
    check_class_names([first, semantic(tmp_path, classes=["cafe\u0301", "B"])])
    cfg = make_cfg("semantic", 2)
    cfg.DATASETS.TEST = (first,)
    check_stored_classes(cfg, trained_with(["cafe\u0301", "b"]))


def test_a_checkpoint_is_drawn_with_its_own_names(tmp_path, caplog) -> None:
    write_semantic(tmp_path)
    cfg = make_cfg("semantic", 3)
    cfg.DATASETS.TEST = (semantic(tmp_path, classes=["a", "b", "c"]),)
    with caplog.at_level(logging.WARNING, logger="d2seg"):
        use_stored_classes(cfg, trained_with(["a", "b", "c"]), "m.pth")
        assert class_metadata(cfg).stuff_classes == ["a", "b", "c"]
        assert not warnings(caplog)
        use_stored_classes(cfg, trained_with(["x", "b", "c"]), "m.pth")
    assert to_plain(class_metadata(cfg))["stuff_classes"] == ["x", "b", "c"]
    [message] = warnings(caplog)
    assert message.startswith("m.pth was trained with class 0 'x', where data set 'named")
