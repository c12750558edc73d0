"""Pictures of annotations: flat colours over the picture, and one fault made to stand out.

H, W: size of a picture. A *region map* is (H, W) int32: 0 where nothing is annotated, else the
number of a region from 1 on. Colours are RGB.
"""

from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import cv2
import numpy as np
import pycocotools.mask as mask_util
from detectron2.data import Metadata
from detectron2.structures import BoxMode

from ...pictures import read_image
from ..datasets.categories import distinct_colors
from ..dicts import sound_entry
from ..faults import Faults
from ..label_maps import read_id_map, read_values
from ..medical.files import is_array_file, read_slice
from ..readers import PictureReader
from ..segmentations import FAR, expression_mask, sound_segmentation, to_rle
from .measures import Entry

_SHARE = 0.55  # of the colour of a region, the rest is the picture
_DIMMED = 0.25  # of what is not the fault
_FAULT = (230, 20, 40)
_BOX = (255, 210, 0)
_WRONG = (255, 0, 255)  # labels that are no class


@dataclass
class Annotated:
    """A picture and what is annotated in it, as far as both can be read.

    Attributes:
        image: (H, W, 3) uint8
        regions: region map
        classes: (source, class) of each region; None: of no class
        boxes: corners x0, y0, x1, y1 of the fault
        fault: bool (H, W): where the fault is
    """

    image: np.ndarray | None = None
    regions: np.ndarray | None = None
    classes: list[tuple[str, int] | None] = field(default_factory=list)
    boxes: list[tuple[float, float, float, float]] = field(default_factory=list)
    fault: np.ndarray | None = None

    def add(self, mask: np.ndarray, what: tuple[str, int] | None) -> None:
        """Put a region above those that are there."""
        if self.regions is None:
            self.regions = np.zeros(mask.shape, np.int32)
        self.classes.append(what)
        self.regions[mask] = len(self.classes)

    def boxes_of(self, what: tuple[str, int] | None) -> list[tuple[float, float, float, float]]:
        """Corners of boxes around the visible parts of the regions of a source and class."""
        boxes = []
        for number, of_region in enumerate(self.classes, 1):
            if what is None or of_region != what:
                continue
            rows, columns = np.nonzero(self.regions == number)
            if len(rows):
                corners = columns.min(), rows.min(), columns.max() + 1, rows.max() + 1
                boxes.append(tuple(map(float, corners)))
        return boxes

    @property
    def fits(self) -> bool:
        """Whether both are there and have one size."""
        both = self.image is not None and self.regions is not None
        return both and self.image.shape[:2] == self.regions.shape


def read_annotated(
    entry: Entry,
    metadata: Metadata,
    subject: tuple[str, int] | None = None,
    reader: PictureReader | None = None,
) -> Annotated:
    """What an entry names, without what cannot be read.

    Args:
        subject: of a problem, which is to stand out
        reader: of pictures with other bands, of which the first ones are shown
    """
    found = Annotated()
    sound = sound_entry(entry, "", Faults("", is_collecting=True))
    if sound is None:
        return found
    if subject is not None and subject[0] == "unsound":
        with suppress(AttributeError, KeyError, TypeError, ValueError):  # whatever it holds
            found.boxes += _corners(entry["annotations"][subject[1]])
    if is_array_file(sound["file_name"]):
        _read_slice(sound, metadata, subject, found)
        return found
    with suppress(ValueError):  # of which a problem tells
        found.image = read_shown(sound["file_name"], reader)
    with suppress(OSError, ValueError):
        if "pan_seg_file_name" in sound:
            _read_segments(sound, subject, found)
        elif sound.get("annotations"):
            _read_instances(sound, subject, found)
        elif "sem_seg_file_name" in sound:
            values = read_values(sound["sem_seg_file_name"], sound.get("label_values"))
            add_labels(values, sound.get("label_values"), metadata, subject, found)
        elif "expressions" in sound and found.image is not None:
            for number, expression in enumerate(sound["expressions"]):
                mask = expression_mask(expression, found.image.shape[:2])
                found.add(mask, ("expression", number))
    return found


def read_shown(file: str, reader: PictureReader | None) -> np.ndarray:
    """(H, W, 3) uint8, of ``reader`` or of a common picture.

    Raises:
        UnreadableFileError: as these do.
    """
    return read_image(file, "RGB") if reader is None else reader.shown(reader(file))


def add_labels(
    values: np.ndarray,
    label_values: Any,
    metadata: Metadata,
    subject: tuple[str, int] | None,
    found: Annotated,
) -> None:
    """Add the classes of a label map of (H, W) integers; what is no class is a region of none."""
    labels = values if label_values is None else label_values.look_up(values)
    ignored = metadata.get("ignore_label", 255)
    num_classes = len(metadata.get("stuff_classes") or ())
    found.add(np.zeros(values.shape, bool), None)
    for label in np.unique(labels).tolist():
        is_class = 0 <= label < num_classes
        if is_class or label != ignored:
            found.add(labels == label, ("semantic", label) if is_class else None)
    if subject is not None and subject[0] == "value":
        found.fault = values == subject[1]


def _read_slice(
    entry: Entry, metadata: Metadata, subject: tuple[str, int] | None, found: Annotated
) -> None:
    try:
        image, labels = read_slice(entry["file_name"], entry.get("slice_index"))
    except ValueError:
        return
    grey = np.rint(255 * np.clip(image, 0, 1)).astype(np.uint8)
    found.image = np.stack([grey] * 3, axis=-1)
    add_labels(labels, None, metadata, subject, found)
    found.regions[labels == 0] = 0  # the background hides the picture


