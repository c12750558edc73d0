"""Results of a model as text and PNG, the common record that all formats are written from.

H, W a picture's size in pixels. Ids of classes are the model's, contiguous from 0.

============  =================================================  ==================================
task          JSON                                               PNG
============  =================================================  ==================================
instance      ``instances``: ``category_id``, ``score``,         none
              ``bbox`` (x, y, width, height), ``segmentation``
              (COCO's compressed RLE; none of a box detector)
panoptic      ``segments_info``: ``id``, ``category_id``,        COCO panoptic: a pixel's segment
              ``isthing``, ``area``, ``bbox``, maybe ``score``   is R + 256 G + 65536 B, 0 is none
semantic      nothing                                            class ids of 8 bits, or 16 beyond
                                                                 255 classes; the largest is none
============  =================================================  ==================================
"""

import io
import json
from typing import Any

import numpy as np
from detectron2.evaluation.coco_evaluation import instances_to_coco_json
from detectron2.structures import Instances
from PIL import Image
from scipy import ndimage
from torch import Tensor

from ..data.label_maps import save_id_map
from .selection import label_map

TASKS = ("instance", "panoptic", "semantic")  # that have a record


def condense(output: dict[str, Any], task: str, threshold: float | None) -> dict[str, Any]:
    """``output`` of ``Predictor.run_model`` on the CPU, and labels instead of scores."""
    return {"sem_seg": label_map(output["sem_seg"], threshold)} if task == "semantic" else output


def encode(output: dict[str, Any], num_classes: int) -> tuple[str, bytes]:
    """
    Args:
        output: of :func:`condense`.
        num_classes: of a label map.

    Returns:
        The JSON and the PNG of the table above.

    Raises:
        ValueError: a panoptic result without ``segments_info``.
    """
    file = io.BytesIO()
    if "instances" in output:
        return _text({"instances": _instances(output["instances"])}), b""
    if "sem_seg" in output:
        labels = output["sem_seg"].numpy()
        dtype = np.uint8 if num_classes <= 255 else np.uint16
        pixels = np.where(labels < 0, np.iinfo(dtype).max, labels).astype(dtype)
        Image.fromarray(pixels).save(file, format="PNG", compress_level=1)
        return _text({}), file.getvalue()
    id_map, segments = output["panoptic_seg"]
    if segments is None:
        raise ValueError("the model gives no segments_info with its panoptic map")
    ids = id_map.numpy().clip(min=0).astype(np.int32)
    save_id_map(file, ids)
    return _text({"segments_info": _segments(ids, segments)}), file.getvalue()


def _text(content: dict[str, Any]) -> str:
    return json.dumps(content, separators=(",", ":"))


def _instances(found: Instances) -> list[dict[str, Any]]:
    if not found.has("pred_classes"):  # proposals, of no class
        found.pred_classes = np.zeros(len(found), int)
    records = instances_to_coco_json(found, 0)
    for record in records:
        del record["image_id"]
    return records


def _segments(ids: np.ndarray, segments: list[dict[str, Any]]) -> list[dict[str, Any]]:
    areas = np.bincount(ids.ravel())
    boxes = ndimage.find_objects(ids)
    records = []
    for segment in segments:
        number = int(segment["id"])
        if number >= len(areas) or not areas[number]:
            continue  # its pixels were all taken
        rows, columns = boxes[number - 1]
        record = {key: _plain(value) for key, value in segment.items() if key != "area"}
        record["area"] = int(areas[number])
        record["bbox"] = [
            *(columns.start, rows.start),
            *(columns.stop - columns.start, rows.stop - rows.start),
        ]
        records.append(record)
    return records


def _plain(value: Any) -> Any:
    return value.item() if isinstance(value, Tensor | np.generic) else value
