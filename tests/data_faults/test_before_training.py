"""What would make the evaluation impossible is said before the first iteration."""

import argparse
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from coco_cases import instances, panoptic, put
from dataset_files import unique_name, write_semantic
from detectron2.config import CfgNode
from detectron2.structures import Boxes, Instances
from mapper_samples import make_cfg
from PIL import Image

from d2seg.data import build
from d2seg.data import dicts as dicts_module
from d2seg.data.build import build_test_loader, build_train_loader, picture_keys
from d2seg.data.catalog import check_files
from d2seg.data.datasets.declaration import register_declarations
from d2seg.data.dicts import check_files_of
from d2seg.data.dicts import load_dicts as load_checked
from d2seg.data.inspection.dataset import inspect_dataset
from d2seg.engine.prepare import check_evaluation, setup
from d2seg.engine.trainer import Trainer
from d2seg.evaluation.instance import InstanceEvaluator
from d2seg.evaluation.panoptic_evaluation import PanopticEvaluator
from d2seg.registries import READERS


def command_line(config: str, **keys: object) -> argparse.Namespace:
    opts = [str(part) for pair in keys.items() for part in (pair[0].replace("__", "."), pair[1])]
    return argparse.Namespace(
        config_file=config,
        opts=["MODEL.DEVICE", "cpu", *opts],
        eval_only=False,
        resume=False,
        num_gpus=1,
    )


def cfg_of(name: str, tasks: list[str], folder: Path) -> CfgNode:
    cfg = make_cfg("semantic", 3)
    cfg.MODEL.META_ARCHITECTURE = "MaskFormer"
    cfg.DATASETS.TEST, cfg.TEST.TASKS, cfg.OUTPUT_DIR = (name,), tasks, str(folder)
    return cfg


def semantic(root: Path) -> str:
    write_semantic(root)
    content = {
        "name": unique_name("early"),
        "task": "semantic",
        "classes": ["a", "b", "c"],
        "splits": {"val": {"images": "images/train", "labels": "labels/train"}},
    }
    (root / "early.json").write_text(json.dumps(content))
    return register_declarations([root / "early.json"])[0]


@pytest.mark.parametrize("tasks", [["panoptic"], ["instance"], ["referring"]])
def test_a_task_without_ground_truth(tmp_path, tasks: list[str]) -> None:
    name = semantic(tmp_path)
    with pytest.raises(ValueError, match=f"{name} has no ground truth for the task '{tasks[0]}'"):
        check_evaluation(cfg_of(name, tasks, tmp_path))
    check_evaluation(cfg_of(name, ["semantic"], tmp_path))


def test_panoptic_data_without_instances_and_the_task_instance(tmp_path) -> None:
    name = panoptic(tmp_path)["name"]
    with pytest.raises(ValueError, match=r"'instance': .*take 'instance' out of TEST\.TASKS"):
        check_evaluation(cfg_of(name, ["panoptic", "instance"], tmp_path))
    check_evaluation(cfg_of(name, ["panoptic"], tmp_path))


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (put("images", value=[]), "none of its 2 annotations|has no image"),
        (put("annotations", 0, "segmentation", value=[[1e9] * 6]), "annotation 0: .*far outside"),
        (put("images", 0, "file_name", value="absent.jpg"), r"there is no .*absent\.jpg"),
    ],
)
def test_test_dicts_are_read(tmp_path, edit, message: str) -> None:
    name = instances(tmp_path, edit)["name"]
    with pytest.raises(ValueError, match=message):
        check_evaluation(cfg_of(name, ["instance"], tmp_path))


