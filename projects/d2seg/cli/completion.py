"""Scripts with which a shell completes the words, options and configs of the command.

shtab writes them from the parsers of all words.
"""

import importlib
import shlex
from collections.abc import Sequence
from typing import Any

from ..config.zoo import read_table
from .messages import Parser, report_mistake

_CONFIGS = frozenset({"config", "config_file"})  # arguments that take a file or a name of the zoo
_FILES = frozenset({"input", "source", "target", "targets"})
_FOLDERS = frozenset({"output", "images"})


def print_completion(shells: Sequence[str], words: dict[str, tuple[str, str]]) -> int:
    """Write the script of a shell to stdout.

    Args:
        shells: one of those that shtab knows, as "bash".
        words: of the command: the module whose ``make_parser`` has the arguments, and a help.

    Returns:
        The exit code.
    """
    try:
        import shtab
    except ImportError:
        return report_mistake(ImportError("--print-completion needs shtab: pip install shtab"))
    if len(shells) != 1 or shells[0] not in shtab.SUPPORTED_SHELLS:
        known = ", ".join(shtab.SUPPORTED_SHELLS)
        return report_mistake(ValueError(f"--print-completion takes one of {known}"))
    print(shtab.complete(make_parser(words), shell=shells[0]))
    return 0


def make_parser(words: dict[str, tuple[str, str]]) -> Parser:
    """One parser of the whole command, with what shtab reads beside each argument."""
    import shtab

    parser = Parser(prog="d2seg")
    parsers = parser.add_subparsers()
    kinds = dict.fromkeys(_FILES, shtab.FILE) | dict.fromkeys(_FOLDERS, shtab.DIRECTORY)
    kinds |= dict.fromkeys(_CONFIGS, _configs())
    for word, (module, help_text) in words.items():
        own = importlib.import_module(f".{module}", __package__).make_parser(f"d2seg {word}")
        for action in own._actions:  # argparse has no public list of them; shtab reads it, too
            if action.dest in kinds and action.nargs != 0:
                action.complete = kinds[action.dest]
            elif action.dest == "name":
                action.choices = list(read_table())
        parsers.add_parser(word, help=help_text, parents=[own], add_help=False)
    return parser


def _configs() -> dict[str, Any]:
    """For shtab: files, and the names of the model zoo."""
    names = shlex.quote(" ".join(read_table()))
    function = "_d2seg_configs"
    bash = f'{function}() {{ compgen -f -- "$1"; compgen -W {names} -- "$1"; }}'
    zsh = f"{function}() {{ _alternative 'files:file:_files' 'names:config:('{names}')' }}"
    return {"bash": function, "zsh": function, "preamble": {"bash": bash, "zsh": zsh}}
