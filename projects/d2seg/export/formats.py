"""Writing a network in a format: torch.export records it, torch's exporter makes ONNX of that, and
OpenVINO's file is made of the ONNX file."""

import importlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram
from torch.fx.experimental import _config

from ..runtimes.description import PREFIX, to_texts
from ..runtimes.torch_session import EXTRA_FILE

Description = dict[str, Any]
_LARGEST_SIDE = 8192  # of a picture whose size is a symbol
_MOST_EXPRESSIONS = 64


class Format(NamedTuple):
    """suffix: of the file. packages: what writing it needs. dtypes: what it can hold."""

    suffix: str
    packages: tuple[str, ...]
    dtypes: tuple[str, ...]


FORMATS = {
    "onnx": Format(".onnx", ("onnx", "onnxscript", "onnxruntime"), ("fp32", "fp16", "int8")),
    "openvino": Format(".xml", ("onnx", "onnxscript", "openvino"), ("fp32", "fp16", "bf16")),
    "torch_export": Format(".pt2", (), ("fp32", "fp16", "bf16")),
}


def check_packages(name: str) -> None:
    """
    Raises:
        ModuleNotFoundError: one that the format needs is missing; says how to install all.
    """
    packages = FORMATS[name].packages
    for package in packages:
        try:
            importlib.import_module(package)
        except ModuleNotFoundError as error:
            if error.name != package:
                raise
            raise ModuleNotFoundError(
                f"--format {name} needs {package}, which is missing: pip install "
                f"{' '.join(packages)}"
            ) from error


@torch.no_grad()
def record(
    network: nn.Module, examples: dict[str, Tensor], *, dynamic: bool, divisibility: int
) -> ExportedProgram:
    """The network as a graph.

    Args:
        examples: inputs by name; the first are the pictures (1, C, H, W), others of two dimensions
            words (E, T), of any number E.
        dynamic: for pictures of any size in multiples of ``divisibility``; else for that of the
            example.
    """
    most = max(1, _LARGEST_SIDE // divisibility)
    height, width = (divisibility * Dim(name, min=1, max=most) for name in ("height", "width"))
    expressions = Dim("expressions", min=1, max=_MOST_EXPRESSIONS)
    shapes = [{2: height, 3: width} if dynamic else {}]
    shapes += [{0: expressions} if v.dim() == 2 else {} for v in list(examples.values())[1:]]
    # as torch's own exporter to ONNX has it: else what is more than one in the example, as the
    # windows of a map, has to be more than one in every picture
    with _config.patch(backed_size_oblivious=dynamic):
        return torch.export.export(
            network, tuple(examples.values()), dynamic_shapes=(tuple(shapes),), strict=False
        )


def write_torch(program: ExportedProgram, path: Path, description: Description) -> None:
    torch.export.save(program, path, extra_files={EXTRA_FILE: json.dumps(to_texts(description))})


def write_onnx(program: ExportedProgram, path: Path, description: Description) -> None:
    from onnxscript.optimizer import optimize

    made = torch.onnx.export(
        program,
        dynamo=True,
        verbose=False,
        optimize=False,
        input_names=description["inputs"],
        output_names=description["outputs"],
    )
    optimize(made.model, num_iterations=1)  # the second of torch's two removes next to nothing
    for node in made.model.graph.all_nodes():  # places in the source, on this machine
        node.metadata_props.clear()
        node.doc_string = None
    made.model.metadata_props.clear()
    made.model.metadata_props.update(to_texts(description))
    made.save(path, external_data=False)


def _keep_description(path: Path, description: Description) -> None:
    """Write it anew into a file that another program has written over."""
    import onnx

    model = onnx.load(str(path))
    onnx.helper.set_model_props(model, to_texts(description))
    onnx.save(model, str(path))


def write_openvino(onnx_file: Path, path: Path, description: Description) -> None:
    """An .xml file and, beside it, a .bin file of the weights."""
    import openvino

    from .bags import use_bags

    model = openvino.Core().read_model(str(onnx_file))
    use_bags(model)
    for key, text in to_texts(description).items():
        model.set_rt_info(text, ["d2seg", key.removeprefix(PREFIX)])
    openvino.save_model(model, str(path), compress_to_fp16=description["dtype"] != "fp32")


def write_as(
    name: str,
    program: ExportedProgram,
    path: Path,
    description: Description,
    convert: Callable[[Path], None] | None = None,
) -> None:
    """Write a program to ``path`` in one of ``FORMATS``; ``convert`` changes the ONNX file."""
    if name == "torch_export":
        write_torch(program, path, description)
        return
    onnx_file = path.with_suffix(".onnx")
    write_onnx(program, onnx_file, description)
    if convert is not None:
        convert(onnx_file)
        _keep_description(onnx_file, description)
    if name == "openvino":
        write_openvino(onnx_file, path, description)
        onnx_file.unlink()