@pytest.mark.parametrize("is_crowd", [False, True])
def test_ground_truth_of_nothing(tmp_path, is_crowd: bool) -> None:
    """Every score would be NaN."""
    value = [{"id": 300, "category_id": 9, "iscrowd": 1}] if is_crowd else []

    def edit(content: dict) -> None:
        content["annotations"] = content["annotations"][: 2 * is_crowd]
        for annotation in content["annotations"]:
            annotation["iscrowd"] = 1

    segments = put("annotations", 0, "segments_info", value=value)
    for made, task in (
        (instances(tmp_path / "a", edit), "instance"),
        (panoptic(tmp_path / "b", segments), "panoptic"),
    ):
        with pytest.raises(ValueError, match="has no object or segment but crowds, so that"):
            check_evaluation(cfg_of(made["name"], [task], tmp_path))


def test_masks_of_some_annotations_alone(tmp_path) -> None:
    """As exporters mix polygons and boxes: AP of masks ended in a KeyError, after the training."""

    def edit(content: dict) -> None:
        content["annotations"][1]["segmentation"] = []

    name = instances(tmp_path, edit)["name"]
    message = rf"{name}: 1 of 2 annotations have no 'segmentation', as that of image 1 with the box"
    cfg = cfg_of(name, ["instance"], tmp_path)
    with pytest.raises(ValueError, match=message):
        check_evaluation(cfg)
    evaluator = InstanceEvaluator(name)
    for has_masks in (False, True):
        evaluator.reset()
        for entry in load_checked(name):
            found = Instances((12, 16))
            found.pred_boxes = Boxes(torch.tensor([[3.0, 2, 8, 6]]))
            found.scores, found.pred_classes = torch.ones(1), torch.zeros(1, dtype=torch.int64)
            if has_masks:
                found.pred_masks = torch.ones(1, 12, 16, dtype=torch.bool)
            evaluator.process([entry], [{"instances": found}])
        if has_masks:
            with pytest.raises(ValueError, match=message):
                evaluator.evaluate()
        else:
            assert set(evaluator.evaluate()) == {"bbox"}
    cfg.MODEL.META_ARCHITECTURE = "GeneralizedRCNN"  # of boxes alone
    check_evaluation(cfg)
    cfg.MODEL.MASK_ON = True
    with pytest.raises(ValueError, match=message):
        check_evaluation(cfg)


@pytest.mark.parametrize("num_with", [0, 1, 2])
def test_key_points_of_some_annotations_alone(tmp_path, num_with: int) -> None:
    """Those that are not annotated are not scored; it was a KeyError after the training."""

    def edit(content: dict) -> None:
        for annotation in content["annotations"][:num_with]:
            annotation["keypoints"] = [3, 2, 2, 8, 2, 2, 8, 6, 1]

    evaluator = InstanceEvaluator(instances(tmp_path, edit)["name"], kpt_oks_sigmas=[0.1] * 3)
    evaluator.reset()
    for image_id, category in ((0, 0), (1, 1)):
        found = Instances((12, 16), pred_boxes=Boxes(torch.tensor([[3.0, 2, 8, 6]])))
        found.scores, found.pred_classes = torch.ones(1), torch.tensor([category])
        # detectron2 counts them from the edge of a pixel, COCO from its middle
        found.pred_keypoints = torch.tensor([[[3.5, 2.5, 1], [8.5, 2.5, 1], [8.5, 6.5, 1]]])
        evaluator.process([{"image_id": image_id}], [{"instances": found}])
    scores = evaluator.evaluate()
    assert set(scores) == ({"bbox", "keypoints"} if num_with else {"bbox"})
    assert not num_with or scores["keypoints"]["AP"] == pytest.approx(100)


