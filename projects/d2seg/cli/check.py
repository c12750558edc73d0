"""Goes through data sets, counts classes and lists everything that is wrong with them.

    python tools/check_dataset.py camvid_sem_seg_train camvid_sem_seg_val
    python tools/check_dataset.py my_data.yaml
    python tools/check_dataset.py --config-file configs/... [--opts KEY VALUE ...]
    python tools/check_dataset.py my_data.yaml --html report.html

Names of registered data sets, files that declare one's own (docs/own_data.md), folders of LabelMe,
YOLO, Pascal VOC, CVAT or Supervisely, or a config, whose data sets are then checked against its
class counts as well. --html also writes a page: pictures of what is wrong, histograms, samples, and
pictures that are there twice. Exit code 0: all is well; 1: something is wrong with the data, or
(with --html) splits share pictures; 2: with the command line or the config.
"""

import argparse
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from detectron2.config import CfgNode
from detectron2.data import DatasetCatalog, Metadata
from tabulate import tabulate
from tqdm import tqdm

from ..checkpoint.files import write_atomically
from ..config.input_checks import check_channels
from ..data.catalog import check_classes, metadata_of
from ..data.inspection.dataset import inspect_dataset
from ..data.inspection.measures import Inspected, Measures
from ..data.inspection.report import Counts, Report
from ..data.readers import PictureReader, build_reader
from ..names import printable
from ..version import __version__
from .dataset_arguments import dataset_parser, parse, read_targets
from .foreign_folders import ForeignFolder, register_folder
from .messages import Parser, report_mistake, show_warnings, user_path

MAX_EXAMPLES = 5


def make_parser(prog: str | None = None) -> Parser:
    parser = dataset_parser(__doc__, prog)
    parser.add_argument("--workers", type=int, default=4, help="images to look at at once")
    parser.add_argument(
        "--images", type=user_path, help="folder of the pictures of a folder of another tool"
    )
    parser.add_argument("--html", type=page_path, help="write a page on the data sets here")
    return parser


def main(argv: Sequence[str] | None = None, prog: str | None = None) -> int:
    """
    Returns:
        The exit code.
    """
    show_warnings()
    args = parse(make_parser(prog), argv)
    with TemporaryDirectory(prefix="d2seg_check_") as temporary:
        try:
            if args.html is not None:
                from ..reports.page import import_jinja2

                import_jinja2()  # before the data are read
            folders = take_folders(args, Path(temporary))
            unusable: dict[str, str] = {}
            names, cfg = read_targets(args, ("TRAIN", "TEST"), unusable)
            if cfg is not None:
                check_channels(cfg)
        except (ImportError, OSError, ValueError) as error:
            return report_mistake(error)
        for target, reason in unusable.items():
            print(printable(f"{target}: cannot be loaded: {reason}"))
        return max(check_all(args, folders, names, cfg, unusable), int(bool(unusable)))


def check_all(
    args: argparse.Namespace,
    folders: Sequence[ForeignFolder],
    names: Sequence[str],
    cfg: CfgNode | None,
    unusable: Mapping[str, str],
) -> int:
    """
    Args:
        unusable: targets that cannot be loaded, with the reason; for the page

    Returns:
        The exit code.
    """
    faults_of_config = [] if cfg is None else class_faults(cfg)
    for fault in faults_of_config:
        print(printable(fault))
    wrong = bool(faults_of_config)
    inspected = [Inspected(t, Metadata(), error=reason) for t, reason in unusable.items()]
    for folder in folders:
        print(format_folder(folder))
        wrong |= bool(folder.report.problems)
        inspected.append(folder.inspected)
    for name in (*(name for folder in folders for name in folder.names), *names):
        measures = None if args.html is None else Measures()
        one = check_one(name, cfg, args.workers, measures)
        wrong |= bool(one.error or one.report.problems)
        inspected.append(one)
    if args.html is None:
        return int(wrong)
    try:
        return int(write_report(args.html, inspected, cfg, faults_of_config) or wrong)
    except OSError as error:  # the disk is full, say
        return report_mistake(error)


