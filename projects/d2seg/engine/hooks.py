"""Hooks of the trainer: average of the weights, best checkpoint, early and orderly end."""

import contextlib
import logging
import operator
import os
import signal
import threading
from collections.abc import Iterator
from types import FrameType
from typing import Any

import torch
from detectron2.engine import HookBase, hooks
from detectron2.utils import comm
from detectron2.utils.events import CommonMetricPrinter, get_event_storage
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from ..checkpoint import Checkpointer
from ..checkpoint.contents import is_finite
from ..data.workers import heard
from .output_folder import keep
from .train_step import TrainingDivergedError, TrainStep

logger = logging.getLogger(__name__)

EMA_PREFIX = "ema/"  # of the metrics of the averaged weights


class ExponentialMovingAverage(HookBase):
    """A second set of weights that follows the trained one: a <- d * a + (1 - d) * w each step.

    The decay d is min(decay, (1 + n) / (10 + n)) in update n (from 1), so that the first weights
    fade early. Buffers of floating point, as running statistics, are averaged too; others copied.

    It is part of the checkpoints and resumes from them; without it there, it starts from the
    weights at the start of the training.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self._model = model
        self._decay = decay
        self._num_updates = 0
        self._average: dict[str, torch.Tensor] = {}
        self._pairs: list[tuple[torch.Tensor, torch.Tensor]] = []  # (average, weight), all of them

    def before_train(self) -> None:
        weights = self._model.state_dict()  # shares memory with the model
        start = self._average or weights
        self._average = {k: start[k].to(w, copy=True) for k, w in weights.items()}
        self._pairs = [(self._average[k], w) for k, w in weights.items()]

    def after_step(self) -> None:
        self._num_updates += 1
        decay = min(self._decay, (1 + self._num_updates) / (10 + self._num_updates))
        floats = [pair for pair in self._pairs if pair[0].is_floating_point()]
        averages, weights = zip(*floats, strict=True)
        torch._foreach_lerp_(averages, weights, 1 - decay)
        for average, weight in self._pairs:
            if not average.is_floating_point():
                average.copy_(weight)

    @contextlib.contextmanager
    def applied(self) -> Iterator[None]:
        """The model has the averaged weights inside, and its own again afterwards."""
        kept = [weight.clone() for _, weight in self._pairs]
        for average, weight in self._pairs:
            weight.copy_(average)
        try:
            yield
        finally:
            for own, (_, weight) in zip(kept, self._pairs, strict=True):
                weight.copy_(own)

    def state_dict(self) -> dict[str, Any]:
        if not self._average:  # before the training
            return {}
        return {"num_updates": self._num_updates, "average": self._average}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore what :meth:`state_dict` gave.

        Raises:
            ValueError: the average is of a model with other weights, or not finite.
        """
        weights = self._model.state_dict()
        average = {**state_dict["average"]}
        for name, weight in weights.items():  # one of PointRend's had a dimension less once
            if name in average and (*average[name].shape, 1) == tuple(weight.shape):
                average[name] = average[name].unsqueeze(-1)
        forms = ({k: (w.shape, w.dtype) for k, w in all_.items()} for all_ in (weights, average))
        if operator.ne(*forms) or not all(map(is_finite, average.values())):
            raise ValueError(
                "the checkpoint's averaged weights (SOLVER.EMA) are of another model, or damaged; "
                "start anew, without --resume"
            )
        self._num_updates = operator.index(state_dict["num_updates"])
        self._average = average


class RunCheckpointer(Checkpointer):
    """Saves to the folder of a run, and to no other run's that has taken its place."""

    def save(self, name: str, **kwargs: Any) -> None:
        if self.save_to_disk:
            keep(self.save_dir)
        super().save(name, **kwargs)


class WeightsFile(RunCheckpointer):
    """Saves weights to use, not to resume from: they do not become the last checkpoint."""

    def tag_last_checkpoint(self, last_filename_basename: str) -> None:
        pass


