"""What a model costs: its parameters, its operations, and the memory of a training step.

An operation is a multiplication with its addition, as the papers count. fvcore's counter traces the
model, which ends where a result's size becomes a number of Python's; torch's counts while the model
runs, so any model can be counted, and ``tests/engine/test_cost.py`` holds it to fvcore's.
"""

import contextlib
import itertools
import math
import resource
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from detectron2.config import CfgNode
from detectron2.structures import BitMasks, Instances, PolygonMasks
from detectron2.utils.events import EventStorage
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode, sdpa_flop_count

from ..acceleration import autocast_dtype
from .solver import build_optimizer, gradient_clip
from .train_step import TrainStep

NUM_TARGETS = 8  # segments of a made-up training image
RESULTS = "(results)"  # what a model does outside of its parts
_STATUS, _CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")


def training_size(cfg: CfgNode) -> tuple[int, int]:
    """(height, width) that the config's training images have, or are cropped to; for those of
    varied size, squares of the short edge at test time."""
    given = cfg.INPUT
    if given.MAPPER == "slice":
        size = given.SLICE_SIZE
    elif given.MAPPER == "referring":
        size = given.REFERRING_SIZE
    elif given.AUGMENTATION == "fixed_size":
        size = given.FIXED_SIZE
    elif given.AUGMENTATION == "lsj":
        size = (given.LSJ.IMAGE_SIZE,) * 2
    elif given.PAD_SIZE:
        size = given.PAD_SIZE
    elif given.CROP.ENABLED and given.CROP.TYPE == "absolute":
        size = given.CROP.SIZE
    else:
        size = (given.MIN_SIZE_TEST,) * 2
    return int(size[0]), int(size[1])


def count_parameters(model: nn.Module) -> dict[str, int]:
    """The parameters of each child module that has some."""
    counts = {
        name: sum(parameter.numel() for parameter in child.parameters())
        for name, child in model.named_children()
    }
    return {name: count for name, count in counts.items() if count}


def count_operations(
    model: nn.Module, size: tuple[int, int], expressions: int = 0, as_published: bool = False
) -> dict[str, int]:
    """Operations on one image at inference, by child module; RESULTS is what is left.

    Convolutions, products of matrices, attention and weighted sums of rows count, as those of
    point-wise layers do not. The model is run once, where it is.

    Args:
        size: (H, W) of the image.
        expressions: how many are asked for, where the model takes some.
        as_published: modules with ``forward_as_published`` run that, the formula of their paper.
    """
    image = torch.zeros(_num_channels(model), *size)
    sample: dict[str, Any] = {"image": image, "height": size[0], "width": size[1]}
    if expressions:
        sample["expressions"] = ["object"] * expressions
    counter = FlopCounterMode(display=False, custom_mapping=_COUNTED)
    with (
        _published(model) if as_published else contextlib.nullcontext(),
        _frozen(model),
        torch.no_grad(),
        counter,
    ):
        model([sample])
    totals = {key: sum(found.values()) // 2 for key, found in counter.get_flop_counts().items()}
    parts = {
        name: totals.get(f"{type(model).__name__}.{name}", 0) for name in count_parameters(model)
    }
    return {**parts, RESULTS: totals.get("Global", 0) - sum(parts.values())}


def _num_channels(model: nn.Module) -> int:
    """Of the pictures that it takes."""
    return len(model.pixel_mean) if hasattr(model, "pixel_mean") else 3


@contextlib.contextmanager
def _frozen(model: nn.Module) -> Iterator[None]:
    """In eval mode, no parameter with a gradient: torch's counter looks for its function, which
    there is none of without gradients."""
    was_training, trained = model.training, [p for p in model.parameters() if p.requires_grad]
    model.eval()
    for parameter in trained:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        model.train(was_training)
        for parameter in trained:
            parameter.requires_grad_(True)


@contextlib.contextmanager
def _published(model: nn.Module) -> Iterator[None]:
    """Let modules run ``forward_as_published``. An attribute of the object, not of its class, hides
    ``forward``; modules that call it through ``__call__`` need no change of theirs for that."""
    modules = [module for module in model.modules() if hasattr(module, "forward_as_published")]
    for module in modules:
        module.forward = module.forward_as_published
    try:
        yield
    finally:
        for module in modules:
            del module.forward


def _attention(query: Any, key: Any, value: Any, *_: Any, **__: Any) -> int:
    return sdpa_flop_count(query, key, value)


def _bag(weight: Any, indices: Any, *_: Any, **__: Any) -> int:
    return 2 * math.prod(indices) * weight[-1]


# what torch's counter leaves out on a CPU; it takes shapes and counts both halves of an operation
_COUNTED = {
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: _attention,
    torch.ops.aten._embedding_bag: _bag,
    torch.ops.aten._embedding_bag_forward_only: _bag,
}


def made_up_batch(cfg: CfgNode, size: tuple[int, int], count: int) -> list[dict[str, Any]]:
    """Training samples as the config's mapper gives them: noise, NUM_TARGETS strips as segments.

    Raises:
        ValueError: the mapper is not one of this project's.
    """
    height, width = size
    labels = torch.arange(width) * NUM_TARGETS // width
    masks = labels == torch.arange(NUM_TARGETS)[:, None]
    masks = masks[:, None].expand(-1, height, -1).contiguous()  # (NUM_TARGETS, H, W)
    num_classes = cfg.MODEL.SEM_SEG_HEAD.NUM_CLASSES
    if cfg.MODEL.META_ARCHITECTURE in ("GeneralizedRCNN", "RetinaNet"):
        num_classes = cfg.MODEL.ROI_HEADS.NUM_CLASSES
    classes = torch.arange(NUM_TARGETS) % num_classes
    instances = Instances(size, gt_classes=classes, gt_masks=BitMasks(masks))
    instances.gt_boxes = instances.gt_masks.get_bounding_boxes()
    if cfg.INPUT.MAPPER == "detectron2" and cfg.INPUT.MASK_FORMAT == "polygon":
        instances.gt_masks = PolygonMasks([[_corners(box)] for box in instances.gt_boxes])
    sample = {"height": height, "width": width, "content_size": size, "instances": instances}
    sample["sem_seg"] = classes[labels].expand(height, -1).contiguous()
    if cfg.INPUT.MAPPER == "referring":
        number = min(NUM_TARGETS, cfg.INPUT.EXPRESSIONS_PER_IMAGE)
        sample |= {"expressions": ["object"] * number, "expression_masks": masks[:number]}
    elif cfg.INPUT.MAPPER not in ("detectron2", "semantic", "panoptic", "instance", "slice"):
        raise ValueError(
            f"INPUT.MAPPER {cfg.INPUT.MAPPER} is not known; its samples cannot be made up"
        )
    shape = (len(cfg.MODEL.PIXEL_MEAN), *size)
    if cfg.INPUT.MAPPER == "slice":
        return [{**sample, "image": torch.rand(shape)} for _ in range(count)]
    return [
        {**sample, "image": torch.randint(0, 256, shape, dtype=torch.uint8)} for _ in range(count)
    ]


def _corners(box: Tensor) -> Any:
    left, top, right, bottom = box.tolist()
    return torch.tensor([left, top, right, top, right, bottom, left, bottom]).double().numpy()


def activation_bytes(model: nn.Module, batch: list[dict[str, Any]]) -> int:
    """Bytes that a forward pass in training keeps for the backward pass, parameters left out."""
    own = {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}
    kept: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    model.train()
    with (
        EventStorage(0),
        torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor),
    ):
        losses = model(batch)
    assert losses  # held till here, as the tensors are
    return sum(kept.values())