def take_folders(args: argparse.Namespace, temporary: Path) -> list[ForeignFolder]:
    """Those of ``args.targets`` that are folders, which are then no longer there.

    Raises:
        ValueError: as :func:`register_folder`.
    """
    folders = [t for t in args.targets if t not in DatasetCatalog and Path(t).is_dir()]
    args.targets = [target for target in args.targets if target not in folders]
    return [
        register_folder(Path(folder), args.images, temporary / str(number))
        for number, folder in enumerate(folders)
    ]


def page_path(text: str) -> Path:
    """A path that a page can be written to; a type of argparse's.

    Raises:
        argparse.ArgumentTypeError: it is a folder, or its folder is missing or not writable.
    """
    path = user_path(text)
    if path.suffix.lower() not in (".html", ".htm"):
        raise argparse.ArgumentTypeError(f"{text!r} does not end in .html")
    if path.is_dir():
        raise argparse.ArgumentTypeError(f"{text} is a folder; name a file in it")
    if not path.parent.is_dir():
        raise argparse.ArgumentTypeError(f"there is no folder {path.parent} to write {text} into")
    is_writable = os.access(path.parent, os.W_OK | os.X_OK)
    if not is_writable or (path.exists() and not path.is_file()):
        raise argparse.ArgumentTypeError(f"{text} cannot be written; choose another place")
    return path


def class_faults(cfg: CfgNode) -> list[str]:
    """Why the config's classes and those of its data sets disagree; empty if they do not."""
    try:
        check_classes(cfg)
    except ValueError as error:
        return [f"wrong class count: {error}"]
    return []


def check_one(
    name: str, cfg: CfgNode | None, workers: int, measures: Measures | None = None
) -> Inspected:
    """Print what is found in one data set and return it.

    Args:
        measures: are filled for a page; None: there is to be none
    """

    def progress(reports: Iterable[Report], total: int) -> Iterable[Report]:
        return tqdm(reports, total=total, desc=printable(name), unit="image")

    try:
        report = inspect_dataset(
            name, workers=workers, reader=_reader(cfg), progress=progress, measures=measures
        )
    except ValueError as error:
        print(printable(f"{name}: cannot be loaded: {error}"))
        return Inspected(name, metadata_of(name), error=str(error))
    if cfg is not None and needs_bitmasks(report) and reads_polygons_only(cfg):
        report.problem(
            "mask format",
            name,
            "not all masks are polygons; set INPUT.MASK_FORMAT bitmask, or another INPUT.MAPPER",
        )
    print(format_report(name, report, metadata_of(name)))
    return Inspected(name, metadata_of(name), report, measures or Measures(), reader=_reader(cfg))


def write_report(
    path: Path, inspected: Sequence[Inspected], cfg: CfgNode | None, faults_of_config: Sequence[str]
) -> bool:
    """Look for duplicates, print what is found, write the page; return whether splits share
    pictures."""
    # here: without a page, the command starts without what draws it
    from ..data.inspection.duplicates import find_duplicates
    from ..data.inspection.page import make_page
    from .visualize import mapper_drawing

    roles: dict[str, str] = {}
    if cfg is not None:
        roles = dict.fromkeys(cfg.DATASETS.TEST, "test") | dict.fromkeys(
            cfg.DATASETS.TRAIN, "train"
        )
    duplicates = find_duplicates(inspected, roles)
    for leak in duplicates.leaks:
        print(
            printable(
                f"leak between splits: pictures of {leak.second} that are in {leak.first}, too: "
                f"{len(leak.pairs)}"
            )
        )
        for pair in leak.pairs[:MAX_EXAMPLES]:
            print(printable(f"leak between splits: {pair[0]} is {pair[1]}, or nearly so"))
    page = make_page(
        inspected,
        duplicates,
        version=__version__,
        faults_of_config=faults_of_config,
        draw_sample=None if cfg is None else mapper_drawing(cfg),
        trained_on=() if cfg is None else cfg.DATASETS.TRAIN,
    )
    write_atomically(str(path), lambda file: Path(file).write_text(page, encoding="utf-8"))
    print(
        printable(
            f"{path}: groups of duplicates: {len(duplicates.groups)}, pictures in two splits: "
            f"{sum(len(leak.pairs) for leak in duplicates.leaks)}"
        )
    )
    return bool(duplicates.leaks)


