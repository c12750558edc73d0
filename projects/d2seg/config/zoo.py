"""The project's own configs by name, and what their authors published with them.

A name is the path of a config without folder and ending: ``mask2former/coco_panoptic_resnet50`` is
``configs/mask2former/coco_panoptic_resnet50.yaml``. The table ``zoo.csv`` has a row for each of
them; a cell is empty where no source that it could be checked against says more.
"""

import csv
import dataclasses
import difflib
from functools import cache
from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[1]
TABLE = Path(__file__).with_name("zoo.csv")
NUM_NEAREST = 3


@dataclasses.dataclass(frozen=True)
class ZooEntry:
    """A row of the table.

    Attributes:
        name: of the config.
        method, task, dataset, backbone: its parts; an empty backbone is one of the project's own.
        metric, result: as published; of two values the first is for a single scale, the second for
            several scales and flips (or the second of two metrics).
        source: page of the result and of the weights.
        licence: of the weights, as that page states it.
        url: of the weights, where they can be fetched without a browser.
        md5, sha256: of the weights, or the first digits of it.
    """

    name: str
    method: str
    task: str
    dataset: str
    backbone: str
    metric: str
    result: str
    source: str
    licence: str
    url: str
    md5: str
    sha256: str

    @property
    def file_name(self) -> str:
        return self.url.rpartition("/")[2]

    @property
    def address(self) -> str:
        """What MODEL.WEIGHTS takes: the URL, and after "#" the hash that the file must have."""
        for kind in ("sha256", "md5"):
            if self.url and getattr(self, kind):
                return f"{self.url}#{kind}={getattr(self, kind)}"
        return self.url


@cache
def read_table() -> dict[str, ZooEntry]:
    """All entries by name, sorted by it."""
    with TABLE.open(newline="") as file:
        entries = [ZooEntry(**row) for row in csv.DictReader(file)]
    return {entry.name: entry for entry in sorted(entries, key=lambda entry: entry.name)}


def configs_folder() -> Path:
    """``configs/`` of a checkout, or where the wheel has packed it."""
    packed = PACKAGE / "model_zoo" / "configs"
    return packed if packed.is_dir() else PACKAGE.parents[1] / "configs"


def normalise(name: str) -> str:
    """The name that ``name`` may mean: without "configs/" before it and ".yaml" behind it."""
    return name.removeprefix("configs/").removesuffix(".yaml")


def find_config(name: str) -> Path | None:
    """The file of a config of this project; None if there is none of that name."""
    wanted = Path(f"{normalise(name)}.yaml")
    is_leaf = not wanted.is_absolute() and not any(
        part.startswith("_base") or part == ".." for part in wanted.parts
    )
    file = configs_folder() / wanted
    return file if is_leaf and file.is_file() else None


def entry_of(name: str) -> ZooEntry:
    """The table's row.

    Raises:
        ValueError: there is no config of that name; the message has the nearest three.
    """
    entry = read_table().get(normalise(name))
    if entry is None:
        raise ValueError(
            f"there is no config '{name}' in the model zoo; the nearest are "
            f"{', '.join(nearest(name))} (d2seg zoo lists all)"
        )
    return entry


def address_of(name: str) -> str:
    """Where the published weights of a config are, see :attr:`ZooEntry.address`.

    Raises:
        ValueError: no config of that name, or no address is known; the message says where the
            authors have it, if they do.
    """
    entry = entry_of(name)
    if not entry.address:
        where = f"see {entry.source}" if entry.source else "nothing is published"
        raise ValueError(f"no address of weights is known for {entry.name}; {where}")
    return entry.address


def is_zoo_like(name: str) -> bool:
    """Whether ``name``, which is no path that exists, begins as the name of a config does."""
    method, _, rest = normalise(name).partition("/")
    return bool(rest) and method in {entry.method for entry in read_table().values()}


def nearest(name: str, number: int = NUM_NEAREST) -> list[str]:
    """The names that are most like ``name``, the likest first."""
    return difflib.get_close_matches(normalise(name), list(read_table()), n=number, cutoff=0.0)
