"""Data loaders of a config: its data sets, mappers, samplers, seeds and gradient accumulation."""

import logging
from functools import partial
from typing import Any

from detectron2.config import CfgNode
from detectron2.data import DatasetFromList, build_detection_test_loader
from detectron2.data import build as detectron2_build
from detectron2.data.samplers import RepeatFactorTrainingSampler, TrainingSampler
from detectron2.utils import comm
from torch.utils.data import ConcatDataset, DataLoader, Sampler

from ..registries import MAPPERS, READERS, SAMPLERS
from .augmentation import reading_config
from .catalog import metadata_of
from .dicts import Dicts, check_files_of, load_dicts
from .faults import flag
from .loader import TrainLoader
from .mappers import build_mapper
from .referring.training import expanded_dicts
from .seeding import choose_seed
from .workers import QuietDataLoader

logger = logging.getLogger(__name__)

_TRUTH_OF = {  # the entry of a dict that a mapper cannot do without
    "semantic": "sem_seg_file_name",
    "panoptic": "pan_seg_file_name",
    "instance": "annotations",
}
_KEYS = {"semantic": (), "panoptic": ("segments_info",), "slice": ()}  # that mappers read of dicts
_MAPS = {  # the entries with files that mappers make targets of
    "semantic": "sem_seg_file_name",
    "panoptic": "pan_seg_file_name",
    "detectron2": "sem_seg_file_name",
}
_SECONDS = 10.0  # to look for the files of a data set


