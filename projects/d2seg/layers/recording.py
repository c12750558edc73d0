"""Whether a model is being recorded as a graph: by torch.export, torch.compile or tracing."""

import torch


def is_recording() -> bool:
    """True: what runs now becomes a graph, which shall hold plain operators and no numbers that
    follow from the example's size. What is faster in eager mode than such operators asks this."""
    return torch.compiler.is_compiling() or torch.jit.is_tracing()