def _reader(cfg: CfgNode | None) -> PictureReader | None:
    """Of pictures that have other than three channels, as the config says."""
    reader = None if cfg is None else build_reader(cfg)
    return None if reader is None or reader.is_of_three else reader


def needs_bitmasks(report: Report) -> bool:
    return report.formats["RLE"] + report.formats["bitmap"] > 0


def reads_polygons_only(cfg: CfgNode) -> bool:
    return cfg.INPUT.MAPPER == "detectron2" and cfg.INPUT.MASK_FORMAT == "polygon"


def format_folder(folder: ForeignFolder) -> str:
    """What a folder of another tool is, and what of it cannot be read."""
    report = folder.report
    parts = [printable(f"\n{folder.folder}: {folder.title}, {report.num_images} pictures")]
    parts += [printable(f"hint: {hint}") for hint in report.hints]
    parts += [problem_table(report)] if report.problems else []
    return "\n".join([*parts, printable(folder.remedy)])


def format_report(name: str, report: Report, metadata: Metadata) -> str:
    parts = [f"\n{printable(name)}: {report.num_images} images", *report.facts]
    for source, counts in report.counts.items():
        key = "thing_classes" if source == "instance" else "stuff_classes"
        parts.append(count_table(source, counts, metadata.get(key) or []))
    if report.formats:
        found = ", ".join(f"{count} {kind}" for kind, count in report.formats.most_common())
        mixed = "mixed formats" if len(report.formats) > 1 else "format"
        parts.append(f"{mixed} of the masks: {found}")
    parts += [printable(f"hint: {hint}") for hint in report.hints]
    parts.append(problem_table(report) if report.problems else "no problems found")
    return "\n".join(parts)


def count_table(source: str, counts: Counts, names: Sequence[str]) -> str:
    """One line per class that appears; the others are named below."""
    total = sum(counts.pixels.values()) or 1
    rows = [
        [
            number,
            printable(name.split(",")[0]),
            counts.images[number],
            *([] if source == "semantic" else [counts.instances[number]]),
            counts.pixels[number],
            100 * counts.pixels[number] / total,
        ]
        for number, name in enumerate(names)
        if counts.images[number]
    ]
    middle = [] if source == "semantic" else ["instances" if source == "instance" else "segments"]
    headers = ["id", "class", "images", *middle, "pixels", "% of pixels"]
    table = tabulate(rows, headers=headers, floatfmt=".2f")
    absent = [name for number, name in enumerate(names) if not counts.images[number]]
    if absent:
        shown = ", ".join(map(printable, absent[:10])) + (", ..." if len(absent) > 10 else "")
        table += f"\n{len(absent)} of {len(names)} classes never appear: {shown}"
    return table


def problem_table(report: Report) -> str:
    """Kinds of problems with their numbers, and the first few of each."""
    by_kind: dict[str, list[str]] = {}
    for problem in report.problems:
        text = ": ".join(part for part in (problem.file, problem.detail) if part)
        by_kind.setdefault(problem.kind, []).append(printable(text))
    lines = [tabulate([[k, len(v)] for k, v in by_kind.items()], headers=["problem", "times"])]
    for kind, texts in by_kind.items():
        lines += [f"{kind}: {text}" for text in texts[:MAX_EXAMPLES]]
        if len(texts) > MAX_EXAMPLES:
            lines.append(f"{kind}: and {len(texts) - MAX_EXAMPLES} more")
    return "\n".join(lines)
