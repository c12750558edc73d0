"""Names, colours and ids of the classes that a config is for, and their plain form in a file."""

from typing import Any

from detectron2.config import CfgNode
from detectron2.data import Metadata, MetadataCatalog

from ..names import alike

STORED = (
    "thing_classes",
    "thing_colors",
    "stuff_classes",
    "stuff_colors",
    "thing_dataset_id_to_contiguous_id",
    "stuff_dataset_id_to_contiguous_id",
    "ignore_label",
)
_CLASSES = ("thing_classes", "stuff_classes")


def class_metadata(cfg: CfgNode) -> Metadata:
    """Metadata of the first data set for testing, then for training, that names its classes; where
    none does, of the first one, or empty."""
    names = [*cfg.DATASETS.TEST, *cfg.DATASETS.TRAIN]
    found = [MetadataCatalog.get(name) for name in names]
    named = (m for m in found if any(m.get(key) for key in _CLASSES))
    return next(named, found[0] if found else Metadata())


def first_difference(classes: dict[str, Any], metadata: Metadata) -> str:
    """Where the names of ``classes``, of :func:`to_plain`, are not those of ``metadata``, as "class
    1 'dog', where data set 'x' has 'cat'"; "" where they agree.

    Names are compared as :func:`alike` has them. Where one of the two has no such names, or another
    number of them, nothing is compared.
    """
    for key in _CLASSES:
        own, others = classes.get(key) or (), metadata.get(key) or ()
        for number, (name, other) in enumerate(zip(own, others, strict=False)):
            if len(own) == len(others) and alike(str(name)) != alike(str(other)):
                return f"class {number} {name!r}, where data set {metadata.name!r} has {other!r}"
    return ""


def to_plain(metadata: Metadata) -> dict[str, Any]:
    """The entries of ``STORED`` that ``metadata`` has, as lists, dicts, strings and integers."""
    return {key: _plain(metadata.get(key)) for key in STORED if metadata.get(key) is not None}


def use_plain(cfg: CfgNode, classes: dict[str, Any], name: str) -> None:
    """Register ``classes``, of :func:`to_plain`, as metadata ``name`` and make it the only data set
    of ``cfg``, in place. The data set itself need not be there.

    Raises:
        ValueError: ``name`` is taken by other classes.
    """
    metadata = MetadataCatalog.get(name)
    for key in STORED:
        if key not in classes:
            continue
        if metadata.get(key, classes[key]) != classes[key]:
            raise ValueError(f"the data set {name!r} is registered with another {key}")
        metadata.set(**{key: classes[key]})
    cfg.DATASETS.DECLARATIONS = ()
    cfg.DATASETS.TRAIN, cfg.DATASETS.TEST = (), (name,)


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {int(key): int(number) for key, number in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return value if isinstance(value, str) else int(value)
