"""Goes through a whole data set, counts what is annotated and lists what is wrong with it.

``inspect_entry`` looks at one dict, ``inspect_dataset`` at all of them. A *source* is one kind of
annotation: "semantic" (label map), "panoptic" (PNG with segments), "instance"; expressions have no
classes and are none. Data that are no pictures bring a function of their own as ``inspect_entry``.
"""

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any

from detectron2.data import DatasetCatalog, Metadata

from ...names import meant_file
from ...pictures import UnreadableFileError, read_oriented, shown_size_and_grey
from ..catalog import kind_of, metadata_of, num_classes_of
from ..datasets.instance_maps import InstanceMaps
from ..datasets.json_loaders import load_instances, load_panoptic
from ..dicts import loaded_entries, sound_entry
from ..faults import Faults
from ..label_maps import read_id_map, read_values
from ..label_values import LabelValues
from ..orientation import complaint, fits_unturned
from ..readers import PictureReader
from ..referring.inspection import inspect_expressions, summarize
from ..referring.reading import ReferringSource
from .annotations import inspect_annotations
from .files import check_files_left_out, check_listed_twice
from .fingerprints import GREY_SIDE, measures_of
from .hints import class_hints, crowd_hints, segment_hints, undeclared_hints, value_hints
from .label_counts import count_labels, value_counts
from .measures import Measures
from .report import Counts, Problem, Report

SOURCES = ("semantic", "panoptic", "instance")


@dataclass(frozen=True)
class LabelSpace:
    """Number of classes by source (where the data set can have it), and the ignore label."""

    num_classes: dict[str, int]
    ignore_label: int

    @classmethod
    def of(cls, metadata: Metadata) -> "LabelSpace":
        found = {}
        for source in SOURCES:
            try:
                found[source] = num_classes_of(metadata, source)
            except ValueError:  # no such classes in this data set
                continue
        return cls(found, metadata.get("ignore_label", 255))


def inspect_dataset(
    name: str,
    *,
    workers: int = 1,
    reader: PictureReader | None = None,
    progress: Callable[[Iterable[Report], int], Iterable[Report]] = lambda reports, total: reports,
    measures: Measures | None = None,
) -> Report:
    """Look at every image and annotation of a registered data set.

    Args:
        reader: of pictures with other than three channels, whose bands are counted, too
        progress: wraps the iteration over the entries; gets it and their number
        measures: is filled with what a page on the data set shows besides; None: that is not
            measured, which saves a quarter of the time

    Raises:
        ValueError: there is no such data set, or it cannot be loaded at all.
    """
    metadata = metadata_of(name)
    entries, problems, remarks = _load(name)
    if isinstance(entries, list) and not entries and not problems:
        raise ValueError(f"data set {name!r} has no image")  # as where it is trained on
    problems += _problems_of_classes(name, metadata)
    space = LabelSpace.of(metadata)
    report = Report(problems=problems, hints=[*remarks, *class_hints(metadata)])
    inspect = metadata.get("inspect_entry") or partial(inspect_entry, reader=reader)
    if measures is not None:
        inspect = partial(inspect, is_measuring=True)
    with ThreadPoolExecutor(max(workers, 1)) as pool:
        reports = _in_order(pool, lambda entry: inspect(entry, space), entries, 4 * workers)
        for number, one in enumerate(progress(reports, len(entries))):
            report.add(one)
            if measures is not None:
                measures.add(number, one)
    check_listed_twice(entries, report)
    check_files_left_out(entries, metadata, report)
    if report.num_turned:
        report.hints.append(
            f"EXIF data turn {report.num_turned} of the pictures: annotations have to be of the "
            "turned ones"
        )
    report.hints += crowd_hints(entries) + segment_hints(report.problems)
    if kind_of(metadata) == "referring":
        summarize(entries, report)
    if metadata.get("label_values") is not None:
        report.hints += undeclared_hints(report.undeclared, metadata.label_values)
    elif "semantic" in report.counts:
        report.hints += value_hints(
            report.values, space.num_classes["semantic"], space.ignore_label
        )
    if measures is not None:
        measures.choose(entries, report)
    return report


def _in_order(
    pool: Executor,
    look: Callable[[Any], Report],
    entries: Iterable[dict[str, Any]],
    ahead: int,
) -> Iterator[Report]:
    """As ``pool.map``, which holds all entries' results and cannot be interrupted before its end;
    this is ``ahead`` of its caller by so many at most."""
    waiting: deque = deque()
    for entry in entries:
        waiting.append(pool.submit(look, entry))
        if len(waiting) > ahead:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()


def _load(name: str) -> tuple[list[dict[str, Any]], list[Problem], list[str]]:
    """The dicts, what the loader leaves out where it tells, and what may be meant otherwise."""
    loader = DatasetCatalog[name]
    if isinstance(loader, ReferringSource):
        return *loader.read(), []
    if isinstance(loader, InstanceMaps):
        faults = Faults("", is_collecting=True)
        entries, remarks = loader.read(faults, count_parts=True)
        return entries, faults.problems, remarks
    if isinstance(loader, partial) and loader.func in (load_instances, load_panoptic):
        faults = Faults(str(loader.args[0]), is_collecting=True)
        return loader(faults=faults), faults.problems, []
    return loaded_entries(name), [], []


def _problems_of_classes(name: str, metadata: Metadata) -> list[Problem]:
    if kind_of(metadata) == "semantic" and len(metadata.get("stuff_classes") or ()) == 1:
        detail = f"{metadata.stuff_classes[0]!r}; declare the background, too"
        return [Problem("one class and nothing else", name, detail)]
    return []


