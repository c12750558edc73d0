import json

import pytest
from dataset_files import (
    annotation,
    coco_json,
    semantic_declaration,
    unique_name,
    write_image,
    write_json,
    write_panoptic,
    write_semantic,
)
from detectron2.data import DatasetCatalog, MetadataCatalog

from d2seg.data.catalog import check_files, num_classes_of
from d2seg.data.datasets.declaration import read_classes, read_declaration, register_declarations


@pytest.fixture
def semantic(tmp_path):
    """A semantic data set and a function that declares it, with keys replaced or added."""
    write_semantic(tmp_path)

    def declare(**keys):
        return semantic_declaration(tmp_path / "toy.yaml", keys.pop("name", unique_name()), **keys)

    return declare


def test_a_semantic_data_set_is_registered(semantic, caplog):
    caplog.set_level("INFO")
    name = unique_name()
    file = semantic(name=name)
    assert register_declarations([file]) == [f"{name}_train"]
    metadata = MetadataCatalog.get(f"{name}_train")
    assert metadata.stuff_classes == ["floor", "wall", "furniture"]
    assert (metadata.ignore_label, metadata.evaluator_type) == (255, "sem_seg")
    assert len(metadata.stuff_colors) == 3
    assert len(DatasetCatalog.get(f"{name}_train")) == 2
    assert "NUM_CLASSES 3, MODEL.SEM_SEG_HEAD.IGNORE_VALUE 255" in caplog.text


def test_registering_again_changes_nothing_unless_the_file_did(semantic):
    name = unique_name()
    file = semantic(name=name)
    assert register_declarations([file, file]) == [f"{name}_train"] * 2
    semantic(name=name, ignore_label=7)
    with pytest.raises(ValueError, match="already registered"):
        register_declarations([file])


def test_a_name_of_another_data_set_is_refused(semantic):
    with pytest.raises(ValueError, match="'camvid_sem_seg_train' is already registered"):
        register_declarations([semantic(name="camvid_sem_seg")])


def test_paths_are_relative_to_the_file_or_to_root(semantic, tmp_path, monkeypatch):
    (tmp_path / "sub").mkdir()
    inner = semantic_declaration(tmp_path / "sub" / "toy.yaml", unique_name(), root="..")
    assert read_declaration(inner).splits["train"]["images"].resolve() == tmp_path / "images/train"
    monkeypatch.setenv("TOY_ROOT", str(tmp_path))
    outer = semantic_declaration(tmp_path / "sub" / "b.yaml", unique_name(), root="$TOY_ROOT")
    assert read_declaration(outer).splits["train"]["labels"] == tmp_path / "labels/train"


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"lable_suffix": 1}, "unknown key 'lable_suffix'; the nearest is 'label_suffix'"),
        ({"name": None}, "'name' is missing"),
        ({"splits": None}, "'splits' is missing"),
        ({"splits": ["train"]}, "'splits' has lines like"),
        ({"task": "semantics"}, "task is 'semantics'; it is one of"),
        ({"classes": None}, "'classes' is the list of class names"),
        ({"classes": {0: "a"}}, "'classes' is the list of class names"),
        ({"classes": ["a", "a"]}, "'a' is listed twice"),
        ({"colors": [[1, 2, 3]]}, "'colors' has one"),
        ({"colors": [1, 2, 3]}, "'colors' has one"),
        ({"values": {"0": "floor", "255": "door"}}, "'values' maps 255 to 'door'"),
        ({"values": ["floor"]}, "'values' has the form"),
        ({"nearest_value": True}, "nearest_value needs 'values'"),
        ({"values": {"0": "floor"}, "nearest_value": 1}, "nearest_value is 1; it is true or false"),
        (
            {"splits": {"train": {"images": "i", "labels": "l", "part": [1, 0]}}},
            r"'part' is \[1, 0\]",
        ),
        ({"ignore_label": 1}, "ignore_label is 1; it is a number that is none of the 3"),
        ({"ignore_label": "none"}, "ignore_label is 'none'"),
        ({"splits": {"train": {"images": "images/train"}}}, "needs the path of 'labels'"),
        (
            {"splits": {"train": {"images": "images/train", "labels": "labels", "mask": "x"}}},
            "unknown path 'mask'; task semantic has images, labels, list, names, part",
        ),
    ],
)
def test_mistakes_are_named_with_the_file(semantic, keys, message):
    with pytest.raises(ValueError, match=message) as error:
        read_declaration(semantic(name=keys.pop("name", "toy"), **keys))
    assert "toy.yaml" in str(error.value)


def test_a_file_that_is_none_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"no declaration .*a\.yaml"):
        read_declaration(tmp_path / "a.yaml")
    (tmp_path / "b.yaml").write_text("name: [")
    with pytest.raises(ValueError, match=r"b\.yaml: not valid YAML"):
        read_declaration(tmp_path / "b.yaml")
    (tmp_path / "c.yaml").write_text("just words")
    with pytest.raises(ValueError, match=r"c\.yaml: a declaration is a list"):
        read_declaration(tmp_path / "c.yaml")


