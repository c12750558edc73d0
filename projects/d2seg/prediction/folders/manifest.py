"""What a run of predictions is: written into its folder when it begins, compared when it goes on.

Shards of one run may begin at the same time, and each writes the same.
"""

import json
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import yaml
from detectron2.config import CfgNode

from ...checkpoint.checksums import sha256_of
from ...checkpoint.files import find_file, write_atomically
from ...config.description import describe
from ...config.files import leaves

FILE = "run.json"
LARGEST_PART = 200  # pictures; what a killed run has to do again, at most
_PARTS_OF_SHARD = 4  # at least, where nothing else is said, so that shards get alike much
# keys that say nothing of the results: another machine's shard may have others
_OF_THE_MACHINE = ("MODEL.DEVICE", "MODEL.WEIGHTS", "OUTPUT_DIR", "DATALOADER.", "SOLVER.")
_REMEDY = "choose another --output, or give this one what it was begun with"


@dataclass(frozen=True)
class Manifest:
    """
    Attributes:
        task, format, threshold: what is predicted, and written at the end.
        config, weights: the config as YAML, and the SHA-256 of the file of weights.
        classes: names, and the data set's ids, see ``data.class_metadata.to_plain``.
        base, num_pictures, pictures: the folder of the input, how many, and a hash of their names.
        part_size: pictures of a part. batch: "auto" or a number.
    """

    task: str
    format: str
    threshold: float | None
    config: str
    weights: str
    classes: dict[str, Any]
    base: str
    num_pictures: int
    pictures: str
    part_size: int
    batch: str


def describe_run(cfg: CfgNode, source: Any, **given: Any) -> Manifest:
    """The manifest of a run.

    Args:
        source: of pictures; see ``names.py``.
        given: the other attributes.

    Raises:
        ValueError: there are no weights.
    """
    if not cfg.MODEL.WEIGHTS:
        raise ValueError("there are no weights: give --weights, or MODEL.WEIGHTS")
    entry = describe(cfg)
    return Manifest(
        config=entry["config"],
        classes=entry["classes"],
        weights=sha256_of(find_file(cfg.MODEL.WEIGHTS)),
        base=source.base,
        num_pictures=len(source),
        pictures=source.fingerprint(),
        **given,
    )


def part_size(num_pictures: int, num_shards: int) -> int:
    """Pictures of a part, where the user leaves it open."""
    return max(1, min(LARGEST_PART, num_pictures // (num_shards * _PARTS_OF_SHARD)))


def claim(folder: Path, manifest: Manifest) -> None:
    """Make ``folder`` that of the run, if it is of none.

    Raises:
        OSError: it cannot be written to.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / FILE).exists():
        text = json.dumps(asdict(manifest), indent=1) + "\n"
        write_atomically(str(folder / FILE), lambda temporary: Path(temporary).write_text(text))


def check_folder(folder: Path, manifest: Manifest, is_size_given: bool) -> Manifest:
    """See that ``folder`` is new, or that of the run.

    Args:
        is_size_given: else the part size of a run that is there is taken over.

    Returns:
        The manifest that holds.

    Raises:
        ValueError: it is the folder of another run; says what differs.
    """
    if not (folder / FILE).exists():
        if (folder / "parts").exists():
            raise ValueError(f"{folder} has parts, but no {FILE}; choose another --output")
        return manifest
    there = read(folder)
    for field in fields(Manifest):
        theirs, ours = getattr(there, field.name), getattr(manifest, field.name)
        if field.name == "format" or (field.name == "part_size" and not is_size_given):
            continue
        if theirs != ours and (difference := _difference(field.name, theirs, ours)):
            raise ValueError(f"{folder} is the folder of another run: {difference}; {_REMEDY}")
    return there


def read(folder: Path) -> Manifest:
    """
    Raises:
        ValueError: there is none, or it is damaged or of another version.
    """
    try:
        content = json.loads((folder / FILE).read_text())
    except FileNotFoundError as error:
        raise ValueError(f"{folder} is no folder of predictions: it has no {FILE}") from error
    except ValueError as error:
        raise ValueError(f"{folder / FILE} is damaged: {error}") from error
    if not isinstance(content, dict) or set(content) != {field.name for field in fields(Manifest)}:
        raise ValueError(f"{folder / FILE} is of another version, or damaged; {_REMEDY}")
    content["classes"] = {key: _with_numbers(value) for key, value in content["classes"].items()}
    return Manifest(**content)


def _with_numbers(value: Any) -> Any:
    """JSON turns the keys of a table of ids into text."""
    return {int(k): v for k, v in value.items()} if isinstance(value, dict) else value


def _difference(name: str, theirs: Any, ours: Any) -> str:
    """What differs, in a few words; empty: nothing that matters."""
    if name == "config":
        there, here = (dict(leaves(yaml.safe_load(text))) for text in (theirs, ours))
        keys = sorted(
            key
            for key in there.keys() | here.keys()
            if there.get(key) != here.get(key) and not key.startswith(_OF_THE_MACHINE)
        )
        if not keys:
            return ""
        more = f" and {len(keys) - 1} more keys" if len(keys) > 1 else ""
        return f"{keys[0]} is {there.get(keys[0])} there, not {here.get(keys[0])}{more}"
    if name == "weights":
        return "the weights are others"
    if name == "classes":
        return "its classes have other names, colours or ids"
    if name == "pictures":
        return "the pictures of --input are others"
    return f"its {name.replace('_', ' ')} is {theirs}, not {ours}"
