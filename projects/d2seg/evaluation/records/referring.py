"""What the report says of referring segmentation: IoUs of expressions, and pictures of some."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pycocotools.mask as mask_util

from .gallery import Scene, draw_gallery, read_picture

NUM_BINS = 20  # of IoU
_COLOR = [(242, 153, 0)]


def referring_record(
    predictions: Sequence[dict[str, Any]], truth_of: Callable[[int], np.ndarray | None]
) -> dict[str, Any]:
    """The record of all expressions.

    Args:
        predictions: dicts with ``expression_id``, ``file_name``, ``sentence``, ``iou`` and the RLE
            ``segmentation``
        truth_of: mask (H, W) of what an expression means; None where that is nothing
    """
    found = {str(p["expression_id"]): p for p in predictions}

    def scene_of(key: str) -> Scene:
        prediction = mask_util.decode(found[key]["segmentation"]).astype(bool)
        truth = truth_of(found[key]["expression_id"])
        truth = np.zeros_like(prediction) if truth is None else truth.astype(bool)
        return Scene(
            read_picture(found[key]["file_name"], truth.shape),
            np.where(truth, 0, -1),
            np.where(prediction, 0, -1),
            np.array(_COLOR, np.uint8),
            prediction & ~truth,
            truth & ~prediction,
        )

    def title_of(key: str) -> str:
        return f'"{found[key]["sentence"]}"'

    ious = {key: float(p["iou"]) for key, p in found.items()}
    counts = np.histogram(list(ious.values()), NUM_BINS, (0, 1))[0]
    return {
        "ious": counts,
        "gallery": draw_gallery(ious, scene_of, lambda key: (), title_of, "IoU"),
    }
