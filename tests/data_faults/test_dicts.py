"""Dicts that a user registers in Python: put right where that is harmless, else one line."""

import json
import os
import resource
import time
import warnings
from pathlib import Path

import numpy as np
import pycocotools.mask as mask_util
import pytest
import torch
from coco_cases import BAD_MASKS, SQUARE, square_mask
from dataset_files import H, W, square_rle, unique_name, write_image
from detectron2.data import DatasetCatalog, MetadataCatalog
from mapper_samples import make_cfg

from d2seg.data.build import build_test_loader, build_train_loader
from d2seg.data.catalog import check_class_names, check_classes, check_drawn_classes
from d2seg.data.dicts import load_dicts, sound_dicts
from d2seg.data.inspection.dataset import LabelSpace, inspect_entry
from d2seg.data.mappers import build_mapper
from d2seg.evaluation.instance_truth import read_truth

MEMORY = 1 << 30  # bytes of address space, for what took all there is
MASKS = {
    "polygons": [SQUARE],
    "polygons of numpy": [np.array(SQUARE, np.float32)],
    "points of numpy": [np.array(SQUARE).reshape(-1, 2)],
    "polygons of torch": [torch.tensor(SQUARE)],
    "a tuple": (tuple(SQUARE),),
    "RLE": square_rle(),
    "RLE of bytes": mask_util.encode(np.asfortranarray(square_mask(), np.uint8)),
    "bool array": square_mask(),
    "int array": square_mask().astype(np.int64),
    "float array": square_mask().astype(np.float32),
    "bool tensor": torch.from_numpy(square_mask()),
}


def entry_with(root: Path, **annotation: object) -> dict:
    found = {"category_id": 0, "segmentation": [SQUARE], **annotation}
    file = str(write_image(root / "a.png"))
    return {"file_name": file, "image_id": 1, "height": H, "width": W, "annotations": [found]}


def register(dicts: object, **metadata: object) -> str:
    name = unique_name("user")
    DatasetCatalog.register(name, dicts if callable(dicts) else lambda: dicts)
    MetadataCatalog.get(name).set(**{"thing_classes": ["table"], **metadata})
    return name


@pytest.mark.parametrize("form", MASKS)
def test_masks_of_every_form_train_and_are_scored_alike(tmp_path, form: str) -> None:
    name = register([entry_with(tmp_path, segmentation=MASKS[form])])
    (entry,) = load_dicts(name)
    sample = build_mapper(make_cfg("instance", 1), True)(entry)
    assert np.array_equal(sample["instances"].gt_masks.tensor[0].numpy(), square_mask())
    (truth,) = read_truth(name, MetadataCatalog.get(name)).coco.dataset["annotations"]
    assert truth["area"] == 20
    assert truth["bbox"] == [3, 2, 5, 4]
    json.dumps(truth)


@pytest.mark.parametrize("case", BAD_MASKS)
def test_a_mask_that_cannot_be_is_refused_by_the_mapper_too(tmp_path, case: str) -> None:
    mask, message = BAD_MASKS[case]
    entry = entry_with(tmp_path, segmentation=mask)
    with pytest.raises(ValueError) as caught:  # noqa: PT011
        load_dicts(register([entry]))
    assert message in str(caught.value)
    with pytest.raises(ValueError, match=r"a\.png: 'segmentation' of annotation 0") as caught:
        build_mapper(make_cfg("instance", 1), True)(entry)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"file_name": None}, "entry 0: 'file_name' is None; it is a path"),
        ({"file_name": 3}, "'file_name' is 3"),
        ({"height": None}, "'height' is missing"),
        ({"height": "12"}, "'height' is '12'"),
        ({"width": 0}, "at least 1"),
        ({"annotations": None}, "'annotations' is missing, or no list"),
        ({"annotations": [3]}, "annotation 0: it is int, no dict"),
        ({"annotations": [{}]}, "'category_id' is missing"),
        ({"annotations": [{"category_id": 0, "bbox": [1, 2, np.inf, 3]}]}, "four finite numbers"),
        ({"annotations": [{"category_id": 0, "iscrowd": 7}]}, "'iscrowd' is 7"),
        ({"pan_seg_file_name": "a.png"}, "'segments_info' is missing, or no list"),
        ({"segments_info": [{"id": 0, "category_id": 0}]}, "'id' is 0"),
        ({"segments_info": [{"id": 1}]}, "'category_id' is missing"),
    ],
)
def test_entries_that_cannot_be_used_are_named(tmp_path, change: dict, message: str) -> None:
    name = register([{**entry_with(tmp_path), **change}])
    with pytest.raises(ValueError) as caught:  # noqa: PT011
        load_dicts(name)
    assert name in str(caught.value)
    assert message in str(caught.value)


def raises(error: Exception) -> object:
    def load() -> list:
        raise error

    return load


@pytest.mark.parametrize(
    ("dicts", "message"),
    [
        (list, "has no image"),
        (lambda: iter(()), "its function has to return a list of dicts"),
        (lambda: None, "cannot be loaded: TypeError"),
        (lambda: [None], "entry 0 is NoneType, no dict"),
        (raises(KeyError("height")), "cannot be loaded: KeyError: 'height'"),
        (raises(AssertionError("no files")), "cannot be loaded: AssertionError: no files"),
    ],
)
def test_loaders_that_fail_are_named(dicts, message: str) -> None:
    with pytest.raises(ValueError, match="data set 'user") as caught:
        load_dicts(register(dicts))
    assert message in str(caught.value)