def inspect_entry(
    entry: dict[str, Any],
    space: LabelSpace,
    reader: PictureReader | None = None,
    is_measuring: bool = False,
) -> Report:
    """Look at one dataset dict in detectron2's format; measure its picture, too, if asked to."""
    report = Report(num_images=1)
    faults = Faults("dataset dict", is_collecting=True)
    where = f"image {entry.get('image_id')!r}" if isinstance(entry, dict) else "an entry"
    entry = sound_entry(entry, where, faults)
    report.problems += faults.problems
    if entry is None:
        return report
    size = _image_size(entry, reader, report, is_measuring)
    if "sem_seg_file_name" in entry and "semantic" in space.num_classes:
        values = entry.get("label_values")
        _inspect_labels(entry["sem_seg_file_name"], values, size, space, report)
    if "pan_seg_file_name" in entry and "panoptic" in space.num_classes:
        _inspect_panoptic(entry, size, space.num_classes["panoptic"], report)
    if report.num_turned:
        _inspect_orientation(entry, report)
    if "annotations" in entry and "instance" in space.num_classes:
        inspect_annotations(entry, size, space.num_classes["instance"], report)
    if "expressions" in entry:
        inspect_expressions(entry, size, report)
    return report


def _image_size(
    entry: dict[str, Any], reader: PictureReader | None, report: Report, is_measuring: bool
) -> tuple[int, int] | None:
    """(height, width) of the image, turned as its EXIF data says; None if it cannot be read."""
    file = entry["file_name"]
    declared = (entry.get("height"), entry.get("width"))
    try:
        look = shown_size_and_grey if reader is None else reader.shown_size_and_grey
        (height, width, is_turned), grey = look(file, GREY_SIDE if is_measuring else 0)
    except UnreadableFileError as error:
        meant = "" if os.path.exists(file) else meant_file(file)
        hint = f"; there is {meant}" if meant else ""
        report.problem("unreadable image", file, f"{error.reason}{hint}")
        return None if None in declared else declared
    if grey is not None:
        report.picture = measures_of(grey, (height, width))
    report.num_turned += is_turned
    if "instance_file_name" in entry:
        _check_size(declared, (height, width), entry["instance_file_name"], report)
        return declared  # of the masks
    if declared not in ((None, None), (height, width)):
        report.problem(
            "wrong image size",
            file,
            f"the image is {height}x{width} (height x width), its entry says "
            f"{declared[0]}x{declared[1]}",
        )
    return height, width


def _inspect_orientation(entry: dict[str, Any], report: Report) -> None:
    readers = {"sem_seg_file_name": partial(read_values, label_values=entry.get("label_values"))}
    readers["pan_seg_file_name"] = read_id_map
    for key in readers.keys() & entry.keys():
        try:
            image, orientation = read_oriented(entry["file_name"], "L")
            labels = readers[key](entry[key])
        except ValueError:  # said already
            continue
        if fits_unturned(image, labels, orientation, entry[key]):
            detail = complaint(entry["file_name"], orientation)
            report.problem("label map of the unturned picture", entry[key], detail)


def _check_size(
    shape: tuple[int, ...], size: tuple[int, int] | None, file: str, report: Report
) -> None:
    if size is not None and shape[:2] != size:
        report.problem(
            "annotation and image differ in size",
            file,
            f"{shape[0]}x{shape[1]}, the image is {size[0]}x{size[1]} (height x width)",
        )


def _inspect_labels(
    file: str,
    label_values: LabelValues | None,
    size: tuple[int, int] | None,
    space: LabelSpace,
    report: Report,
) -> None:
    try:
        labels = read_values(file, label_values)
    except ValueError as error:
        report.problem("unreadable label map", file, str(error))
        return
    _check_size(labels.shape, size, file, report)
    if label_values is not None:
        undeclared = label_values.undeclared(labels)
        report.undeclared.update(undeclared)
        for value, count in undeclared.items():
            detail = f"value {value} in {count} pixels"
            report.problem("label value not declared", file, detail, ("value", value))
        labels = label_values.look_up(labels)
        labels[labels < 0] = space.ignore_label
    num_classes = space.num_classes["semantic"]
    counts = count_labels(labels, num_classes, space.ignore_label, file, report)
    if not counts.pixels:
        report.problem("nothing annotated", file, "no pixel belongs to a class")


def _inspect_panoptic(
    entry: dict[str, Any], size: tuple[int, int] | None, num_classes: int, report: Report
) -> None:
    file = entry["pan_seg_file_name"]
    try:
        ids = read_id_map(file)
    except ValueError as error:
        report.problem("unreadable label map", file, str(error))
        return
    _check_size(ids.shape, size, file, report)
    areas = value_counts(ids)
    counts = report.counts.setdefault("panoptic", Counts())
    seen = {segment["id"] for segment in entry["segments_info"]}
    for number in areas.keys() - seen - {0}:
        detail = f"id {number}, {areas[number]} pixels"
        report.problem("segment not listed", file, detail, ("segment", number))
    for segment in entry["segments_info"]:
        category, area = segment["category_id"], areas.get(segment["id"], 0)
        subject = ("segment", segment["id"])
        if not 0 <= category < num_classes:
            detail = f"{category} of segment {segment['id']}"
            report.problem("category out of range", file, detail, subject)
        elif not area:
            report.problem("empty mask", file, f"segment {segment['id']} has no pixel")
        else:
            if segment.get("area", area) != area:
                detail = f"segment {segment['id']}: {segment['area']!r}, it has {area} pixels"
                report.problem("wrong area", file, detail, subject)
            report.areas.append(area)
            counts.pixels[category] += area
            counts.instances[category] += 1
    counts.images.update(counts.pixels.keys())