class BestCheckpointer(hooks.BestCheckpointer):
    """Keeps the weights that scored best in ``model_best.pth``; the score outlives a resume.

    Runs on the main process, after the evaluation. Where ``metric`` is one of the averaged weights
    ("ema/..."), these are what is saved.
    """

    def __init__(
        self,
        eval_period: int,
        weights_file: WeightsFile,
        metric: str,
        average: ExponentialMovingAverage | None = None,
    ) -> None:
        super().__init__(eval_period, weights_file, metric)
        self._metric = metric
        self._average = average if metric.startswith(EMA_PREFIX) else None

    def _best_checking(self) -> None:
        latest = self.trainer.storage.latest()
        if self._metric not in latest:
            metrics = sorted(name for name in latest if "/" in name)
            if not metrics:  # a signal has come before the evaluation
                return
            logger.warning(
                "TEST.BEST_METRIC is '%s', which the evaluation does not give: nothing is saved as "
                "the best. It gives: %s",
                self._metric,
                ", ".join(metrics),
            )
            return
        with self._average.applied() if self._average else contextlib.nullcontext():
            super()._best_checking()

    def state_dict(self) -> dict[str, Any]:
        if self.best_metric is None:
            return {}
        return {"best_metric": float(self.best_metric), "best_iter": int(self.best_iter)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.best_metric = state_dict["best_metric"]
        self.best_iter = state_dict["best_iter"]


def check_finite(step: TrainStep, iteration: int) -> None:
    """Before a checkpoint to resume from is written.

    Raises:
        TrainingDivergedError: a weight or a running statistic is not finite, as the step makes the
            weights of moments that are not: nothing can be learned from there.
    """
    model = step.model.module if isinstance(step.model, DistributedDataParallel) else step.model
    named = dict(model.named_parameters())
    named |= {name: b for name, b in model.named_buffers() if ".running_" in f".{name}"}
    bad = [name for name, tensor in named.items() if not is_finite(tensor)]
    if bad:
        raise TrainingDivergedError(
            f"training diverged by iteration {iteration}: {bad[0]} and {len(bad) - 1} more tensors "
            "are not finite, so no checkpoint is written and the last good one stays; lower "
            "SOLVER.BASE_LR and --resume, or start anew"
        )


class FiniteWeights(HookBase):
    """Ends a run that has diverged where a checkpoint would be written, before it is."""

    def __init__(self, step: TrainStep, period: int) -> None:
        self._step = step
        self._period = period

    def after_step(self) -> None:
        is_last = self.trainer.iter >= self.trainer.max_iter - 1
        if is_last or (self.trainer.iter + 1) % self._period == 0:
            check_finite(self._step, self.trainer.iter)


class ProgressPrinter(CommonMetricPrinter):
    """detectron2's, which shows an iteration once; twice, it would divide by the time between."""

    _shown = -1

    def write(self) -> None:
        iteration = get_event_storage().iter
        if iteration != self._shown:
            super().write()
            self._shown = iteration


class EarlyStopping(HookBase):
    """Ends the training after ``patience`` evaluations without a new best; in all processes.

    A run that it has ended, and that is resumed, trains no further unless ``patience`` is higher.

    Args:
        best: that of this process; only the main one has it
    """

    def __init__(self, eval_period: int, patience: int, best: BestCheckpointer | None) -> None:
        self._period = eval_period
        self._patience = patience
        self._best = best
        self._in_vain = 0  # evaluations, in a run that was ended

    def before_train(self) -> None:
        self._end_if_in_vain(self._in_vain)

    def after_step(self) -> None:
        if (self.trainer.iter + 1) % self._period:
            return
        in_vain = 0
        if self._best is not None:
            best_iter = -1 if self._best.best_iter is None else self._best.best_iter
            in_vain = (self.trainer.iter - best_iter) // self._period
        self._end_if_in_vain(comm.all_gather(in_vain)[0])

    def _end_if_in_vain(self, in_vain: int) -> None:
        if in_vain >= self._patience:
            self._in_vain = in_vain
            self.trainer.finish(f"{in_vain} evaluations without a better TEST.BEST_METRIC")

    def state_dict(self) -> dict[str, Any]:
        return {"in_vain": self._in_vain} if self._in_vain else {}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._in_vain = operator.index(state_dict["in_vain"])


class StopOnSignal(HookBase):
    """Interrupts the trainer, in all processes, after the step in which SIGTERM, SIGINT, SIGHUP,
    SIGUSR1 or SIGXCPU came.

    A second SIGINT (Ctrl-C) interrupts at once. A signal during an evaluation takes effect at the
    end of the step after it; one in the last save leaves out the last evaluation. SIGHUP, SIGUSR1
    and SIGXCPU count unless they are ignored, as SIGHUP is by nohup, or have a handler already.
    """

    def __init__(self, step: TrainStep) -> None:
        self._step = step
        self._received: list[int] = []
        self._process = os.getpid()
        self._previous: dict[int, Any] = {}

    def before_train(self) -> None:
        if threading.current_thread() is threading.main_thread():  # the only one that may
            for number in heard():
                self._previous[number] = signal.signal(number, self._handle)

    def after_train(self) -> None:
        try:
            # one that came after the processes' last exchange, as in the last save
            if self.trainer.iter == self.trainer.max_iter and any(comm.all_gather(self._received)):
                self._interrupt()
        finally:
            for number, handler in self._previous.items():
                signal.signal(number, handler)
            self._previous.clear()

    def after_step(self) -> None:
        if self._step.stop_agreed:
            self._interrupt()

    def _interrupt(self) -> None:
        # where only another process received it, it was most likely that of schedulers
        number = self._received[0] if self._received else signal.SIGTERM
        self.trainer.interrupt(signal.Signals(number))

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if os.getpid() != self._process:  # a data loader's worker, which has inherited this
            return
        if number == signal.SIGINT and signal.SIGINT in self._received:
            raise KeyboardInterrupt
        if not self._received:
            logger.info("%s: stopping after this step", signal.Signals(number).name)
        self._received.append(number)
        self._step.stop_requested = True
