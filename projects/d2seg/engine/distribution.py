"""The model as several processes train it."""

import inspect
from typing import Any

from detectron2.engine import create_ddp_model
from torch import nn
from torch.nn.parallel import DistributedDataParallel


def distributed(model: nn.Module) -> nn.Module:
    """``model``, wrapped if there are several processes; buffers stay each process's own."""
    is_new = "forward_sync_buffers" in inspect.signature(DistributedDataParallel).parameters
    kwargs: dict[str, Any] = {"forward_sync_buffers" if is_new else "broadcast_buffers": False}
    if next(model.parameters()).device.type == "cpu":
        kwargs["device_ids"] = None  # its default is meant for CUDA
    return create_ddp_model(model, **kwargs)