@pytest.mark.parametrize("order", ["grey", "BGR"])
def test_segments_that_are_encoded_otherwise(tmp_path, order: str) -> None:
    """Every prediction would score 0."""
    made = panoptic(tmp_path)
    file = next((tmp_path / "png").rglob("*.png"))
    with Image.open(file) as image:
        pixels = np.array(image)
    pixels = pixels[..., 0] if order == "grey" else np.ascontiguousarray(pixels[..., ::-1])
    evaluator = PanopticEvaluator(made["name"])
    Image.fromarray(pixels).save(file)
    message = r"000\.png has pixels of the segment id \d+, and none of its segments_info: .*256"
    with pytest.raises(ValueError, match=message):
        check_evaluation(cfg_of(made["name"], ["panoptic"], tmp_path))
    evaluator.reset()  # of a later picture
    found = torch.zeros(pixels.shape[:2], dtype=torch.int32), []
    image_id = next(iter(evaluator._annotations))
    with pytest.raises(ValueError, match=message):
        evaluator.process([{"image_id": image_id, "file_name": "a"}], [{"panoptic_seg": found}])


def test_a_label_map_that_is_gone(tmp_path) -> None:
    name = semantic(tmp_path)
    (tmp_path / "images/train/000.jpg").unlink()
    (tmp_path / "images/train/000.jpg").symlink_to("nowhere.jpg")
    with pytest.raises(ValueError, match=r"there is no .*000\.jpg \('file_name'\)"):
        check_evaluation(cfg_of(name, ["semantic"], tmp_path))


def test_declared_instances_that_are_missing(tmp_path) -> None:
    panoptic(tmp_path)
    paths = {"images": "images", "annotations": "wrong.json", "panoptic": "png"}
    content = {
        "name": unique_name("early"),
        "task": "panoptic",
        "splits": {"val": {**paths, "instances": "absent.json"}},
    }
    (tmp_path / "early.json").write_text(json.dumps(content))
    names = register_declarations([tmp_path / "early.json"])
    with pytest.raises(ValueError, match=r"there is no .*absent\.json; correct .*early\.json"):
        check_files(names)


def test_training_dicts_are_read_before_the_model_is_built(tmp_path, monkeypatch) -> None:
    """A large one takes a minute; and they are read once."""
    nan = put("annotations", 0, "segmentation", value=[[float("nan")] * 6])
    cfg = make_cfg("instance", 3)
    cfg.DATASETS.TRAIN = (instances(tmp_path, nan)["name"],)
    steps = []
    monkeypatch.setattr(Trainer, "build_model", lambda cfg: steps.append("model"))
    monkeypatch.setattr(
        build, "load_dicts", lambda *a, **k: steps.append("dicts") or load_checked(*a, **k)
    )
    with pytest.raises(ValueError, match=r"annotation 0: .*far outside"):
        Trainer(cfg)
    assert steps == ["dicts"]


@pytest.mark.parametrize(
    ("mapper", "key", "gone"),
    [
        ("semantic", "file_name", "images/train/*"),
        ("semantic", "sem_seg_file_name", "labels/train/*"),
        ("semantic", "sem_seg_file_name", "labels/train/001.png"),
        ("panoptic", "file_name", "images/*"),
        ("panoptic", "pan_seg_file_name", "png/*"),
        ("instance", "file_name", "00*.jpg"),
        ("detectron2", "file_name", "001.jpg"),
    ],
)
def test_missing_files_of_a_training_are_counted_before_it(
    tmp_path, mapper: str, key: str, gone: str
) -> None:
    make = {"semantic": semantic, "panoptic": lambda root: panoptic(root)["name"]}
    cfg = make_cfg(mapper, 3)
    name = make.get(mapper, lambda root: instances(root)["name"])(tmp_path)
    cfg.DATASETS.TRAIN = (name, name) if mapper == "semantic" else (name,)
    build_train_loader(cfg)
    build_test_loader(cfg, name)
    files = sorted(tmp_path.glob(gone))
    for file in files:  # a link that leads nowhere, as of data on a disk that is not mounted
        file.unlink()
        file.symlink_to("nowhere")
    count = len(files) * len(cfg.DATASETS.TRAIN)
    more = rf", nor {count - 1} more of \d files" if count > 1 else ""
    with pytest.raises(ValueError, match=rf"{files[0]} \('{key}'\){more}; put it there, or corr"):
        build_train_loader(cfg)
    if key == "file_name":
        with pytest.raises(ValueError, match=rf"there is no {files[0]} \('{key}'\)"):
            build_test_loader(cfg, name)
    else:
        build_test_loader(cfg, name)


