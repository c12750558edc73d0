"""The data set "shapes" in detectron2's catalogs, and the truth scored by its evaluators."""

import os
from functools import partial
from pathlib import Path

import numpy as np
import pycocotools.mask as mask_util
import pytest
import torch
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.evaluation import COCOEvaluator, COCOPanopticEvaluator, SemSegEvaluator
from detectron2.structures import Boxes, Instances
from PIL import Image

from d2seg.data.shapes import ensure_shapes, register, shapes_folder

NUM_IMAGES = {"train": 40, "val": 12}
SEED = 3
NAMES = [
    f"shapes_{task}_{split}"
    for task in ("panoptic", "sem_seg", "instance", "referring")
    for split in ("train", "val")
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("datasets") / "shapes"
    ensure_shapes(folder, NUM_IMAGES, SEED)
    return folder


@pytest.fixture
def catalog(folder, monkeypatch):
    """The registered data sets, looking at the few images of ``folder``."""
    before = {name: dict(vars(MetadataCatalog.get(name))) for name in NAMES}
    monkeypatch.setenv("DETECTRON2_DATASETS", str(folder.parent))
    monkeypatch.setattr(
        register, "ensure_shapes", partial(ensure_shapes, num_images=NUM_IMAGES, seed=SEED)
    )
    yield
    for name, content in before.items():
        vars(MetadataCatalog.get(name)).update(content)


def read_ids(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path)).astype(int) @ (1, 256, 65536)


def decode(segmentation, size=(256, 256)) -> np.ndarray:
    if isinstance(segmentation, list):
        segmentation = mask_util.merge(mask_util.frPyObjects(segmentation, *size))
    return mask_util.decode(segmentation).astype(bool)


def test_registration_makes_no_file(tmp_path, monkeypatch):
    assert set(NAMES) <= set(DatasetCatalog.list())
    datasets, metadata = type(DatasetCatalog)(), type(MetadataCatalog)()
    monkeypatch.setattr(register, "DatasetCatalog", datasets)
    monkeypatch.setattr(register, "MetadataCatalog", metadata)
    monkeypatch.setenv("DETECTRON2_DATASETS", str(tmp_path / "data"))
    register.register_shapes()
    assert set(datasets.list()) == set(metadata.list()) == set(NAMES)
    file_name = metadata.get("shapes_referring_val").referring_json
    assert Path(file_name) == tmp_path / "data" / "shapes" / "referring_val.json"
    assert not (tmp_path / "data").exists()


def test_metadata_is_there_before_the_files():
    panoptic = MetadataCatalog.get("shapes_panoptic_val")
    things, stuff = (
        panoptic.thing_dataset_id_to_contiguous_id,
        panoptic.stuff_dataset_id_to_contiguous_id,
    )
    assert sorted([*things.values(), *stuff.values()]) == list(range(13))
    assert things == {i + 1: i for i in range(8)}
    assert all(dataset_id != i for dataset_id, i in {**things, **stuff}.items())
    assert panoptic.thing_classes == panoptic.stuff_classes
    assert [panoptic.stuff_classes[i] for i in stuff.values()] == [
        "sky",
        "grass",
        "water",
        "sand",
        "brick",
    ]
    assert panoptic.ignore_label == 255
    for task, evaluator in (
        ("panoptic", "coco_panoptic_seg"),
        ("sem_seg", "sem_seg"),
        ("instance", "coco"),
        ("referring", "referring"),
    ):
        metadata = MetadataCatalog.get(f"shapes_{task}_train")
        assert metadata.evaluator_type == evaluator
        num_classes = 8 if task in ("instance", "referring") else 13
        classes = metadata.get("thing_classes") or metadata.stuff_classes
        colors = metadata.get("thing_colors") or metadata.stuff_colors
        assert len(classes) == len(colors) == num_classes
        assert metadata.image_root.endswith(os.path.join("shapes", "images_train"))


