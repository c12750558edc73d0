"""From a model to a file that was checked: recorded, written beside its place, run and compared,
and only then moved there."""

import os
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from detectron2.config import CfgNode
from torch import Tensor, nn

from ..acceleration import record_bags
from ..runtimes import open_session
from .boxes import BoxNetwork
from .description import describe
from .formats import FORMATS, check_packages, record, write_as
from .network import Network
from .quantisation import calibration_inputs, example_pictures, halve, quantise
from .sizes import check_size, default_size, sizes_to_compare
from .verification import Difference, check, compare, expect, times_by_turns


@dataclass(frozen=True)
class Request:
    """
    format: of ``FORMATS``. size: (H, W) of the input; None: see ``default_size``.
    dynamic: the file takes any size; ``size`` is that of the example then.
    postprocess: the task whose results the file gives; empty: logits and masks.
    """

    format: str
    dtype: str
    size: tuple[int, int] | None
    dynamic: bool
    postprocess: str = ""


@dataclass(frozen=True)
class Exported:
    """seconds: of recording and writing. megabytes: of all files. differences: from PyTorch.
    speed: of an int8 file, milliseconds of it and of the same in fp32, by turns."""

    path: Path
    seconds: float
    megabytes: float
    differences: list[Difference]
    speed: tuple[float, float] | None = None


def output_path(out: Path, format_name: str) -> Path:
    """``out`` with the format's suffix, where it has none.

    Raises:
        ValueError: it has another one, is a folder, or its folder is missing or not writable.
    """
    suffix = FORMATS[format_name].suffix
    path = out if out.suffix else out.with_suffix(suffix)
    if path.suffix.lower() != suffix:
        raise ValueError(f"{out}: a file of --format {format_name} ends in {suffix}")
    if not path.absolute().parent.is_dir():
        raise ValueError(f"{out}: there is no folder {path.absolute().parent}")
    if path.is_dir() or not os.access(path.absolute().parent, os.W_OK | os.X_OK):
        raise ValueError(f"{out} cannot be written; choose another place")
    return path


def check_format(name: str, dtype: str) -> None:
    """
    Raises:
        ValueError: a format that does not hold the number format, or a processor that lacks it.
        ModuleNotFoundError: a package that the format needs is missing.
    """
    dtypes = FORMATS[name].dtypes
    if dtype not in dtypes:
        raise ValueError(
            f"--dtype {dtype} is not for --format {name}, which holds {', '.join(dtypes)}"
        )
    check_packages(name)
    if (name, dtype) == ("openvino", "bf16"):
        from ..runtimes.openvino_session import check_bf16

        check_bf16("--dtype bf16")


def check_views_of(cfg: CfgNode, request: Request) -> None:
    """
    Raises:
        ValueError: the config has a picture seen in tiles or at several sizes, the file takes one.
    """
    for key in ("TILES", "AUG"):
        if cfg.TEST[key].ENABLED and not (request.dynamic or request.postprocess):
            raise ValueError(
                f"TEST.{key}.ENABLED is True, for which a file of one size is too little; add "
                f"--dynamic, or TEST.{key}.ENABLED False at the end of the command"
            )


def check_network(network: Network, request: Request) -> None:
    """
    Raises:
        ValueError: a number format that is not for the model.
    """
    if request.dtype == "int8" and network.has_words:
        raise ValueError("--dtype int8: the ranges of words cannot be taken from pictures")
    if request.dtype != "fp32" and isinstance(network.model, BoxNetwork):
        raise ValueError(
            f"--dtype {request.dtype} is not for models with boxes, whose coordinates it rounds to "
            "whole pixels; leave it at fp32"
        )


def export(
    cfg: CfgNode,
    model: nn.Module,
    path: Path,
    request: Request,
    calibrate: Sequence[Path] = (),
) -> Exported:
    """Write the model of ``cfg``, with its weights, to ``path``.

    Args:
        model: changed for good.
        calibrate: pictures that the ranges of int8 are taken from.

    Raises:
        ValueError: see the functions above; or a size that the model does not take.
        DifferenceError: the file differs from PyTorch; there is none then.
    """
    check_format(request.format, request.dtype)
    check_views_of(cfg, request)
    network = Network(model, request.postprocess)
    check_network(network, request)
    step = network.divisibility
    size = request.size or default_size(cfg, step, request.dynamic)
    check_size(size, step, request.dynamic)
    sizes = sizes_to_compare(size, step, request.dynamic)
    examples = [network.examples(each, seed) for seed, each in enumerate(sizes)]
    if request.dtype == "int8":  # of the range that it is made for
        examples = example_pictures(cfg, model, calibrate, size)
    expected = expect(network, examples)
    description = describe(
        cfg,
        model,
        size=None if request.dynamic else size,
        divisibility=step,
        dtype=request.dtype,
        inputs=list(examples[0]),
        outputs=list(expected[0]),
        postprocess=request.postprocess,
    )
    with (
        tempfile.TemporaryDirectory(dir=path.absolute().parent, prefix=".export-") as folder,
        tempfile.TemporaryDirectory(dir=path.absolute().parent, prefix=".export-") as other,
    ):
        written, in_fp32 = Path(folder) / path.name, Path(other) / path.name
        convert = None
        if request.dtype == "int8":
            inputs = calibration_inputs(cfg, model, calibrate, size)
            convert = partial(quantise, inputs=inputs, keep=in_fp32)
        elif (request.format, request.dtype) == ("onnx", "fp16"):
            convert = halve
        seconds = _write(network, examples[0], written, request, description, convert)
        differences, speed = _try(written, in_fp32, request, examples, expected)
        files = sorted(Path(folder).iterdir())
        for file in files:
            os.replace(file, path.parent / file.name)
    megabytes = sum((path.parent / file.name).stat().st_size for file in files) / 1e6
    return Exported(path, seconds, megabytes, differences, speed)


def _write(
    network: Network,
    example: dict[str, Tensor],
    path: Path,
    request: Request,
    description: dict[str, Any],
    convert: Callable[[Path], None] | None,
) -> float:
    """Record and write; return the seconds that it took."""
    start = time.perf_counter()
    if request.format == "torch_export" and request.dtype != "fp32":
        network.convert(request.dtype)
    if request.format == "openvino" and not request.dynamic:
        record_bags(network)
    program = record(network, example, dynamic=request.dynamic, divisibility=network.divisibility)
    write_as(request.format, program, path, description, convert)
    return time.perf_counter() - start


def _try(
    path: Path,
    in_fp32: Path,
    request: Request,
    examples: list[dict[str, Tensor]],
    expected: list[dict[str, Tensor]],
) -> tuple[list[Difference], tuple[float, float] | None]:
    """Run what was written.

    Returns:
        How far it is from PyTorch; if there is a file ``in_fp32``, how fast both are.

    Raises:
        DifferenceError: it is too far.
    """
    runtime = "onnxruntime" if request.format == "onnx" else "auto"
    session = open_session(path, runtime, trusted=True)
    differences = compare(session, examples, expected, request.dtype)
    check(differences, request.dtype)
    if not in_fp32.exists():
        return differences, None
    return differences, times_by_turns(session, open_session(in_fp32, runtime), examples[0])
