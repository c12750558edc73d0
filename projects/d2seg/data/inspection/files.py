"""What is wrong with the files of a data set as a whole, for its inspection."""

from collections import Counter
from pathlib import Path
from typing import Any

from detectron2.data import Metadata

from ..catalog import kind_of
from ..datasets.loaders import hints_on_unpaired, pair_files
from ..faults import area
from ..json_files import read_json
from .report import Report

_LEFT_OUT = ("unusable annotation", "unlisted image", "unusable mask")  # faults of one each


def check_listed_twice(entries: list[dict[str, Any]], report: Report) -> None:
    entries = [e for e in entries if isinstance(e, dict) and isinstance(e.get("file_name"), str)]
    files = Counter((entry["file_name"], entry.get("slice_index")) for entry in entries)
    for (file, _), times in files.items():
        if times > 1:
            report.problem("image listed twice", file, f"{times} entries")


def check_files_left_out(entries: list[dict[str, Any]], metadata: Metadata, report: Report) -> None:
    """Add to ``report`` files without a partner, and what loaders leave out of the annotations with
    no more than a warning."""
    kind, json_file = kind_of(metadata), metadata.get("json_file")
    if metadata.get("label_suffix") is not None:
        values = metadata.get("label_values")
        label_root = metadata.get("sem_seg_root") or metadata.instance_root
        _, no_label, no_image = pair_files(
            metadata.image_root,
            label_root,
            metadata.label_suffix,
            lossy=values is not None and values.nearest,
            selection=metadata.get("selection"),
        )
        hints = hints_on_unpaired(
            metadata.image_root, label_root, metadata.label_suffix, no_label, no_image
        )
        for file in no_label:
            report.problem("image without label map", file, hints.get(file, ""))
        for file in no_image:
            report.problem("label map without image", file, hints.get(file, ""))
    if kind == "instance" and json_file and Path(json_file).is_file():
        annotated = read_json(json_file).get("annotations") or []
        wrong_areas = [fault for a in annotated if (fault := _area_fault(a))]
        missing = len(annotated) - sum(len(entry["annotations"]) for entry in entries)
        said = [p.kind for p in report.problems if p.file == str(json_file)]
        missing -= sum(kind in _LEFT_OUT for kind in said)
        if missing > 0:
            report.problem(
                "unusable mask",
                json_file,
                f"{missing} annotations are left out: fewer than 3 points, or an unlisted image",
            )
        for fault in wrong_areas:
            report.problem("unusable annotation", json_file, fault)


def _area_fault(annotation: dict[str, Any]) -> str:
    """What an evaluation refuses, and a training does not read."""
    try:
        if annotation.get("area") is not None:
            area(annotation["area"])
    except ValueError as error:
        return f"annotation {annotation.get('id')!r}: {error}"
    return ""
