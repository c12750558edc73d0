import pytest
from dataset_files import H, W, unique_name
from detectron2.config import CfgNode, get_cfg
from detectron2.data import DatasetCatalog, MetadataCatalog

import d2seg.data  # noqa: F401  (registers the data sets)
from d2seg.config import add_d2seg_config
from d2seg.data.catalog import (
    check_classes,
    check_files,
    kind_of,
    metadata_of,
    num_classes_of,
)


@pytest.mark.parametrize(
    ("name", "kind", "num_classes", "num_things"),
    [
        ("coco_2017_train", "instance", 80, None),
        ("coco_2017_val_panoptic", "panoptic", 133, 80),
        ("coco_2017_val_panoptic_stuffonly", "semantic", 54, None),
        ("coco_2017_val_panoptic_with_sem_seg", "panoptic", 133, 80),
        ("coco_2017_test_stuff_10k_sem_seg", "semantic", 171, None),
        ("ade20k_sem_seg_val", "semantic", 150, None),
        ("ade20k_full_sem_seg_train", "semantic", 847, None),
        ("ade20k_panoptic_val", "panoptic", 150, 100),
        ("ade20k_instance_train", "instance", 100, None),
        ("cityscapes_fine_sem_seg_val", "semantic", 19, None),
        ("cityscapes_fine_instance_seg_val", "instance", 8, None),
        ("cityscapes_fine_panoptic_val", "panoptic", 19, 8),
        ("mapillary_vistas_sem_seg_train", "semantic", 65, None),
        ("mapillary_vistas_panoptic_val", "panoptic", 65, 37),
        ("camvid_sem_seg_test", "semantic", 11, None),
        ("shapes_panoptic_train", "panoptic", 13, 8),
    ],
)
def test_kind_and_classes_of_registered_data_sets(name, kind, num_classes, num_things):
    metadata = metadata_of(name)
    assert kind_of(metadata) == kind
    assert num_classes_of(metadata, kind) == num_classes
    if kind == "panoptic":
        things = set(metadata.thing_dataset_id_to_contiguous_id.values())
        assert len(things) == num_things
        assert things <= set(range(num_classes))


def test_ids_of_things_keep_the_order_of_the_classes():
    coco = metadata_of("coco_2017_val_panoptic").thing_dataset_id_to_contiguous_id
    assert list(coco.values()) == list(range(80))
    ade = set(metadata_of("ade20k_panoptic_val").thing_dataset_id_to_contiguous_id.values())
    names = metadata_of("ade20k_panoptic_val").stuff_classes
    assert {names.index(n) for n in ("bed", "car", "flag")} <= ade
    assert not {names.index(n) for n in ("wall", "sky")} & ade


def test_a_panoptic_data_set_has_one_label_space_for_every_task():
    metadata = metadata_of("coco_2017_val_panoptic")
    assert {num_classes_of(metadata, t) for t in ("semantic", "panoptic", "instance")} == {133}


def test_separate_label_spaces_are_told_apart():
    metadata = metadata_of("coco_2017_val_panoptic_separated")
    assert num_classes_of(metadata, "instance") == 80
    assert num_classes_of(metadata, "semantic") == 54
    with pytest.raises(ValueError, match="numbers things and stuff separately"):
        num_classes_of(metadata, "panoptic")


def test_kind_follows_from_the_classes_where_no_evaluator_is_named():
    metadata = MetadataCatalog.get(unique_name())
    assert kind_of(metadata) is None
    metadata.stuff_classes = ["a", "b"]
    assert kind_of(metadata) == "semantic"
    metadata.thing_classes = ["a"]
    assert kind_of(metadata) == "panoptic"
    assert num_classes_of(metadata, "panoptic") == 2
    with pytest.raises(ValueError, match="has no thing_classes"):
        num_classes_of(metadata_of("ade20k_sem_seg_val"), "instance")


def test_an_unknown_name_brings_the_nearest():
    with pytest.raises(
        ValueError, match="'camvid_semseg_train'; did you mean camvid_sem_seg_train"
    ):
        metadata_of("camvid_semseg_train")
    assert "camvid_semseg_train" not in MetadataCatalog


