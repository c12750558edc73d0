"""The training loop: detectron2's ``DefaultTrainer`` with this package's parts."""

import logging
import signal
import weakref
from pathlib import Path
from typing import Any

import torch
from detectron2.config import CfgNode
from detectron2.engine import DefaultTrainer, hooks
from detectron2.engine.train_loop import HookBase
from detectron2.evaluation import DatasetEvaluator
from detectron2.solver import LRScheduler
from detectron2.utils import comm
from detectron2.utils.events import EventStorage, EventWriter
from torch import nn

from ..acceleration import autocast_dtype, prepare_for_training
from ..config.description import ENTRY, describe, warn_of_other_classes
from ..config.tasks import tasks_of
from ..data.build import build_test_loader, build_train_loader
from ..data.loader import TrainLoader
from ..data.seeding import choose_seed
from ..evaluation.build import build_evaluator
from ..evaluation.records import TimedEvaluator
from ..names import path_inside
from ..views import with_views
from . import record, resuming
from .distribution import distributed
from .failure import end_after
from .hooks import (
    EMA_PREFIX,
    BestCheckpointer,
    EarlyStopping,
    ExponentialMovingAverage,
    FiniteWeights,
    ProgressPrinter,
    RunCheckpointer,
    StopOnSignal,
    WeightsFile,
    check_finite,
)
from .output_folder import in_subfolder, locked
from .solver import build_lr_scheduler, build_optimizer, gradient_clip
from .train_step import TrainStep

logger = logging.getLogger(__name__)


