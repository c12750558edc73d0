"""Registers one split of a data set in detectron2's catalogs: dataset dicts and metadata."""

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from detectron2.data import DatasetCatalog, MetadataCatalog

from ...names import path_inside
from ..label_values import LabelValues
from ..referring.reading import ReferringSource
from . import categories as tables
from .categories import Category
from .instance_maps import InstanceMaps
from .json_loaders import load_instances, load_panoptic
from .loaders import load_semantic
from .object_ids import ObjectIds, parse_object_ids
from .selection import SELECTION_KEYS, Selection

# the paths of a split, by task, and where the metadata holds them
PATH_KEYS = {
    "semantic": {"images": "image_root", "labels": "sem_seg_root"},
    "instance": {
        "images": "image_root",
        "annotations": "json_file",
        "labels": "instance_root",
        "table": "object_table",
    },
    "panoptic": {
        "images": "image_root",
        "annotations": "panoptic_json",
        "panoptic": "panoptic_root",
        "labels": "sem_seg_root",
        "instances": "json_file",
    },
    "referring": {
        "images": "image_root",
        "annotations": "json_file",
        "expressions": "expressions_file",
    },
}
_OPTIONAL = {
    "instance": {"annotations", "labels", "table"},  # but one of the first two
    "panoptic": {"labels", "instances"},
}
_METADATA = {
    "semantic": tables.semantic_metadata,
    "instance": tables.instance_metadata,
    "panoptic": tables.panoptic_metadata,
    "referring": lambda categories: {},
}


def register_dataset(
    name: str,
    task: str,
    paths: Mapping[str, str | Path],
    categories: list[Category],
    *,
    ignore_label: int = 255,
    label_suffix: str = "",
    image_suffix: str | None = None,
    prepare: str = "",
    split: str = "",
    label_values: LabelValues | None = None,
    selection: Selection | None = None,
    object_ids: ObjectIds | None = None,
) -> None:
    """Register the data set ``name``; files are only read when its dicts are asked for.

    Args:
        task: "semantic", "instance", "panoptic" or "referring"
        paths: of "images" (a folder) and, by task,
            semantic: "labels", a folder of label maps with contiguous ids;
            instance: "annotations", a JSON file in COCO's format, or "labels", a folder of label
            maps that number objects, and if need be "table", a CSV file of the objects' classes;
            panoptic: "annotations", a JSON file in COCO's panoptic format, "panoptic", its folder
            of PNGs, and optionally "labels", a folder of label maps with the PNGs' names, and
            "instances", the JSON file that mask AP is computed with;
            referring: "annotations", a JSON file in COCO's format, and "expressions", a file as
            :func:`d2seg.data.referring.references.read_references` takes it.
        categories: in the order of the model's classes; an instance data set takes the things of
            them only, a referring one has none
        ignore_label: value of label-map pixels that belong to no class
        label_suffix: what a label map's name has behind its image's, as in ``a_mask.png``
        image_suffix: extension of the images of a panoptic data set whose JSON does not name them
        prepare: the script that makes the files, for the message where they are missing
        split: which of the splits that a file of expressions may hold
        label_values: semantic only; None: labels are contiguous ids
        selection: of data sets with label maps; None: all images
        object_ids: what the values of label maps of instances stand for

    Raises:
        ValueError: an unknown task, a path or an argument that the task needs or does not know, a
            name that is taken, or an ignore label that is a class.
    """
    check_paths(name, task, paths)
    path_inside("inference", name, "name of a data set")  # where its predictions are written
    check_is_new(name)
    _check_ignore_label(name, ignore_label, len(categories))
    files = {key: str(path) for key, path in paths.items()}
    has_maps = task == "semantic" or (task == "instance" and "labels" in paths)
    metadata = _METADATA[task](categories)
    metadata |= _reading_entries(name, task, has_maps, label_values, selection)
    if task == "semantic":
        load = partial(load_semantic, files["images"], files["labels"], label_suffix)
        load = partial(load, label_values=label_values, selection=selection)
    elif has_maps:
        if object_ids is None:
            object_ids = parse_object_ids({}, metadata["thing_classes"])
        roots = files["images"], files["labels"]
        load = InstanceMaps(*roots, label_suffix, object_ids, files.get("table"), selection)
        metadata["label_suffix"] = label_suffix
    elif task == "referring":
        load = ReferringSource(name, **files, split=split)
    else:
        load = _json_loader(task, files, metadata, image_suffix)
    DatasetCatalog.register(name, load)
    metadata |= {PATH_KEYS[task][key]: path for key, path in files.items()}
    metadata |= _own_entries(task, ignore_label, label_suffix)
    if prepare:
        metadata["prepare"] = prepare
    MetadataCatalog.get(name).set(**metadata)


