"""Any of the formats: which one a folder has, and what is in it."""

from pathlib import Path
from types import ModuleType

from ..faults import Faults
from . import cvat, labelme, supervisely, voc, yolo
from .content import Content, Source

FORMATS: dict[str, ModuleType] = {
    "labelme": labelme,
    "yolo": yolo,
    "voc": voc,
    "cvat": cvat,
    "supervisely": supervisely,
}
_WHAT = (
    "LabelMe has a JSON file with 'shapes' for each picture, YOLO data.yaml with 'names', Pascal "
    "VOC a folder SegmentationClass, CVAT annotations.xml, Supervisely meta.json and folders 'ann'"
)


def recognised(folder: Path) -> str:
    """The name of the format of a folder.

    Raises:
        ValueError: it is none of them, or more than one.
    """
    if not folder.is_dir():
        raise ValueError(f"there is no folder {folder}")
    found = [name for name, module in FORMATS.items() if module.recognises(folder)]
    if len(found) > 1:  # JSON files of LabelMe beside what they were converted to, as a rule
        raise ValueError(
            f"{folder} is {' and '.join(found)} at once; say which with d2seg convert-data --from"
        )
    if not found:
        coco = [file.name for file in sorted(folder.glob("*.json"))[:1]]
        hint = f" ({coco[0]}, if it is of COCO's format, is declared as it is)" if coco else ""
        raise ValueError(
            f"{folder} has the annotations of none of the known formats{hint}: {_WHAT}; see "
            "docs/own_data.md, or say which with d2seg convert-data --from"
        )
    return found[0]


def default_task(name: str, folder: Path) -> str:
    """What a folder of the format ``name`` has: objects, or only classes."""
    return "semantic" if name == "voc" and not voc.has_objects(folder) else "instance"


def read_foreign(name: str, source: Source, faults: Faults) -> Content:
    """What is in the folder of a source.

    Args:
        name: of :data:`FORMATS`
        faults: collects what is wrong, entry by entry, or raises it

    Raises:
        ValueError: nothing of it can be read; or a fault, where they are not collected.
    """
    content = FORMATS[name].read(source, faults)
    if not content.pictures and not faults.problems:
        raise ValueError(f"{source.folder}: no picture is annotated")
    if not content.classes and not faults.problems:
        raise ValueError(f"{source.folder}: it has no class; nothing in it has a mask")
    order = {split: number for number, split in enumerate(content.splits)}
    pictures = sorted(content.pictures, key=lambda picture: (order[picture.split], picture.name))
    seen: set[Path] = set()
    for picture in pictures:
        if picture.file in seen:
            detail = "it is annotated twice; keep one of both"
            faults.add("picture annotated twice", detail, str(picture.file))
        seen.add(picture.file)
    first = {picture.file: picture for picture in reversed(pictures)}
    content.pictures = [picture for picture in pictures if first[picture.file] is picture]
    return content
