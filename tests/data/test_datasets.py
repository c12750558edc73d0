import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from dataset_files import (
    H,
    W,
    annotation,
    coco_json,
    label_map,
    square_rle,
    unique_name,
    write_image,
    write_json,
    write_panoptic,
    write_png,
    write_semantic,
)
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.data.datasets.builtin_meta import ADE20K_SEM_SEG_CATEGORIES

import d2seg.data.datasets.builtin as builtin
from d2seg.data.datasets import categories as tables
from d2seg.data.datasets.categories import Category, distinct_colors, load_categories
from d2seg.data.datasets.json_loaders import load_instances, load_panoptic
from d2seg.data.datasets.loaders import load_semantic, pair_files
from d2seg.data.datasets.registration import register_dataset

TABLES = {
    "ade20k_150": (150, 100),
    "ade20k_full": (847, 0),
    "coco_stuff_171": (171, 80),
    "mapillary_vistas_65": (65, 37),
    "camvid_11": (11, 0),
    "pascal_context_59": (59, 0),
    "pascal_context_60": (60, 0),
}
CATEGORIES = [Category(9, "chair", True, (1, 2, 3)), Category(7, "floor", False, (4, 5, 6))]


@pytest.mark.parametrize(("table", "counts"), TABLES.items())
def test_category_tables_are_complete(table, counts):
    categories = load_categories(table)
    assert (len(categories), sum(c.is_thing for c in categories)) == counts
    assert len({c.name for c in categories}) == len({c.id for c in categories}) == len(categories)
    assert all(0 <= level <= 255 for c in categories for level in c.color)


def test_every_table_is_used_and_every_used_table_is_there():
    folder = Path(tables.__file__).parent
    entries = json.loads((folder / "datasets.json").read_text())
    used = {entry["categories"] for entry in entries if "classes" not in entry} - {"coco_panoptic"}
    assert used == set(TABLES) == {f.stem for f in folder.glob("*.json")} - {"datasets"}


def test_ade20k_has_the_names_of_detectron2_and_distinct_colours():
    categories = load_categories("ade20k_150")
    assert [c.name for c in categories] == ADE20K_SEM_SEG_CATEGORIES
    assert [c.id for c in categories] == list(range(150))
    assert len({c.color for c in categories}) == 150


def test_ids_of_the_other_tables():
    assert [c.id for c in load_categories("mapillary_vistas_65")] == list(range(1, 66))
    assert [c.id for c in load_categories("camvid_11")] == list(range(11))
    stuff = load_categories("coco_stuff_171")
    assert (stuff[0].id, stuff[79].id, stuff[80].id, stuff[-1].id) == (1, 90, 92, 182)
    full = load_categories("ade20k_full")
    assert (full[0].name, full[0].id) == ("wall", 2978)


@pytest.mark.parametrize("count", [1, 2, 150])
def test_made_colours_differ_and_never_change(count):
    colors = distinct_colors(count)
    assert len(set(colors)) == count
    assert distinct_colors(count + 5)[:count] == colors


def test_metadata_of_the_three_kinds():
    assert tables.semantic_metadata(CATEGORIES)["stuff_classes"] == ["chair", "floor"]
    things = tables.instance_metadata(CATEGORIES)
    assert things["thing_classes"] == ["chair"]
    assert things["thing_dataset_id_to_contiguous_id"] == {9: 0}
    both = tables.panoptic_metadata(CATEGORIES)
    assert both["thing_classes"] == both["stuff_classes"] == ["chair", "floor"]
    assert both["thing_dataset_id_to_contiguous_id"] == {9: 0}
    assert both["stuff_dataset_id_to_contiguous_id"] == {7: 1}


def test_coco_with_label_maps_has_the_label_space_of_detectron2s_coco_panoptic():
    ours = MetadataCatalog.get("coco_2017_val_panoptic_with_sem_seg")
    theirs = MetadataCatalog.get("coco_2017_val_panoptic")
    keys = (
        "stuff_classes", "thing_classes", "stuff_colors", "panoptic_json", "panoptic_root",
        "image_root", "json_file", "thing_dataset_id_to_contiguous_id",
        "stuff_dataset_id_to_contiguous_id", "ignore_label", "evaluator_type",
    )  # fmt: skip
    for key in keys:
        assert getattr(ours, key) == getattr(theirs, key), key


