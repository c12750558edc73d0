"""Preparation of a run: from the command line to a checked, frozen config, with logging."""

import argparse
import copy
import logging
import os
from pathlib import Path

from detectron2.config import CfgNode
from detectron2.engine import default_setup
from detectron2.utils import comm
from detectron2.utils.logger import setup_logger

from ..acceleration import flush_denormals
from ..checkpoint.checkpointer import NO_WEIGHTS, checkpoints_in
from ..checkpoint.download import split_options
from ..checkpoint.files import find_file
from ..config.checks import check_values
from ..config.files import own_keys
from ..config.loading import load_config
from ..config.tasks import gives_masks, tasks_of
from ..data.build import images_per_process, picture_keys
from ..data.catalog import check_data
from ..data.datasets.declaration import register_declarations
from ..data.dicts import check_files_of, load_dicts
from ..data.referring.training import write_vocabulary
from ..evaluation.build import build_evaluator
from ..evaluation.instance import InstanceEvaluator
from ..names import path_inside
from .full_disk import report_once
from .output_folder import check_folder, claim_folder, hold
from .solver import auto_scale

logger = logging.getLogger(__name__)

VOCABULARY_FILE = "vocabulary.txt"  # in OUTPUT_DIR


def read_config(args: argparse.Namespace) -> CfgNode:
    """The config of a command line of detectron2's ``default_argument_parser``, not frozen.

    The modules of ``--import`` and IMPORTS are imported, and the data sets that the config
    declares are registered. Unless it says otherwise, semantic results are labels, which this
    project's evaluators take (see ``load_config``).

    Raises:
        ValueError: the config has an unknown key, or values with which nothing can run.
    """
    cfg = load_config(
        args.config_file or None,
        args.opts,
        labels=True,
        trained=bool(args.eval_only),
        imports=getattr(args, "imports", ()),
    )
    said = {*args.opts[0::2], *own_keys(args.config_file or None)}
    check_values(cfg, training=not args.eval_only, said=said)
    register_declarations(cfg.DATASETS.DECLARATIONS)
    return cfg


def check_run(cfg: CfgNode, eval_only: bool) -> None:
    """See that there is something to evaluate on, and a folder to write to.

    Raises:
        ValueError: DATASETS.TEST of an evaluation is empty; the folder's name cannot be logged; or
            as :func:`check_folder`.
    """
    if eval_only and not cfg.DATASETS.TEST:
        raise ValueError("DATASETS.TEST is empty; name a data set to evaluate on")
    # detectron2 logs it as it is, and bytes that are no UTF-8 not at all; with a NUL there is no
    # such folder, which check_folder says
    if not cfg.OUTPUT_DIR.isprintable() and "\0" not in cfg.OUTPUT_DIR:
        raise ValueError(
            f"OUTPUT_DIR {cfg.OUTPUT_DIR} has characters that cannot be printed; choose another"
        )
    check_folder(cfg.OUTPUT_DIR)


def check_weights(cfg: CfgNode, eval_only: bool, resume: bool) -> None:
    """See that the file of MODEL.WEIGHTS is there, before a model is built; what has to be fetched
    is looked for when it is loaded.

    Raises:
        ValueError: it is missing, or an evaluation names none.
    """
    if resume and checkpoints_in(cfg.OUTPUT_DIR):
        return
    address, _ = split_options(cfg.MODEL.WEIGHTS)
    if eval_only and not address:
        raise ValueError(NO_WEIGHTS)
    if address and "://" not in address:
        find_file(address)


