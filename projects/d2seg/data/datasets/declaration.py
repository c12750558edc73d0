"""One's own data set, declared in a YAML or JSON file; the format is in docs/own_data.md.

DATASETS.DECLARATIONS lists such files; ``register_declarations`` registers what they declare.
"""

import difflib
import logging
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from detectron2.data import MetadataCatalog

from ...names import composed
from ..label_values import (
    MAX_LABEL,
    OTHER,
    LabelValues,
    check_ignore_label,
    names_in,
    parse_label_values,
)
from .builtin import split_name
from .categories import Category, distinct_colors
from .declared_categories import json_categories
from .declared_text import read_yaml, shown, with_texts
from .object_ids import ObjectIds, parse_object_ids
from .registration import check_paths, register_dataset
from .selection import SELECTION_KEYS, Selection, parse_selection

logger = logging.getLogger(__name__)

_KEYS = (
    *("name", "task", "classes", "colors", "values", "nearest_value", "ignore_label", "objects"),
    *("label_suffix", "root", "splits"),
)
_registered: dict[Path, "Declaration"] = {}


@dataclass(frozen=True)
class Declaration:
    """What one file declares; all paths are absolute."""

    name: str
    task: str
    categories: tuple[Category, ...]
    splits: Mapping[str, Mapping[str, Path]]
    ignore_label: int
    label_suffix: str
    label_values: LabelValues | None
    selections: Mapping[str, Selection]  # of the splits that do not take a whole folder
    object_ids: ObjectIds | None = None  # of label maps of instances

    @property
    def dataset_names(self) -> list[str]:
        return [split_name(self.name, split) for split in self.splits]


def register_declarations(files: Sequence[str | Path]) -> list[str]:
    """Register all splits of all files, and return the names of the data sets.

    A file that was registered before, unchanged, is not registered again.

    Raises:
        ValueError: as :func:`read_declaration`, or a name is taken.
    """
    names = []
    for file in files:
        path = Path(os.path.expanduser(file)).resolve()
        declaration = read_declaration(path)
        names += declaration.dataset_names
        if _registered.get(path) == declaration:
            continue
        for split, paths in declaration.splits.items():
            name = split_name(declaration.name, split)
            register_dataset(
                name,
                declaration.task,
                paths,
                list(declaration.categories),
                ignore_label=declaration.ignore_label,
                label_suffix=declaration.label_suffix,
                split=split,
                label_values=declaration.label_values,
                selection=declaration.selections.get(split),
                object_ids=declaration.object_ids,
            )
            MetadataCatalog.get(name).declared_in = str(path)
        _registered[path] = declaration
        logger.info("%s: %s", file, _summary(declaration))
    return names


def read_declaration(file: str | Path) -> Declaration:
    """Read and check one file. Of the files it names, only those that hold categories are opened.

    So pictures can be segmented where the data set is not; ``catalog.check_files`` asks for the
    rest.

    Raises:
        ValueError: the file is missing or not YAML, a key is missing, unknown or of a wrong type,
            or the splits have different categories.
    """
    content = _read(Path(file))
    for key in ("name", "task", "splits"):
        if not content.get(key):
            raise ValueError(f"{file}: '{key}' is missing")
    name, task = content["name"], content["task"]
    splits, selections = _splits(file, name, task, content)
    if task == "instance" and any("labels" in paths for paths in splits.values()):
        return _labelled_instances(Path(file), content, splits, selections)
    if task == "semantic":
        if content.get("objects"):
            raise ValueError(f"{file}: 'objects' is for label maps of task instance")
        categories = _declared_categories(file, content)
    else:
        categories = json_categories(file, task, content, splits)
    return Declaration(
        name,
        task,
        categories,
        splits,
        _ignore_label(file, content, len(categories)),
        content.get("label_suffix", ""),
        _label_values(file, content, [category.name for category in categories]),
        selections,
    )


def _labelled_instances(
    file: Path,
    content: dict[str, Any],
    splits: dict[str, dict[str, Path]],
    selections: dict[str, Selection],
) -> Declaration:
    """Of label maps that number objects."""
    for split, paths in splits.items():
        if "labels" not in paths:
            raise ValueError(
                f"{file}: split '{split}' has 'annotations' and another one 'labels'; declare them "
                "as two data sets, whose classes may be the same"
            )
    declared = _declared_categories(file, content)
    categories = tuple(Category(c.id + 1, c.name, True, c.color) for c in declared)
    try:
        ids = parse_object_ids(content, [category.name for category in categories])
    except ValueError as error:
        raise ValueError(f"{file}: {error}") from error
    for split, paths in splits.items():
        if content.get("values") is None and len(categories) > 1 and "table" not in paths:
            raise ValueError(
                f"{file}: which of the {len(categories)} classes an object of split '{split}' has "
                "is not said: declare 'values: {1: cat, 2: dog}', or 'table', a CSV file with "
                "the columns image,id,class"
            )
    suffix = content.get("label_suffix", "")
    name, task = content["name"], content["task"]
    return Declaration(name, task, categories, splits, 255, suffix, None, selections, ids)


def read_classes(file: str | Path) -> tuple[tuple[Category, ...], int]:
    """The classes of a semantic data set's declaration, with their colours, and its ignore label.

    Raises:
        ValueError: the file is missing or not YAML, or does not say all of it.
    """
    content = _read(Path(file))
    if not content.get("colors"):
        raise ValueError(f"{file}: 'colors' is missing")
    categories = _declared_categories(file, content)
    return categories, _ignore_label(file, content, len(categories))


