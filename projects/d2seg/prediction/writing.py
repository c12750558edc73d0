"""Predictions as files that other programs read.

(H, W) the size of a picture.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from detectron2.structures import Instances
from PIL import Image

from ..data.label_maps import write_id_map
from ..data.segmentations import encode_mask

PREDICTIONS = "predictions.json"


def write_prediction(
    folder: Path, stem: str, prediction: dict[str, Any], class_names: dict[str, Sequence[str]]
) -> dict[str, Any]:
    """Write the map of a prediction, if it has one, and return what PREDICTIONS says of it.

    ============  ================================================================================
    task          what is written
    ============  ================================================================================
    panoptic      ``stem.png``, a COCO panoptic PNG: a pixel's segment is R + 256 G + 65536 B, 0 is
                  none; returned: ``segments_info``
    semantic      ``stem.png``, (H, W) class ids of 8 bits, or 16 where there are more than 255
                  classes; the largest value (255 or 65535) is none
    instance      returned: ``instances`` with ``category_id``, ``score``, ``bbox`` (x, y, width,
                  height) and ``segmentation`` (COCO's compressed RLE)
    referring     returned: ``expressions`` with ``sentence``, ``score`` and ``segmentation``
    ============  ================================================================================

    Ids of classes are the model's, from 0; segments and instances have ``category`` too, their
    name.

    Args:
        prediction: of a :class:`Predictor`.
        class_names: ``thing_classes`` and ``stuff_classes`` of the metadata; they may be missing.

    Raises:
        OSError: the map cannot be written.
    """
    things, stuff = (class_names.get(key) or () for key in ("thing_classes", "stuff_classes"))
    if "panoptic_seg" in prediction:
        ids, segments = prediction["panoptic_seg"]
        write_id_map(str(folder / f"{stem}.png"), ids.numpy().clip(min=0))
        return {"file_name": f"{stem}.png", "segments_info": _segments(segments, things, stuff)}
    if "sem_seg" in prediction:
        labels = prediction["sem_seg"].numpy()
        dtype = np.uint8 if max(len(stuff) - 1, labels.max(initial=0)) < 255 else np.uint16
        nothing = np.iinfo(dtype).max
        pixels = np.where(labels < 0, nothing, labels).astype(dtype)
        Image.fromarray(pixels).save(folder / f"{stem}.png")
        return {"file_name": f"{stem}.png"}
    if "instances" in prediction:
        return {"instances": _instances(prediction["instances"], things)}
    referring = prediction["referring"]
    return {
        "expressions": [
            {"sentence": sentence, "score": float(score), "segmentation": encode_mask(mask.numpy())}
            for sentence, score, mask in zip(
                referring.expressions, referring.scores, referring.pred_masks, strict=True
            )
        ]
    }


def write_index(folder: Path, entries: dict[str, dict[str, Any]]) -> Path:
    """Write PREDICTIONS: a list of what :func:`write_prediction` returned, with the picture."""
    path = folder / PREDICTIONS
    content = [{"image": image, **entry} for image, entry in entries.items()]
    path.write_text(json.dumps(content, indent=1) + "\n")
    return path


def _segments(
    segments: list[dict[str, Any]], things: Sequence[str], stuff: Sequence[str]
) -> list[dict[str, Any]]:
    names = {True: things, False: stuff}
    return [
        {key: _plain(value) for key, value in segment.items()}
        | _category(names[bool(segment.get("isthing", True))], segment["category_id"])
        for segment in segments
    ]


def _instances(found: Instances, names: Sequence[str]) -> list[dict[str, Any]]:
    records = []
    for number in range(len(found)):
        one = found[number]
        category = int(one.pred_classes) if found.has("pred_classes") else 0
        left, top, right, bottom = one.pred_boxes.tensor[0].tolist()
        record = {
            "category_id": category,
            **_category(names, category),
            "score": float(one.scores),
            "bbox": [left, top, right - left, bottom - top],
        }
        if found.has("pred_masks"):
            record["segmentation"] = encode_mask(one.pred_masks[0].numpy())
        records.append(record)
    return records


def _category(names: Sequence[str], number: int) -> dict[str, str]:
    return {"category": names[number]} if number < len(names) else {}


def _plain(value: Any) -> Any:
    return value.item() if hasattr(value, "item") else value