def _check_ignore_label(name: str, ignore_label: int, num_classes: int) -> None:
    if 0 <= ignore_label < num_classes:
        raise ValueError(
            f"data set {name!r}: the ignore label {ignore_label} is one of its "
            f"{num_classes} classes"
        )


def check_is_new(name: str) -> None:
    """Raise ``ValueError`` where a data set of this name is registered."""
    if name in DatasetCatalog:
        raise ValueError(f"a data set named {name!r} is already registered; choose another name")


def check_paths(name: str, task: str, paths: Mapping[str, Any]) -> None:
    """Raise ``ValueError`` unless ``paths`` has the keys that ``task`` needs, and no others."""
    if task not in PATH_KEYS:
        tasks = ", ".join(PATH_KEYS)
        raise ValueError(f"data set {name!r}: task is {task!r}; it is one of {tasks}")
    for key in PATH_KEYS[task].keys() - _OPTIONAL.get(task, set()) - paths.keys():
        raise ValueError(f"data set {name!r}: task {task} needs the path of '{key}'")
    if task == "instance" and ("annotations" in paths) == ("labels" in paths):
        raise ValueError(
            f"data set {name!r}: task instance needs the path of 'annotations', a JSON file in "
            "COCO's format, or of 'labels', a folder of PNGs that number objects; one of them"
        )
    if task == "instance" and "table" in paths and "labels" not in paths:
        raise ValueError(f"data set {name!r}: 'table' is for 'labels'; 'annotations' has classes")
    for key in paths.keys() - PATH_KEYS[task].keys():
        has_maps = task == "semantic" or (task == "instance" and "labels" in paths)
        known = ", ".join((*PATH_KEYS[task], *(SELECTION_KEYS if has_maps else ())))
        raise ValueError(f"data set {name!r}: unknown path '{key}'; task {task} has {known}")


def _own_entries(task: str, ignore_label: int, label_suffix: str) -> dict[str, Any]:
    """What the metadata of a task have beyond classes and paths."""
    return {
        "semantic": {
            "evaluator_type": "sem_seg",
            "ignore_label": ignore_label,
            "label_suffix": label_suffix,
        },
        "instance": {"evaluator_type": "coco"},
        "panoptic": {
            "evaluator_type": "coco_panoptic_seg",
            "ignore_label": ignore_label,
            "label_divisor": 1000,
        },
        "referring": {"evaluator_type": "referring"},
    }[task]


def _reading_entries(
    name: str,
    task: str,
    has_maps: bool,
    label_values: LabelValues | None,
    selection: Selection | None,
) -> dict[str, Any]:
    """What the metadata say of the reading of label maps and of the choice of images, if at all."""
    entries: dict[str, Any] = {}
    if task != "semantic" and label_values is not None:
        raise ValueError(f"data set {name!r}: label_values is for task semantic, not {task}")
    if not has_maps and selection is not None:
        raise ValueError(f"data set {name!r}: a selection is for label maps, not for {task}")
    if label_values is not None:
        entries["label_values"] = label_values
    if selection is not None:
        entries["selection"] = selection
        if selection.list_file is not None:
            entries["list_file"] = str(selection.list_file)
    return entries


def _json_loader(
    task: str, files: dict[str, str], metadata: dict[str, Any], image_suffix: str | None
) -> Callable[[], list[dict[str, Any]]]:
    ids = {key: value for key, value in metadata.items() if key.endswith("_to_contiguous_id")}
    if task == "instance":
        return partial(load_instances, files["annotations"], files["images"], ids)
    return partial(
        load_panoptic,
        files["annotations"],
        files["images"],
        files["panoptic"],
        ids,
        sem_seg_root=files.get("labels"),
        image_suffix=image_suffix,
    )