def test_detectron2s_data_sets_get_colours_and_hints():
    for name in ("ade20k_sem_seg_train", "cityscapes_fine_sem_seg_val"):
        metadata = MetadataCatalog.get(name)
        assert len(metadata.stuff_colors) == len(metadata.stuff_classes)
        assert metadata.prepare.endswith(".py")


def test_every_named_script_is_there(repo_dir):
    for name in DatasetCatalog.list():
        for word in MetadataCatalog.get(name).get("prepare", "").split():
            if word.startswith("tools/"):
                assert (repo_dir / word).is_file(), word


def test_a_name_that_is_taken_stays(caplog):
    caplog.set_level("INFO")
    before = MetadataCatalog.get("camvid_sem_seg_train").image_root
    builtin.register_all(Path("/elsewhere"))
    assert MetadataCatalog.get("camvid_sem_seg_train").image_root == before
    assert "camvid_sem_seg_train is registered elsewhere" in caplog.text


def test_pairs_are_matched_by_path_without_extension(tmp_path):
    write_image(tmp_path / "images" / "a" / "1.jpg")
    write_image(tmp_path / "images" / "b" / "1.PNG")
    write_image(tmp_path / "images" / "only.jpg")
    write_image(tmp_path / "images" / ".hidden.jpg")
    for name in ("b/1.tif", "a/1.png", "extra.png", "notes.txt.png"):
        write_png(tmp_path / "labels" / name, label_map())
    (tmp_path / "labels" / "notes.txt").write_text("no label map")
    pairs, no_label, no_image = pair_files(tmp_path / "images", tmp_path / "labels")
    names = [
        (Path(i).relative_to(tmp_path).as_posix(), Path(j).relative_to(tmp_path).as_posix())
        for i, j in pairs
    ]
    assert names == [("images/a/1.jpg", "labels/a/1.png"), ("images/b/1.PNG", "labels/b/1.tif")]
    assert [Path(f).name for f in no_label] == ["only.jpg"]
    assert [Path(f).name for f in no_image] == ["extra.png", "notes.txt.png"]


def test_images_and_label_maps_may_lie_in_one_folder(tmp_path):
    write_image(tmp_path / "1.png")
    write_png(tmp_path / "1_mask.png", label_map())
    pairs, no_label, no_image = pair_files(tmp_path, tmp_path, "_mask")
    assert [(Path(i).name, Path(j).name) for i, j in pairs] == [("1.png", "1_mask.png")]
    assert no_label == no_image == []


def test_what_cannot_be_paired_is_said(tmp_path, caplog):
    with pytest.raises(ValueError, match="there is no folder"):
        pair_files(tmp_path / "images", tmp_path / "labels")
    write_image(tmp_path / "images" / "1.jpg")
    write_png(tmp_path / "labels" / "one.png", label_map())
    with pytest.raises(ValueError, match=r"no image of .* has a label map"):
        load_semantic(tmp_path / "images", tmp_path / "labels")
    write_png(tmp_path / "labels" / "1.png", label_map())
    write_image(tmp_path / "images" / "2.jpg")
    assert len(load_semantic(tmp_path / "images", tmp_path / "labels")) == 1
    assert "1 images without a label map are left out" in caplog.text
    assert "1 unused label maps are left out" in caplog.text
    write_image(tmp_path / "images" / "1.png")
    with pytest.raises(ValueError, match="differ only in the extension"):
        load_semantic(tmp_path / "images", tmp_path / "labels")


def test_instances_get_contiguous_ids_and_keep_both_formats(tmp_path):
    file = write_json(
        tmp_path / "a.json",
        coco_json([annotation(category_id=9), annotation(segmentation=square_rle())]),
    )
    metadata = {"thing_dataset_id_to_contiguous_id": {5: 0, 9: 1}}
    (entry,) = load_instances(file, tmp_path, metadata)
    assert [a["category_id"] for a in entry["annotations"]] == [1, 0]
    assert [type(a["segmentation"]) for a in entry["annotations"]] == [list, dict]
    with pytest.raises(ValueError, match=r"a\.json.*image 0 has the category id 9"):
        load_instances(file, tmp_path, {"thing_dataset_id_to_contiguous_id": {5: 0}})


