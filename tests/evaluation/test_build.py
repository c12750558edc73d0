"""The choice of evaluators."""

import importlib.util
import json
import logging

import numpy as np
import pytest
from detectron2.evaluation import (
    CityscapesInstanceEvaluator,
    DatasetEvaluators,
    PascalVOCDetectionEvaluator,
)
from PIL import Image

from d2seg.config.loading import load_config
from d2seg.evaluation import (
    InstanceEvaluator,
    PanopticEvaluator,
    ReferringEvaluator,
    SemanticEvaluator,
    build_evaluator,
)
from d2seg.evaluation import build as build_module
from d2seg.evaluation.semantic import CityscapesSemanticEvaluator
from evaluation.evaluation_cases import register, register_coco, unregister

NAME = "evaluation_test_build"
ALL_TASKS = ("panoptic", "instance", "semantic")


@pytest.fixture(autouse=True)
def clean_catalog():
    yield
    unregister(NAME)


@pytest.fixture
def cfg():
    cfg = load_config(None)
    cfg.MODEL.SEM_SEG_HEAD.NUM_CLASSES = 3
    return cfg


def panoptic_metadata(folder) -> dict:
    (folder / "gt").mkdir()
    categories = [{"id": i + 1, "name": str(i), "isthing": int(i < 2)} for i in range(3)]
    annotation = {"image_id": 1, "file_name": "1.png", "segments_info": []}
    panoptic = {"annotations": [annotation], "categories": categories}
    (folder / "panoptic.json").write_text(json.dumps(panoptic))
    instances = {"images": [], "annotations": [], "categories": categories[:2]}
    (folder / "instances.json").write_text(json.dumps(instances))
    return {
        "evaluator_type": "coco_panoptic_seg",
        "panoptic_json": str(folder / "panoptic.json"),
        "panoptic_root": str(folder / "gt"),
        "json_file": str(folder / "instances.json"),
        "thing_dataset_id_to_contiguous_id": {1: 0, 2: 1},
        "stuff_dataset_id_to_contiguous_id": {3: 2},
        "stuff_classes": ["0", "1", "2"],
        "ignore_label": 255,
    }


def labelled_dicts(folder) -> list[dict]:
    Image.fromarray(np.zeros((2, 2), np.uint8)).save(folder / "1_labels.png")
    return [{"file_name": "1.jpg", "sem_seg_file_name": str(folder / "1_labels.png")}]


def kinds(evaluator) -> list[type]:
    if isinstance(evaluator, DatasetEvaluators):
        return [type(x) for x in evaluator._evaluators]
    return [type(evaluator)]


@pytest.mark.parametrize(
    ("tasks", "expected"),
    [
        (ALL_TASKS, [PanopticEvaluator, InstanceEvaluator, SemanticEvaluator]),
        (("semantic", "panoptic"), [PanopticEvaluator, SemanticEvaluator]),
        (["panoptic"], [PanopticEvaluator]),
        (["instance"], [InstanceEvaluator]),
        (["semantic"], [SemanticEvaluator]),
    ],
)
def test_the_tasks_choose(cfg, tmp_path, tasks, expected):
    register(NAME, labelled_dicts(tmp_path), **panoptic_metadata(tmp_path))
    evaluator = build_evaluator(cfg, NAME, str(tmp_path / "out"), tasks)
    assert kinds(evaluator) == expected