def setup(args: argparse.Namespace) -> CfgNode:
    """The frozen config of the command line, checked; logging, seeds and output folder set up.

    The environment and the whole config are logged and written to OUTPUT_DIR. Call it in every
    process, after the process group is made.

    Raises:
        ValueError: as :func:`read_config`; a data set is missing or does not fit the config; or
            OUTPUT_DIR is in use, cannot be written to, or holds another run's checkpoints.
    """
    flush_denormals()
    cfg = read_config(args)
    check_run(cfg, args.eval_only)
    check_weights(cfg, args.eval_only, args.resume)
    if comm.get_local_rank() == 0:
        check_data(cfg, args.eval_only)
        # where this package's launcher starts several processes, it has done that before
        if not args.eval_only and (comm.get_world_size() == 1 or is_torchrun()):
            check_evaluation(cfg)
        comm.synchronize()  # a data set that is made on first use is made once
    else:
        comm.synchronize()
        check_data(cfg, args.eval_only)
    if not args.eval_only:
        images_per_process(cfg, comm.get_world_size())
        claim_folder(cfg.OUTPUT_DIR, args.resume, cfg.SOLVER.OVERWRITE)
        hold(cfg.OUTPUT_DIR)  # from before the first line of the log to the end of the training
    setup_logger(cfg.OUTPUT_DIR, distributed_rank=comm.get_rank(), name="d2seg")
    if "semantic" in cfg.TEST.TASKS:
        logger.info(
            "Semantic results: MODEL.PER_PIXEL.TEST.OUTPUT is %s, MODEL.MASK_CLASSIFICATION.TEST."
            "SEMANTIC_OUTPUT %s; a model's own default is scores (K, H, W), this program's labels",
            cfg.MODEL.PER_PIXEL.TEST.OUTPUT,
            cfg.MODEL.MASK_CLASSIFICATION.TEST.SEMANTIC_OUTPUT,
        )
    if cfg.INPUT.MAPPER == "referring" and not args.eval_only:
        set_vocabulary(cfg, args.resume)
    if not args.eval_only:
        cfg = auto_scale(cfg)
    cfg.freeze()
    shown = copy.copy(args)
    if not Path(args.config_file).is_file() or not args.config_file.isprintable():
        shown.config_file = ""  # a name of detectron2's model zoo, or what would spoil the log
    default_setup(cfg, shown)
    report_once()
    return cfg


def is_torchrun() -> bool:
    """Whether torchrun has started this process."""
    return all(name in os.environ for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK"))


def check_evaluation(cfg: CfgNode) -> None:
    """See, before a training, that what it is evaluated with afterwards can be read.

    The evaluators of DATASETS.TEST are built, and the dicts read, as the evaluation will do it.

    Raises:
        ValueError, ImportError: as :func:`build_evaluator` and :func:`load_dicts`; a picture or a
            label map is missing; there is nothing to find; or masks are missing that it is scored
            by.
    """
    keys = (*picture_keys(cfg), "sem_seg_file_name", "pan_seg_file_name")
    for name in cfg.DATASETS.TEST:
        check_files_of(load_dicts(name, for_test=True), [name], keys)
        folder = path_inside(Path(cfg.OUTPUT_DIR) / "inference", name, "name of a data set")
        evaluator = build_evaluator(cfg, name, str(folder), tasks_of(cfg))
        for part in getattr(evaluator, "_evaluators", [evaluator]):
            if not getattr(part, "has_truth", True):
                raise ValueError(
                    f"data set {name!r} of DATASETS.TEST has no object or segment but crowds, so "
                    f"that {type(part).__name__} would score NaN; add some, or take it out"
                )
            if isinstance(part, InstanceEvaluator) and gives_masks(cfg):
                part.check_masks()


def set_vocabulary(cfg: CfgNode, resume: bool) -> None:
    """Set an empty MODEL.RESTR.TEXT.VOCABULARY to a file of the training data's words.

    The first process of each machine writes it to OUTPUT_DIR; a run that is resumed from a
    checkpoint goes on with the one that is there, since the rows of its weights are numbered by it.
    Call it in every process.

    Raises:
        ValueError: as :func:`collect_vocabulary`.
    """
    if cfg.MODEL.RESTR.TEXT.VOCABULARY:
        return
    file = Path(cfg.OUTPUT_DIR) / VOCABULARY_FILE
    is_resumed = resume and bool(checkpoints_in(file.parent))
    if comm.get_local_rank() == 0 and not (is_resumed and file.is_file()):
        write_vocabulary(cfg.DATASETS.TRAIN, file)
    comm.synchronize()
    cfg.MODEL.RESTR.TEXT.VOCABULARY = str(file)
