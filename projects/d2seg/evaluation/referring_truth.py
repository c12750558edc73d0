"""What the expressions of a data set mean: the ground truth of referring segmentation.

H, W a picture's size in pixels.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pycocotools.mask as mask_util
from detectron2.data import DatasetCatalog

from .semantic import MissingGroundTruthError

_FEWEST_COORDINATES = 6  # of a polygon


@dataclass(frozen=True)
class ExpressionTruth:
    """``target``: the ids of the annotations that are meant; empty where it has none."""

    id: int
    sentence: str
    kind: str | None
    target: frozenset[int]
    segmentation: list | dict | None

    @property
    def object_name(self) -> frozenset[int] | str:
        """Equal for expressions of a picture that mean the same; a string, where that is unknown
        because the mask belongs to no annotation."""
        return self.target or f"expression {self.id}"


@dataclass(frozen=True)
class Picture:
    file_name: str
    image_id: Any
    size: tuple[int, int]  # (H, W)
    expressions: list[ExpressionTruth]

    def draw_objects(self) -> dict[frozenset[int] | str, np.ndarray]:
        """What the expressions mean, (H, W) bool by ``object_name``, without empty masks."""
        segmentations = {e.object_name: e.segmentation for e in self.expressions}
        drawn = {
            name: _draw(segmentation, self.size)
            for name, segmentation in segmentations.items()
            if segmentation is not None
        }
        return {name: mask for name, mask in drawn.items() if mask.any()}


def read_pictures(dataset_name: str) -> list[Picture]:
    """The pictures of a registered data set that have expressions.

    Its dicts have ``height``, ``width`` and ``expressions``, each a dict of ``id``, ``sentence``,
    ``annotation_id`` (one or several) and ``segmentation`` (polygons or COCO RLE), the last two
    None where nothing is meant, and optionally ``kind``.

    Raises:
        MissingGroundTruthError: there are no expressions.
        ValueError: two expressions have one id; an annotation without mask; a mask of another size
            than its picture.
    """
    records = DatasetCatalog.get(dataset_name)
    pictures = [_picture(record) for record in records if record.get("expressions")]
    if not pictures:
        raise MissingGroundTruthError(
            f"{dataset_name} has no ground truth for the task 'referring': its dicts have no "
            "'expressions'. Choose a data set that has them, or take 'referring' out of TEST.TASKS"
        )
    files: dict[int, str] = {}
    for expression, picture in _all_expressions(pictures):
        where = f"{dataset_name}: expression {expression.id} of {picture.file_name}"
        if expression.id in files:
            raise ValueError(
                f"{where} has the id of one of {files[expression.id]}; give each expression an id "
                "of its own"
            )
        files[expression.id] = picture.file_name
        _check_mask(expression, picture.size, where)
    return pictures


def _all_expressions(pictures: list[Picture]) -> Iterator[tuple[ExpressionTruth, Picture]]:
    return ((expression, picture) for picture in pictures for expression in picture.expressions)


def _picture(record: Mapping[str, Any]) -> Picture:
    expressions = []
    for entry in record["expressions"]:
        ids = entry.get("annotation_id")
        if ids is None or isinstance(ids, int):
            ids = () if ids is None else (ids,)
        kind, segmentation = entry.get("kind"), entry.get("segmentation")
        expressions.append(
            ExpressionTruth(entry["id"], entry["sentence"], kind, frozenset(ids), segmentation)
        )
    size = (record["height"], record["width"])
    return Picture(record["file_name"], record["image_id"], size, expressions)


def _check_mask(expression: ExpressionTruth, size: tuple[int, int], where: str) -> None:
    segmentation = expression.segmentation
    if segmentation is None and expression.target:
        raise ValueError(
            f"{where} means the annotations {sorted(expression.target)}, which have no mask; give "
            "it a segmentation, or no annotation_id if it means nothing in the picture"
        )
    if isinstance(segmentation, dict) and tuple(segmentation["size"]) != size:
        raise ValueError(
            f"{where} has a mask of {tuple(segmentation['size'])} (height, width), the picture is "
            f"{size}; correct the one that is wrong"
        )


def _draw(segmentation: list | dict, size: tuple[int, int]) -> np.ndarray:
    """(H, W) bool, by COCO's rules."""
    if isinstance(segmentation, list):
        polygons = [p for p in segmentation if len(p) >= _FEWEST_COORDINATES]
        if not polygons:
            return np.zeros(size, dtype=bool)
        segmentation = mask_util.merge(mask_util.frPyObjects(polygons, *size))
    elif isinstance(segmentation["counts"], list):
        segmentation = mask_util.frPyObjects(segmentation, *size)
    return mask_util.decode(segmentation).astype(bool)