def test_several_evaluators_run_as_one(cfg, tmp_path):
    """Ground truth in, 100 out, from one pass of process and evaluate."""
    import torch
    from detectron2.structures import Boxes, Instances

    from d2seg.data.label_maps import write_id_map

    metadata = panoptic_metadata(tmp_path)
    ids = np.array([[1, 1, 1, 3], [1, 1, 1, 3], [1, 1, 1, 3]])
    write_id_map(str(tmp_path / "gt" / "1.png"), ids)
    segments = [{"id": 1, "category_id": 1, "area": 9}, {"id": 3, "category_id": 3, "area": 3}]
    panoptic = json.loads((tmp_path / "panoptic.json").read_text())
    panoptic["annotations"][0]["segments_info"] = [{**s, "iscrowd": 0} for s in segments]
    (tmp_path / "panoptic.json").write_text(json.dumps(panoptic))
    box = {"bbox": [0, 0, 3, 3], "area": 9, "iscrowd": 0, "id": 1, "image_id": 1, "category_id": 1}
    instances = json.loads((tmp_path / "instances.json").read_text())
    instances["images"] = [{"id": 1, "height": 3, "width": 4}]
    instances["annotations"] = [{**box, "segmentation": [[0, 0, 3, 0, 3, 3, 0, 3]]}]
    (tmp_path / "instances.json").write_text(json.dumps(instances))
    labels = np.where(ids == 1, 0, 2).astype(np.uint8)
    dicts = labelled_dicts(tmp_path)
    Image.fromarray(labels).save(dicts[0]["sem_seg_file_name"])
    register(NAME, dicts, **metadata)

    objects = Instances((3, 4))
    objects.pred_masks = torch.from_numpy(ids == 1)[None]
    objects.pred_boxes = Boxes([[0, 0, 3, 3]])
    objects.scores = torch.ones(1)
    objects.pred_classes = torch.zeros(1, dtype=torch.int64)
    output = {
        "panoptic_seg": (
            torch.from_numpy(ids),
            [
                {"id": 1, "category_id": 0, "isthing": True},
                {"id": 3, "category_id": 2, "isthing": False},
            ],
        ),
        "instances": objects,
        "sem_seg": torch.nn.functional.one_hot(torch.from_numpy(labels).long(), 3).permute(2, 0, 1),
    }
    evaluator = build_evaluator(cfg, NAME, str(tmp_path / "out"), ALL_TASKS)
    evaluator.reset()
    evaluator.process([{"image_id": 1, "file_name": "1.jpg"}], [output])
    result = evaluator.evaluate()
    assert list(result) == ["panoptic_seg", "bbox", "segm", "sem_seg"]
    assert result["panoptic_seg"]["PQ"] == 100
    assert result["bbox"]["AP"] == pytest.approx(100)
    assert result["segm"]["AP"] == pytest.approx(100)
    assert result["sem_seg"]["mIoU"] == 100


def test_real_coco_skips_semantic_and_says_so(cfg, shared_dir, caplog):
    cfg.MODEL.SEM_SEG_HEAD.NUM_CLASSES = 133
    with caplog.at_level(logging.INFO, logger="d2seg"):
        evaluator = build_evaluator(cfg, register_coco(shared_dir), None, ALL_TASKS)
    assert kinds(evaluator) == [PanopticEvaluator, InstanceEvaluator]
    assert "mIoU is skipped" in caplog.text


def test_other_label_space_skips_semantic_and_says_so(cfg, tmp_path, caplog):
    cfg.MODEL.SEM_SEG_HEAD.NUM_CLASSES = 54
    register(NAME, labelled_dicts(tmp_path), **panoptic_metadata(tmp_path))
    with caplog.at_level(logging.INFO, logger="d2seg"):
        evaluator = build_evaluator(cfg, NAME, None, ("panoptic", "semantic"))
    assert kinds(evaluator) == [PanopticEvaluator]
    assert "have 3 classes, MODEL.SEM_SEG_HEAD.NUM_CLASSES is 54" in caplog.text


@pytest.mark.parametrize("missing", ["panoptic_json", "panoptic_root"])
def test_missing_panoptic_ground_truth_is_named(cfg, tmp_path, missing):
    metadata = panoptic_metadata(tmp_path)
    del metadata[missing]
    register(NAME, labelled_dicts(tmp_path), **metadata)
    with pytest.raises(
        ValueError, match=f"{NAME} .*'panoptic': its metadata lack {missing}.*TEST.TASKS"
    ):
        build_evaluator(cfg, NAME, None, ALL_TASKS)


def test_missing_instance_ground_truth_is_named(cfg, tmp_path):
    metadata = {**panoptic_metadata(tmp_path), "json_file": None}  # as detectron2 registers it
    register(NAME, labelled_dicts(tmp_path), **metadata)
    with pytest.raises(ValueError, match=f"{NAME} .*'instance': .*json_file.*TEST.TASKS"):
        build_evaluator(cfg, NAME, None, ALL_TASKS)


def test_missing_semantic_ground_truth_is_named_when_nothing_else_is_asked(cfg, tmp_path):
    register(NAME, [{"file_name": "1.jpg"}], **panoptic_metadata(tmp_path))
    with pytest.raises(ValueError, match=f"{NAME} has no semantic ground truth.*TEST.TASKS"):
        build_evaluator(cfg, NAME, None, ["semantic"])


def test_class_count_of_a_semantic_data_set_is_compared(cfg, tmp_path):
    dicts = labelled_dicts(tmp_path)
    register(NAME, dicts, stuff_classes=["a"] * 11, ignore_label=11, evaluator_type="sem_seg")
    with pytest.raises(ValueError, match=f"{NAME} have 11 classes, .*NUM_CLASSES is 3"):
        build_evaluator(cfg, NAME, None, ["semantic"])


