"""The command ``d2seg``: one word for each thing to do, then the arguments of that.

    d2seg train --config mask2former/coco_panoptic_resnet50 --num-gpus 8
    d2seg draw --config mask2former/coco_panoptic_resnet50 --input street.jpg --output drawn

``d2seg WORD --help`` lists the arguments. Exit codes: 0 done; 2 a mistake in the call; others as
the help of the word says.
"""

import difflib
import importlib
import sys
from collections.abc import Sequence
from typing import NamedTuple


class Command(NamedTuple):
    """A word: the module of this folder whose ``main`` it calls, and with which arguments first."""

    module: str
    help: str
    arguments: tuple[str, ...] = ()


COMMANDS = {
    "train": Command("train", "train a model, or go on with --resume"),
    "eval": Command("train", "score a model on the test data of its config", ("--eval-only",)),
    "predict": Command("predict", "write what a model sees in pictures, as data"),
    "draw": Command("draw", "draw what a model sees in pictures, videos or through a camera"),
    "report": Command("report", "make report.html of an evaluation again, from its files"),
    "serve": Command("serve", "try a model in the browser, or over HTTP, on this machine"),
    "check": Command("check", "list what is wrong with data sets"),
    "convert-data": Command("convert_data", "make a data set of another tool's annotations"),
    "visualize": Command("visualize", "draw the annotations of data sets"),
    "export": Command("export", "write a model as a file that runs without Python"),
    "convert": Command("convert", "rename the weights of a checkpoint to another layout"),
    "zoo": Command("zoo", "list configs and what is published of them; fetch weights"),
    "info": Command("info", "count parameters, operations and memory of a config"),
}


def usage() -> str:
    words = "\n".join(f"  {word:<12} {command.help}" for word, command in COMMANDS.items())
    return (
        f"usage: d2seg WORD [ARGUMENT ...]\n\n{words}\n\n"
        "d2seg WORD --help says more.\n"
        "d2seg --version; d2seg --print-completion bash|zsh, for the shell's completion\n"
    )


def main(argv: Sequence[str] | None = None) -> int:
    """
    Returns:
        The exit code.
    """
    word, *rest = [*(sys.argv[1:] if argv is None else argv)] or ["--help"]
    if word in ("-h", "--help", "help"):
        sys.stdout.write(usage())
        return 0
    if word in ("-V", "--version"):
        package = sys.modules[__package__.partition(".")[0]]
        sys.stdout.write(f"d2seg {package.__version__}\n")
        return 0
    if word == "--print-completion":
        from .completion import print_completion

        return print_completion(rest, {word: c[:2] for word, c in COMMANDS.items()})
    if word not in COMMANDS:
        [near] = difflib.get_close_matches(word, COMMANDS, n=1, cutoff=0.0)
        sys.stderr.write(
            f"d2seg: there is no '{word}'; did you mean 'd2seg {near}'? See d2seg -h\n"
        )
        return 2
    command = COMMANDS[word]
    module = importlib.import_module(f".{command.module}", __package__)
    return module.main([*command.arguments, *rest], prog=f"d2seg {word}")
