"""Declarations of masks whose values are not the class ids, from the file to the labels."""

import numpy as np
import pytest
import yaml
from dataset_files import label_map, unique_name, write_image, write_png
from detectron2.data import DatasetCatalog, MetadataCatalog
from PIL import Image

from d2seg.config.loading import load_config
from d2seg.data.catalog import check_classes, check_files
from d2seg.data.datasets.categories import Category
from d2seg.data.datasets.declaration import read_declaration, register_declarations
from d2seg.data.datasets.registration import register_dataset
from d2seg.data.datasets.selection import Selection
from d2seg.data.label_maps import read_labels
from d2seg.data.mappers import build_mapper


def declare_masks(tmp_path, **keys):
    """Of ten images with masks of 0 and 255."""
    for number in range(1, 11):
        write_image(tmp_path / f"images/{number}.jpg")
        write_png(tmp_path / f"labels/{number}.png", polyp_mask())
    folders = {"images": "images", "labels": "labels"}
    content = {
        "name": unique_name(),
        "task": "semantic",
        "values": {0: "background", 255: "polyp"},
        "splits": {"all": folders, "val": {**folders, "list": "val.txt"}},
        **keys,
    }
    file = tmp_path / "masks.yaml"
    file.write_text(yaml.safe_dump(content, sort_keys=False))
    return file, content["name"]


def polyp_mask():
    return np.where(label_map() == 1, 255, 0).astype(np.uint8)


def test_declared_values_go_into_the_dicts_and_the_metadata(tmp_path):
    (tmp_path / "val.txt").write_text("10\n2.jpg\n")
    file, name = declare_masks(tmp_path)
    assert register_declarations([file, file]) == 2 * [f"{name}_all", f"{name}_val"]
    metadata = MetadataCatalog.get(f"{name}_val")
    assert metadata.stuff_classes == ["background", "polyp"]
    assert (metadata.ignore_label, metadata.list_file) == (255, str(tmp_path / "val.txt"))
    dicts = DatasetCatalog.get(f"{name}_val")
    assert [entry["image_id"] for entry in dicts] == ["2", "10"]
    assert dicts[0]["label_values"] == metadata.label_values
    labels = read_labels(dicts[0]["sem_seg_file_name"], dicts[0]["label_values"])
    assert (labels == (label_map() == 1)).all()
    check_files([f"{name}_val"])
    (tmp_path / "val.txt").unlink()
    with pytest.raises(ValueError, match=r"no .*val\.txt; correct .*masks\.yaml"):
        check_files([f"{name}_val"])


def test_detectron2s_mapper_does_not_read_values(tmp_path):
    file, name = declare_masks(tmp_path)
    register_declarations([file])
    cfg = load_config(None, ["MODEL.META_ARCHITECTURE", "SemanticSegmentor"])
    cfg.MODEL.SEM_SEG_HEAD.NUM_CLASSES = 2
    cfg.DATASETS.TRAIN, cfg.DATASETS.TEST = (), (f"{name}_all",)
    check_classes(cfg)  # at test time a mapper reads no labels
    cfg.DATASETS.TRAIN = (f"{name}_all",)
    with pytest.raises(ValueError, match=r"INPUT\.MAPPER is 'detectron2', but .* semantic$"):
        check_classes(cfg)
    cfg.INPUT.MAPPER = "semantic"
    check_classes(cfg)


def test_the_order_of_the_classes_may_be_another_than_that_of_the_values(tmp_path):
    file, _ = declare_masks(tmp_path, classes=["polyp", "background"], ignore_label=7)
    declaration = read_declaration(file)
    pixels = np.array([0, 255, 7], np.uint8)
    assert declaration.label_values.to_labels(pixels, "a").tolist() == [1, 0, 7]


def test_other_values_are_ignored_only_where_the_file_says_so(tmp_path):
    values = {0: "background", "other": "gland"}
    pixels = np.array([0, 3, 255], np.uint8)
    for keys, expected in (({}, [0, 1, 1]), ({"ignore_label": 255}, [0, 1, 255])):
        declaration = read_declaration(declare_masks(tmp_path, values=values, **keys)[0])
        assert declaration.label_values.to_labels(pixels, "a").tolist() == expected


def test_jpeg_masks_are_refused_until_the_nearest_value_is_asked_for(tmp_path):
    file, name = declare_masks(tmp_path)
    (tmp_path / "labels/1.png").unlink()
    Image.fromarray(polyp_mask()).save(tmp_path / "labels/1.jpg")
    register_declarations([file])
    with pytest.raises(ValueError, match=r"labels/1\.jpg: .* JPEG .* nearest_value: true"):
        DatasetCatalog.get(f"{name}_all")
    file, name = declare_masks(tmp_path, nearest_value=True)
    register_declarations([file.rename(tmp_path / "nearest.yaml")])
    with pytest.raises(ValueError, match=r"1\.(png|jpg) differ only in the extension"):
        DatasetCatalog.get(f"{name}_all")
    (tmp_path / "labels/1.png").unlink()
    dicts = DatasetCatalog.get(f"{name}_all")
    assert [entry["sem_seg_file_name"][-4:] for entry in dicts[:2]] == [".jpg", ".png"]
    labels = read_labels(dicts[0]["sem_seg_file_name"], dicts[0]["label_values"])
    assert (labels == polyp_mask() // 255).all()


def test_the_suffix_may_name_the_extension(tmp_path):
    file, name = declare_masks(tmp_path, label_suffix=".png")
    write_png(tmp_path / "labels/1.tif", label_map())  # another one of the same stem
    register_declarations([file])
    dicts = DatasetCatalog.get(f"{name}_all")
    assert [entry["sem_seg_file_name"][-4:] for entry in dicts] == 10 * [".png"]


def test_the_mapper_names_a_value_that_is_not_declared(tmp_path):
    file, name = declare_masks(tmp_path)
    register_declarations([file])
    cfg = load_config(None, ["INPUT.MAPPER", "semantic"])
    cfg.MODEL.SEM_SEG_HEAD.NUM_CLASSES = 2
    cfg.INPUT.RANDOM_FLIP, cfg.INPUT.MIN_SIZE_TRAIN = "none", (12,)
    mapper = build_mapper(cfg, is_train=True)
    entry = DatasetCatalog.get(f"{name}_all")[0]
    sample = mapper(entry)
    assert (sample["sem_seg"].numpy() == polyp_mask() // 255).all()
    pixels = polyp_mask()
    pixels[0, :3] = 128
    write_png(tmp_path / "labels/1.png", pixels)
    with pytest.raises(ValueError, match=r"labels/1\.png: .* 128 \(3 times\); .*nearest_value"):
        mapper(entry)


def test_other_tasks_have_neither_values_nor_a_selection(tmp_path):
    paths = {"images": tmp_path, "annotations": tmp_path / "a.json"}
    categories = [Category(1, "chair", True, (1, 2, 3))]
    with pytest.raises(ValueError, match="a selection is for label maps, not for instance"):
        register_dataset(
            unique_name(), "instance", paths, categories, selection=Selection(names="a*")
        )
