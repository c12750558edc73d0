"""The loop of a prediction over folders, and what turns its parts into files of a format."""

from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import Any

from detectron2.data import Metadata
from tqdm import tqdm

from ...checkpoint.files import clear_remains, write_atomically
from ...names import printable
from ..batch import BatchPredictor
from ..formats import FORMATS
from ..formats.common import Run
from .manifest import Manifest
from .names import NamedPictures, read_folder, read_list
from .parts import Parts, write_failures
from .tables import TablePictures

FAILED = "failed.csv"
_MOST_SHOWN = 20  # failures on stderr; the file has all


def open_input(path: Path) -> NamedPictures | TablePictures:
    """The pictures of a folder, of a list of paths (.txt), or of a Parquet table.

    Raises:
        ValueError: it is none of these, or what is wrong with it.
        ImportError: a table without pyarrow.
    """
    if path.is_dir():
        return read_folder(path)
    if not path.exists():
        raise ValueError(f"--input {path} does not exist")
    suffix = path.suffix.lower()
    if suffix == ".parquet":
        return TablePictures(path)
    if suffix == ".txt":
        return read_list(path)
    raise ValueError(
        f"--input {path}: give a folder, a list that ends in .txt, or a .parquet table"
    )


def parse_shard(text: str) -> tuple[int, int]:
    """(i, n) of "i/n", i from 0.

    Raises:
        ValueError: it is not of that form, or i is not below n.
    """
    first, _, second = text.partition("/")
    if not (first.isdecimal() and second.isdecimal()):
        raise ValueError(f"--shard is {text!r}; write i/n, for example 0/8")
    index, number = int(first), int(second)
    if index >= number:
        raise ValueError(
            f"--shard is {text}, but shards count from 0 to {max(number - 1, 0)} of {number}; an "
            f"array of SLURM needs --array=0-{max(number - 1, 0)}"
        )
    return index, number


def predict_parts(
    predictor: BatchPredictor,
    source: NamedPictures | TablePictures,
    parts: Parts,
    mine: Sequence[int],
) -> int:
    """Predict what is missing of the parts ``mine``, with a progress bar.

    Returns:
        How many pictures of ``mine`` have failed, now or in an earlier run.

    Raises:
        OSError: a part cannot be written.
    """
    parts.folder.mkdir(parents=True, exist_ok=True)
    clear_remains(parts.folder)
    missing = set(parts.missing())
    todo = [number for number in mine if number in missing]
    sizes = {number: stop - start for number in mine for start, stop in [parts.bounds(number)]}
    total, ahead = sum(sizes.values()), sum(sizes[number] for number in todo)
    failed = sum(parts.num_failures(number) for number in mine if number not in missing)
    results = predictor.stream(source.rows(*parts.bounds(number)) for number in todo)
    with (
        tqdm(total=total, initial=total - ahead, unit="picture") as progress,
        ThreadPoolExecutor(1) as writer,
    ):
        writing: Future | None = None
        for number in todo:
            rows = []
            for row in islice(results, sizes[number]):
                rows.append(row)
                progress.update()
                failed += _reported(row, failed)
            if writing is not None:
                writing.result()
            writing = writer.submit(parts.write, number, rows)
        if writing is not None:
            writing.result()
    return failed


def _reported(row: dict[str, Any], before: int) -> int:
    """1 for a picture that failed, which is then said, but for a long list of them."""
    if row["error"] and before < _MOST_SHOWN:
        tqdm.write(printable(f"{row['name']}: {row['error']}"))
    elif row["error"] and before == _MOST_SHOWN:
        tqdm.write(f"and more, see {FAILED} at the end")
    return int(bool(row["error"]))


def merge(output: Path, manifest: Manifest, format_name: str) -> tuple[list[Path], int]:
    """Write the files of a format, and FAILED, from the parts of a complete run.

    Returns:
        What was written, and how many pictures failed.

    Raises:
        ValueError: parts are missing or damaged, or the format cannot hold the task.
        OSError: a file cannot be written.
    """
    format_module = FORMATS[format_name]
    if manifest.task not in format_module.TASKS:
        raise ValueError(
            f"{output} has results of the task {manifest.task}; the format {format_name} is for "
            f"{' or '.join(format_module.TASKS)}"
        )
    parts = Parts(output, manifest.num_pictures, manifest.part_size)
    missing = parts.missing()
    if missing:
        raise ValueError(
            f"{output} lacks {len(missing)} of {len(parts)} parts, the first is {missing[0]}: run "
            f"its shard again (part p is made by shard p modulo n of n)"
        )
    clear_remains(parts.folder)
    metadata = Metadata().set(**manifest.classes)
    run = Run(manifest.task, lambda: _shown(parts), metadata, manifest.base)
    written = format_module.write(output, run)
    num_failed = 0

    def write(temporary: str) -> None:
        nonlocal num_failed
        num_failed = write_failures(Path(temporary), parts.failures())

    write_atomically(str(output / FAILED), write)
    return written, num_failed


def _shown(parts: Parts) -> Iterator[Any]:
    return iter(
        tqdm(parts.records(), total=parts.num_rows, desc="merge", unit="picture", leave=False)
    )
