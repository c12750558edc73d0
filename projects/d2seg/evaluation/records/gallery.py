"""Pictures for a report: the worst, the median and the best, with truth, prediction and errors.

H, W of a picture, h, w of what is shown of it. Panels are drawn when the evaluation ends, while
picture, truth and prediction are at hand, so that a report needs no data set.
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np

from ...data.datasets.categories import distinct_colors
from ...data.readers import PictureReader
from ...names import printable
from ...pictures import UnreadableFileError, read_image
from ...reports.thumbnails import fitted, jpeg_uri

logger = logging.getLogger(__name__)

EACH = 4  # pictures of each group
LONGEST = 320  # edge of a panel in pixels
FALSE_POSITIVE, FALSE_NEGATIVE, BOTH = (214, 39, 40), (31, 95, 214), (142, 36, 170)
_QUALITY = 75  # of JPEG
_OPACITY = 0.65  # of labels over a picture


@dataclass(frozen=True)
class Scene:
    """A picture with its two label maps, all of them (H, W).

    Args:
        picture: (H, W, 3) uint8 RGB; None where it cannot be read
        truth, prediction: numbers of segments or classes; below 0: none
        colors: (N, 3) uint8 of these numbers, for both maps
        false_positive, false_negative: bool
    """

    picture: np.ndarray | None
    truth: np.ndarray
    prediction: np.ndarray
    colors: np.ndarray
    false_positive: np.ndarray
    false_negative: np.ndarray


def choose(scores: Mapping[str, float], each: int = EACH) -> list[tuple[str, str]]:
    """Group ("worst", "median" or "best") and key of the pictures to show, none of them twice.

    Args:
        scores: by key; those that are not finite are left out. Of equal ones the first keys win.
    """
    keys = sorted((k for k, s in scores.items() if np.isfinite(s)), key=lambda k: (scores[k], k))
    middle = max(0, (len(keys) - each) // 2)
    groups = {
        "worst": keys[:each],
        "best": keys[::-1][:each],
        "median": keys[middle : middle + each],
    }
    taken: set[str] = set()
    chosen: dict[str, list[str]] = {}
    for group, members in groups.items():  # few pictures are the worst before they are the best
        chosen[group] = [key for key in members if key not in taken]
        taken.update(members)
    return [(group, key) for group in ("worst", "median", "best") for key in chosen[group]]


def draw_gallery(
    scores: Mapping[str, float],
    scene_of: Callable[[str], Scene],
    classes_of: Callable[[str], Sequence[int]],
    title_of: Callable[[str], str] = str,
    note: str = "score",
) -> list[dict[str, Any]]:
    """The entries of a gallery. A picture whose files cannot be read is left out, with a log line.

    Args:
        scores: in [0, 1] by key, such as a file name
        note: what the scores are
    """
    entries = []
    for group, key in choose(scores):
        try:
            scene = scene_of(key)
        except (OSError, ValueError, LookupError) as error:
            logger.warning("the report shows no picture of %s: %s", key, error)
            continue
        entries.append(
            {
                "group": group,
                "title": printable(title_of(key)),
                "note": f"{note} {100 * scores[key]:.1f}",
                "classes": sorted({int(number) for number in classes_of(key)}),
                "panels": panels(scene),
            }
        )
    return entries


def panels(scene: Scene) -> list[tuple[str, str, str]]:
    """(data URI, description, caption) of picture, truth, prediction and errors."""
    size = fitted(scene.truth.shape, LONGEST)
    picture = np.full((*size, 3), 235, np.uint8)
    if scene.picture is not None:
        picture = cv2.resize(scene.picture, size[::-1], interpolation=cv2.INTER_AREA)
    grey = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)
    errors = np.repeat((128 + grey // 2)[..., None], 3, axis=2)
    plain = np.repeat((64 + grey // 4 * 3)[..., None], 3, axis=2)  # only labels have colours
    extra, missed = (_shrunk(m, size) for m in (scene.false_positive, scene.false_negative))
    errors[extra] = FALSE_POSITIVE
    errors[missed] = FALSE_NEGATIVE
    errors[extra & missed] = BOTH
    shown = {
        "picture": picture,
        "truth": _overlaid(plain, scene.truth, scene.colors),
        "prediction": _overlaid(plain, scene.prediction, scene.colors),
        "errors": errors,
    }
    captions = {"errors": "errors: false positive red, false negative blue, both purple"}
    return [
        (jpeg_uri(image, _QUALITY), captions.get(name, name), name) for name, image in shown.items()
    ]


def read_picture(
    file_name: str, size: tuple[int, int], reader: PictureReader | None = None
) -> np.ndarray | None:
    """(H, W, 3) RGB of a size that the labels have; None, with a log line, where it has not.

    Args:
        reader: of pictures with other bands, of which the first ones are shown.
    """
    try:
        if reader is None:
            picture = read_image(file_name, "RGB")
        else:
            picture = reader.shown(reader(file_name))
    except UnreadableFileError as error:
        logger.warning("the report shows labels alone: %s", error)
        return None
    if picture.shape[:2] != tuple(size):
        logger.warning("the report shows labels alone: %s is of another size", file_name)
        return None
    return picture


def palette(num: int, given: Sequence[Sequence[int]] | None = None) -> np.ndarray:
    """(num, 3) uint8: the given colours, or ones that differ from number to number."""
    if given is not None and len(given) >= num:
        return np.array(given[:num], np.uint8).reshape(num, 3)
    return np.array(distinct_colors(num), np.uint8).reshape(num, 3)


def palette_of(categories: Sequence[Mapping[str, Any]]) -> np.ndarray:
    """:func:`palette` of COCO's categories, by their "color" where each has its own."""
    colors = [category.get("color") for category in categories]
    are_colors = all(
        isinstance(color, (list, tuple))
        and len(color) == 3
        and all(isinstance(value, int) and 0 <= value <= 255 for value in color)
        for color in colors
    )
    is_clear = are_colors and len({tuple(color) for color in colors}) == len(colors)
    return palette(len(colors), colors if is_clear else None)


def _shrunk(mask: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Nearest neighbours, (h, w) bool."""
    return cv2.resize(mask.astype(np.uint8), size[::-1], interpolation=cv2.INTER_NEAREST) > 0


def _overlaid(picture: np.ndarray, labels: np.ndarray, colors: np.ndarray) -> np.ndarray:
    """(h, w, 3); labels below 0 leave the picture clear, and lines part neighbours."""
    size = picture.shape[:2]
    small = cv2.resize(labels.astype(np.float32), size[::-1], interpolation=cv2.INTER_NEAREST)
    small = small.astype(np.int64)
    shown = picture.astype(np.float32)
    filled = small >= 0
    shown[filled] += _OPACITY * (colors[small[filled]] - shown[filled])
    edges = np.zeros(size, bool)
    edges[:, 1:] |= small[:, 1:] != small[:, :-1]
    edges[1:] |= small[1:] != small[:-1]
    shown[edges] = 255
    return shown.astype(np.uint8)
