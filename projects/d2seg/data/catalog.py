"""Questions to detectron2's catalogs, and whether a config and its data sets agree."""

import difflib
import logging
import os
from collections.abc import Sequence

from detectron2.config import CfgNode
from detectron2.data import DatasetCatalog, Metadata, MetadataCatalog
from detectron2.utils.file_io import PathManager

from ..names import alike

logger = logging.getLogger(__name__)

_SEMANTIC_TYPES = {"sem_seg", "cityscapes_sem_seg", "volumes"}
_INSTANCE_TYPES = {"coco", "lvis", "cityscapes_instance", "pascal_voc"}
# The keys that hold numbers of classes in detectron2's own meta-architectures, and the task whose
# classes they count. All others count the classes of the data set's task in the key below.
_CLASS_KEYS = {
    "GeneralizedRCNN": {"MODEL.ROI_HEADS.NUM_CLASSES": "instance"},
    "RetinaNet": {"MODEL.RETINANET.NUM_CLASSES": "instance"},
    "ProposalNetwork": {},
    "SemanticSegmentor": {"MODEL.SEM_SEG_HEAD.NUM_CLASSES": "semantic"},
    "PanopticFPN": {
        "MODEL.ROI_HEADS.NUM_CLASSES": "instance",
        "MODEL.SEM_SEG_HEAD.NUM_CLASSES": "semantic",
    },
}
_MAPPING = (
    "list them alike under 'classes' of a declaration (of label maps, 'values' says which value is "
    "which class)"
)
_SEM_SEG_KEY = "MODEL.SEM_SEG_HEAD.NUM_CLASSES"
# of metadata
_FOLDERS = (
    *("image_root", "image_dir", "gt_dir", "sem_seg_root", "panoptic_root"),
    "instance_root",
)


def metadata_of(name: str) -> Metadata:
    """Metadata of a registered data set.

    Raises:
        ValueError: there is none of this name; the message has the nearest ones, or the splits of
            the data set of which it would be one.
    """
    if name in DatasetCatalog:
        return MetadataCatalog.get(name)
    near = difflib.get_close_matches(name, DatasetCatalog.list(), n=3)
    hint = f"; did you mean {' or '.join(near)}?" if near else ""
    whole = name.rpartition("_")[0]
    splits = _splits_of(whole)
    if splits:
        hint = f"; {whole} has the splits {', '.join(splits)}"
    raise ValueError(
        f"there is no data set {name!r}{hint} (your own ones are declared in files that "
        "DATASETS.DECLARATIONS lists, see docs/own_data.md)"
    )


def _splits_of(whole: str) -> list[str]:
    """What follows ``whole`` and an underscore in the names of data sets, if it is one word."""
    ends = (name.removeprefix(f"{whole}_") for name in DatasetCatalog.list() if whole)
    return [end for end in ends if f"{whole}_{end}" in DatasetCatalog and "_" not in end]


def kind_of(metadata: Metadata) -> str | None:
    """What is annotated: "semantic", "instance", "panoptic", "referring"; None: nothing says so."""
    evaluator = metadata.get("evaluator_type")
    if evaluator == "referring":
        return "referring"
    if metadata.get("panoptic_json") is not None:
        return "panoptic"
    if evaluator in _SEMANTIC_TYPES:
        return "semantic"
    if evaluator in _INSTANCE_TYPES:
        return "instance"
    kinds = {
        (True, True): "panoptic",
        (True, False): "instance",
        (False, True): "semantic",
        (False, False): None,
    }
    has_things = metadata.get("thing_classes") is not None
    return kinds[has_things, metadata.get("stuff_classes") is not None]


