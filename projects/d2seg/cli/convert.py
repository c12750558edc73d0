"""Rename the weights of a checkpoint from any layout that d2seg reads to another.

    python tools/convert_checkpoint.py IN OUT                    to d2seg's own names
    python tools/convert_checkpoint.py IN OUT --to official      to those of the method's authors
    python tools/convert_checkpoint.py IN OUT --to huggingface   to those of transformers

IN is a file, a folder of transformers or a URL; its layout is recognised. MODEL.WEIGHTS takes all
of these without a conversion. OUT is written in the format of its ending: .pth or .pt (the weights
under "model", as detectron2 and the authors have it), .bin (the bare weights) or .safetensors
(with its SHA-256 in OUT.sha256, which is compared when the file is read).
Values are not changed; the state of an optimizer is left behind. For transformers, put OUT as
model.safetensors beside the config.json of the same architecture.
"""

from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors.torch import save_file

from ..checkpoint.conversion import flavours, is_own, to_d2seg, to_flavour, without_prefix
from ..checkpoint.files import find_file, read_checkpoint, write_atomically, write_with_checksum
from ..checkpoint.naming import StateDict
from ..names import printable
from . import convert_config
from .messages import Parser, report_mistake, user_path

FORMATS = (".pth", ".pt", ".bin", ".safetensors")


def write(state: StateDict, path: Path) -> None:
    """Write weights in the format of the path's ending."""

    def to(temporary: str) -> None:
        if path.suffix == ".safetensors":
            # its "format" entry is what transformers looks for
            tensors = {name: tensor.contiguous() for name, tensor in state.items()}
            save_file(tensors, temporary, metadata={"format": "pt"})
        else:
            torch.save(state if path.suffix == ".bin" else {"model": state}, temporary)

    (write_with_checksum if path.suffix == ".safetensors" else write_atomically)(str(path), to)


def convert(source: str, target: Path, to: str) -> str:
    """Convert a checkpoint file; returns what was done, in a line or two.

    Raises:
        ValueError: the source cannot be read, or cannot be held by the layout asked for; the
            target's ending is unknown, or it is the source.
    """
    if target.suffix not in FORMATS:
        raise ValueError(f"OUT is {target}; give it one of the endings {', '.join(FORMATS)}")
    file = find_file(source)
    if target.exists() and target.samefile(file):
        raise ValueError(f"OUT is the same file as IN, {target}; choose another")
    given = read_checkpoint(file)["model"]
    state, layout = to_d2seg(given)
    if to != "d2seg":
        state = to_flavour(state, to)
    write(state, target)
    read_as = layout.name if layout else "no layout that is known; its names are left as they are"
    if layout is None and is_own(without_prefix(given)[0].keys()):
        read_as = "d2seg's or detectron2's own layout"
    values = sum(tensor.numel() for tensor in state.values())
    return (
        f"{printable(source)}: {len(given)} tensors, {read_as}\n"
        f"{printable(target)}: {len(state)} tensors, {values / 1e6:.1f} million values, {to}"
    )


def make_parser(prog: str | None = None) -> Parser:
    parser = Parser(prog=prog, description=__doc__)
    parser.add_argument("source", metavar="IN", help="checkpoint to read")
    parser.add_argument("target", metavar="OUT", type=user_path, help="checkpoint to write")
    parser.add_argument("--to", choices=["d2seg", *flavours()], default="d2seg")
    parser.add_argument(
        "--config",
        action="store_true",
        help="IN and OUT are configs instead: of the official MaskFormer or Mask2Former, and YAML",
    )
    return parser


def main(argv: Sequence[str] | None = None, prog: str | None = None) -> int:
    """
    Returns:
        The exit code.
    """
    parser = make_parser(prog)
    args = parser.parse_args(argv)
    if args.config:
        return convert_config.main([args.source, str(args.target)], parser.prog)
    try:
        print(convert(args.source, args.target, args.to))
    except (ValueError, OSError, ImportError) as error:
        return report_mistake(error)
    return 0