def build_train_loader(cfg: CfgNode) -> TrainLoader:
    """Return an endless loader; each item is the list of one process's samples of one backward.

    ``SOLVER.IMS_PER_BATCH`` images of one optimizer step are shared out over
    ``SOLVER.ACCUMULATE_STEPS`` items on every process. The order of the images is that of
    DATALOADER.SAMPLER_TRAIN; it and the augmentations depend on ``SEED`` alone, or
    where that is negative on a random seed.

    Raises:
        ValueError: an unknown sampler, or one that the mapper cannot have; a number of images does
            not divide; a file of the data sets is missing.
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
        name=", ".join(cfg.DATASETS.TRAIN),
    )


def _sampler(cfg: CfgNode, dataset: Dicts, seed: int) -> Sampler:
    name = cfg.DATALOADER.SAMPLER_TRAIN
    if name in SAMPLERS:
        return SAMPLERS.get(name)(cfg, dataset, seed)
    if name == "TrainingSampler":
        return TrainingSampler(len(dataset), seed=seed)
    if not all("annotations" in entry for entry in dataset):
        raise ValueError(
            f"DATALOADER.SAMPLER_TRAIN {name} counts the classes of 'annotations', which "
            f"DATASETS.TRAIN {cfg.DATASETS.TRAIN} does not have; set it to TrainingSampler"
        )
    factors = RepeatFactorTrainingSampler.repeat_factors_from_category_frequency(
        dataset, cfg.DATALOADER.REPEAT_THRESHOLD, sqrt=cfg.DATALOADER.REPEAT_SQRT
    )
    return RepeatFactorTrainingSampler(factors, seed=seed)


def build_test_loader(cfg: CfgNode, dataset_name: str) -> DataLoader:
    """Return a loader that goes once through ``dataset_name``, one image at a time.

    Raises:
        ValueError: as :func:`load_dicts`, or a file is missing.
    """
    dicts = load_dicts(dataset_name, for_test=True, keys=())
    check_files_of(dicts, [dataset_name], picture_keys(cfg), _SECONDS)
    if cfg.MODEL.LOAD_PROPOSALS:
        at = list(cfg.DATASETS.TEST).index(dataset_name)
        file = cfg.DATASETS.PROPOSAL_FILES_TEST[at]
        dicts = detectron2_build.load_proposals_into_dataset(dicts, file)
    mapper = build_mapper(reading_config(cfg), is_train=False)
    stock = build_detection_test_loader(dicts, mapper=mapper)
    return QuietDataLoader(
        stock.dataset,
        sampler=stock.sampler,
        num_workers=cfg.DATALOADER.NUM_WORKERS,
        collate_fn=stock.collate_fn,
    )


def picture_keys(cfg: CfgNode) -> tuple[str, ...]:
    """The entry of a dict that names its picture; none where a part of the user's reads pictures,
    to which it may be the name of something else."""
    is_own = cfg.INPUT.MAPPER in MAPPERS or cfg.INPUT.READER in READERS
    return () if is_own else ("file_name",)


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
        return expanded_dicts(cfg.DATASETS.TRAIN, cfg.INPUT.EXPRESSIONS_PER_IMAGE, _SECONDS)
    dataset = _loaded(cfg)
    if not isinstance(dataset, list):
        return dataset
    _check_mapper(cfg, dataset)
    is_instance = cfg.INPUT.MAPPER not in ("semantic", "panoptic") and "annotations" in dataset[0]
    if not cfg.DATALOADER.FILTER_EMPTY_ANNOTATIONS:
        kept = dataset
    elif cfg.INPUT.MAPPER == "panoptic":
        kept = [d for d in dataset if _has_object(d.get("segments_info", []))]
    else:
        kept = [d for d in dataset if not is_instance or _has_object(d["annotations"])]
    if is_instance:
        _check_masks(cfg, dataset)
    what = "a segment" if cfg.INPUT.MAPPER == "panoptic" else "an annotation"
    if len(kept) < len(dataset):
        removed = len(dataset) - len(kept)
        logger.info("Removed %d images without %s that counts; %d left", removed, what, len(kept))
    if kept and is_instance and cfg.MODEL.KEYPOINT_ON:
        least = cfg.MODEL.ROI_KEYPOINT_HEAD.MIN_KEYPOINTS_PER_IMAGE
        kept = detectron2_build.filter_images_with_few_keypoints(kept, least)
    if not kept:
        raise ValueError(
            f"no image of DATASETS.TRAIN {cfg.DATASETS.TRAIN} has {what} that is not crowd; "
            "check its annotations or set DATALOADER.FILTER_EMPTY_ANNOTATIONS to False"
        )
    keys = (*picture_keys(cfg), *filter(None, [_MAPS.get(cfg.INPUT.MAPPER)]))
    check_files_of(kept, cfg.DATASETS.TRAIN, keys, _SECONDS)
    class_names = metadata_of(cfg.DATASETS.TRAIN[0]).get("thing_classes")
    if is_instance and class_names:
        detectron2_build.print_instances_class_histogram(kept, class_names)
    return kept


def _check_mapper(cfg: CfgNode, dataset: list[dict[str, Any]]) -> None:
    """Raise ``ValueError`` where no image has what INPUT.MAPPER reads; name mappers that fit."""
    key = _TRUTH_OF.get(cfg.INPUT.MAPPER)
    if key is None or any(key in entry for entry in dataset):
        return
    fitting = [mapper for mapper, needed in _TRUTH_OF.items() if needed in dataset[0]]
    remedy = f"set INPUT.MAPPER {' or '.join(fitting)}" if fitting else "choose another data set"
    raise ValueError(
        f"INPUT.MAPPER is {cfg.INPUT.MAPPER!r}, but no image of DATASETS.TRAIN "
        f"{cfg.DATASETS.TRAIN} has '{key}', which it reads; {remedy}"
    )


def _loaded(cfg: CfgNode) -> Dicts:
    """The checked dicts of all of DATASETS.TRAIN, with detectron2's proposals if a model asks."""
    keys = _KEYS.get(cfg.INPUT.MAPPER, ("annotations",))
    sets = [load_dicts(name, keys=keys) for name in cfg.DATASETS.TRAIN]
    if not all(isinstance(dicts, list) for dicts in sets):
        return (
            sets[0]
            if len(sets) == 1
            else ConcatDataset([DatasetFromList(x) if isinstance(x, list) else x for x in sets])
        )
    if cfg.MODEL.LOAD_PROPOSALS:
        files = cfg.DATASETS.PROPOSAL_FILES_TRAIN
        sets = [
            detectron2_build.load_proposals_into_dataset(dicts, file)
            for dicts, file in zip(sets, files, strict=True)
        ]
    return [entry for dicts in sets for entry in dicts]


def _check_masks(cfg: CfgNode, dataset: list[dict[str, Any]]) -> None:
    """See that annotations have the masks that the mapper draws, before it comes to one of them.

    Raises:
        ValueError: one has none.
    """
    needs = cfg.INPUT.MAPPER == "instance" or (
        cfg.INPUT.MAPPER == "detectron2" and cfg.MODEL.MASK_ON
    )
    for entry in dataset if needs else ():
        for number, annotation in enumerate(entry.get("annotations", ())):
            if annotation.get("segmentation") is None and not flag(annotation.get("iscrowd")):
                raise ValueError(
                    f"{entry['file_name']}: annotation {number} has no 'segmentation', which "
                    f"INPUT.MAPPER {cfg.INPUT.MAPPER} draws its mask from; add it, or take the "
                    "annotation out"
                )


def _has_object(entries: list[dict[str, Any]]) -> bool:
    return any(not flag(entry.get("iscrowd")) for entry in entries)