def num_classes_of(metadata: Metadata, task: str) -> int:
    """How many classes a model for ``task`` distinguishes on this data set, less no-object.

    On a panoptic data set things and stuff share one label space, for every task; where each has
    its own (detectron2's ``_separated`` ones) "instance" counts the things and "semantic" the
    stuff.

    Args:
        task: "semantic", "instance" or "panoptic"

    Raises:
        ValueError: the metadata does not hold the classes of this task.
    """
    if task == "semantic":
        return len(_classes(metadata, "stuff_classes", task))
    if task == "instance" and (kind_of(metadata) != "panoptic" or not _is_joint(metadata)):
        return len(_classes(metadata, "thing_classes", task))
    if not _is_joint(metadata):
        raise ValueError(
            f"data set {metadata.name!r} numbers things and stuff separately; task {task} needs "
            "one numbering (detectron2's data sets without _separated have it)"
        )
    ids = set(_ids(metadata, "thing").values()) | set(_ids(metadata, "stuff").values())
    if not ids:  # registered without maps: the lists say it
        return len(_classes(metadata, "stuff_classes", task))
    return max(ids) + 1


def check_data(cfg: CfgNode, eval_only: bool) -> None:
    """See that the data sets to be used are there and fit the model.

    Raises:
        ValueError: files of a data set are missing, or its classes differ from the config's.
    """
    check_classes(cfg)
    check_files((() if eval_only else cfg.DATASETS.TRAIN) + cfg.DATASETS.TEST)


def check_classes(cfg: CfgNode) -> None:
    """Compare the class counts and the ignore value of ``cfg`` with its data sets' metadata.

    Of DATASETS.TRAIN and TEST. Data sets whose metadata says nothing are left out, with a warning.

    Raises:
        ValueError: they differ, or the mapper does not read a data set's label values; the message
            has key, value, data set and remedy.
    """
    names = list(dict.fromkeys((*cfg.DATASETS.TRAIN, *cfg.DATASETS.TEST)))
    for name in names:
        metadata = metadata_of(name)
        kind = _known_kind(name, metadata)
        has_values = metadata.get("label_values") is not None
        if has_values and name in cfg.DATASETS.TRAIN and cfg.INPUT.MAPPER == "detectron2":
            raise ValueError(
                f"INPUT.MAPPER is 'detectron2', but data set {name!r} declares 'values', which "
                "detectron2's mapper does not read; set INPUT.MAPPER semantic"
            )
        if kind == "referring":  # has no classes
            continue
        if kind is None:
            logger.warning("data set %s does not say its classes; they are not checked", name)
            continue
        if kind == "semantic" and num_classes_of(metadata, kind) == 1:
            raise ValueError(
                f"data set {name!r} has one class, {metadata.stuff_classes[0]!r}, and nothing to "
                "tell it from: every prediction is right; declare the background as a class, as in "
                "values: {0: background, 255: object}"
            )
        keys = _CLASS_KEYS.get(cfg.MODEL.META_ARCHITECTURE, {_SEM_SEG_KEY: kind})
        for key, task in keys.items():
            _compare(cfg, key, num_classes_of(metadata, task), name, "classes")
        if _SEM_SEG_KEY in keys and kind != "instance" and metadata.get("ignore_label") is not None:
            key = "MODEL.SEM_SEG_HEAD.IGNORE_VALUE"
            _compare(cfg, key, metadata.ignore_label, name, "as ignore label")

    check_class_names(names)


def check_class_names(names: Sequence[str]) -> None:
    """See that data sets that are trained on or scored together have the same classes in one order.

    Names are compared as :func:`alike` has them. Data sets are compared where they have classes of
    one kind; no file is read.

    Raises:
        ValueError: there is one; the message has the first.
    """
    first: dict[str, tuple[str, list[str]]] = {}
    for name in names:
        metadata = metadata_of(name)
        for key in ("thing_classes", "stuff_classes"):
            classes = metadata.get(key)
            # things of an instance data set are not those in the joint numbering of a panoptic one
            kind = f"{key} {kind_of(metadata) if key == 'thing_classes' else ''}"
            if not classes or kind_of(metadata) == "referring":
                continue
            other, expected = first.setdefault(kind, (name, list(classes)))
            if len(classes) != len(expected):
                continue  # numbers are compared with the config's
            for number, (found, wanted) in enumerate(zip(classes, expected, strict=True)):
                if alike(str(found)) != alike(str(wanted)):
                    raise ValueError(
                        f"class {number} of data set {name!r} is {found!r}, that of {other!r} "
                        f"{wanted!r}; a model numbers its classes in one order, so {_MAPPING}, or "
                        "choose another data set"
                    )


