"""One optimizer step: accumulation, mixed precision, clipping, and the skipping of bad steps.

Shapes: A micro-batches per step, L losses, W processes.
"""

import contextlib
import logging
import math
import time
from collections.abc import Callable, Iterable
from typing import Any

import torch
import torch.distributed as dist
from detectron2.engine import SimpleTrainer
from detectron2.utils import comm
from detectron2.utils.events import get_event_storage
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from ..data.seeding import seed_step
from .resuming import check_optimizer_state

logger = logging.getLogger(__name__)

_NUM_NAMES = 10  # files named in a message


class TrainingDivergedError(RuntimeError):
    """Too many steps in a row had a loss or a gradient that is not finite."""


class TrainStep(SimpleTrainer):
    """detectron2's training step with what long runs of transformers need.

    A step draws ``accumulate_steps`` batches from the loader and averages their losses, so that it
    does what one batch of all these images would do (for losses that are means over images). The
    gradient is exchanged between the processes once per step.

    Every process learns each step what the others saw, in one exchange: the losses, for the log;
    whether a loss or the gradient is not finite, in which case all of them skip the step (weights,
    optimizer and the running statistics of norms stay as they are); whether one is asked to stop.

    Args:
        model: in training, returns a dict of scalar losses to be added up, or one scalar.
        data_loader: endless; yields lists of samples.
        amp_dtype: of autocast; None: full precision. float16 scales the loss and needs CUDA.
        clip: limits the gradients, whose norm it is given, of parameters, in place.
        max_bad_steps: so many skipped steps in a row end the run.
        seed: each step's random numbers follow from it, the process's rank and the iteration.
    """

    def __init__(
        self,
        model: nn.Module,
        data_loader: Iterable[list[dict[str, Any]]],
        optimizer: torch.optim.Optimizer,
        *,
        accumulate_steps: int = 1,
        amp_dtype: torch.dtype | None = None,
        clip: Callable[[list[nn.Parameter], Tensor], None] | None = None,
        max_bad_steps: int = 20,
        seed: int = 0,
    ) -> None:
        super().__init__(model, data_loader, optimizer)
        self.seed = seed
        self.num_bad_steps = 0  # in the whole run
        self.stop_requested = False  # of this process; may be set at any time
        self.stop_agreed = False  # some process was asked to stop; the same in all after a step
        self.is_torn = False  # a step failed while it changed the weights
        self._accumulate_steps = accumulate_steps
        self._amp_dtype = amp_dtype
        self._clip = clip
        self._max_bad_steps = max_bad_steps
        self._device = next(model.parameters()).device
        self._scaler = torch.amp.GradScaler("cuda") if amp_dtype == torch.float16 else None
        self._bad_in_a_row = 0
        self._bad_files: dict[str, None] = {}  # of the bad steps in a row; an ordered set
        self._statistics = _RunningStatistics(model)

    def run_step(self) -> None:
        """What fails before the weights change leaves everything as before the step.

        Raises:
            TrainingDivergedError: in all processes, after too many bad steps.
        """
        assert self.model.training, "the model was changed to eval mode"
        seed_step(self.seed, self.iter)
        self._statistics.keep()
        try:
            self._run_step()
        except BaseException:
            if not self.is_torn:
                self._statistics.put_back()
            raise

    def _run_step(self) -> None:
        self.optimizer.zero_grad(set_to_none=True)
        losses, files, data_time = self._accumulate()
        if self._scaler is not None:
            self._scaler.unscale_(self.optimizer)
        parameters = [p for p in self.model.parameters() if p.grad is not None]
        norm = nn.utils.get_total_norm([p.grad for p in parameters])
        if self._clip is not None:
            self._clip(parameters, norm)

        names = sorted(losses[0])
        values = torch.stack([torch.stack([one[name] for name in names]) for one in losses])
        everyone = self._exchange(values.mean(0), norm, data_time)  # W x (3 + L) numbers
        self.stop_agreed = any(row[0] for row in everyone)
        # one row, read by all: processes can never decide differently
        if all(math.isfinite(number) for row in everyone for number in row):
            self.is_torn = True
            self._step()
            self._log(names, everyone)
            self.is_torn = False
        else:
            self._skip(names, values, files, everyone)

    def _accumulate(self) -> tuple[list[dict[str, Tensor]], list[list[str]], float]:
        """Forward and backward of all micro-batches; their losses, their files, seconds of wait."""
        losses, files, data_time = [], [], 0.0
        for number in range(self._accumulate_steps):
            start = time.perf_counter()
            batch = next(self._data_loader_iter)
            data_time += time.perf_counter() - start
            files.append([str(sample.get("file_name", "(no file name)")) for sample in batch])

            is_last = number == self._accumulate_steps - 1
            with self._no_exchange() if not is_last else contextlib.nullcontext():
                with self._autocast():
                    output = self.model(batch)
                named = {"total_loss": output} if isinstance(output, Tensor) else output
                total = sum(named.values()) / self._accumulate_steps
                self._scaled(total).backward()
            losses.append({name: loss.detach().float() for name, loss in named.items()})
        return losses, files, data_time

    def _no_exchange(self) -> contextlib.AbstractContextManager:
        if isinstance(self.model, DistributedDataParallel):
            return self.model.no_sync()
        return contextlib.nullcontext()

    def _autocast(self) -> contextlib.AbstractContextManager:
        if self._amp_dtype is None:
            return contextlib.nullcontext()
        return torch.autocast(self._device.type, dtype=self._amp_dtype)

    def _scaled(self, loss: Tensor) -> Tensor:
        return loss if self._scaler is None else self._scaler.scale(loss)

    def _exchange(self, losses: Tensor, norm: Tensor, data_time: float) -> list[list[float]]:
        """Per process: stop asked for, data time, norm of the gradient, losses (L)."""
        own = torch.tensor([float(self.stop_requested), data_time], device=self._device)
        own = torch.cat([own, norm.to(own).reshape(1), losses])
        if comm.get_world_size() == 1:
            return [own.tolist()]
        rows = [torch.empty_like(own) for _ in range(comm.get_world_size())]
        dist.all_gather(rows, own)
        return torch.stack(rows).tolist()

    def _step(self) -> None:
        if self._scaler is None:
            self.optimizer.step()
        else:
            self._scaler.step(self.optimizer)
            self._scaler.update()
        self._bad_in_a_row = 0
        self._bad_files.clear()

    def _log(self, names: list[str], everyone: list[list[float]]) -> None:
        if not comm.is_main_process():
            return
        columns = list(zip(*everyone, strict=True))
        means = [sum(column) / len(column) for column in columns]
        losses = dict(zip(names, means[3:], strict=True))
        storage = get_event_storage()
        storage.put_scalar("data_time", max(columns[1]))  # the slowest is waited for
        storage.put_scalar("grad_norm", means[2])
        storage.put_scalar("total_loss", sum(losses.values()))
        if len(losses) > 1:
            storage.put_scalars(**losses)
        if self.num_bad_steps:
            storage.put_scalar("bad_steps", self.num_bad_steps, smoothing_hint=False)

    def _skip(
        self, names: list[str], values: Tensor, files: list[list[str]], everyone: list[list[float]]
    ) -> None:
        """Leave everything as before the step, and say in which images it went wrong."""
        self.optimizer.zero_grad(set_to_none=True)
        self._statistics.put_back()
        if self._scaler is not None:
            self._scaler.update()  # to a smaller scale
        self.num_bad_steps += 1
        self._bad_in_a_row += 1
        has_bad_loss = (~values.isfinite()).any(1).tolist()  # of each micro-batch
        seen = comm.all_gather(list(zip(has_bad_loss, files, strict=True)))
        batches = [batch for of_process in seen for batch in of_process]
        by_gradient = not any(bad for bad, _ in batches)  # then no batch stands out
        culprits = [name for bad, of_batch in batches if bad or by_gradient for name in of_batch]
        self._bad_files.update(dict.fromkeys(culprits))
        reason = _reason(names, everyone, self._scaler)
        logger.warning(
            "Iteration %d skipped (%d in a row, %d in all): %s; images: %s",
            self.iter,
            self._bad_in_a_row,
            self.num_bad_steps,
            reason,
            _listing(culprits),
        )
        if self._bad_in_a_row >= self._max_bad_steps:
            raise TrainingDivergedError(
                f"training diverged at iteration {self.iter}: {self._bad_in_a_row} steps in a row "
                f"(SOLVER.MAX_BAD_STEPS) could not be used, the last one because {reason}; check "
                f"the labels of these images, or lower SOLVER.BASE_LR: "
                f"{_listing(list(self._bad_files))}"
            )

    def release_workers(self) -> None:
        """End the processes that load data; a further step would start them anew.

        Left to the garbage collector, which clears their queues first, they take 5 s each.
        """
        self._data_loader_iter_obj = None

    def state_dict(self) -> dict[str, Any]:
        state = super().state_dict()
        state.update(seed=self.seed, num_bad_steps=self.num_bad_steps)
        if self._scaler is not None:
            state["grad_scaler"] = self._scaler.state_dict()
        return state

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore; a checkpoint of detectron2's own trainer serves too.

        Raises:
            ValueError: it is of another optimizer, or of other parameters.
            TypeError: a number in it is none.
        """
        check_optimizer_state(self.optimizer, state_dict.get("optimizer"))
        super().load_state_dict(state_dict)
        numbers = state_dict.get("seed", self.seed), state_dict.get("num_bad_steps", 0)
        if not all(type(number) is int and 0 <= number < 2**63 for number in numbers):
            raise TypeError("its seed or its count of bad steps is no natural number")
        self.seed, self.num_bad_steps = numbers
        if self._scaler is not None and "grad_scaler" in state_dict:
            self._scaler.load_state_dict(state_dict["grad_scaler"])


class _RunningStatistics:
    """A copy of the running statistics that a forward pass changes, to undo it."""

    def __init__(self, model: nn.Module) -> None:
        self._live = [
            buffer
            for module in model.modules()
            if getattr(module, "track_running_stats", False)  # not so a frozen one
            for buffer in module.buffers(recurse=False)
        ]
        self._kept = [buffer.clone() for buffer in self._live]

    @torch.no_grad()
    def keep(self) -> None:
        if self._live:
            torch._foreach_copy_(self._kept, self._live)

    @torch.no_grad()
    def put_back(self) -> None:
        if self._live:
            torch._foreach_copy_(self._live, self._kept)


def _reason(
    names: list[str], everyone: list[list[float]], scaler: torch.amp.GradScaler | None
) -> str:
    bad = {
        f"{name} is {number}"
        for row in everyone
        for name, number in zip(names, row[3:], strict=True)
        if not math.isfinite(number)
    }
    if bad:
        return ", ".join(sorted(bad))
    if scaler is not None:
        return f"the gradient is not finite (next loss scale {scaler.get_scale():g})"
    return "the gradient is not finite"


def _listing(names: list[str]) -> str:
    more = f" and {len(names) - _NUM_NAMES} more" if len(names) > _NUM_NAMES else ""
    return ", ".join(names[:_NUM_NAMES]) + more
