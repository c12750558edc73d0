"""Masks, each with a colour and a label, of predictions or ground truth.

H, W the image's size in pixels. Colours are RGB in [0, 1].
"""

import colorsys
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from detectron2.data import Metadata
from detectron2.structures import Instances
from detectron2.utils.colormap import colormap
from scipy import ndimage

from .id_codes import IdCodes
from .parts import corner_of, cropped, mask_part

Color = tuple[float, float, float]
_LONGEST_EXPRESSION = 32  # letters of one in a label


@dataclass(frozen=True)
class Segment:
    """mask: (h, w) bool, the part of the picture that holds the segment: so thousands of small ones
    take no more memory and time than the picture. label: "" for none. category_id: contiguous, as
    the metadata counts. corner: (row, column) of the mask in the picture."""

    mask: np.ndarray
    color: Color
    label: str
    category_id: int
    is_thing: bool
    corner: tuple[int, int] = (0, 0)

    def whole_mask(self, size: tuple[int, int]) -> np.ndarray:
        """(H, W) bool, in a picture of (height, width)."""
        whole = np.zeros(size, bool)
        (top, left), (height, width) = self.corner, self.mask.shape
        whole[top : top + height, left : left + width] = self.mask
        return whole


def panoptic_segments(
    panoptic_seg: torch.Tensor,
    segments_info: list[dict],
    metadata: Metadata,
    *,
    show_ids: bool = False,
) -> list[Segment]:
    """Segments in the colours of the classes; instances of one class in similar colours, those of a
    video in that of their "track_id".

    Args:
        panoptic_seg: (H, W) integer ids; pixels of an id that ``segments_info`` lacks stay bare.
        segments_info: "id", "isthing", "category_id" and, if there is one, "score" in [0, 1].
        show_ids: put the "track_id" into the labels.
    """
    numbers = IdCodes([info["id"] for info in segments_info])
    codes = numbers.of(panoptic_seg.cpu().numpy())
    parts = dict(zip(numbers, ndimage.find_objects(codes, len(numbers)), strict=True))
    present = [info for info in segments_info if parts[info["id"]] is not None]
    looks = panoptic_looks(present, metadata, show_ids=show_ids)
    segments = []
    for info, (color, label) in zip(present, looks, strict=True):
        part = parts[info["id"]]
        mask = codes[part] == numbers.code(info["id"])
        kind = (info["category_id"], bool(info["isthing"]))
        segments.append(Segment(mask, color, label, *kind, corner_of(part)))
    return segments


def panoptic_looks(
    segments_info: list[dict], metadata: Metadata, *, show_ids: bool = False
) -> list[tuple[Color, str]]:
    """Colour and label of each segment, as :func:`panoptic_segments` has them."""
    seen: Counter[int] = Counter()
    looks = []
    for info in segments_info:
        category, is_thing = info["category_id"], bool(info["isthing"])
        kind = "thing" if is_thing else "stuff"
        color = class_color(metadata, kind, category)
        name, number = class_name(metadata, kind, category), info.get("track_id")
        if number is not None:
            color = track_color(number)
            name = f"#{number} {name}" if show_ids else name
        elif is_thing:
            color = _variant(color, seen[category])
            seen[category] += 1
        looks.append((color, _label(name, info.get("score") if is_thing else None)))
    return looks


def map_segments(
    codes: np.ndarray,
    looks: Sequence[tuple[Color, str]],
    kinds: Sequence[tuple[int, bool]],
) -> list[Segment]:
    """The segments 1 .. N of a map, with an empty mask for what it does not show.

    Args:
        codes: (H, W) int32, 0 for none.
        looks: N colours and labels. kinds: N contiguous class ids, and whether it is a thing.
    """
    segments = []
    parts = ndimage.find_objects(codes, len(looks)) if looks else []
    for code, part in enumerate(parts, start=1):
        part = part or (slice(0, 0), slice(0, 0))
        mask = codes[part] == code
        segments.append(Segment(mask, *looks[code - 1], *kinds[code - 1], corner_of(part)))
    return segments


def semantic_segments(labels: torch.Tensor, metadata: Metadata) -> list[Segment]:
    """
    Args:
        labels: (H, W) contiguous class ids; pixels with a negative one stay bare.
    """
    array = labels.cpu().numpy()
    parts = ndimage.find_objects(np.maximum(array.astype(np.int32) + 1, 0))
    return [
        Segment(
            array[part] == category,
            class_color(metadata, "stuff", category),
            class_name(metadata, "stuff", category),
            category,
            is_thing=False,
            corner=corner_of(part),
        )
        for category, part in enumerate(parts)
        if part is not None
    ]


def instance_segments(
    instances: Instances, metadata: Metadata, *, show_ids: bool = False
) -> list[Segment]:
    """Best first, each in a colour of its own: by rank, or by ``track_ids`` where there are any.

    Args:
        instances: on the CPU, with ``pred_masks``.
        show_ids: put the track ids into the labels.
    """
    return list(iterate_instances(instances, metadata, show_ids=show_ids))