def test_annotations_in_the_dicts_need_no_folder(cfg):
    annotation = {"bbox": [0, 0, 2, 2], "bbox_mode": 1, "category_id": 0}
    record = {"file_name": "1.jpg", "image_id": 1, "height": 4, "width": 4}
    register(NAME, [{**record, "annotations": [annotation]}], thing_classes=["a"])
    assert isinstance(build_evaluator(cfg, NAME, None, ["instance"]), InstanceEvaluator)


def test_annotations_in_the_dicts_are_enough(cfg, tmp_path):
    annotation = {"bbox": [0, 0, 2, 2], "bbox_mode": 1, "category_id": 0}
    record = {"file_name": "1.jpg", "image_id": 1, "height": 4, "width": 4}
    register(NAME, [{**record, "annotations": [annotation]}], thing_classes=["a"])
    evaluator = build_evaluator(cfg, NAME, str(tmp_path), ["instance"])
    assert kinds(evaluator) == [InstanceEvaluator]


def test_expressions_in_the_dicts_are_enough(cfg):
    record = {"file_name": "1.jpg", "image_id": 1, "height": 4, "width": 4}
    meant = {"annotation_id": 1, "segmentation": [[0, 0, 2, 0, 2, 2]]}
    register(NAME, [{**record, "expressions": [{"id": 1, "sentence": "a", **meant}]}])
    assert kinds(build_evaluator(cfg, NAME, None, ["referring"])) == [ReferringEvaluator]
    register(NAME, [record])
    with pytest.raises(ValueError, match=f"{NAME} has no ground truth .*'referring'.*TEST.TASKS"):
        build_evaluator(cfg, NAME, None, ["referring"])


@pytest.mark.parametrize("tasks", [[], ["panoptics"], ["semantic", "depth"]])
def test_unknown_tasks_are_named(cfg, tasks):
    with pytest.raises(ValueError, match=r"TEST.TASKS.*choose from.*'semantic'"):
        build_evaluator(cfg, NAME, None, tasks)


def test_unknown_data_set_is_named(cfg):
    with pytest.raises(ValueError, match=r"'coco_2017_vall'; coco_2017 has the splits train, val,"):
        build_evaluator(cfg, "coco_2017_vall", None, ["instance"])


@pytest.mark.parametrize(
    ("kind", "task", "package"),
    [
        ("cityscapes_instance", "instance", "cityscapesscripts"),
        ("cityscapes_panoptic_seg", "instance", "cityscapesscripts"),
        ("cityscapes_sem_seg", "semantic", "cityscapesscripts"),
        ("cityscapes_panoptic_seg", "semantic", "cityscapesscripts"),
        ("lvis", "instance", "lvis"),
    ],
)
def test_missing_packages_are_named(cfg, tmp_path, monkeypatch, kind, task, package):
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(
        build_module.importlib.util,
        "find_spec",
        lambda name, *rest: None if name == package else find_spec(name, *rest),
    )
    register(NAME, [], evaluator_type=kind, thing_classes=["a"], gt_dir=str(tmp_path))
    with pytest.raises(ImportError, match=f"{NAME} .*`pip install {package}`"):
        build_evaluator(cfg, NAME, None, [task])


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("cityscapes_instance", {"instance": CityscapesInstanceEvaluator}),
        ("cityscapes_sem_seg", {"semantic": CityscapesSemanticEvaluator}),
        (
            "cityscapes_panoptic_seg",
            {
                "panoptic": PanopticEvaluator,
                "instance": CityscapesInstanceEvaluator,
                "semantic": CityscapesSemanticEvaluator,
            },
        ),
    ],
)
def test_cityscapes_brings_its_own(cfg, tmp_path, monkeypatch, kind, expected):
    monkeypatch.setattr(build_module, "_require", lambda package, name: None)
    metadata = {**panoptic_metadata(tmp_path), "evaluator_type": kind}
    register(NAME, [], gt_dir=str(tmp_path), thing_classes=["0", "1"], **metadata)
    evaluator = build_evaluator(cfg, NAME, None, tuple(expected))
    assert kinds(evaluator) == list(expected.values())


def test_pascal_voc_brings_its_own(cfg, tmp_path):
    metadata = {"dirname": str(tmp_path), "split": "test", "year": 2007, "thing_classes": ["a"]}
    (tmp_path / "Annotations").mkdir()
    register(NAME, [], evaluator_type="pascal_voc", **metadata)
    evaluator = build_evaluator(cfg, NAME, None, ["instance"])
    assert kinds(evaluator) == [PascalVOCDetectionEvaluator]
