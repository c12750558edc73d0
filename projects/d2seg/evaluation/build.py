"""The choice of evaluators for a data set and the tasks of a model."""

import importlib.util
import logging
from collections.abc import Sequence
from typing import Any

from detectron2.config import CfgNode
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.evaluation import (
    CityscapesInstanceEvaluator,
    DatasetEvaluator,
    DatasetEvaluators,
    LVISEvaluator,
    PascalVOCDetectionEvaluator,
)

from ..data.catalog import metadata_of
from ..data.readers import PictureReader, build_reader
from ..registries import EVALUATORS
from .boundary import BoundaryEvaluator
from .instance import InstanceEvaluator
from .panoptic_evaluation import PanopticEvaluator
from .per_image import PerImageBoundaryEvaluator, PerImageEvaluator
from .referring import ReferringEvaluator
from .semantic import CityscapesSemanticEvaluator, MissingGroundTruthError, SemanticEvaluator
from .volumes import VolumeEvaluator

logger = logging.getLogger(__name__)


def build_evaluator(
    cfg: CfgNode, dataset_name: str, output_dir: str | None, tasks: Sequence[str]
) -> DatasetEvaluator:
    """The evaluators of ``tasks`` on a registered data set, as one.

    ====================  ======================================================================
    task                  compared with
    ====================  ======================================================================
    panoptic              metadata ``panoptic_json`` and ``panoptic_root``: PQ
    instance              metadata ``json_file``, or ``annotations`` in the dicts: box and mask AP
    semantic              ``sem_seg_file_name`` in the dicts: mIoU
    referring             ``expressions`` in the dicts: overall IoU, mean IoU, precision
    ====================  ======================================================================

    An ``evaluator_type`` of Cityscapes, LVIS or Pascal VOC brings detectron2's evaluator for that
    data set; "volumes" brings Dice and HD95 for the task semantic. On a panoptic data set, semantic
    labels that are missing or count their classes differently from the model are skipped with a log
    line, as long as another task remains.

    Args:
        cfg: ``MODEL.SEM_SEG_HEAD.NUM_CLASSES`` and TEST are read, and INPUT, for the
            pictures of a report.
        output_dir: where the evaluators save predictions, and with TEST.REPORT the records that a
            report is made of; None saves nothing.
        tasks: of "panoptic", "instance", "semantic", "referring".

    Raises:
        ValueError: no or an unknown task, an unknown data set, or no ground truth for a task.
        ImportError: the data set's own evaluation code is not installed.
    """
    num_classes, test = cfg.MODEL.SEM_SEG_HEAD.NUM_CLASSES, cfg.TEST
    files = (dataset_name, output_dir)
    max_detections = max(
        test.DETECTIONS_PER_IMAGE, cfg.MODEL.MASK_CLASSIFICATION.TEST.MAX_INSTANCES
    )
    reader = build_reader(cfg)
    reader = None if reader.takes_rgb else reader
    builders = {
        "panoptic": lambda: _build_panoptic(*files, test.REPORT, reader),
        "instance": lambda: _build_instance(
            *files, test.KEYPOINT_OKS_SIGMAS, max_detections, test.REPORT, reader
        ),
        "semantic": lambda: _build_semantic(
            *files,
            num_classes,
            test.BOUNDARY_WIDTH,
            test.PER_IMAGE_METRICS,
            test.REPORT,
            reader,
        ),
        "referring": lambda: ReferringEvaluator(*files, record=test.REPORT),
    }
    if not tasks or not set(tasks) <= set(builders):
        raise ValueError(f"TEST.TASKS is {list(tasks)}; choose from {list(builders)}")
    metadata_of(dataset_name)  # raises for a name that is not registered
    evaluators = []
    for task in (task for task in builders if task in tasks):
        try:
            evaluators.append(builders[task]())
        except MissingGroundTruthError as error:
            panoptic = _metadata_value(dataset_name, "panoptic_json") is not None
            if task != "semantic" or not panoptic or not evaluators:
                raise
            logger.info("mIoU is skipped: %s", error)
    evaluators += [EVALUATORS.get(name)(cfg, *files) for name in test.EVALUATORS]
    return evaluators[0] if len(evaluators) == 1 else DatasetEvaluators(evaluators)