def test_more_than_255_classes_have_another_ignore_label(semantic):
    classes = [f"class {i}" for i in range(300)]
    assert read_declaration(semantic(classes=classes)).ignore_label == 65535


def test_classes_and_colours_are_read_before_the_folders_are_there(tmp_path):
    colors = [[0, 0, 0], [255, 0, 0], [0, 0, 255]]
    file = semantic_declaration(tmp_path / "toy.yaml", "toy", colors=colors, ignore_label=9)
    categories, ignore_label = read_classes(file)
    assert [list(c.color) for c in categories] == colors
    assert ignore_label == 9
    with pytest.raises(ValueError, match="'colors' is missing"):
        read_classes(semantic_declaration(tmp_path / "toy.yaml", "toy"))


def declare(file, name, task, splits):
    return write_json(file, {"name": name, "task": task, "splits": splits})


def test_an_instance_data_set_takes_its_classes_from_the_json_file(tmp_path):
    write_image(tmp_path / "images" / "000.jpg")
    write_json(tmp_path / "train.json", coco_json([annotation(category_id=9)]))
    name = unique_name()
    splits = {"train": {"images": "images", "annotations": "train.json"}}
    register_declarations([declare(tmp_path / "toy.json", name, "instance", splits)])
    metadata = MetadataCatalog.get(f"{name}_train")
    assert metadata.thing_classes == ["table", "chair"]  # in the order of the ids, 5 and 9
    assert num_classes_of(metadata, "instance") == 2
    (entry,) = DatasetCatalog.get(f"{name}_train")
    assert entry["annotations"][0]["category_id"] == 1
    other = coco_json([])
    other["categories"][0]["name"] = "sofa"
    write_json(tmp_path / "val.json", other)
    splits["val"] = {"images": "images", "annotations": "val.json"}
    with pytest.raises(ValueError, match="categories of 'val' differ from those of 'train'"):
        read_declaration(declare(tmp_path / "two.json", name, "instance", splits))


def test_a_panoptic_data_set_numbers_things_and_stuff_together(tmp_path):
    write_panoptic(tmp_path)
    name = unique_name()
    splits = {"val": {"images": "images", "annotations": "panoptic.json", "panoptic": "png"}}
    register_declarations([declare(tmp_path / "toy.json", name, "panoptic", splits)])
    metadata = MetadataCatalog.get(f"{name}_val")
    assert metadata.stuff_classes == ["table", "floor", "chair"]
    assert num_classes_of(metadata, "panoptic") == 3
    assert set(metadata.thing_dataset_id_to_contiguous_id.values()) == {0, 2}
    (entry,) = DatasetCatalog.get(f"{name}_val")
    assert [(s["category_id"], s["isthing"]) for s in entry["segments_info"]] == [
        (2, True),
        (1, False),
    ]


def test_folders_need_not_be_there_until_they_are_used(tmp_path):
    name = unique_name()
    file = semantic_declaration(tmp_path / "toy.yaml", name)
    register_declarations([file])
    assert MetadataCatalog.get(f"{name}_train").stuff_classes == ["floor", "wall", "furniture"]
    with pytest.raises(ValueError, match=r"no .*images/train; correct .*toy\.yaml"):
        check_files([f"{name}_train"])
    splits = {"train": {"images": "images", "annotations": "none.json"}}
    with pytest.raises(ValueError, match=r"the categories cannot be read: .*none\.json"):
        read_declaration(declare(tmp_path / "b.json", name, "instance", splits))


def test_json_files_without_usable_categories_are_refused(tmp_path):
    write_panoptic(tmp_path)
    splits = {"val": {"images": "images", "annotations": "panoptic.json", "panoptic": "png"}}
    file = declare(tmp_path / "toy.json", "toy", "panoptic", splits)
    content = json.loads((tmp_path / "panoptic.json").read_text())
    del content["categories"][0]["isthing"]
    write_json(tmp_path / "panoptic.json", content)
    with pytest.raises(ValueError, match=r"panoptic\.json: 'categories' needs .*isthing"):
        read_declaration(file)
    (tmp_path / "panoptic.json").write_text("[1, 2]")
    with pytest.raises(ValueError, match="not a JSON file in COCO's format"):
        read_declaration(file)
    content = json.loads(file.read_text())
    write_json(file, {**content, "values": {"0": "a"}})
    with pytest.raises(ValueError, match=r"toy\.json: 'values' is for task semantic"):
        read_declaration(file)
    content["splits"]["val"]["list"] = "val.txt"
    write_json(file, content)
    with pytest.raises(ValueError, match="unknown path 'list'; task panoptic has"):
        read_declaration(file)