def check_drawn_classes(cfg: CfgNode, metadata: Metadata) -> None:
    """See that the names that predictions are drawn with are as many as the model has classes.

    Nothing is read: a data set whose classes are only in its files is left out.

    Raises:
        ValueError: they are not.
    """
    kind = kind_of(metadata)
    if kind is None or kind == "referring":
        return
    for key, task in _CLASS_KEYS.get(cfg.MODEL.META_ARCHITECTURE, {_SEM_SEG_KEY: kind}).items():
        try:
            expected = num_classes_of(metadata, task)
        except ValueError:
            continue
        _compare(cfg, key, expected, metadata.name, "classes")


def check_files(names: Sequence[str]) -> None:
    """See that the folders and annotation files of the data sets are there.

    Files that are made on first use, as those of "shapes", are made if they are not there.

    Raises:
        ValueError: one is missing; the message has the path and the command that prepares it.
    """
    for name in names:
        metadata = metadata_of(name)
        if metadata.get("made_on_first_use", False):  # loading it sets the files' paths, too
            DatasetCatalog.get(name)
        keys = [*_FOLDERS, "object_table", "list_file", "expressions_file"]
        # the instances of a panoptic data set serve only mask AP; who declares them wants that
        keys += ["panoptic_json"] if kind_of(metadata) == "panoptic" else ["json_file"]
        keys += ["json_file"] if metadata.get("declared_in") is not None else []
        for key in keys:
            path = metadata.get(key)
            if path and not PathManager.exists(str(path)):
                raise ValueError(f"data set {name!r}: there is no {path}; {_remedy(metadata)}")
            if path and key in _FOLDERS and os.path.isfile(path):
                raise ValueError(
                    f"data set {name!r}: {path} is a file, where a folder is needed; unpack it, if "
                    "it is an archive, and name its folder"
                )


def _remedy(metadata: Metadata) -> str:
    if metadata.get("declared_in") is not None:
        return f"correct {metadata.declared_in}, or put it there"
    prepare = metadata.get("prepare")
    return (
        f"{f'prepare it with: python {prepare}' if prepare else 'put it there'}, or set "
        "DETECTRON2_DATASETS to the folder that holds the data sets (see docs/datasets.md)"
    )


def _classes(metadata: Metadata, key: str, task: str) -> list[str]:
    classes = metadata.get(key)
    if classes is None:
        raise ValueError(f"data set {metadata.name!r} has no {key}, which task {task} needs")
    return classes


def _ids(metadata: Metadata, kind: str) -> dict[int, int]:
    return metadata.get(f"{kind}_dataset_id_to_contiguous_id") or {}


def _is_joint(metadata: Metadata) -> bool:
    """Whether no contiguous id stands for two categories, one a thing and one stuff."""
    things = {contiguous: raw for raw, contiguous in _ids(metadata, "thing").items()}
    stuff = {contiguous: raw for raw, contiguous in _ids(metadata, "stuff").items()}
    return all(things[i] == stuff[i] for i in things.keys() & stuff.keys())


def _known_kind(name: str, metadata: Metadata) -> str | None:
    """The kind by :func:`kind_of`, after reading a data set whose files alone have its classes."""
    kind = kind_of(metadata)
    if kind == "referring":
        return kind
    key = "thing_classes" if kind == "instance" else "stuff_classes"
    if kind is None or metadata.get(key) is None:
        from .dicts import loaded_entries  # which asks this module for metadata

        loaded_entries(name)  # detectron2's COCO loader completes the metadata
        kind = kind_of(metadata)
    return kind


def _compare(cfg: CfgNode, key: str, expected: int, name: str, what: str) -> None:
    value: CfgNode | int = cfg
    for part in key.split("."):
        value = value[part]
    if value != expected:
        raise ValueError(
            f"{key} is {value}, but data set {name!r} has {expected} {what}; "
            f"set {key} {expected}, or choose another data set"
        )
