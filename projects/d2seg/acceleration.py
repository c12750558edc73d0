"""Everything that makes a finished model faster, in one place, outside the models."""

import ctypes
import logging
import platform

import torch
from detectron2.config import CfgNode
from detectron2.layers import Conv2d, FrozenBatchNorm2d
from detectron2.modeling import GeneralizedRCNN
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_weights

from .layers.deformable_attention import MultiScaleDeformableAttention
from .layers.fused import fuse, works

logger = logging.getLogger(__name__)

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
_BATCH_NORMS = (FrozenBatchNorm2d, nn.BatchNorm2d, nn.SyncBatchNorm)


def flush_denormals() -> None:
    """Have the CPU take fp32 numbers within 1e-38 of zero for zeros, in this thread and those made
    from here on; for programs, as it is of the whole process.

    It computes with them in microcode: squares of small gradients in Adam's averages, up to a third
    of a small model's step; the softmax of a shifted window's masked pairs, exp(-100), an eighth of
    DS-TransUNet's time.
    """
    torch.set_flush_denormal(True)


def prepare_as_configured(cfg: CfgNode, model: nn.Module) -> nn.Module:
    """:func:`prepare_for_inference` in TEST.DTYPE; models of detectron2's zoo stay as they are.

    Raises:
        ValueError: TEST.DTYPE is unknown, or not fp32 for a model of the zoo or with boxes.
    """
    name = cfg.TEST.DTYPE
    if name not in DTYPES:
        raise ValueError(f"TEST.DTYPE is {name!r}; choose from {list(DTYPES)}")
    if name != "fp32" and isinstance(model, GeneralizedRCNN):
        raise ValueError(
            f"TEST.DTYPE {name} is not for models with boxes, whose suppression in detectron2 "
            "takes fp32 alone; leave it at fp32"
        )
    if is_own(model):
        return prepare_for_inference(model.eval(), DTYPES[name])
    if name != "fp32":
        raise ValueError(f"TEST.DTYPE {name} is for d2seg's models; leave it at fp32 for this one")
    return model


def autocast_dtype(cfg: CfgNode, device: torch.device) -> torch.dtype | None:
    """The number format of autocast in training on a device; None: full precision.

    An x86 processor without instructions for bf16 emulates it, at half the speed of fp32 (a step of
    a small ReSTR took 1.5 instead of 0.74 s): full precision takes its place there.
    """
    if not cfg.SOLVER.AMP.ENABLED:
        return None
    dtype = DTYPES[cfg.SOLVER.AMP.DTYPE]
    if device.type == "cpu" and dtype == torch.bfloat16 and not has_bf16_instructions():
        logger.info(
            "SOLVER.AMP.DTYPE is bf16, for which this processor has no instructions; training in "
            "fp32, which is faster here"
        )
        return None
    return dtype


def has_bf16_instructions() -> bool:
    """Whether this processor multiplies bf16 numbers; taken for granted where torch cannot tell."""
    return _has("_is_avx512_bf16_supported")


def _has(question: str) -> bool:
    """What torch says of an x86 processor; yes of any other, and where it does not know."""
    is_x86 = platform.machine() in ("x86_64", "AMD64")
    return not is_x86 or getattr(torch.cpu, question, lambda: True)()


def is_own(model: nn.Module) -> bool:
    """Whether a model of detectron2 has any part of this project, be it only a backbone or a head;
    one of its zoo has none."""
    package = __name__.partition(".")[0]
    return any(type(module).__module__.partition(".")[0] == package for module in model.modules())


def prepare_for_inference(model: nn.Module, dtype: torch.dtype = torch.float32) -> nn.Module:
    """Make a model faster, in place and for good: it can be neither trained nor saved afterwards.

    Batch norms are folded into convolutions; on a CPU activations and residuals are fused into the
    layers before them; weights are brought to ``dtype`` once, where autocast
    would do it at every call; feature maps lie with their channels last, which 1x1 convolutions
    need to be fast in bf16 on a CPU. The pixels are still normalised in fp32.

    Args:
        model: in eval mode, with a ``backbone``; its own buffers (pixel_mean, pixel_std) stay.
        dtype: of the weights and features. Other than fp32 is for this project's models.

    Raises:
        ValueError: the model is in training mode.
    """
    fold_batch_norms(model)
    for module in model.modules():  # detectron2's heads make a second map for a ReLU
        if isinstance(module, Conv2d) and isinstance(module.activation, nn.ReLU):
            module.activation.inplace = True
    fuse_activations(model)
    model.to(memory_format=torch.channels_last)
    for child in model.children():
        child.to(dtype)

    def bring_images(_: nn.Module, images: tuple[Tensor]) -> tuple[Tensor]:
        return (images[0].to(dtype, memory_format=torch.channels_last),)

    backbone = model.backbone
    backbone.register_forward_pre_hook(bring_images)
    if dtype != torch.float32:
        # a backbone may make fp32 tensors of its own, as Swin its attention masks
        device = next(backbone.parameters()).device
        backbone.forward = torch.autocast(device.type, dtype)(backbone.forward)
    _return_freed_memory()
    return model