def step_bytes(cfg: CfgNode, model: nn.Module, batch: list[dict[str, Any]]) -> int:
    """Bytes in use at the peak of a training step: weights, gradients, activations, and the state
    of the optimizer, which the first step makes and later ones have from their start.

    On CUDA what torch has allocated; on a CPU the weights and what the process grew by.
    """
    device = next(model.parameters()).device
    amp = autocast_dtype(cfg, device)
    optimizer = build_optimizer(cfg, model.train())
    step = TrainStep(
        model, itertools.repeat(batch), optimizer, amp_dtype=amp, clip=gradient_clip(cfg)
    )
    step.iter = 0
    weights = sum(tensor.nbytes for tensor in model.state_dict().values())
    with EventStorage(0), _peak(device) as peak:
        step.run_step()
    state = (v for values in optimizer.state.values() for v in values.values())
    optimizer_bytes = sum(tensor.nbytes for tensor in state if isinstance(tensor, Tensor))
    # on a CPU this counts memory that is given back and taken again once
    return peak[0] + optimizer_bytes + (0 if device.type == "cuda" else weights)


@contextlib.contextmanager
def _peak(device: torch.device) -> Iterator[list[int]]:
    """A list that gets the largest number of bytes in use, on a CPU beyond those at the start."""
    found: list[int] = []
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        yield found
        found.append(torch.cuda.max_memory_allocated(device))
        return
    if _CLEAR.exists():
        _CLEAR.write_text("5")  # the peak begins anew
    before = _resident("VmRSS")
    yield found
    found.append(max(0, _resident("VmHWM") - before))


def _resident(entry: str) -> int:
    """Bytes of this process; without Linux, its peak so far for either entry."""
    if not _STATUS.exists():
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    line = next(line for line in _STATUS.read_text().splitlines() if line.startswith(entry))
    return int(line.split()[1]) << 10


def free_bytes(device: torch.device) -> int | None:
    """Memory that is free for a step; None where it is not known."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
    except OSError:
        return None
    return int(next(line for line in lines if line.startswith("MemAvailable")).split()[1]) << 10
