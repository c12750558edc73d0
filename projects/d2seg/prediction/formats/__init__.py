"""Formats that predictions over folders are written in, one module each.

A module has ``TASKS``, which it can hold, the preferred first, ``THRESHOLD``, the confidence from
which on a detection is written where the user says nothing, and ``write``.
"""

from types import ModuleType

from . import coco, labelme, masks, panoptic, yolo

FORMATS: dict[str, ModuleType] = {
    "coco": coco,
    "panoptic": panoptic,
    "masks": masks,
    "labelme": labelme,
    "yolo": yolo,
}