def test_panoptic_entries_have_sizes_and_contiguous_ids(tmp_path):
    file = write_panoptic(tmp_path)
    metadata = {
        "thing_dataset_id_to_contiguous_id": {5: 0, 9: 2},
        "stuff_dataset_id_to_contiguous_id": {7: 1},
    }
    (entry,) = load_panoptic(file, "i", "p", metadata)
    assert entry == {
        "file_name": "i/000.jpg",
        "image_id": 4,
        "height": H,
        "width": W,
        "pan_seg_file_name": "p/000.png",
        "segments_info": [
            {"id": 300, "category_id": 2, "isthing": True},
            {"id": 70000, "category_id": 1, "isthing": False},
        ],
    }
    (entry,) = load_panoptic(file, "i", "p", metadata, sem_seg_root="s", image_suffix=".webp")
    assert entry["sem_seg_file_name"] == "s/000.png"
    assert entry["file_name"] == "i/000.webp"
    with pytest.raises(ValueError, match="category id 7"):
        load_panoptic(file, "i", "p", {**metadata, "stuff_dataset_id_to_contiguous_id": {}})


def test_registration_sets_what_detectron2s_evaluators_read(tmp_path):
    write_semantic(tmp_path)
    write_panoptic(tmp_path)
    semantic, panoptic = unique_name(), unique_name()
    folders = {"images": tmp_path / "images/train", "labels": tmp_path / "labels/train"}
    register_dataset(semantic, "semantic", folders, CATEGORIES, ignore_label=11)
    metadata = MetadataCatalog.get(semantic)
    assert (metadata.evaluator_type, metadata.ignore_label) == ("sem_seg", 11)
    assert metadata.sem_seg_root == str(tmp_path / "labels/train")
    assert len(DatasetCatalog.get(semantic)) == 2
    paths = {
        "images": tmp_path / "images",
        "annotations": tmp_path / "panoptic.json",
        "panoptic": tmp_path / "png",
        "instances": tmp_path / "instances.json",
    }
    register_dataset(panoptic, "panoptic", paths, CATEGORIES)
    metadata = MetadataCatalog.get(panoptic)
    assert metadata.panoptic_json == str(tmp_path / "panoptic.json")
    assert metadata.json_file == str(tmp_path / "instances.json")
    (entry,) = DatasetCatalog.get(panoptic)
    assert [s["category_id"] for s in entry["segments_info"]] == [0, 1]


def test_mistakes_in_a_registration_are_refused():
    paths = {"images": "i", "labels": "l"}
    with pytest.raises(ValueError, match="task is 'panoptics'; it is one of semantic"):
        register_dataset("x", "panoptics", paths, CATEGORIES)
    with pytest.raises(ValueError, match="needs the path of 'labels'"):
        register_dataset("x", "semantic", {"images": "i"}, CATEGORIES)
    with pytest.raises(ValueError, match="unknown path 'label'"):
        register_dataset("x", "semantic", {**paths, "label": "l"}, CATEGORIES)
    with pytest.raises(ValueError, match="ignore label 1 is one of its 2 classes"):
        register_dataset("x", "semantic", paths, CATEGORIES, ignore_label=1)
    with pytest.raises(ValueError, match="already registered"):
        register_dataset("camvid_sem_seg_train", "semantic", paths, CATEGORIES)


def test_camvid_is_read_whole(shared_dir):
    root = shared_dir / "data" / "CamVid"
    entries = load_semantic(root / "train", root / "trainannot")
    assert len(entries) == 367
    assert all(Path(e["file_name"]).stem == Path(e["sem_seg_file_name"]).stem for e in entries)


def test_coco_panoptic_is_read_as_detectron2_reads_it(shared_dir):
    from detectron2.data.datasets.coco_panoptic import load_coco_panoptic_json

    coco = shared_dir / "data" / "coco"
    metadata = tables.panoptic_metadata(builtin.categories_of("coco_panoptic"))
    paths = (
        coco / "annotations/panoptic_val2017.json",
        coco / "val2017",
        coco / "panoptic_val2017",
    )
    ours = load_panoptic(*paths, metadata)
    theirs = load_coco_panoptic_json(*map(str, paths), metadata)
    assert len(ours) == 20
    for mine, reference in zip(ours, theirs, strict=True):
        assert {k: mine[k] for k in reference} == reference
    assert Counter(s["isthing"] for e in ours for s in e["segments_info"])[True] > 50
    assert np.isfinite([e["height"] for e in ours]).all()