class Trainer(DefaultTrainer):
    """Trains what a config says, on one or several processes, CPU or CUDA.

    Beyond its parent: the steps of :class:`TrainStep`; an average of the weights (SOLVER.EMA),
    evaluated beside the weights with its results under ``ema/`` and saved, at the end, as
    ``model_final_ema.pth``; the best checkpoint and early stopping (TEST.BEST_METRIC); an orderly
    end on SIGTERM and SIGINT; a checkpoint when a step fails; and exact resumption: on CPU a run
    that is interrupted and resumed ends with the weights of the uninterrupted one, bit by bit,
    since all its random numbers follow from the seed and the iteration (on CUDA up to the order of
    additions in its kernels).

    Attributes:
        exit_code: 0, or 128 + the signal's number if a signal ended the training.
        last_step: the last iteration that the weights have gone through.
        step: what takes the optimizer's steps.
    """

    def __init__(self, cfg: CfgNode) -> None:
        # not the parent's, which builds its own step and checkpointer, and wraps the model for CUDA
        super(DefaultTrainer, self).__init__()
        cfg = DefaultTrainer.auto_scale_workers(cfg, comm.get_world_size())
        self.cfg = cfg
        self.exit_code = 0
        self._stop_reason = ""
        self._history: dict[str, Any] = {}  # of the metrics, of a run that is resumed
        self._then: dict[str, Any] = {}  # its circumstances
        self.last_step = -1
        loader = self.build_train_loader(cfg)  # before what takes time: it finds faults of the data
        model = prepare_for_training(self.build_model(cfg))
        optimizer = self.build_optimizer(cfg, model)
        self._trainer = TrainStep(
            distributed(model),
            loader,
            optimizer,
            accumulate_steps=cfg.SOLVER.ACCUMULATE_STEPS,
            amp_dtype=autocast_dtype(cfg, torch.device(cfg.MODEL.DEVICE)),
            clip=gradient_clip(cfg),
            max_bad_steps=cfg.SOLVER.MAX_BAD_STEPS,
            seed=choose_seed(cfg.SEED),
        )
        self.scheduler = self.build_lr_scheduler(cfg, optimizer)
        entries = {ENTRY: describe(cfg)}
        self.checkpointer = RunCheckpointer(
            model,
            cfg.OUTPUT_DIR,
            entries=entries,
            new_channels=cfg.MODEL.BACKBONE.NEW_CHANNELS,
            trainer=weakref.proxy(self),
        )
        self._weights_file = WeightsFile(model, cfg.OUTPUT_DIR, entries=entries)
        ema = cfg.SOLVER.EMA
        self._average = ExponentialMovingAverage(model, ema.DECAY) if ema.ENABLED else None
        self.start_iter = 0
        self.max_iter = cfg.SOLVER.MAX_ITER
        self._place_loader()
        self.register_hooks(self.build_hooks())

    @classmethod
    def build_optimizer(cls, cfg: CfgNode, model: nn.Module) -> torch.optim.Optimizer:
        return build_optimizer(cfg, model)

    @classmethod
    def build_lr_scheduler(cls, cfg: CfgNode, optimizer: torch.optim.Optimizer) -> LRScheduler:
        return build_lr_scheduler(cfg, optimizer)

    @classmethod
    def build_train_loader(cls, cfg: CfgNode) -> TrainLoader:
        return build_train_loader(cfg)

    @classmethod
    def build_test_loader(cls, cfg: CfgNode, dataset_name: str) -> torch.utils.data.DataLoader:
        return build_test_loader(cfg, dataset_name)

    @classmethod
    def build_evaluator(cls, cfg: CfgNode, dataset_name: str) -> DatasetEvaluator:
        folder = str(path_inside(Path(cfg.OUTPUT_DIR) / "inference", dataset_name))
        evaluator = build_evaluator(cfg, dataset_name, folder, tasks_of(cfg))
        return TimedEvaluator(evaluator, dataset_name, folder) if cfg.TEST.REPORT else evaluator

    def build_hooks(self) -> list[HookBase | None]:
        cfg, period = self.cfg, self.cfg.TEST.EVAL_PERIOD
        built = super().build_hooks()
        at = [isinstance(hook, hooks.PeriodicCheckpointer) for hook in built]
        if any(at):  # on the main process
            finite = FiniteWeights(self._trainer, cfg.SOLVER.CHECKPOINT_PERIOD)
            built.insert(at.index(True), finite)
        at = next(i for i, hook in enumerate(built) if isinstance(hook, hooks.LRScheduler)) + 1
        built[at:at] = [self._average, StopOnSignal(self._trainer)]
        at = next(i for i, hook in enumerate(built) if isinstance(hook, hooks.EvalHook))
        built[at] = hooks.EvalHook(period, self._evaluate)
        if cfg.TEST.BEST_METRIC:
            best = None
            if comm.is_main_process():
                best = BestCheckpointer(
                    period, self._weights_file, cfg.TEST.BEST_METRIC, self._average
                )
            built.insert(at + 1, best)
            if cfg.TEST.EARLY_STOPPING_PATIENCE > 0:
                patience = cfg.TEST.EARLY_STOPPING_PATIENCE
                built.insert(at + 2, EarlyStopping(period, patience, best))
        return built

    def build_writers(self) -> list[EventWriter]:
        _, *others = super().build_writers()
        return [ProgressPrinter(self.max_iter), *others]

    def resume_or_load(self, resume: bool = True) -> None:
        """Do as the parent does, and continue with the image after the checkpoint's last one."""
        if resume and not self.checkpointer.has_checkpoint():
            logger.warning("There is no checkpoint in %s: starting anew", self.cfg.OUTPUT_DIR)
        rest = self.checkpointer.resume_or_load(self.cfg.MODEL.WEIGHTS, resume=resume)
        warn_of_other_classes(self.cfg, rest)
        if resume and self.checkpointer.has_checkpoint():
            self.start_iter = self.iter + 1  # of the state just loaded
            resuming.warn_of_changes(self._then, self._circumstances())
            resuming.warn_of_other_config(rest, self.cfg)
        self.last_step = self.start_iter - 1
        self._place_loader()

    def train(self) -> dict[str, Any] | None:
        """Train to SOLVER.MAX_ITER, or until something asks for an end.

        Returns:
            The results of the last evaluation on the main process, if there was one.

        Raises:
            TrainingDivergedError: SOLVER.MAX_BAD_STEPS bad steps in a row, or what would be saved
                is not finite.
            ValueError: another run writes to OUTPUT_DIR.
        """
        logger.info("Starting training from iteration %d", self.start_iter)
        self.iter = self.start_iter
        with locked(self.cfg.OUTPUT_DIR), EventStorage(self.start_iter) as self.storage:
            record.resume_metrics(self, self._history)
            try:
                self.before_train()
                resuming.save_final_if_missing(self)
                self._loop()
                if self._average is not None and not self.exit_code:
                    with self._average.applied():
                        self._weights_file.save("model_final_ema")
            except BaseException as error:
                end_after(self, error)
                raise
            self.end()
        return getattr(self, "_last_eval_results", None)

    def end(self, failure: BaseException | None = None) -> None:
        """What is done at the end of every training; after a ``failure`` nothing is evaluated."""
        if failure is not None:
            self._stop_reason, self.iter = type(failure).__name__, self.last_step
        self._trainer.release_workers()
        self.after_train()

    def after_train(self) -> None:
        """As the parent's; a hook that cannot write keeps no other one from its end."""
        self.storage.iter = self.iter
        failures = []
        for hook in self._hooks:
            try:
                hook.after_train()
            except OSError as error:
                failures.append(error)
        if failures:
            raise failures[0]

    def finish(self, reason: str) -> None:
        """End after this iteration, which is taken for the last one, or before any; for hooks."""
        if not self._stop_reason:
            self._stop_reason = reason
            if self.last_step == self.iter:
                check_finite(self._trainer, self.iter)
                self.checkpointer.save("model_final", iteration=self.iter)
            logger.info("Training ends after iteration %d: %s", self.last_step, reason)

    def interrupt(self, received: signal.Signals) -> None:
        """End after this iteration, to be resumed; for hooks."""
        self._stop_reason, self.exit_code = received.name, 128 + received
        if self.iter == self.max_iter:
            logger.info("%s: trained to the end; --resume makes the evaluation", received.name)
            return
        check_finite(self._trainer, self.iter)
        self.save_iteration()
        logger.info(
            "%s: stopped after iteration %d, which is saved in %s. To go on, run the same command "
            "with --resume",
            received.name,
            self.iter,
            self.cfg.OUTPUT_DIR,
        )

    def state_dict(self) -> dict[str, Any]:
        state = super().state_dict()
        state["circumstances"] = self._circumstances()
        if hasattr(self, "storage"):
            state["history"] = record.history(self.storage, self.iter)
        return state

    @resuming.told_in_a_line()
    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Raises ``ValueError`` where the state is of another kind of training."""
        settings = resuming.settings_of(self.optimizer)
        resuming.check_training_state(state_dict, self.scheduler, self.max_iter)
        super().load_state_dict(state_dict)
        resuming.obey_config(self.optimizer, self.scheduler, settings)
        self._history = state_dict.get("history", {})
        self._then = state_dict.get("circumstances", {})

    def _circumstances(self) -> dict[str, Any]:
        return resuming.circumstances(self.cfg, getattr(self.data_loader, "num_images", None))

    def _place_loader(self) -> None:
        if isinstance(self.data_loader, TrainLoader):  # a subclass may have another one
            batches = self.start_iter * self.cfg.SOLVER.ACCUMULATE_STEPS
            self.data_loader.start_at(batches, self._trainer.seed)

    def _loop(self) -> None:
        if self._stop_reason:
            return
        for iteration in range(self.start_iter, self.max_iter):
            self.iter = iteration
            self.before_step()
            self.run_step()
            self.last_step = iteration
            self.after_step()
            if self._stop_reason:
                return  # self.iter < max_iter tells the hooks that the end was not reached
        self.iter = self.max_iter  # also of a run that is resumed at its end

    def _evaluate(self) -> dict[str, Any]:
        if self._stop_reason:  # there may be little time
            return {}
        # the model itself, not its wrapper for several processes
        model = with_views(self.cfg, self.checkpointer.model, tasks_of)
        results = self.test(self.cfg, model)
        if self._average is not None:
            logger.info("Evaluating the averaged weights; their results begin with %s", EMA_PREFIX)
            with self._average.applied():
                averaged = self.test(in_subfolder(self.cfg, EMA_PREFIX), model)
            results = {**results, EMA_PREFIX.rstrip("/"): averaged}
        self._last_eval_results = results
        return results

    @property
    def step(self) -> TrainStep:
        return self._trainer

    def save_iteration(self) -> None:
        """Write a checkpoint of ``iter`` to resume from; on the main process."""
        self.checkpointer.save(f"model_{self.iter:07d}", iteration=self.iter)
