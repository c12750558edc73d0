"""Train, resume or evaluate any model of d2seg, or of detectron2's model zoo.

The command line is detectron2's. ``--config-file`` takes a file or the name of a config of the
model zoo; ``KEY VALUE`` pairs override the config.

With MODEL.DEVICE cpu, ``--num-gpus`` is the number of CPU processes. Processes may also be started
by torchrun. On SIGTERM or Ctrl-C the step is finished and a checkpoint saved; ``--resume`` goes on
from there.

Exit codes: 0 done; 1 failed, or scored without volumes that could not be read; 2 a mistake in the
command, config or data, said in one line (set D2SEG_TRACEBACK=1 to see where); 128 + n ended by
signal n, resumable.
"""

import argparse
import json
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from detectron2.config import CfgNode
from detectron2.engine import default_argument_parser
from detectron2.evaluation import verify_results
from detectron2.utils import comm

from ..acceleration import prepare_as_configured
from ..checkpoint import Checkpointer
from ..checkpoint.files import write_atomically
from ..checkpoint.undrawn import undrawn
from ..config.description import check_stored_classes
from ..config.loading import use_words_of_checkpoint
from ..config.parts import naming_parts
from ..config.tasks import tasks_of
from ..config.zoo import normalise, read_table
from ..engine import Trainer, run, setup
from ..evaluation import num_unreadable
from ..evaluation.report import REPORT, Published, write_report, write_run_info
from ..prediction.exported import build_exported, open_for, use_size_of_exported
from ..runtimes.session import is_exported
from ..views import with_views
from .imports import add_import_argument
from .messages import Parser

logger = logging.getLogger(__name__)

EXAMPLES = """
Examples:

Train on 8 GPUs; go on after an interruption; evaluate:
    $ train_net.py --num-gpus 8 --config-file cfg.yaml
    $ train_net.py --num-gpus 8 --config-file cfg.yaml --resume
    $ train_net.py --num-gpus 8 --config-file cfg.yaml --eval-only MODEL.WEIGHTS model_final.pth

Two CPU processes; the same by torchrun:
    $ train_net.py --num-gpus 2 --config-file cfg.yaml MODEL.DEVICE cpu
    $ torchrun --nproc-per-node 2 train_net.py --config-file cfg.yaml MODEL.DEVICE cpu

Another learning rate; fewer images at a time with the same batch:
    $ train_net.py --config-file cfg.yaml SOLVER.BASE_LR 0.001
    $ train_net.py --config-file cfg.yaml SOLVER.ACCUMULATE_STEPS 4

A model of detectron2's zoo with its published weights:
    $ train_net.py --eval-only --config-file COCO-PanopticSegmentation/panoptic_fpn_R_50_3x.yaml
"""


def work(args: argparse.Namespace) -> int:
    """What each process does."""
    cfg = setup(args)
    if args.eval_only:
        weights = "the last checkpoint of OUTPUT_DIR" if args.resume else cfg.MODEL.WEIGHTS
        return finish(cfg, evaluate(cfg, args.resume), args.config_file, weights)
    with naming_parts(cfg):
        trainer = Trainer(cfg)
    trainer.resume_or_load(resume=args.resume)
    results = trainer.train()
    if results and trainer.exit_code == 0:
        return finish(cfg, results, args.config_file, "those of the end of this training")
    return trainer.exit_code


def evaluate(cfg: CfgNode, resume: bool) -> dict[str, Any]:
    """Score MODEL.WEIGHTS, a checkpoint or an exported file, or the last checkpoint, to resume."""
    cfg = cfg.clone()
    cfg.defrost()
    if is_exported(cfg.MODEL.WEIGHTS) and not resume:
        session = open_for(cfg)
        use_size_of_exported(cfg, session)
        return Trainer.test(cfg, with_views(cfg, build_exported(cfg, session), tasks_of))
    use_words_of_checkpoint(cfg)
    with naming_parts(cfg), undrawn(bool(cfg.MODEL.WEIGHTS) or resume):
        model = Trainer.build_model(cfg)
    checkpointer = Checkpointer(model, cfg.OUTPUT_DIR)
    rest = checkpointer.resume_or_load(cfg.MODEL.WEIGHTS, resume=resume, require_complete=True)
    check_stored_classes(cfg, rest)
    model = with_views(cfg, prepare_as_configured(cfg, model.eval()), tasks_of)
    return Trainer.test(cfg, model)


def finish(cfg: CfgNode, results: dict[str, Any], config: str = "", weights: str = "") -> int:
    """Write the scores of the final weights to results.json and report.html, then compare them with
    TEST.EXPECTED_RESULTS: the process ends with code 1 where they differ.

    Args:
        config, weights: as the report calls them

    Returns:
        An exit code, 1 if volumes could not be read and the others were scored alone.
    """
    if comm.is_main_process():
        path = Path(cfg.OUTPUT_DIR) / "results.json"
        text = json.dumps(results, indent=2, default=float) + "\n"
        write_atomically(str(path), lambda file: Path(file).write_text(text))
        logger.info("Results: %s", path)
        if cfg.TEST.REPORT:
            report(cfg, config, weights)
        elif (old := Path(cfg.OUTPUT_DIR) / REPORT).is_file():
            logger.warning("%s shows an earlier evaluation: TEST.REPORT is False", old)
        verify_results(cfg, results)
    return int(num_unreadable(results) > 0)


def report(cfg: CfgNode, config: str, weights: str) -> None:
    """Write report.html. Where that is not possible, the log says so in one line; the scores are
    there all the same."""
    entry = read_table().get(normalise(config))
    published = None
    if entry is not None and entry.result:
        published = Published(entry.metric, entry.result, entry.source)
    try:
        write_run_info(
            cfg.OUTPUT_DIR,
            config=config or cfg.MODEL.META_ARCHITECTURE,
            architecture=cfg.MODEL.META_ARCHITECTURE,
            weights=weights or cfg.MODEL.WEIGHTS,
            device=cfg.MODEL.DEVICE,
            datasets=cfg.DATASETS.TEST,
            published=published,
        )
        logger.info("Report: %s", write_report(cfg.OUTPUT_DIR))
    except (ValueError, ImportError, OSError) as error:
        logger.warning("No report is written: %s", error)


def make_parser(prog: str | None = None) -> Parser:
    """detectron2's, and --import."""
    parser = Parser(
        prog=prog,
        description=__doc__,
        epilog=EXAMPLES.replace("train_net.py", prog or "train_net.py"),
        parents=[default_argument_parser()],
        add_help=False,  # the parent has it
    )
    add_import_argument(parser)
    return parser


def main(argv: Sequence[str] | None = None, prog: str | None = None) -> int:
    """
    Returns:
        The exit code.
    """
    parser = make_parser(prog)
    args = parser.parse_args(argv)
    if not args.config_file and not args.opts:
        parser.error("give --config-file: a file, or a name in the model zoo (d2seg zoo)")
    return run(work, args)
