"""Which images of a folder belong to a split: those of a list, of a pattern, of a part of them all.

The stem of an image is its path below the folder, without extension.
"""

import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from ...pictures import refuse_special_file
from .declared_text import decoded

SELECTION_KEYS = ("list", "names", "part")


@dataclass(frozen=True)
class Selection:
    """What is None takes all; of several, an image is in each.

    Args:
        list_file: a text file of a stem, with or without extension, per line
        names: a pattern of the stem, such as ``train_*``
        part: (from, to) in 0..1, of the images in natural order (a2 before a10): with n images,
            those from floor(from n) on and before floor(to n)
    """

    list_file: Path | None = None
    names: str | None = None
    part: tuple[float, float] | None = None

    def pick(self, stems: Iterable[str]) -> list[str]:
        """The chosen ones of ``stems``, in natural order.

        Raises:
            ValueError: the list cannot be read, is empty, has an entry twice or one that is not
                there; nothing fits the pattern or the part.
        """
        chosen = sorted(stems, key=natural_order)
        if self.names is not None:
            chosen = [stem for stem in chosen if fnmatchcase(stem, self.names)]
            if not chosen:
                raise ValueError(f"no image has a name like {self.names!r}")
        if self.list_file is not None:
            chosen = self._listed(chosen)
        if self.part is not None:
            # the sum keeps 0.7 * 10 = 7.000000000000001 and 0.57 * 100 = 56.99999999999999 whole
            first, last = (int(bound * len(chosen) + 1e-6) for bound in self.part)
            if first == last:
                raise ValueError(f"'part' {list(self.part)} of {len(chosen)} images is none")
            chosen = chosen[first:last]
        return chosen

    def _listed(self, stems: list[str]) -> list[str]:
        try:
            refuse_special_file(self.list_file)
            text = decoded(self.list_file.read_bytes())
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) else error
            raise ValueError(
                f"the list of images cannot be read: {self.list_file}: {reason}"
            ) from error
        there = set(stems)
        found: dict[str, None] = {}
        missing = []
        for line in filter(None, map(str.strip, text.splitlines())):
            stem = line if line in there else line.rpartition(".")[0]
            if stem in found:
                raise ValueError(f"{self.list_file} lists {line} twice; keep one")
            if stem in there:
                found[stem] = None
            else:
                missing.append(line)
        if missing:
            raise ValueError(
                f"{self.list_file}: {len(missing)} of {len(missing) + len(found)} images are not "
                f"there, as {missing[0]}; an entry is an image's path below the folder"
            )
        if not found:
            raise ValueError(f"{self.list_file} lists no image")
        return [stem for stem in stems if stem in found]


def parse_selection(split: Mapping[str, Any], root: Path) -> Selection:
    """Read the keys ``list``, ``names`` and ``part`` of a split.

    Args:
        root: what a relative path of ``list`` begins at

    Raises:
        ValueError: a pattern that is not text, or a part that is not two numbers in order.
    """
    list_file, names, part = (split.get(key) for key in SELECTION_KEYS)
    if names is not None and not isinstance(names, str):
        raise ValueError(f"'names' is {names!r}; it is a pattern such as train_*")
    if part is not None:
        is_pair = isinstance(part, (list, tuple)) and len(part) == 2
        if not is_pair or not all(_is_number(x) for x in part) or not 0 <= part[0] < part[1] <= 1:
            raise ValueError(f"'part' is {part!r}; it is [from, to] with 0 <= from < to <= 1")
        part = (float(part[0]), float(part[1]))
    if list_file is not None:
        list_file = root / os.path.expandvars(os.path.expanduser(str(list_file)))
    return Selection(list_file, names, part)


def natural_order(stem: str) -> list[str | int]:
    """A key that sorts the numbers in names by size: a2 before a10."""
    return [int(x) if x.isdecimal() else x for x in re.split(r"(\d+)", stem)]


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)
