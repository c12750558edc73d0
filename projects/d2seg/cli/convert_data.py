"""Make a data set that d2seg trains with of the annotations of another tool.

    d2seg convert-data SOURCE OUT
    d2seg convert-data labelme_folder leaves --val 0.1
    d2seg convert-data VOCdevkit/VOC2012 voc --from voc --task semantic

SOURCE is a folder of LabelMe, YOLO (polygons), Pascal VOC (SegmentationClass), CVAT (CVAT for
images 1.1) or Supervisely; which one is recognised. OUT gets NAME.yaml, which declares the data set
(docs/own_data.md), the pictures (hard links where possible), and a JSON file in COCO's format or,
for semantic segmentation, label maps. Nothing is written where an annotation cannot be used, unless
--skip-faults leaves it out; `d2seg check SOURCE` lists all of them.
"""

import re
from collections.abc import Sequence
from pathlib import Path

from ..data.datasets.declaration import read_declaration
from ..data.faults import Faults
from ..data.foreign.content import Content, Source
from ..data.foreign.reading import FORMATS, default_task, read_foreign, recognised
from ..data.foreign.writing import split_off, write_dataset
from ..names import printable
from .draw import check_above
from .messages import Parser, report_mistake, show_warnings, user_path


def make_parser(prog: str | None = None) -> Parser:
    parser = Parser(prog=prog, description=__doc__)
    parser.add_argument("source", metavar="SOURCE", type=user_path, help="folder of annotations")
    parser.add_argument("output", metavar="OUT", type=user_path, help="folder that is made")
    parser.add_argument("--from", dest="format", choices=list(FORMATS), help="the format of SOURCE")
    parser.add_argument(
        "--task",
        choices=["instance", "semantic"],
        help="default: instance; of Pascal VOC without SegmentationObject semantic",
    )
    parser.add_argument("--images", type=user_path, help="folder of the pictures outside of SOURCE")
    parser.add_argument("--val", type=float, help="part of the pictures for evaluation, as 0.1")
    parser.add_argument(
        "--name", dest="dataset", metavar="NAME", help="of the data set; default: that of OUT"
    )
    parser.add_argument("--boxes", action="store_true", help="take boxes as rectangular masks")
    parser.add_argument(
        "--skip-faults", action="store_true", help="leave out what cannot be used, and say so"
    )
    return parser


def main(argv: Sequence[str] | None = None, prog: str | None = None) -> int:
    """
    Returns:
        The exit code.
    """
    show_warnings()
    parser = make_parser(prog)
    args = parser.parse_args(argv)
    if args.val is not None and not 0 < args.val < 1:
        parser.error(f"--val is {args.val:g}; it is a part between 0 and 1, as 0.1")
    name = args.dataset or re.sub(r"[^0-9A-Za-z_-]+", "_", args.output.absolute().name).strip("_")
    try:
        check_places(args.source, args.images, args.output, name)
        form = args.format or recognised(args.source)
        task = args.task or default_task(form, args.source)
        content, problems = read(form, args.source, args.images, task, args.boxes)
        if problems and not args.skip_faults:
            raise ValueError(refusal(problems, args.source))
        if args.val is not None:
            split_off(content, args.val)
        title = FORMATS[form].TITLE
        try:
            declaration = write_dataset(content, task, args.output.absolute(), name, title)
        except OSError as error:
            reason = f"cannot be written to ({error.strerror or error}); choose another"
            raise ValueError(f"OUT, {args.output}, {reason}") from error
        num_classes = len(read_declaration(declaration).categories)
    except (OSError, ValueError) as error:
        return report_mistake(error)
    for problem in problems:
        print(printable(f"left out: {problem}"))
    print("\n".join(summary(content, task, title, declaration, num_classes)))
    return 0


def check_places(source: Path, images: Path | None, output: Path, name: str) -> None:
    """
    Raises:
        ValueError: a folder is not there, OUT is not empty, in SOURCE or cannot be made, or there
            is no name.
    """
    for folder in (source, *([] if images is None else [images])):
        if not folder.is_dir():
            raise ValueError(f"there is no folder {folder}")
    check_above(output, "OUT")
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise ValueError(f"{output} is not empty; choose a new folder for OUT")
    if output.resolve().is_relative_to(source.resolve()):
        raise ValueError(
            f"OUT, {output}, lies in SOURCE, of which it would be a part the next time; choose a "
            "folder beside it"
        )
    if not re.fullmatch(r"[0-9A-Za-z_-]+", name):
        raise ValueError(f"the name {name!r} has other than letters, digits, _ and -; see --name")


def read(
    form: str, folder: Path, images: Path | None, task: str, boxes: bool
) -> tuple[Content, list[str]]:
    """What is in a folder, and what of it cannot be used, a line each.

    Raises:
        ValueError: nothing of it can.
    """
    source = Source(folder.absolute(), images and images.absolute(), task, boxes)
    faults = Faults("", is_collecting=True)
    content = read_foreign(form, source, faults)
    lines = [": ".join(filter(None, (p.file, p.detail))) for p in faults.problems]
    if not content.pictures or not content.classes:
        raise ValueError(refusal(lines, folder))
    return content, lines


def refusal(problems: Sequence[str], source: Path) -> str:
    """The first of the problems, and how many more there are."""
    more = f" ({len(problems) - 1} more; d2seg check {source} lists them)" * (len(problems) > 1)
    return f"{problems[0]}{more}; correct it, or leave it out with --skip-faults"


def summary(
    content: Content, task: str, title: str, declaration: Path, num_classes: int
) -> list[str]:
    """What was made, and what comes next."""
    counts = [
        f"{sum(picture.split == split for picture in content.pictures)} pictures of {split}"
        for split in content.splits
    ]
    shapes = sum(len(picture.shapes) for picture in content.pictures)
    lines = [
        f"{title}: {', '.join(counts)}, {num_classes} classes, {shapes} masks",
        *content.remarks,
        f"{declaration}: task {task}, MODEL.SEM_SEG_HEAD.NUM_CLASSES {num_classes}",
        f"look at it with: d2seg check {declaration}",
    ]
    return [printable(line) for line in lines]
