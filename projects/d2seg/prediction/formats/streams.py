"""JSON files that are longer than what memory should hold, written item by item."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import IO, Any

from ...checkpoint.files import write_atomically


def write_json(path: Path, content: dict[str, Iterable[Any]] | Iterable[Any]) -> None:
    """Write a list, or an object of lists, of which each list may be a generator.

    Raises:
        OSError: it cannot be written.
    """

    def to(temporary: str) -> None:
        with open(temporary, "w", encoding="utf-8") as file:
            if not isinstance(content, dict):
                _write_list(file, content)
            else:
                for number, (key, items) in enumerate(content.items()):
                    file.write(f"{',' if number else '{'}\n{json.dumps(key)}: ")
                    _write_list(file, items)
                file.write("}")
            file.write("\n")

    write_atomically(str(path), to)


def _write_list(file: IO[str], items: Iterable[Any]) -> None:
    file.write("[")
    for number, item in enumerate(items):
        file.write(",\n" if number else "\n")
        file.write(json.dumps(item, separators=(",", ":")))
    file.write("\n]")