def test_catalog(catalog):
    panoptic = DatasetCatalog.get("shapes_panoptic_train")
    semantic = DatasetCatalog.get("shapes_sem_seg_train")
    instance = DatasetCatalog.get("shapes_instance_train")
    referring = DatasetCatalog.get("shapes_referring_train")
    assert len(panoptic) == len(semantic) == len(instance) == len(referring) == 40
    for records in zip(panoptic, semantic, instance, referring, strict=True):
        for key in ("file_name", "image_id", "height", "width"):
            assert len({record[key] for record in records}) == 1
        assert records[0]["height"] == records[0]["width"] == 256
        assert records[0]["sem_seg_file_name"] == records[1]["sem_seg_file_name"]
        assert all(Path(records[0][f"{k}_file_name"]).is_file() for k in ("pan_seg", "sem_seg"))
        assert len(records[2]["annotations"]) == len(records[3]["annotations"])
        by_id = {a["id"]: a for a in records[3]["annotations"]}
        for expression in records[3]["expressions"]:
            annotation = by_id[expression["annotation_id"]]
            assert expression["segmentation"] == annotation["segmentation"]
            assert expression["sentence"].startswith("the ")


def test_metadata_follows_the_environment(catalog, monkeypatch, tmp_path):
    DatasetCatalog.get("shapes_panoptic_val")
    metadata = MetadataCatalog.get("shapes_panoptic_val")
    assert Path(metadata.panoptic_json) == shapes_folder() / "panoptic_val.json"
    monkeypatch.setenv("DETECTRON2_DATASETS", str(tmp_path))
    records = DatasetCatalog.get("shapes_panoptic_val")
    assert Path(metadata.panoptic_json) == tmp_path / "shapes" / "panoptic_val.json"
    assert Path(records[0]["file_name"]).parent == tmp_path / "shapes" / "images_val"


def test_truth_scores_100_with_the_panoptic_evaluator(catalog):
    pytest.importorskip("panopticapi")
    evaluator = COCOPanopticEvaluator("shapes_panoptic_val")
    evaluator.reset()
    for record in DatasetCatalog.get("shapes_panoptic_val"):
        ids = torch.from_numpy(read_ids(record["pan_seg_file_name"]))
        segments = [
            {key: s[key] for key in ("id", "category_id", "isthing")}
            for s in record["segments_info"]
        ]
        evaluator.process([record], [{"panoptic_seg": (ids, segments)}])
    assert evaluator.evaluate()["panoptic_seg"]["PQ"] == pytest.approx(100)


def test_truth_scores_100_with_the_semantic_evaluator(catalog):
    evaluator = SemSegEvaluator("shapes_sem_seg_val", distributed=False, sem_seg_loading_fn=load)
    evaluator.reset()
    for record in DatasetCatalog.get("shapes_sem_seg_val"):
        labels = torch.from_numpy(load(record["sem_seg_file_name"], int))
        scores = torch.nn.functional.one_hot(labels, 13).permute(2, 0, 1)
        evaluator.process([record], [{"sem_seg": scores}])
    assert evaluator.evaluate()["sem_seg"]["mIoU"] == pytest.approx(100)


def load(path: str, dtype: type = int) -> np.ndarray:
    return np.array(Image.open(path), dtype=dtype)


def test_truth_scores_100_with_the_instance_evaluator(catalog, tmp_path):
    records = DatasetCatalog.get("shapes_instance_val")
    evaluator = COCOEvaluator(
        "shapes_instance_val", ("segm",), False, output_dir=str(tmp_path), use_fast_impl=False
    )
    evaluator.reset()
    for record in records:
        annotations = record["annotations"]
        instances = Instances((256, 256))
        masks = np.stack([decode(a["segmentation"]) for a in annotations])
        instances.pred_masks = torch.from_numpy(masks)
        instances.pred_boxes = Boxes(torch.zeros(len(masks), 4))
        instances.scores = torch.ones(len(masks))
        instances.pred_classes = torch.tensor([a["category_id"] for a in annotations])
        evaluator.process([record], [{"instances": instances}])
    assert evaluator.evaluate()["segm"]["AP"] == pytest.approx(100)