def _ignore_label(file: str | Path, content: dict[str, Any], num_classes: int) -> int:
    ignore_label = content.get("ignore_label", 255 if num_classes <= 255 else 65535)
    is_number = isinstance(ignore_label, int) and not isinstance(ignore_label, bool)
    if is_number:
        check_ignore_label(ignore_label, f"{file}: ignore_label")
    if not is_number or ignore_label < num_classes:
        raise ValueError(
            f"{file}: ignore_label is {shown(repr(ignore_label))}; it is a number that is none "
            f"of the {num_classes} classes, at most {MAX_LABEL}"
        )
    return ignore_label


def _label_values(
    file: str | Path, content: dict[str, Any], class_names: list[str]
) -> LabelValues | None:
    values, nearest = content.get("values"), content.get("nearest_value", False)
    if values is None:
        if nearest:
            raise ValueError(f"{file}: nearest_value needs 'values', {{0: background, 255: polyp}}")
        return None
    # 'other' takes the ignore label, too, unless the file says that there is one
    has_other = isinstance(values, dict) and OTHER in values
    ignore_label = None if has_other else _ignore_label(file, content, len(class_names))
    try:
        return parse_label_values(
            values,
            class_names,
            nearest=nearest,
            ignore_label=content.get("ignore_label", ignore_label),
        )
    except ValueError as error:
        raise ValueError(f"{file}: {error}") from error


def _read(file: Path) -> dict[str, Any]:
    """The keys that a file sets to something, with texts as they are written."""
    content, written = read_yaml(file)
    if not isinstance(content, dict):
        raise ValueError(f"{file}: a declaration is a list of 'key: value'")
    for key in content.keys() - set(_KEYS):
        near = difflib.get_close_matches(shown(key), _KEYS, n=1, cutoff=0.0)[0]
        raise ValueError(f"{file}: unknown key '{shown(key)}'; the nearest is '{near}'")
    try:
        return with_texts(content, written)
    except ValueError as error:
        raise ValueError(f"{file}: {error}") from error


def _splits(
    file: str | Path, name: str, task: str, content: dict[str, Any]
) -> tuple[dict[str, dict[str, Path]], dict[str, Selection]]:
    splits = content["splits"]
    if not isinstance(splits, dict) or not all(isinstance(s, dict) for s in splits.values()):
        raise ValueError(f"{file}: 'splits' has lines like 'train: {{images: ..., labels: ...}}'")
    root = Path(file).resolve().parent / _expand(content.get("root", "."))
    found: dict[str, dict[str, Path]] = {}
    selections: dict[str, Selection] = {}
    for split, keys in splits.items():
        has_maps = task == "semantic" or (task == "instance" and "labels" in keys)
        selecting = set(SELECTION_KEYS) if has_maps else set()
        paths = {key: path for key, path in keys.items() if key not in selecting}
        try:
            check_paths(split_name(name, str(split)), task, paths)
            if selecting & keys.keys():
                selections[str(split)] = parse_selection(keys, root)
        except ValueError as error:
            raise ValueError(f"{file}: {error}") from error
        found[str(split)] = {key: root / _expand(path) for key, path in paths.items()}
    return found, selections


def _expand(path: Any) -> str:
    return os.path.expandvars(os.path.expanduser(str(path)))


def _declared_categories(file: str | Path, content: dict[str, Any]) -> tuple[Category, ...]:
    values = content.get("values")
    classes = content.get("classes") or names_in(values)
    if not classes and values is not None:
        raise ValueError(f"{file}: 'values' has the form {{0: background, 255: polyp}}")
    if not isinstance(classes, list) or not classes:
        raise ValueError(
            f"{file}: 'classes' is the list of class names, not {shown(classes)}; the first is "
            "label value 0"
        )
    names = list(classes)
    for name, times in Counter(map(composed, names)).items():
        if times > 1:
            raise ValueError(f"{file}: the class {shown(name)!r} is listed twice")
    colors = content.get("colors") or distinct_colors(len(names))
    if (
        not isinstance(colors, list)
        or len(colors) != len(names)
        or not all(_is_color(color) for color in colors)
    ):
        raise ValueError(f"{file}: 'colors' has one [red, green, blue] for each of the classes")
    return tuple(
        Category(i, name, False, tuple(color))
        for i, (name, color) in enumerate(zip(names, colors, strict=True))
    )


def _is_color(color: Any) -> bool:
    if not isinstance(color, (list, tuple)) or len(color) != 3:
        return False
    return all(type(level) is int and 0 <= level <= 255 for level in color)


def _summary(declaration: Declaration) -> str:
    """What a config has to say for this data set."""
    names = ", ".join(declaration.dataset_names)
    if declaration.task == "referring":
        return f"{names}: referring, INPUT.MAPPER referring"
    text = (
        f"{names}: {declaration.task}, MODEL.SEM_SEG_HEAD.NUM_CLASSES {len(declaration.categories)}"
    )
    if declaration.task == "semantic":
        text += f", MODEL.SEM_SEG_HEAD.IGNORE_VALUE {declaration.ignore_label}"
    return text
