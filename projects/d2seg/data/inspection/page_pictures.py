"""Pictures of a page on data sets: faults, duplicates, samples."""

import copy
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from detectron2.data import Metadata

from ...names import printable
from ...reports import data_uri
from ..label_maps import read_values
from ..medical.files import is_array_file
from ..readers import PictureReader
from .drawing import (
    Annotated,
    add_labels,
    class_names,
    draw,
    read_annotated,
    read_shown,
    region_colors,
)
from .duplicates import Duplicates, Place
from .measures import EXAMPLES_PER_KIND, Entry, Inspected
from .report import Problem

MAX_CHARACTERS = 4_400_000  # of pictures, so that the page stays below 5 MB
NUM_MAPPED = 12  # samples of the mapper
_LONGEST, _SMALL = 448, 224  # edges of pictures, and of those of duplicates
_QUALITY = 72  # of WebP
_MAX_GROUPS, _MAX_IN_GROUP = 24, 6  # of duplicates that are shown

DrawSample = Callable[[Entry, Metadata], np.ndarray]


class Pictures:
    """Pictures as data URIs, until their share of the page is used up."""

    def __init__(self) -> None:
        self._left = MAX_CHARACTERS
        self.num_left_out = 0

    def uri(self, image: np.ndarray) -> str | None:
        pixels = np.ascontiguousarray(image[..., ::-1])
        encoded = cv2.imencode(".webp", pixels, [cv2.IMWRITE_WEBP_QUALITY, _QUALITY])[1]
        uri = data_uri(encoded.tobytes(), "image/webp")
        if len(uri) > self._left:
            self.num_left_out += 1
            return None
        self._left -= len(uri)
        return uri

    def panels(self, drawn: Iterable[tuple[str, np.ndarray]], caption: str = "") -> list[tuple]:
        """(uri, alt, caption) of those for which there is room."""
        found = [(self.uri(image), alt, caption) for alt, image in drawn]
        return [panel for panel in found if panel[0] is not None]


def problems_of(one: Inspected, pictures: Pictures) -> dict[str, Any]:
    """The kinds of problems of a data set, each with its number and some examples."""
    times = Counter(problem.kind for problem in one.report.problems)
    kinds = []
    for kind, num in times.most_common():
        examples = [
            _example(one, number, problem, pictures)
            for number, problem in one.measures.examples.get(kind, [])
        ]
        kinds.append({"kind": kind, "times": num, "examples": examples})
    names = {"name": printable(one.name), "error": printable(one.error)}
    return {**names, "kinds": kinds, "num_shown": EXAMPLES_PER_KIND}


def _example(
    one: Inspected, number: int | None, problem: Problem, pictures: Pictures
) -> dict[str, Any]:
    if number is not None:
        found = read_annotated(
            one.measures.entries[number], one.metadata, problem.subject, one.reader
        )
    else:
        found = _lone_file(problem.file, one.metadata, one.reader)
    drawn = draw(found, one.metadata, _LONGEST)
    return {
        "title": printable(Path(problem.file).name),
        "note": printable(problem.detail),
        "file": printable(problem.file),
        "annotated": _listed(found, one.metadata),
        "panels": pictures.panels(drawn),
    }


def _lone_file(file: str, metadata: Metadata, reader: PictureReader | None) -> Annotated:
    """A picture or a label map that no entry names."""
    found = Annotated()
    if not Path(file).is_file() or Path(file).suffix.lower() in (".json", ".yaml", ".txt"):
        return found
    root = metadata.get("sem_seg_root")
    try:
        if root is not None and Path(file).is_relative_to(root):
            values = metadata.get("label_values")
            add_labels(read_values(file, values), values, metadata, None, found)
        else:
            found.image = read_shown(file, reader)
    except ValueError:
        pass
    return found


