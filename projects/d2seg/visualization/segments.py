"""Masks, each with a colour and a label, of predictions or ground truth.

H, W the image's size in pixels. Colours are RGB in [0, 1].
"""

import colorsys
import re
from collections import Counter
from dataclasses import dataclass

import numpy as np
import torch
from detectron2.data import Metadata
from detectron2.structures import Instances
from detectron2.utils.colormap import colormap

Color = tuple[float, float, float]
_LONGEST_EXPRESSION = 32  # letters of one in a label


@dataclass(frozen=True)
class Segment:
    """mask: (H, W) bool. label: "" for none. category_id: contiguous, as the metadata counts."""

    mask: np.ndarray
    color: Color
    label: str
    category_id: int
    is_thing: bool


def panoptic_segments(
    panoptic_seg: torch.Tensor, segments_info: list[dict], metadata: Metadata
) -> list[Segment]:
    """Segments in the colours of the classes; instances of one class in similar colours.

    Args:
        panoptic_seg: (H, W) integer ids; pixels of an id that ``segments_info`` lacks stay bare.
        segments_info: "id", "isthing", "category_id" and, if there is one, "score" in [0, 1].
    """
    ids = panoptic_seg.cpu().numpy()
    seen: Counter[int] = Counter()
    segments = []
    for info in segments_info:
        mask = ids == info["id"]
        if not mask.any():
            continue
        category, is_thing = info["category_id"], bool(info["isthing"])
        kind = "thing" if is_thing else "stuff"
        color = class_color(metadata, kind, category)
        if is_thing:
            color = _variant(color, seen[category])
            seen[category] += 1
        label = _label(
            class_name(metadata, kind, category), info.get("score") if is_thing else None
        )
        segments.append(Segment(mask, color, label, category, is_thing))
    return segments


def semantic_segments(labels: torch.Tensor, metadata: Metadata) -> list[Segment]:
    """
    Args:
        labels: (H, W) contiguous class ids; pixels with a negative one stay bare.
    """
    array = labels.cpu().numpy()
    present = np.flatnonzero(np.bincount(array[array >= 0].ravel())).tolist()
    return [
        Segment(
            array == category,
            class_color(metadata, "stuff", category),
            class_name(metadata, "stuff", category),
            category,
            is_thing=False,
        )
        for category in present
    ]


def instance_segments(instances: Instances, metadata: Metadata) -> list[Segment]:
    """Best first, each in a colour of its own. ``instances``: on the CPU, with ``pred_masks``."""
    order = torch.argsort(instances.scores, descending=True, stable=True).tolist()
    labels = instance_labels(instances, metadata)
    categories = instance_categories(instances)
    return [
        Segment(
            instances.pred_masks[i].numpy().astype(bool),
            palette_color(rank),
            labels[i],
            categories[i],
            is_thing=True,
        )
        for rank, i in enumerate(order)
    ]


def referring_segments(found: Instances) -> list[Segment]:
    """What the expressions mean, without those for which nothing is found.

    An expression has the colour and ``category_id`` of its place among them, the same in every
    frame of a video, and so needs no tracking: the segments are no things.

    Args:
        found: on the CPU, with ``pred_masks`` (E, H, W), ``scores`` (E,) and ``expressions``, E
            strings.
    """
    return [
        Segment(mask.numpy(), palette_color(i), _label(shorten(text), score), i, is_thing=False)
        for i, (mask, text, score) in enumerate(
            zip(found.pred_masks, found.expressions, found.scores.tolist(), strict=True)
        )
        if mask.any()
    ]


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


def instance_labels(instances: Instances, metadata: Metadata) -> list[str]:
    """Class and score of each; the score alone for class-agnostic proposals."""
    names = [""] * len(instances)
    if instances.has("pred_classes"):
        names = [class_name(metadata, "thing", i) for i in instance_categories(instances)]
    return [_label(*pair) for pair in zip(names, instances.scores.tolist(), strict=True)]


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
