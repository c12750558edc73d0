"""The first convolution of pretrained weights, brought to the number of channels of a model."""

import logging
from collections.abc import Collection

import numpy as np
import torch
from timm.layers import ScaledStdConv2d, ScaledStdConv2dSame, StdConv2d, StdConv2dSame
from torch import Tensor, nn

from .naming import StateDict

logger = logging.getLogger(__name__)

NEW_CHANNELS = ("mean", "zero")
# their weights are brought to mean 0 and variance 1 over channels and pixels when they are used
_STANDARDISED = (StdConv2d, StdConv2dSame, ScaledStdConv2d, ScaledStdConv2dSame)
_CAFFE2_STEM = "conv1_w"  # in detectron2's files of that time, which it renames after this


def fit_channels(
    state: StateDict,
    model_state: StateDict,
    num_channels: int,
    new_channels: str,
    *,
    source: str,
    require_complete: bool,
    by_ends: bool = False,
    standardised: Collection[str] = (),
) -> None:
    """Widen or narrow, in place, each convolution on the picture to the model's channels.

    That is a weight (O, C, h, w) with C the model's number of channels, of which ``state`` has
    another one that differs in C alone. To more channels: "mean" gives each new one the mean of the
    others and multiplies all by the old number over the new one, so that a picture of equal
    channels has the same result; "zero" gives zeros, so that the others' result stays (where
    weights are standardised, the mean that is taken off them). To a single one: the sum over all,
    which is what a grey picture in each channel has.

    Args:
        state: of the checkpoint, under the model's names.
        model_state: of the model.
        num_channels: C.
        new_channels: one of ``NEW_CHANNELS``.
        source: the checkpoint, as the user calls it.
        require_complete: the weights must be of the model as it is.
        standardised: names of the model's weights that are, see ``standardised_weights``.
        by_ends: the names of ``state`` may be the ends of the model's, as detectron2 matches them.

    Raises:
        ValueError: they would have to be changed and ``require_complete`` is set, or narrowed to
            several channels.
    """
    for name, ours in model_state.items():
        if ours.dim() != 4 or ours.shape[1] != num_channels:
            continue
        key = _key_of(name, state) if by_ends else name
        theirs = state.get(key)
        if theirs is None or not _differs_in_channels(tuple(theirs.shape), tuple(ours.shape)):
            continue
        found = theirs.shape[1]
        if require_complete:
            raise ValueError(
                f"{source} is for pictures of {found} channels, MODEL.PIXEL_MEAN has "
                f"{num_channels} values; set MODEL.PIXEL_MEAN, MODEL.PIXEL_STD and INPUT.READER "
                "as in its training"
            )
        if 1 < num_channels < found:
            raise ValueError(
                f"{source} is for pictures of {found} channels, MODEL.PIXEL_MEAN has "
                f"{num_channels} values; weights are brought to more channels, or to one"
            )
        weight = theirs if isinstance(theirs, Tensor) else torch.from_numpy(np.asarray(theirs))
        fill = weight.mean(dim=(1, 2, 3), keepdim=True) if name in standardised else None
        state[key], what = _resized(weight, num_channels, new_channels, fill)
        logger.info("%s: from %d to %d channels, %s", key, found, num_channels, what)


def standardised_weights(model: nn.Module) -> set[str]:
    """Names of the weights of convolutions that standardise them."""
    modules = model.named_modules()
    return {f"{name}.weight" for name, module in modules if isinstance(module, _STANDARDISED)}


def _key_of(name: str, state: StateDict) -> str | None:
    """The name that ``state`` has for a tensor of the model: its own, else the longest end of it,
    as detectron2 matches names."""
    if name in state:
        return name
    parts = name.split(".")
    ends = (".".join(parts[start:]) for start in range(1, len(parts) - 1))
    found = next((end for end in ends if end in state), None)
    if found is None and name.endswith("stem.conv1.weight") and _CAFFE2_STEM in state:
        return _CAFFE2_STEM
    return found


def _differs_in_channels(theirs: tuple[int, ...], ours: tuple[int, ...]) -> bool:
    is_alike = len(theirs) == 4 and theirs[:1] + theirs[2:] == ours[:1] + ours[2:]
    return is_alike and theirs[1] != ours[1]


def _resized(
    weight: Tensor, number: int, new_channels: str, nothing: Tensor | None
) -> tuple[Tensor, str]:
    """The weight for ``number`` channels, and what was done.

    nothing: (O, 1, 1, 1), weights of a channel that is not seen; None: zeros.
    """
    found = weight.shape[1]
    if number == 1:
        return weight.sum(dim=1, keepdim=True), "their sum"
    num_new = number - found
    if new_channels == "zero":
        unseen = weight.new_zeros(weight.shape[0], num_new, *weight.shape[2:])
        if nothing is not None:
            unseen += nothing
        return torch.cat([weight, unseen], dim=1), "the new ones zero"
    mean = weight.mean(dim=1, keepdim=True).expand(-1, num_new, -1, -1)
    scaled = torch.cat([weight, mean], dim=1) * (found / number)
    return scaled, f"the new ones the mean of the others, all times {found}/{number}"
