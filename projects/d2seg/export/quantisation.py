"""ONNX files in other number formats, by ONNX Runtime's tools.

8-bit integers: convolutions and matrix products take the ranges that pictures of one's own give
them; all else stays fp32.
"""

import shutil
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch
from detectron2.config import CfgNode
from torch import Tensor, nn

from ..data.augmentation import ResizeToFit
from ..data.readers import build_reader

MOST_PICTURES = 64  # that ranges are taken from
SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff"})
_OPERATORS = ("Conv", "MatMul", "Gemm")
_COMPARED = 3  # pictures


def pictures_of(folder: Path) -> list[Path]:
    """The first ``MOST_PICTURES`` pictures of a folder.

    Raises:
        ValueError: there is no such folder, or no picture in it.
    """
    if not folder.is_dir():
        raise ValueError(f"--calibrate {folder}: there is no such folder")
    found = sorted(path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES)
    if not found:
        raise ValueError(f"--calibrate {folder}: it has no picture")
    return found[:MOST_PICTURES]


def calibration_inputs(
    cfg: CfgNode, model: nn.Module, files: Sequence[Path], size: tuple[int, int]
) -> Iterator[dict[str, np.ndarray]]:
    """Each picture as the network takes it: normalised, fit into ``size`` (H, W), padded with 0.

    Raises:
        UnreadableFileError: a file is no picture.
    """
    fit, read = ResizeToFit(size), build_reader(cfg)
    for file in files:
        pixels = read(str(file))
        pixels = fit.get_transform(pixels).apply_image(pixels)
        image = torch.from_numpy(np.ascontiguousarray(pixels.transpose(2, 0, 1)))
        image = (image - model.pixel_mean) / model.pixel_std
        padded = torch.zeros(1, len(image), *size)
        padded[0, :, : image.shape[1], : image.shape[2]] = image
        yield {"images": padded.numpy()}


def example_pictures(
    cfg: CfgNode, model: nn.Module, files: Sequence[Path], size: tuple[int, int]
) -> list[dict[str, Tensor]]:
    """Inputs of a few pictures, which a file in 8-bit integers is compared at."""
    arrays = calibration_inputs(cfg, model, files[:_COMPARED], size)
    return [{name: torch.from_numpy(array) for name, array in each.items()} for each in arrays]


def halve(path: Path) -> None:
    """Bring an ONNX file, in place, to fp16 but for its inputs, its outputs and places in pictures,
    for which fp16 has too few digits."""
    import onnx
    from onnxruntime.transformers.float16 import DEFAULT_OP_BLOCK_LIST, convert_float_to_float16

    kept = [*DEFAULT_OP_BLOCK_LIST, "GridSample", "Resize", "Range"]
    model = convert_float_to_float16(onnx.load(str(path)), keep_io_types=True, op_block_list=kept)
    onnx.save(model, str(path))


def quantise(path: Path, inputs: Iterator[dict[str, np.ndarray]], keep: Path) -> None:
    """Bring an ONNX file, in place, to int8; ``keep`` is a copy of it as it was."""
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, quantize_static

    class Reader(CalibrationDataReader):
        get_next = staticmethod(partial(next, inputs, None))

    shutil.copyfile(path, keep)
    quantize_static(
        str(path),
        str(path),
        Reader(),
        quant_format=QuantFormat.QDQ,  # which OpenVINO reads, too
        op_types_to_quantize=list(_OPERATORS),
        per_channel=True,
        # weights of 7 bits: with 8, sums of two products leave the 16 bits that processors without
        # VNNI add them in (a network of two convolutions was off by 0.19 of its greatest logit)
        reduce_range=True,
    )