def _read_segments(entry: Entry, subject: tuple[str, int] | None, found: Annotated) -> None:
    ids = read_id_map(entry["pan_seg_file_name"])
    found.add(np.zeros(ids.shape, bool), None)
    listed = {segment["id"]: segment["category_id"] for segment in entry["segments_info"]}
    for number in np.unique(ids).tolist():
        if number:
            category = listed.get(number)
            found.add(ids == number, None if category is None else ("panoptic", category))
    if subject is not None and subject[0] == "segment":
        found.fault = ids == subject[1]


def _read_instances(entry: Entry, subject: tuple[str, int] | None, found: Annotated) -> None:
    size = entry.get("height"), entry.get("width")
    if found.image is not None:
        size = found.image.shape[:2]
    masks = []
    for number, annotation in enumerate(entry["annotations"]):
        is_fault = subject == ("annotation", number)
        if is_fault:
            found.boxes += _corners(annotation)
        try:
            polygons = sound_segmentation(annotation["segmentation"], size, slack=0, reach=FAR)
            mask = mask_util.decode(to_rle(polygons, size)).astype(bool)
        except (KeyError, TypeError, ValueError):  # reported
            continue
        masks.append((mask, annotation["category_id"]))
        if is_fault:
            found.fault = mask
    for mask, category in sorted(masks, key=lambda one: -np.count_nonzero(one[0])):
        found.add(mask, ("instance", category))


def _corners(annotation: dict[str, Any]) -> list[tuple[float, float, float, float]]:
    values = list(annotation.get("bbox") or ())
    if len(values) != 4:
        return []
    mode = BoxMode(annotation.get("bbox_mode", BoxMode.XYWH_ABS))
    return [tuple(BoxMode.convert(values, mode, BoxMode.XYXY_ABS))]


def class_names(metadata: Metadata, source: str) -> list[str]:
    """Names of a source's classes, in the order of their ids."""
    key = "thing_classes" if source == "instance" else "stuff_classes"
    return list(metadata.get(key) or [])


def class_colors(metadata: Metadata, source: str) -> list[tuple[int, int, int]]:
    """Colours of a source's classes: the data set's, or else distinct ones."""
    key = "thing_colors" if source == "instance" else "stuff_colors"
    colors, num = metadata.get(key), len(class_names(metadata, source))
    return [tuple(c) for c in colors] if colors and len(colors) >= num else distinct_colors(num)


def draw(found: Annotated, metadata: Metadata, longest: int) -> list[tuple[str, np.ndarray]]:
    """Pictures, (h, w, 3) uint8 with edges of ``longest`` pixels at most, each with a name: the
    annotations over the picture, or side by side where their sizes differ."""
    drawn = []
    if found.fits:
        drawn.append(("picture and annotation", _painted(found.image, found, metadata, longest)))
    else:
        if found.image is not None:
            only = Annotated(boxes=found.boxes)
            drawn.append(("picture", _painted(found.image, only, metadata, longest)))
        if found.regions is not None:
            black = np.zeros((*found.regions.shape, 3), np.uint8)
            drawn.append(("annotation", _painted(black, found, metadata, longest)))
    return drawn


def _painted(image: np.ndarray, found: Annotated, metadata: Metadata, longest: int) -> np.ndarray:
    height, width = image.shape[:2]
    scale = longest / max(height, width)
    if min(height, width) * scale < 8 or scale > 8:  # a strip, or a few pixels
        scale = min(max(scale, 8 / min(height, width)), 8)
    size = max(1, min(round(width * scale), 2 * longest)), max(1, round(height * scale))
    canvas = cv2.resize(
        image, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    )
    if found.regions is not None:
        regions = cv2.resize(found.regions.astype(np.float32), size, interpolation=0).astype(int)
        table = np.array([(0, 0, 0), *region_colors(found, metadata)], np.float32)
        share = np.where(regions > 0, _SHARE, 0.0)[..., None]
        if found.fault is not None:
            share *= _DIMMED / _SHARE
        canvas = np.rint(canvas * (1 - share) + table[regions] * share).astype(np.uint8)
        canvas[_edges(regions)] = 255
    if found.fault is not None and found.fault.shape == (height, width):
        # a single wrong pixel stays visible
        fault = cv2.resize(found.fault.astype(np.uint8) * 255, size, interpolation=cv2.INTER_AREA)
        is_fault = cv2.dilate(fault, np.ones((3, 3), np.uint8)) > 0
        canvas[is_fault] = np.rint(0.3 * canvas[is_fault] + 0.7 * np.array(_FAULT))
    for x0, y0, x1, y1 in found.boxes:
        corners = np.clip(np.array([x0, y0, x1, y1]) * scale, -4 * longest, 4 * longest)
        a, b, c, d = np.rint(corners).astype(int).tolist()
        cv2.rectangle(canvas, (a, b), (c, d), (0, 0, 0), 4)
        cv2.rectangle(canvas, (a, b), (c, d), _BOX, 2)
    return canvas


def region_colors(found: Annotated, metadata: Metadata) -> list[tuple[int, int, int]]:
    """The colour of each region: its class's, or pink."""
    palettes: dict[str, list[tuple[int, int, int]]] = {}
    colors = []
    for what in found.classes:
        if what is None:
            colors.append(_WRONG)
            continue
        source, category = what
        if source not in palettes:
            num = len(found.classes)
            is_text = source == "expression"
            palettes[source] = distinct_colors(num) if is_text else class_colors(metadata, source)
        palette = palettes[source]
        colors.append(palette[category] if 0 <= category < len(palette) else _WRONG)
    return colors


def _edges(regions: np.ndarray) -> np.ndarray:
    """bool (H, W): pixels above or left of another region."""
    edges = np.zeros(regions.shape, bool)
    edges[:, :-1] = regions[:, :-1] != regions[:, 1:]
    edges[:-1] |= regions[:-1] != regions[1:]
    return edges