def test_looking_for_files_ends_in_time(tmp_path, monkeypatch) -> None:
    """A disk behind a network may take a millisecond for each."""
    now = [0.0]

    def slow(path: str) -> bool:
        now[0] += 0.001
        return path != "file90000"

    monkeypatch.setattr(dicts_module.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(dicts_module.os.path, "exists", slow)
    entries = [{"file_name": f"file{number}"} for number in range(100_000)]
    check_files_of(entries, ["far"], seconds=2)
    assert 2 <= now[0] < 2.01
    with pytest.raises(ValueError, match=r"there is no file90000 \('file_name'\); put it there"):
        check_files_of(entries, ["far"])
    entries[97 * 3]["file_name"] = "file90000"  # of the first that are looked at
    with pytest.raises(ValueError, match="'far': there is no file90000"):
        check_files_of(entries, ["far"], seconds=2)


def test_names_that_a_users_reader_gives_a_meaning_are_not_looked_for() -> None:
    cfg = make_cfg("semantic", 3)

    @READERS.register()
    def of_an_archive(cfg: CfgNode):
        raise NotImplementedError

    cfg.INPUT.READER = "of_an_archive"
    assert picture_keys(cfg) == ()
    cfg.INPUT.READER = "picture"
    assert picture_keys(cfg) == ("file_name",)


def test_setup_asks_before_it_trains(tmp_path) -> None:
    name = semantic(tmp_path)
    args = command_line(
        "configs/segformer/shapes_semantic_small.yaml",
        DATASETS__TRAIN=f"('{name}',)",
        DATASETS__TEST=f"('{name}',)",
        MODEL__SEM_SEG_HEAD__NUM_CLASSES=3,
        TEST__TASKS="['panoptic']",
        OUTPUT_DIR=tmp_path / "out",
    )
    try:
        with pytest.raises(ValueError, match="no ground truth for the task 'panoptic'"):
            setup(args)
    finally:
        torch.set_flush_denormal(False)


def test_masks_that_a_mapper_needs(tmp_path) -> None:
    def without_mask(content: dict) -> None:
        del content["annotations"][1]["segmentation"]

    name = instances(tmp_path, without_mask)["name"]
    for mapper, is_on in (("instance", False), ("detectron2", True)):
        cfg = make_cfg(mapper, 3)
        cfg.DATASETS.TRAIN, cfg.MODEL.MASK_ON = (name,), is_on
        with pytest.raises(
            ValueError, match=r"001\.jpg: annotation 0 has no 'segmentation', which"
        ):
            build_train_loader(cfg)
    cfg.MODEL.MASK_ON = False  # boxes are enough
    build_train_loader(cfg)


def test_a_sampler_that_counts_classes_needs_annotations(tmp_path) -> None:
    cfg = make_cfg("semantic", 3)
    cfg.DATASETS.TRAIN = (semantic(tmp_path),)
    cfg.DATALOADER.SAMPLER_TRAIN = "RepeatFactorTrainingSampler"
    cfg.DATALOADER.REPEAT_THRESHOLD = 0.5
    with pytest.raises(ValueError, match="RepeatFactorTrainingSampler counts the classes of 'ann"):
        next(iter(build_train_loader(cfg)))


@pytest.mark.parametrize("area", [-1, "20", 1e30, [20], float("nan")])
def test_areas_that_an_evaluation_refuses_are_listed(tmp_path, area: object) -> None:
    name = instances(tmp_path, put("annotations", 0, "area", value=area))["name"]
    [problem] = inspect_dataset(name).problems
    assert "annotation 1: 'area' is" in problem.detail
    with pytest.raises(ValueError, match="'area' is"):
        check_evaluation(cfg_of(name, ["instance"], tmp_path))
