"""SOLVER.OPTIMIZER "MUON": the matrices of a model by Muon, everything else by AdamW.

A convolution of 1 x 1 is a matrix, an embedding is none.

Muon (Jordan et al. 2024, kellerjordan.github.io/posts/muon) makes the averaged gradient of a matrix
orthogonal before it takes the step. Steps have the size of AdamW's for the same learning rate
(Liu et al. 2025, "Muon is scalable for LLM training", section 2.2).
"""

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

ParameterGroup = dict[str, Any]
_LEAST_SIDE = 16  # a narrower matrix is a few vectors: the output of so many classes
_MOMENTUM = 0.95
_NUM_ITERATIONS = 5
_COEFFICIENTS = (3.4445, -4.7750, 2.0315)  # of an odd polynomial that is steep at zero
_SIZE_OF_ADAMW = 0.2  # root mean square of a step, in learning rates
_EPSILON = 1e-7


class MuonWithAdamW(torch.optim.Optimizer):
    """Both as one, over groups that have a list of parameters, "lr" and "weight_decay" each. Muon's
    have "muon_momentum", the others what torch's AdamW has.

    torch's own Muon takes one matrix after another and multiplies in bfloat16, which processors
    without instructions for that do at a quarter of the speed. Here matrices of a shape are
    multiplied together, and on a CPU in fp32.
    """

    def __init__(
        self,
        groups: Iterable[ParameterGroup],
        lr_factor: float,
        tables: Iterable[nn.Parameter],
        **fast: bool,
    ) -> None:
        """
        Args:
            groups: those of matrices are split off.
            lr_factor: the learning rate of matrices, relative to that of their group.
            tables: embeddings, which are no matrices.
            fast: "fused" or "foreach" of AdamW.
        """
        matrices, others = _split(groups, {id(table) for table in tables})
        for group in matrices:
            group.update(lr=group["lr"] * lr_factor, muon_momentum=_MOMENTUM)
        if others:
            others = torch.optim.AdamW(others, **fast).param_groups
        super().__init__([*matrices, *others], {})
        self._link()

    def _link(self) -> None:
        """AdamW steps its groups here, and keeps its moments in the state of both."""
        groups = [group for group in self.param_groups if not _is_muons(group)]
        self._adamw = None
        if groups:
            self._adamw = torch.optim.AdamW([{"params": group["params"]} for group in groups])
            self._adamw.param_groups, self._adamw.state = groups, self.state

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        super().load_state_dict(state_dict)  # makes new groups
        self._link()

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:
        """A step of all parameters that have a gradient, after ``closure``, if any, has computed
        them."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in filter(_is_muons, self.param_groups):
            for parameters in _by_shape(group["params"]):
                self._step_matrices(group, parameters)
        if self._adamw is not None:
            self._adamw.step()
        return loss

    def _step_matrices(self, group: ParameterGroup, parameters: list[nn.Parameter]) -> None:
        momentum, rate = group["muon_momentum"], group["lr"]
        directions = []
        for parameter in parameters:
            state = self.state[parameter]
            if not state:
                state["momentum_buffer"] = torch.zeros_like(parameter)
            average = state["momentum_buffer"].lerp_(parameter.grad, 1 - momentum)
            directions.append(parameter.grad.lerp(average, momentum))
        stacked = torch.stack(directions)
        steps = orthogonal(stacked.flatten(2)).view(stacked.shape)
        size = _SIZE_OF_ADAMW * math.sqrt(max(parameters[0].shape))
        for parameter, step in zip(parameters, steps, strict=True):
            parameter.mul_(1 - rate * group["weight_decay"]).add_(step, alpha=-rate * size)


def orthogonal(matrices: Tensor) -> Tensor:
    """The matrices with singular values of about 1 (0.7 to 1.2) in place of their own, by five
    Newton-Schulz iterations.

    Args:
        matrices: (N, A, B), fp32.

    Returns:
        (N, A, B), fp32.
    """
    wide = matrices if matrices.shape[1] <= matrices.shape[2] else matrices.mT
    # on a GPU two digits of a step are enough, as Jordan et al. found
    wide = wide.to(torch.bfloat16 if wide.is_cuda else torch.float32)
    wide = wide / wide.norm(dim=(1, 2), keepdim=True).clamp(min=_EPSILON)
    first, third, fifth = _COEFFICIENTS
    for _ in range(_NUM_ITERATIONS):
        products = wide @ wide.mT
        products = torch.baddbmm(products, products, products, beta=third, alpha=fifth)
        wide = torch.baddbmm(wide, products, wide, beta=first)
    return (wide if matrices.shape[1] <= matrices.shape[2] else wide.mT).to(matrices.dtype)


def _is_muons(group: ParameterGroup) -> bool:
    return "muon_momentum" in group


def _by_shape(parameters: Iterable[nn.Parameter]) -> Iterator[list[nn.Parameter]]:
    """Those that have a gradient; of one shape and device in each list."""
    found = defaultdict(list)
    for parameter in parameters:
        if parameter.grad is not None:
            found[parameter.shape, parameter.device].append(parameter)
    return iter(found.values())


def _split(
    groups: Iterable[ParameterGroup], tables: set[int]
) -> tuple[list[ParameterGroup], list[ParameterGroup]]:
    """Groups of matrices, and groups of all other parameters."""
    of_matrices, of_others = [], []
    for group in groups:
        matrices, others = [], []
        for parameter in group["params"]:
            is_matrix = _is_matrix(parameter.shape) and id(parameter) not in tables
            (matrices if is_matrix else others).append(parameter)
        of_matrices += [{**group, "params": matrices}] if matrices else []
        of_others += [{**group, "params": others}] if others else []
    return of_matrices, of_others


def _is_matrix(shape: torch.Size) -> bool:
    return len(shape) > 1 and shape[2:].numel() == 1 and min(shape[:2]) >= _LEAST_SIDE