def groups_of(
    inspected: Sequence[Inspected], duplicates: Duplicates, pictures: Pictures
) -> list[dict[str, Any]]:
    groups = []
    for group in duplicates.groups[:_MAX_GROUPS]:
        # those that leak first
        order = [*group.leaks, *(set(range(len(group.places))) - {*group.leaks})]
        panels = []
        for place in (group.places[i] for i in order[:_MAX_IN_GROUP]):
            name = printable(inspected[place.dataset].name)
            caption = f"{name}: {printable(Path(place.file).name)}"
            image = _small_picture(place, inspected[place.dataset].reader)
            if image is not None and (uri := pictures.uri(image)):
                panels.append((uri, caption, caption))
        if group.is_same_file:
            likeness = "files with the same content"
        elif group.distance == 0:
            likeness = "no difference in what is compared"
        else:
            likeness = f"nearly the same: up to {group.distance} of 143 bits differ"
        kind = "leak: " if group.leaks else ""
        note = f"{len(group.places)} pictures" if len(group.places) > _MAX_IN_GROUP else ""
        groups.append(
            {
                "title": f"{kind}{likeness}",
                "note": note,
                "is_leak": bool(group.leaks),
                "panels": panels,
                "files": [printable(place.file) for place in group.places[:_MAX_IN_GROUP]],
            }
        )
    return groups


def _small_picture(place: Place, reader: PictureReader | None) -> np.ndarray | None:
    try:
        if is_array_file(place.file.partition(", slice ")[0]):
            return None
        found = Annotated(image=read_shown(place.file, reader))
    except (OSError, ValueError):
        return None
    return draw(found, Metadata(), _SMALL)[0][1]


def galleries_of(one: Inspected, pictures: Pictures) -> dict[str, Any]:
    """Pictures at random and of the rarest classes, with what is annotated."""
    names = {s: class_names(one.metadata, s) for s in ("semantic", "panoptic", "instance")}
    random = [_item(one, number, "", pictures) for number in one.measures.samples]
    rarest = []
    for source, category, number in one.measures.rarest:
        counts = one.report.counts[source]
        images = counts.images[category]
        name = printable(names[source][category])
        title = f"{name}: in {images} picture{'s' * (images != 1)}"
        rarest.append(_item(one, number, title, pictures, (source, category)))
    return {"name": printable(one.name), "random": random, "rarest": rarest}


def _item(
    one: Inspected,
    number: int,
    title: str,
    pictures: Pictures,
    framed: tuple[str, int] | None = None,
) -> dict[str, Any]:
    """One picture; ``framed``: source and class of regions with a box around them."""
    found = read_annotated(one.measures.entries[number], one.metadata, reader=one.reader)
    found.boxes += found.boxes_of(framed)
    file = printable(Path(one.measures.files[number]).name)
    return {
        "title": title or file,
        "note": file if title else "",
        "annotated": _listed(found, one.metadata),
        "panels": pictures.panels(draw(found, one.metadata, _LONGEST)),
    }


def _listed(found: Annotated, metadata: Metadata) -> list[tuple[str, str]]:
    """The classes of the regions with their numbers, and their colours; the most frequent first."""
    counts = Counter(what for what in found.classes if what is not None)
    colors = dict(zip(found.classes, region_colors(found, metadata), strict=True))
    listed = []
    for (source, category), num in counts.most_common():
        names = class_names(metadata, source)
        if source == "expression" or not 0 <= category < len(names):
            continue
        name = printable(names[category].split(",")[0])
        text = f"{name} ({num})" if num > 1 else name
        listed.append((text, "#{:02x}{:02x}{:02x}".format(*colors[source, category])))
    return listed


def mapped_of(one: Inspected, draw_sample: DrawSample, pictures: Pictures) -> dict[str, Any]:
    """What a mapper makes of the data set's random samples."""
    items = []
    for number in one.measures.samples[:NUM_MAPPED]:
        title, note, panels = printable(Path(one.measures.files[number]).name), "", []
        entry = one.measures.entries[number]
        try:
            sample = Annotated(image=draw_sample(copy.deepcopy(entry), one.metadata))
            panels = pictures.panels(draw(sample, one.metadata, _LONGEST))
        except (OSError, ValueError) as error:  # as of an entry that cannot be used
            note = printable(f"the mapper fails: {error}")
        items.append({"title": title, "note": note, "annotated": [], "panels": panels})
    return {"name": printable(one.name), "items": items}
