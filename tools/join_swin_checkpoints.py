#!/usr/bin/env python
"""Make one checkpoint for DS-TransUNet's two encoders of two ImageNet checkpoints of Swin.

    python tools/join_swin_checkpoints.py SWIN_B SWIN_T OUT

SWIN_B is for the patches of 4 x 4 pixels, SWIN_T for those of 8 x 8; both are files or URLs in the
authors' or timm's layout. OUT ends in .pth and is what MODEL.WEIGHTS takes. The convolution of
SWIN_T's patches, which has another size, is left out: it starts from scratch, as published.
"""

import sys
from functools import partial
from pathlib import Path

from d2seg_process import prepare_process

prepare_process()  # before the imports that warn

import torch

from d2seg.checkpoint.conversion import to_d2seg
from d2seg.checkpoint.files import find_file, read_checkpoint, write_atomically
from d2seg.checkpoint.layouts.swin import LAYOUT
from d2seg.checkpoint.naming import StateDict
from d2seg.cli.messages import Parser, report_mistake, user_path
from d2seg.names import printable

BACKBONE = "backbone."
PATCHES = "patch_embed.proj.weight"


def read_encoder(source: str, name: str) -> StateDict:
    """The weights of ``source`` as those of the encoder ``name``, "fine" or "coarse".

    Raises:
        ValueError: it cannot be read, or is no ImageNet checkpoint of Swin.
    """
    state, layout = to_d2seg(read_checkpoint(find_file(source))["model"])
    if layout is not LAYOUT:
        found = layout.name if layout else "of d2seg's or detectron2's own layout"
        raise ValueError(f"{source} is {found}; give an {LAYOUT.name} of its authors or of timm")
    return {
        f"{BACKBONE}{name}.{key.removeprefix(BACKBONE)}": tensor for key, tensor in state.items()
    }


def join(fine: str, coarse: str, target: Path) -> str:
    """Write both encoders to ``target``; returns what was done, in a line.

    Raises:
        ValueError: see :func:`read_encoder`; the target's ending is unknown.
    """
    if target.suffix != ".pth":
        raise ValueError(f"OUT is {target}; give it the ending .pth")
    state = read_encoder(fine, "fine") | read_encoder(coarse, "coarse")
    state.pop(f"{BACKBONE}coarse.{PATCHES}", None)
    write_atomically(str(target), partial(torch.save, {"model": state}))
    return f"{target}: {len(state)} tensors of {fine} (fine) and {coarse} (coarse)"


def main(arguments: list[str] | None = None) -> int:
    """
    Returns:
        The exit code.
    """
    parser = Parser(description=__doc__)
    parser.add_argument("fine", metavar="SWIN_B", help="for the patches of 4 x 4 pixels")
    parser.add_argument("coarse", metavar="SWIN_T", help="for the patches of 8 x 8 pixels")
    parser.add_argument("target", metavar="OUT", type=user_path, help="checkpoint to write")
    args = parser.parse_args(arguments)
    try:
        print(printable(join(args.fine, args.coarse, args.target)))
    except (ValueError, OSError) as error:
        return report_mistake(error)
    return 0


if __name__ == "__main__":
    sys.exit(main())
