"""From the files of an OUTPUT_DIR to ``report.html`` beside them."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ...checkpoint.files import write_atomically
from ...reports import render
from ..records.files import RECORDS, RecordError, read_json
from .cells import gallery_of, whole
from .head import data_row, head_part
from .instance import instance_part
from .panoptic import panoptic_part
from .run_info import RUN_FILE
from .semantic import semantic_part
from .training import METRICS_FILE, training_part
from .volumes import VOLUMES_FILE, volumes_part

logger = logging.getLogger(__name__)

REPORT = "report.html"
RESULTS_FILE = "results.json"
MAX_BYTES = 5_000_000
_TEMPLATES = Path(__file__).with_name("templates")
# what a file that is not as it was written leads to
_FAULTS = (KeyError, ValueError, TypeError, IndexError, AttributeError, ArithmeticError)


def write_report(output_dir: str | Path) -> Path:
    """Write REPORT into ``output_dir`` and return its path.

    Raises:
        RecordError: as :func:`build_page`.
        TemplateMissingError: Jinja2 is not installed.
        OSError: the file cannot be written.
    """
    path = Path(output_dir) / REPORT
    page = build_page(path.parent)
    write_atomically(str(path), lambda file: Path(file).write_text(page, encoding="utf-8"))
    return path


def build_page(output_dir: Path) -> str:
    """The page of the evaluation whose files lie in ``output_dir``.

    Raises:
        RecordError: there is no results.json, or a file is damaged.
        TemplateMissingError: Jinja2 is not installed.
    """
    results = _read_results(output_dir)
    run = _read_mapping(output_dir / RUN_FILE) if (output_dir / RUN_FILE).is_file() else {}
    with _as_written(output_dir / RUN_FILE):
        datasets = _datasets(output_dir, run.get("datasets"))
        head = head_part(results, run, [dataset["row"] for dataset in datasets])
    with _as_written(output_dir / METRICS_FILE):
        training = training_part(output_dir)
    for each in (4, 3, 2, 1, 0):  # pictures of a group, until the page is small enough
        _limit_galleries(datasets, each)
        page = render(
            "evaluation.html", _TEMPLATES, head=head, training=training, datasets=datasets
        )
        if len(page.encode()) <= MAX_BYTES:
            break
    else:
        logger.warning("the report has %.1f MB without any picture", len(page) / 1e6)
    return page


@contextmanager
def _as_written(file: Path) -> Iterator[None]:
    """What goes wrong inside is a fault of ``file``, and told in one line.

    Raises:
        RecordError: anything has gone wrong.
    """
    try:
        yield
    except RecordError:
        raise
    except _FAULTS as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        message = f"{file} is not what this version writes ({reason}); evaluate again"
        raise RecordError(message) from error


def _read_results(output_dir: Path) -> Mapping[str, Any]:
    path = output_dir / RESULTS_FILE
    if not path.is_file():
        raise RecordError(
            f"{output_dir} has no {RESULTS_FILE}: name the OUTPUT_DIR of an evaluation "
            "(d2seg eval), or of a training with DATASETS.TEST"
        )
    return _read_mapping(path)


def _read_mapping(path: Path) -> Mapping[str, Any]:
    content = read_json(path)
    if not isinstance(content, dict):
        raise RecordError(f"{path} is damaged (it holds no object); evaluate again to write it")
    return content


def _datasets(output_dir: Path, names: Sequence[str] | None) -> list[dict[str, Any]]:
    """The parts of each data set that has records, and of the last evaluation if it is known."""
    found = []
    for path in sorted((output_dir / "inference").rglob(f"{RECORDS}/run.json")):
        run = _read_mapping(path)
        name = str(run.get("dataset", path.parent.parent.name))
        if names is None or name in names:
            with _as_written(path):
                row = data_row(run)
            found.append({"name": name, "row": row, **_parts(path.parent.parent)})
    if names is not None:
        found.sort(key=lambda dataset: names.index(dataset["name"]))
    for number, dataset in enumerate(found):
        dataset["id"] = f"data{number}"
    return found


def _parts(folder: Path) -> dict[str, Any]:
    parts: dict[str, Any] = dict.fromkeys((*_PARTS, "volumes"))
    files = {name: folder / RECORDS / f"{name}.json" for name in _PARTS}
    files["volumes"] = folder / VOLUMES_FILE
    for name, file in files.items():
        if not file.is_file():
            continue
        content = _read_mapping(file)
        with _as_written(file):
            if name == "volumes":
                parts[name] = volumes_part(content, folder)
            else:
                parts[name] = _PARTS[name](content)
    return parts


def _referring_part(record: Mapping[str, Any]) -> dict[str, Any]:
    """What the template shows: expressions by IoU, and the gallery."""
    counts = record["ious"]
    num, most = len(counts), max(1, *counts)
    rows = [
        [f"{i / num:.2f} to {(i + 1) / num:.2f}", {**whole(count), "share": count / most}]
        for i, count in enumerate(counts)
    ]
    return {"ious": rows, "gallery": gallery_of(record)}


_PARTS = {
    "semantic": semantic_part,
    "instance": instance_part,
    "panoptic": panoptic_part,
    "referring": _referring_part,
}


def _limit_galleries(datasets: list[dict[str, Any]], each: int) -> None:
    """Keep so many pictures of each group, in place."""
    for dataset in datasets:
        for name in _PARTS:
            part = dataset[name]
            if not part:
                continue
            numbers: dict[str, int] = {}
            kept = []
            for entry in part["gallery"]:
                numbers[entry["group"]] = numbers.get(entry["group"], 0) + 1
                if numbers[entry["group"]] <= each:
                    kept.append(entry)
            part["gallery"] = kept
