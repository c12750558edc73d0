"""Data loaders of a config: its data sets, mappers, samplers, seeds and gradient accumulation."""

import logging
from functools import partial
from typing import Any

from detectron2.config import CfgNode
from detectron2.data import (
    build_detection_test_loader,
    get_detection_dataset_dicts,
)
from detectron2.data.samplers import RepeatFactorTrainingSampler, TrainingSampler
from detectron2.utils import comm
from torch.utils.data import DataLoader, Dataset, Sampler

from ..registries import SAMPLERS
from .loader import TrainLoader
from .mappers import build_mapper
from .referring.training import expanded_dicts
from .seeding import choose_seed

logger = logging.getLogger(__name__)

Dicts = list[dict[str, Any]] | Dataset


def build_train_loader(cfg: CfgNode) -> TrainLoader:
    """Return an endless loader; each item is the list of one process's samples of one backward.

    ``SOLVER.IMS_PER_BATCH`` images of one optimizer step are shared out over
    ``SOLVER.ACCUMULATE_STEPS`` items on every process. The order of the images is that of
    DATALOADER.SAMPLER_TRAIN; it and the augmentations depend on ``SEED`` alone, or
    where that is negative on a random seed.

    Raises:
        ValueError: an unknown sampler, or one that the mapper cannot have; a number of images does
            not divide.
    """
    SAMPLERS.check(cfg.DATALOADER.SAMPLER_TRAIN)
    is_referring = cfg.INPUT.MAPPER == "referring"
    if is_referring and cfg.DATALOADER.SAMPLER_TRAIN != "TrainingSampler":
        raise ValueError(
            f"DATALOADER.SAMPLER_TRAIN {cfg.DATALOADER.SAMPLER_TRAIN} counts classes, which "
            "INPUT.MAPPER referring does not have; set it to TrainingSampler"
        )
    dataset = _training_dicts(cfg)
    return TrainLoader(
        dataset,
        build_mapper(cfg, is_train=True),
        partial(_sampler, cfg, dataset),
        batch_size=images_per_process(cfg, comm.get_world_size()),
        num_workers=cfg.DATALOADER.NUM_WORKERS,
        # images of one size need no grouping
        group_by_aspect=cfg.DATALOADER.ASPECT_RATIO_GROUPING and not is_referring,
        seed=choose_seed(cfg.SEED),
    )


def _sampler(cfg: CfgNode, dataset: Dicts, seed: int) -> Sampler:
    name = cfg.DATALOADER.SAMPLER_TRAIN
    if name in SAMPLERS:
        return SAMPLERS.get(name)(cfg, dataset, seed)
    if name == "TrainingSampler":
        return TrainingSampler(len(dataset), seed=seed)
    factors = RepeatFactorTrainingSampler.repeat_factors_from_category_frequency(
        dataset, cfg.DATALOADER.REPEAT_THRESHOLD, sqrt=cfg.DATALOADER.REPEAT_SQRT
    )
    return RepeatFactorTrainingSampler(factors, seed=seed)


def build_test_loader(cfg: CfgNode, dataset_name: str) -> DataLoader:
    """Return a loader that goes once through ``dataset_name``, one image at a time."""
    return build_detection_test_loader(cfg, dataset_name, mapper=build_mapper(cfg, is_train=False))


def images_per_process(cfg: CfgNode, num_processes: int) -> int:
    """Images of one process in one backward pass.

    Raises:
        ValueError: SOLVER.IMS_PER_BATCH does not divide.
    """
    images, steps = cfg.SOLVER.IMS_PER_BATCH, cfg.SOLVER.ACCUMULATE_STEPS
    if steps < 1 or images < 1 or images % (steps * num_processes):
        raise ValueError(
            f"SOLVER.IMS_PER_BATCH {images} must be a multiple of SOLVER.ACCUMULATE_STEPS {steps} "
            f"times the number of processes {num_processes}"
        )
    return images // (steps * num_processes)


def _training_dicts(cfg: CfgNode) -> Dicts:
    """Dataset dicts of ``DATASETS.TRAIN``, filtered by what the mapper makes targets of.

    detectron2's ``FILTER_EMPTY_ANNOTATIONS`` looks at ``annotations``, which the semantic and the
    panoptic mapper do not read.
    """
    if cfg.INPUT.MAPPER == "referring":  # no image without expressions
        return expanded_dicts(cfg.DATASETS.TRAIN, cfg.INPUT.EXPRESSIONS_PER_IMAGE)
    filter_empty = cfg.DATALOADER.FILTER_EMPTY_ANNOTATIONS
    keypoints, proposals = cfg.MODEL.KEYPOINT_ON, cfg.MODEL.LOAD_PROPOSALS
    dataset = get_detection_dataset_dicts(
        cfg.DATASETS.TRAIN,
        filter_empty=filter_empty and cfg.INPUT.MAPPER not in ("semantic", "panoptic"),
        min_keypoints=cfg.MODEL.ROI_KEYPOINT_HEAD.MIN_KEYPOINTS_PER_IMAGE if keypoints else 0,
        proposal_files=cfg.DATASETS.PROPOSAL_FILES_TRAIN if proposals else None,
    )
    if not (filter_empty and cfg.INPUT.MAPPER == "panoptic" and isinstance(dataset, list)):
        return dataset
    kept = [d for d in dataset if any(not s.get("iscrowd", 0) for s in d.get("segments_info", []))]
    logger.info("Removed %d images without segments; %d left.", len(dataset) - len(kept), len(kept))
    if not kept:
        raise ValueError(
            f"no image of DATASETS.TRAIN {cfg.DATASETS.TRAIN} has a segment that is not crowd; "
            "check its annotations or set DATALOADER.FILTER_EMPTY_ANNOTATIONS to False"
        )
    return kept