def _return_freed_memory() -> None:
    """What a checkpoint took while it was loaded, and the weights of former layouts: the heap of a
    program that keeps freed memory (``d2seg_process.py``) would hold it below what comes."""
    if platform.libc_ver()[0] == "glibc":
        ctypes.CDLL(None).malloc_trim(0)


@torch.no_grad()
def fold_batch_norms(model: nn.Module) -> int:
    """Fold, in place, the batch norms of detectron2's ``Conv2d`` modules; return how many.

    In eval mode a batch norm is an affine map of each channel, which the convolution before it
    absorbs (Jacob et al. 2018, section 3.2); that saves a pass over every feature map. The model
    gives the same outputs in eval mode, up to rounding, and can no longer be trained or loaded
    from a checkpoint of its former self.

    Raises:
        ValueError: the model is in training mode, where batch statistics matter.
    """
    if model.training:
        raise ValueError("batch norms are folded in eval mode only; call model.eval() first")
    num_folded = 0
    for module in model.modules():
        if not isinstance(module, Conv2d) or not isinstance(module.norm, _BATCH_NORMS):
            continue
        norm = module.norm
        module.weight, module.bias = fuse_conv_bn_weights(
            module.weight,
            module.bias,
            norm.running_mean,
            norm.running_var,
            norm.eps,
            norm.weight,
            norm.bias,
        )
        module.norm = None
        num_folded += 1
    return num_folded


def fuse_activations(model: nn.Module) -> int:
    """Put, in place, ``layers/fused.py``'s layers and blocks where they serve; return how many.

    Parameters and their names stay. Nothing is fused off a CPU, or where oneDNN's operators are
    missing.
    """
    parameter = next(model.parameters(), None)
    if parameter is None or parameter.device.type != "cpu" or not works(torch.float32):
        return 0
    num_fused = 0
    for name, child in list(model.named_children()):
        fused = fuse(child)
        if fused is None:
            num_fused += fuse_activations(child)
        else:
            setattr(model, name, fused)
            num_fused += 1
    return num_fused


def prepare_for_training(model: nn.Module) -> nn.Module:
    """Make training faster, in place: names of parameters, gradients and checkpoints stay.

    Frozen batch norms are applied to the weights instead of the feature maps, and on a CPU feature
    maps lie with their channels last, as the convolutions' weights do: its convolutions reorder
    other layouts, forth and back at every call. Not so without AVX-512: oneDNN has backward
    convolutions with channels last for that alone, and its others take twice the time.
    """
    for module in model.modules():
        if type(module) is Conv2d and isinstance(module.norm, FrozenBatchNorm2d):
            module.__class__ = FrozenNormConv2d
    if next(model.parameters()).device.type == "cpu" and _has("_is_avx512_supported"):
        model.to(memory_format=torch.channels_last)
    return model


class FrozenNormConv2d(Conv2d):
    """detectron2's ``Conv2d`` with a frozen batch norm, which it folds into its weights each call.

    The norm is an affine map of each output channel (see :func:`fold_batch_norms`). Applied to the
    weights, with gradients flowing through, it costs a pass over the weights instead of three over
    the feature maps: detectron2's multiplies and adds, and multiplies again in the backward pass.
    """

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, h, w) -> (B, C', h', w')."""
        if self.norm is None:  # folded for good since
            return super().forward(x)
        norm = self.norm
        scale = norm.weight * (norm.running_var + norm.eps).rsqrt()
        bias = norm.bias - norm.running_mean * scale
        if self.bias is not None:
            bias = bias + self.bias * scale
        x = self._conv_forward(x, self.weight * scale[:, None, None, None], bias)
        return x if self.activation is None else self.activation(x)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether a tensor or an array could not be allocated, on any device."""
    kinds = (MemoryError, torch.OutOfMemoryError)
    return isinstance(error, kinds) or "can't allocate memory" in str(error)


def record_bags(model: nn.Module) -> None:
    """Let deformable attention be recorded, for pictures of one size, as sums of gathered rows, for
    runtimes that have an operator for these (``export/bags.py``)."""
    for module in model.modules():
        if isinstance(module, MultiScaleDeformableAttention):
            module.records_bags = True
