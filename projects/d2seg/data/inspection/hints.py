"""Guesses at the label convention of a data set from the values in its label maps, and at its
classes from their names."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

from detectron2.data import Metadata

from ...names import alike
from ..label_maps import advice_on_unlisted
from ..label_values import MAX_LABEL, LabelValues
from .report import Problem


def class_hints(metadata: Metadata) -> list[str]:
    """Sentences on classes of one name, as an export has them that lists the name of its project,
    too."""
    hints = []
    for names in {*map(tuple, (metadata.get(k) or () for k in ("thing_classes", "stuff_classes")))}:
        times = Counter(alike(str(name)) for name in names)
        twice = [name for name in names if times[alike(str(name))] > 1]
        if twice:
            hints.append(
                f"{len(twice)} classes have one name, {twice[0]!r}, and are learnt as different "
                "ones; if they mean the same, give their annotations one category"
            )
    return hints


def crowd_hints(entries: Sequence[dict[str, Any]]) -> list[str]:
    """Sentences on dicts of which nothing counts; the first that does ends the search, and so does
    what is no dict, which the checker has listed."""
    hints = []
    for key, what in (("annotations", "annotations"), ("segments_info", "segments")):
        flags = (_is_crowd(part) for entry in entries for part in _parts(entry, key))
        first = next(flags, None)
        if first is None and any(isinstance(entry, dict) and key in entry for entry in entries):
            hints.append(f"no picture has any of its {what}: nothing is learnt or scored")
        if first and all(flags):
            hints.append(
                f"all {what} are crowd (iscrowd 1), of which nothing is learnt or scored: set it "
                "to 0 for single objects"
            )
    return hints


def segment_hints(problems: Sequence[Problem]) -> list[str]:
    """What may be wrong with panoptic PNGs whose ids are not listed."""
    ids = [p.subject[1] for p in problems if p.kind == "segment not listed" and p.subject]
    return [f"ids that are not listed, as {ids[0]}: {advice_on_unlisted(ids[0])}"] if ids else []


def _parts(entry: Any, key: str) -> Sequence[Any]:
    parts = entry.get(key) if isinstance(entry, dict) else None
    return parts if isinstance(parts, list | tuple) else ()


def _is_crowd(part: Any) -> bool:
    return isinstance(part, dict) and part.get("iscrowd", 0) in (1, True, "1")


def value_hints(values: Counter, num_classes: int, ignore_label: int) -> list[str]:
    """Sentences on what the values look like, where they do not look like class ids.

    Args:
        values: pixels of each value, over all label maps
    """
    present = {value for value, pixels in values.items() if pixels and value != ignore_label}
    wrong = {value for value in present if not 0 <= value < num_classes}
    hints = []
    if not present:
        return ["every pixel has the ignore label"]
    if set(values) == {0, 255} and ignore_label == 255 and num_classes > 1:
        hints.append(
            "the values are 0 and 255, and 255 is the ignore label: if 255 marks an object, "
            "declare values: {0: background, 255: object} with the names of your classes"
        )
    elif wrong == {num_classes} and 0 not in present:
        hints.append(
            f"the values are 1..{num_classes}, but classes are counted from 0: convert with "
            "tools/prepare_own_labels.py --reduce-zero-label"
        )
    elif wrong == {num_classes}:
        hints.append(
            f"the values are 0..{num_classes}, one more than there are classes: if {num_classes} "
            f"means unlabelled, declare ignore_label: {num_classes}; if 0 does, convert with "
            "tools/prepare_own_labels.py --reduce-zero-label; if each is a class, add the name of "
            "the missing one"
        )
    elif len(wrong) == 1 and min(wrong) < 0:
        hints.append(
            f"{min(wrong)} is among the values: if it means unlabelled, convert with "
            f"tools/prepare_own_labels.py --map {min(wrong)}:{ignore_label}"
        )
    elif len(wrong) == 1 and max(wrong) <= MAX_LABEL:
        value = min(wrong)
        hints.append(
            f"{value} is among the values and {ignore_label} is the ignore label: if {value} means "
            f"unlabelled, declare ignore_label: {value}; if it marks an object, declare 'values'"
        )
    elif len(wrong) > 1 and present | {0} == set(range(max(present) + 1)):
        hints.append(
            f"the values are 0..{max(present)} without a gap, for {num_classes} classes: if they "
            "number objects, declare task: instance, or for semantic segmentation values: "
            "{0: background, other: object}; if interpolation or JPEG made them, declare 'values' "
            "with nearest_value: true"
        )
    elif len(wrong) > 3 and len(values) <= 2 * num_classes:
        hints.append(
            f"{len(values)} values up to {max(values)} for {num_classes} classes: the label maps "
            "may hold grey levels of a drawing; declare with 'values' what each stands for"
        )
    elif len(wrong) > 3:
        hints.append(
            f"{len(values)} different values for {num_classes} classes: the label maps may have "
            "been resized with interpolation or saved as JPEG on the way: declare 'values' with "
            "nearest_value: true"
        )
    return hints


def undeclared_hints(undeclared: Counter, label_values: LabelValues) -> list[str]:
    """Hints like :func:`value_hints`, for a data set that declares what its values mean.

    Args:
        undeclared: pixels of each value that is not declared, over all label maps
    """
    if not undeclared:
        return []
    if len(undeclared) == 1 and 0 <= min(undeclared) <= MAX_LABEL:
        value = min(undeclared)
        return [
            f"{value} is not among the declared values: if it means unlabelled, declare "
            f"ignore_label: {value}"
        ]
    if len(undeclared) > 3:
        return [
            f"{len(undeclared)} values that are not declared: if the label maps were saved as JPEG "
            "or resized with interpolation, set nearest_value: true; if they number objects, "
            f"declare 'other' besides {', '.join(str(value) for value in label_values.classes)}"
        ]
    return []