def iterate_instances(
    instances: Instances, metadata: Metadata, *, show_ids: bool = False
) -> Iterator[Segment]:
    """As :func:`instance_segments`, with one mask at a time in memory."""
    labels = instance_labels(instances, metadata, show_ids=show_ids)
    colors = instance_colors(instances)
    categories = instance_categories(instances)
    for rank, i in enumerate(rank_order(instances)):
        mask, corner = mask_part(instances.pred_masks, i)
        color = palette_color(rank) if colors is None else colors[i]
        yield Segment(mask, color, labels[i], categories[i], True, corner)


def rank_order(instances: Instances) -> list[int]:
    """Places of the instances, best first."""
    return torch.argsort(instances.scores, descending=True, stable=True).tolist()


def referring_segments(found: Instances) -> list[Segment]:
    """What the expressions mean, without those for which nothing is found.

    An expression has the colour and ``category_id`` of its place among them, the same in every
    frame of a video, and so needs no tracking: the segments are no things.

    Args:
        found: on the CPU, with ``pred_masks`` (E, H, W), ``scores`` (E,) and ``expressions``, E
            strings.
    """
    segments = []
    for i, (whole, text, score) in enumerate(
        zip(found.pred_masks, found.expressions, found.scores.tolist(), strict=True)
    ):
        mask, corner = cropped(whole.numpy())
        if mask.size:
            label = _label(shorten(text), score)
            segments.append(Segment(mask, palette_color(i), label, i, False, corner))
    return segments


def absent_expressions(prediction: dict) -> list[str]:
    """The expressions for which nothing is found; none for the outputs of other tasks."""
    if "referring" not in prediction:
        return []
    found = prediction["referring"]
    return [
        text
        for text, mask in zip(found.expressions, found.pred_masks, strict=True)
        if not mask.any()
    ]


def shorten(text: str, limit: int = _LONGEST_EXPRESSION) -> str:
    """``text`` on one line, cut after a whole word where it is longer than ``limit``."""
    text = " ".join(text.split())
    if len(text) <= limit:
        return text
    words = text[:limit].rsplit(" ", 1)[0]
    return words[: limit - 1].rstrip(" ,;:.") + "…"


def instance_labels(
    instances: Instances, metadata: Metadata, *, show_ids: bool = False
) -> list[str]:
    """Class and score of each; the score alone for class-agnostic proposals; with ``show_ids`` the
    track ids, where there are any, before them."""
    names = [""] * len(instances)
    if instances.has("pred_classes"):
        names = [class_name(metadata, "thing", i) for i in instance_categories(instances)]
    if show_ids and instances.has("track_ids"):
        numbered = zip(instances.track_ids.tolist(), names, strict=True)
        names = [f"#{number} {name}".rstrip() for number, name in numbered]
    return [_label(*pair) for pair in zip(names, instances.scores.tolist(), strict=True)]


def instance_colors(instances: Instances) -> list[Color] | None:
    """Those of the ``track_ids``; None where there are none."""
    if not instances.has("track_ids"):
        return None
    return [track_color(number) for number in instances.track_ids.tolist()]


def instance_categories(instances: Instances) -> list[int]:
    """Contiguous class ids; zeros for class-agnostic proposals."""
    if not instances.has("pred_classes"):
        return [0] * len(instances)
    return instances.pred_classes.tolist()


def class_name(metadata: Metadata, kind: str, category: int) -> str:
    """A short name of a class; kind: "thing" or "stuff". Its number, where it has no name."""
    names = metadata.get(f"{kind}_classes") or []
    if category >= len(names):
        return f"class {category}"
    # COCO's "wall-other-merged"; ADE20K's "building, edifice"
    return re.sub(r"(-other)?(-merged)?$", "", re.split("[,;]", names[category])[0])


def class_color(metadata: Metadata, kind: str, category: int) -> Color:
    """The metadata's colour of a class, or else one by its number."""
    colors = metadata.get(f"{kind}_colors") or []
    if category >= len(colors):
        return palette_color(category)
    red, green, blue = colors[category]
    return red / 255, green / 255, blue / 255


def palette_color(number: int) -> Color:
    """Distinct for the first 74 numbers."""
    palette = colormap(rgb=True, maximum=1)
    red, green, blue = palette[number % len(palette)].tolist()
    return red, green, blue


def track_color(number: int) -> Color:
    """Of an object of a video, by its id, from 1."""
    return palette_color(number - 1)


def _label(name: str, score: float | None) -> str:
    return name if score is None else f"{name} {score:.0%}".strip()


def _variant(color: Color, number: int) -> Color:
    """The colour itself for number 0, then neighbours of it in hue and lightness."""
    if number == 0:
        return color
    hue, lightness, saturation = colorsys.rgb_to_hls(*color)
    # multiples of these irrational numbers spread evenly, however many there are
    hue += 0.25 * ((number * 0.618034) % 1 - 0.5)
    lightness += 0.5 * ((number * 0.754878) % 1 - 0.5)
    return colorsys.hls_to_rgb(hue % 1, min(max(lightness, 0.25), 0.8), max(saturation, 0.35))