def test_a_generator_is_a_list_of_dicts(tmp_path) -> None:
    entry = entry_with(tmp_path)
    name = register(lambda: (entry for _ in range(1)))
    cfg = make_cfg("instance", 1)
    cfg.DATASETS.TRAIN = cfg.DATASETS.TEST = (name,)
    cfg.DATALOADER.NUM_WORKERS, cfg.SOLVER.IMS_PER_BATCH = 0, 1
    assert len(list(build_test_loader(cfg, name))) == 1
    assert len(next(iter(build_train_loader(cfg)))) == 1


def test_two_test_images_of_one_id_are_refused(tmp_path) -> None:
    entry = entry_with(tmp_path)
    name = register([entry, {**entry, "file_name": "b.png"}])
    load_dicts(name)  # in training, ids are not read
    with pytest.raises(ValueError, match=r"image id 1 is that of .*a\.png and of b\.png"):
        load_dicts(name, for_test=True)


@pytest.mark.parametrize("crowd", [1, True, "1"])
def test_a_training_set_of_crowds_is_refused_in_one_line(tmp_path, crowd) -> None:
    cfg = make_cfg("instance", 1)
    cfg.DATASETS.TRAIN = (register([entry_with(tmp_path, iscrowd=crowd)]),)
    with pytest.raises(ValueError, match="has an annotation that is not crowd"):
        build_train_loader(cfg)


DANGEROUS = ["1e9", "3e7", "NaN", "infinite", "foreign size", "foreign text", "endless text"]


def refuse_all(entry: dict) -> None:
    for case in DANGEROUS:
        entry["annotations"][0]["segmentation"] = BAD_MASKS[case][0]
        assert inspect_entry(entry, LabelSpace({"instance": 1}, 255)).problems
        with pytest.raises(ValueError, match=r"a\.png: annotation 0"):
            sound_dicts([entry], "x")


def test_dangerous_masks_need_little_memory(tmp_path) -> None:
    """In a child process that may take another gigabyte: each took 3 to 24, or was a crash."""
    entry = entry_with(tmp_path)
    started = time.monotonic()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of a fork beside other threads
        child = os.fork()
    if child == 0:  # not a new interpreter, which would import everything anew
        code = 1
        try:
            used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
            resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY, used + MEMORY))
            refuse_all(entry)
            code = 0
        finally:
            os._exit(code)
    assert os.waitpid(child, 0)[1] == 0
    assert time.monotonic() - started < 10


@pytest.mark.parametrize(
    ("first", "second", "message"),
    [
        (["a", "b", "c"], ["a", "c", "b"], "class 1 of data set '{}' is 'c', that of '{}' 'b'"),
        (["a", "b"], ["b", "a"], "class 0 of"),
        (["a", "b"], ["a", "d"], "class 1 of data set '{}' is 'd'"),
        (["a", "b"], ["A", "b "], None),
        (["a", "b"], ["a", "b"], None),
    ],
)
@pytest.mark.parametrize("key", ["thing_classes", "stuff_classes"])
def test_classes_are_compared_by_name(first, second, message, key: str) -> None:
    kind = {"thing_classes": "coco", "stuff_classes": "sem_seg"}[key]
    names = []
    for classes in (first, second):
        name = unique_name("named")
        DatasetCatalog.register(name, list)
        names.append(name)
        MetadataCatalog.get(name).set(**{key: classes, "evaluator_type": kind})
    if message is None:
        check_class_names(names)
        return
    with pytest.raises(ValueError) as caught:  # noqa: PT011
        check_class_names(names)
    assert message.format(names[1], names[0]) in str(caught.value)


def test_one_class_and_nothing_else_is_refused() -> None:
    name = unique_name("alone")
    DatasetCatalog.register(name, list)
    MetadataCatalog.get(name).set(
        stuff_classes=["polyp"], evaluator_type="sem_seg", ignore_label=255
    )
    for architecture in ("MaskFormer", "SegFormer", "SemanticSegmentor"):
        cfg = make_cfg("semantic", 1)
        cfg.MODEL.META_ARCHITECTURE, cfg.DATASETS.TRAIN = architecture, (name,)
        cfg.DATASETS.TEST = ()
        with pytest.raises(ValueError, match="has one class, 'polyp', and nothing to tell it from"):
            check_classes(cfg)


def test_a_drawing_needs_as_many_names_as_classes() -> None:
    name = unique_name("drawn")
    metadata = MetadataCatalog.get(name).set(
        stuff_classes=["a", "b", "c"], evaluator_type="sem_seg"
    )
    cfg = make_cfg("semantic", 2)
    cfg.MODEL.META_ARCHITECTURE = "SegFormer"
    with pytest.raises(ValueError, match=r"NUM_CLASSES is 2, but data set 'drawn\d+' has 3"):
        check_drawn_classes(cfg, metadata)
    cfg.MODEL.SEM_SEG_HEAD.NUM_CLASSES = 3
    check_drawn_classes(cfg, metadata)
