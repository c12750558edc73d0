"""What is asked of a model while it becomes a graph."""

import torch
from torch import Tensor, nn

from d2seg.layers.recording import is_recording


class Asks(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x + (1 if is_recording() else 0)


def test_each_way_of_recording_says_so() -> None:
    x, module = torch.zeros(2), Asks()
    assert module(x).sum() == 0
    recorded = [
        torch.export.export(module, (x,), strict=False).module(),
        torch.compile(module, backend="eager", fullgraph=True),
        torch.jit.trace(module, x, check_trace=False),
    ]
    assert [each(x).sum() for each in recorded] == [2, 2, 2]
    assert module(x).sum() == 0
