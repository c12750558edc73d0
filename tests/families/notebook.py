"""A script that runs the cells of a notebook: `NOTEBOOK`; for ``families.programs``, whose process
has imported everything. Its calls of ``d2seg`` are forks of this process, too."""

import os
import shlex
import subprocess
import sys
import traceback
from pathlib import Path

import nbformat
from IPython.core.interactiveshell import InteractiveShell
from traitlets.config import Config


def system(command: str) -> None:
    """What the shell would do with a line that begins with an exclamation mark."""
    sys.stdout.flush()
    words, _, target = command.partition(" > ")
    word, *arguments = shlex.split(words)
    if word != "d2seg":
        subprocess.run(command, shell=True, check=True)
        return
    child = os.fork()
    if child:
        os.waitpid(child, 0)
        return
    if target:
        os.dup2(os.open(target.strip(), os.O_WRONLY | os.O_CREAT | os.O_TRUNC), 1)
    code = 1
    try:
        from d2seg.cli import main

        code = main(arguments)
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 1
    except BaseException:
        traceback.print_exc()
    sys.stdout.flush()
    os._exit(code)


def run(notebook: Path) -> None:
    """Print what the cells of code write and show, in their order."""
    shell = InteractiveShell.instance(config=Config(HistoryManager={"enabled": False}))
    shell.system = system
    for cell in nbformat.read(notebook, as_version=4).cells:
        if cell.cell_type == "code":
            shell.run_cell(cell.source).raise_error()


if __name__ == "__main__":
    run(Path(sys.argv[1]))
