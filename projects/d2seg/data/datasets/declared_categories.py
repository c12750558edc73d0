"""Classes of a declaration that are in its JSON files: those of instances and panoptic segments."""

from pathlib import Path
from typing import Any

from ..faults import AnnotationFileError, Faults
from ..json_files import read_json
from .categories import Category, distinct_colors
from .coco_files import sound_categories
from .declared_text import shown, text_of

_LABEL_KEYS = ("colors", "values", "nearest_value", "objects")


def json_categories(
    file: str | Path, task: str, content: dict[str, Any], splits: dict[str, dict[str, Path]]
) -> tuple[Category, ...]:
    """The categories that all splits' annotation files agree on, in the order of 'classes', or of
    their ids.

    Raises:
        AnnotationFileError: a file cannot be read, or holds none.
        ValueError: they do not agree, or a key is of another task.
    """
    wrong = [key for key in _LABEL_KEYS if content.get(key)]
    if task == "referring" and content.get("classes"):
        wrong.append("classes")
    if wrong:
        place = "has none" if task == "referring" else "has those of its annotation files"
        kind = "label maps of instances" if wrong[0] == "objects" else "task semantic"
        raise ValueError(f"{file}: '{wrong[0]}' is for {kind}; task {task} {place}")
    if task == "referring":
        return ()
    first, expected = "", None
    for split, paths in splits.items():
        try:
            found = _read_categories(paths["annotations"], task)
        except ValueError as error:
            raise AnnotationFileError(str(error)) from error
        if expected is not None and found != expected:
            raise ValueError(f"{file}: the categories of '{split}' differ from those of '{first}'")
        first, expected = split, found
    found = expected or []
    if content.get("classes") is not None:
        found = _in_order(file, found, content["classes"])
    return tuple(
        Category(number, name, is_thing, color)
        for (number, name, is_thing), color in zip(found, distinct_colors(len(found)), strict=True)
    )


def _in_order(
    file: str | Path, categories: list[tuple[int, str, bool]], classes: Any
) -> list[tuple[int, str, bool]]:
    """Those of the annotation files in the order that the declaration lists, which has all."""
    by_name = {name: (number, name, is_thing) for number, name, is_thing in categories}
    names = classes if isinstance(classes, list) else []
    if len(by_name) < len(categories) or sorted(names) != sorted(by_name):
        odd = sorted(set(names) ^ set(by_name))[:5]
        raise ValueError(
            f"{file}: 'classes' lists the {len(categories)} categories of the annotation files, "
            f"each once, in the order of the model's classes; not in both: {', '.join(odd) or '-'}"
        )
    return [by_name[name] for name in names]


def _read_categories(annotations: Path, task: str) -> list[tuple[int, str, bool]]:
    """(id, name, whether a thing) of the categories of a JSON file, in the order of their ids."""
    content = read_json(annotations, "categories")
    if not isinstance(content, dict):
        raise ValueError(f"{annotations}: not a JSON file in COCO's format: it is no object")
    entries = content.get("categories")
    needed = {"id", "name", "isthing"} if task == "panoptic" else {"id", "name"}
    is_list = isinstance(entries, list) and entries and all(isinstance(e, dict) for e in entries)
    if entries is None:
        raise ValueError(
            f"{annotations}: not in COCO's format: 'categories' is missing; what LabelMe, YOLO, "
            "Pascal VOC, CVAT and Supervisely write is converted by d2seg convert-data"
        )
    if not is_list or any(needed - entry.keys() for entry in entries):
        raise ValueError(f"{annotations}: 'categories' needs entries with {sorted(needed)}")
    for number, entry in enumerate(entries):
        name = entry["name"]
        if "isthing" in needed and entry["isthing"] is None:
            raise ValueError(
                f"{annotations}: 'isthing' of categories[{number}] is null; it is 0 or 1"
            )
        if not isinstance(name, str | int | float) or isinstance(name, bool) or name == "":
            raise ValueError(
                f"{annotations}: the name of categories[{number}] is {shown(repr(name))}, no text"
            )
        try:
            text_of(name, str(name), f"the name of categories[{number}]")
        except ValueError as error:
            raise ValueError(f"{annotations}: {error}") from error
    sound = sound_categories(entries, task == "panoptic", Faults(str(annotations)))
    categories = [(e["id"], str(e["name"]), bool(e.get("isthing", True))) for e in sound]
    if task == "instance":
        categories = [(number, name, True) for number, name, _ in categories]
    return sorted(categories)