def make_cfg(train: str, num_classes: int, ignore_value: int = 255) -> CfgNode:
    cfg = get_cfg()
    add_d2seg_config(cfg)
    cfg.MODEL.META_ARCHITECTURE = "MaskFormer"
    cfg.DATASETS.TRAIN, cfg.DATASETS.TEST = (train,), ()
    cfg.MODEL.SEM_SEG_HEAD.NUM_CLASSES = num_classes
    cfg.MODEL.SEM_SEG_HEAD.IGNORE_VALUE = ignore_value
    return cfg


def test_class_counts_are_compared():
    check_classes(make_cfg("coco_2017_train_panoptic", 133))
    with pytest.raises(
        ValueError,
        match=r"SEM_SEG_HEAD\.NUM_CLASSES is 54, but data set 'coco_2017_train_panoptic' has 133 classes; set MODEL.SEM_SEG_HEAD.NUM_CLASSES 133",
    ):
        check_classes(make_cfg("coco_2017_train_panoptic", 54))
    cfg = make_cfg("ade20k_sem_seg_train", 150)
    cfg.DATASETS.TEST = ("ade20k_full_sem_seg_val",)
    with pytest.raises(ValueError, match="'ade20k_full_sem_seg_val' has 847 classes"):
        check_classes(cfg)


def test_ignore_labels_are_compared():
    check_classes(make_cfg("camvid_sem_seg_train", 11, ignore_value=11))
    with pytest.raises(
        ValueError, match="IGNORE_VALUE is 255, but data set 'camvid_sem_seg_train' has 11"
    ):
        check_classes(make_cfg("camvid_sem_seg_train", 11))
    check_classes(make_cfg("coco_2017_train", 80, ignore_value=7))  # instances have none


def test_detectron2_models_count_in_their_own_keys():
    cfg = make_cfg("coco_2017_train", 54)
    cfg.MODEL.META_ARCHITECTURE = "GeneralizedRCNN"
    cfg.MODEL.ROI_HEADS.NUM_CLASSES = 80
    check_classes(cfg)
    cfg.MODEL.ROI_HEADS.NUM_CLASSES = 81
    with pytest.raises(ValueError, match=r"ROI_HEADS\.NUM_CLASSES is 81"):
        check_classes(cfg)
    cfg = make_cfg("coco_2017_train_panoptic_separated", 54)
    cfg.MODEL.META_ARCHITECTURE = "PanopticFPN"
    check_classes(cfg)
    cfg.MODEL.SEM_SEG_HEAD.NUM_CLASSES = 53
    with pytest.raises(ValueError, match="has 54 classes"):
        check_classes(cfg)


def test_classes_that_only_the_files_say_are_read():
    name = unique_name()

    def load() -> list:
        MetadataCatalog.get(name).set(thing_classes=["a", "b"], evaluator_type="coco")
        return [{"file_name": "x.jpg", "height": H, "width": W, "annotations": []}]

    DatasetCatalog.register(name, load)
    with pytest.raises(ValueError, match="has 2 classes"):
        check_classes(make_cfg(name, 3))


def test_a_data_set_that_says_nothing_is_left_out_with_a_warning(caplog):
    name = unique_name()
    DatasetCatalog.register(name, lambda: [{"file_name": "a.jpg"}])
    check_classes(make_cfg(name, 3))
    assert f"{name} does not say its classes" in caplog.text
    caplog.clear()
    check_classes(make_cfg("shapes_referring_train", 3))  # has no classes to compare
    assert not caplog.text


def test_missing_files_are_named_with_the_command_that_prepares_them(tmp_path):
    with pytest.raises(
        ValueError, match=r"no .*ADE20K_2021_17_01.*python tools/prepare_ade20k_full_sem_seg\.py"
    ):
        check_files(["ade20k_full_sem_seg_train"])
    with pytest.raises(ValueError, match="DETECTRON2_DATASETS"):
        check_files(["coco_2017_val_panoptic"])
    name = unique_name()
    DatasetCatalog.register(name, list)
    MetadataCatalog.get(name).set(image_root=str(tmp_path), sem_seg_root=str(tmp_path / "labels"))
    with pytest.raises(ValueError, match="labels"):
        check_files([name])
    (tmp_path / "labels").mkdir()
    check_files([name])