def _build_panoptic(
    name: str, output_dir: str | None, record: bool, reader: PictureReader | None
) -> DatasetEvaluator:
    missing = [x for x in ("panoptic_json", "panoptic_root") if _metadata_value(name, x) is None]
    if missing:
        raise _missing(name, "panoptic", f"its metadata lack {' and '.join(missing)}")
    return PanopticEvaluator(name, output_dir, record=record, reader=reader)


def _build_instance(
    name: str,
    output_dir: str | None,
    kpt_oks_sigmas: Sequence[float],
    max_detections: int,
    record: bool,
    reader: PictureReader | None,
) -> DatasetEvaluator:
    kind = _metadata_value(name, "evaluator_type")
    if kind in ("cityscapes_instance", "cityscapes_panoptic_seg"):
        _require("cityscapesscripts", name)
        return CityscapesInstanceEvaluator(name)
    if kind == "lvis":
        _require("lvis", name)
        limit = max_detections if max_detections > 300 else None  # 300 is LVIS's own
        return LVISEvaluator(name, output_dir=output_dir, max_dets_per_image=limit)
    if kind == "pascal_voc":
        return PascalVOCDetectionEvaluator(name)
    has_file = _metadata_value(name, "json_file") is not None
    if not has_file and not any(r.get("annotations") for r in DatasetCatalog.get(name)):
        reason = "its metadata lack json_file, and none of its dicts has 'annotations'"
        raise _missing(name, "instance", reason)
    return InstanceEvaluator(
        name,
        output_dir,
        kpt_oks_sigmas=kpt_oks_sigmas,
        max_detections=max_detections,
        record=record,
        reader=reader,
    )


def _build_semantic(
    name: str,
    output_dir: str | None,
    num_classes: int,
    boundary_width: int,
    per_image: bool,
    record: bool,
    reader: PictureReader | None,
) -> DatasetEvaluator:
    kind = _metadata_value(name, "evaluator_type")
    has_own = kind in ("cityscapes_sem_seg", "cityscapes_panoptic_seg", "volumes")
    if boundary_width and has_own:
        raise ValueError(
            f"TEST.BOUNDARY_WIDTH is {boundary_width}, but {name} has an evaluator of its own, "
            "which knows no boundaries: set it to 0"
        )
    if per_image and has_own:
        raise ValueError(
            f"TEST.PER_IMAGE_METRICS is True, but {name} has an evaluator of its own, "
            "which does not have these: set it to False"
        )
    if kind in ("cityscapes_sem_seg", "cityscapes_panoptic_seg"):
        _require("cityscapesscripts", name)
        return CityscapesSemanticEvaluator(name)
    if boundary_width:
        banded = PerImageBoundaryEvaluator if per_image else BoundaryEvaluator
        evaluator = banded(name, output_dir, width=boundary_width, record=record, reader=reader)
    elif kind == "volumes":
        evaluator = VolumeEvaluator(name, output_dir)
    else:
        plain = PerImageEvaluator if per_image else SemanticEvaluator
        evaluator = plain(name, output_dir, record=record, reader=reader)
    num_labels = len(MetadataCatalog.get(name).stuff_classes)
    if num_classes != num_labels:
        raise MissingGroundTruthError(
            f"the semantic labels of {name} have {num_labels} classes, "
            f"MODEL.SEM_SEG_HEAD.NUM_CLASSES is {num_classes}: make them agree, "
            "or take 'semantic' out of TEST.TASKS"
        )
    return evaluator


def _metadata_value(name: str, key: str) -> Any:
    return MetadataCatalog.get(name).get(key)


def _missing(name: str, task: str, reason: str) -> MissingGroundTruthError:
    return MissingGroundTruthError(
        f"{name} has no ground truth for the task {task!r}: {reason}. "
        f"Add it to the data set, or take {task!r} out of TEST.TASKS"
    )


def _require(package: str, name: str) -> None:
    if importlib.util.find_spec(package) is None:
        raise ImportError(f"{name} is evaluated with {package}: `pip install {package}` brings it")
