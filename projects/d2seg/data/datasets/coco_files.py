"""JSON files in COCO's formats of instances and of panoptic segments, entry by entry.

Structure, ids and references are checked here; the values of annotations where dataset dicts are
made of them (``data/dicts.py``).
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..faults import Faults, check_keypoints, flag, image_size, is_id, shown, whole_number
from ..json_files import read_json

Entry = dict[str, Any]
Id = int | str
_KIND_OF_ID = {int: "number", str: "text"}


@dataclass(frozen=True)
class CocoContent:
    """The sound entries of a file.

    Args:
        images: by id, in the order of the file; ``height`` and ``width`` are integers
        annotations: of listed images; None: the file has none, as that of a test split
        categories: with an integer ``id`` and, in panoptic files, ``isthing`` of 0 or 1
        num_without_image: annotations of images that are not listed
    """

    images: dict[Id, Entry]
    annotations: list[Entry] | None
    categories: list[Entry]
    num_without_image: int = 0


def read_coco(
    file: str | Path,
    *,
    is_panoptic: bool = False,
    has_names: bool = True,
    faults: Faults | None = None,
) -> CocoContent:
    """Read and check a file.

    Args:
        has_names: images need their names; ground truth of an evaluation does not, and a panoptic
            one not even its list of images
        faults: collects what is wrong, entry by entry; None: the first one is raised

    Raises:
        ValueError: the file cannot be read or is not in COCO's format; or an entry has a fault.
    """
    faults = Faults(str(file)) if faults is None else faults
    content = read_json(file)
    lists = {key: _entries(content, key, file) for key in ("images", "annotations", "categories")}
    is_listed = has_names or not is_panoptic or lists["images"] is not None
    if is_listed and lists["images"] is None:
        raise ValueError(f"{file}: not in COCO's format: 'images' is missing")
    if is_panoptic and not lists["annotations"]:
        raise ValueError(f"{file} holds no annotations (a test split?), nothing to train or score")
    images = _images(lists["images"] or [], has_names, is_panoptic, faults)
    categories = sound_categories(lists["categories"] or [], is_panoptic, faults)
    if lists["annotations"] is None:
        return CocoContent(images, None, categories)
    check = _panoptic_fault if is_panoptic else _instance_fault
    ids = {category["id"] for category in categories}
    kinds = set(map(type, images))
    sound, unlisted, of_other_kind = [], 0, []
    for number, annotation in enumerate(lists["annotations"]):
        fault = check(annotation, ids)
        image_id = annotation.get("image_id")
        if fault is not None:
            faults.add("unusable annotation", f"{_where(number, annotation)}: {fault}")
        elif image_id in images or not is_listed:
            sound.append(annotation)
        else:
            unlisted += 1
            if kinds and type(image_id) not in kinds:
                of_other_kind.append(_where(number, annotation))
            elif is_panoptic or faults.is_collecting:
                faults.add(
                    "unlisted image",
                    f"annotations[{number}]: the image of annotation {image_id!r} is not listed in "
                    "'images'; list it, or take the annotation out",
                )
    if unlisted and not sound:
        faults.add("unlisted image", f"none of its {unlisted} annotations is of a listed image")
    for where in of_other_kind:
        faults.add(
            "unusable annotation",
            f"{where}: 'image_id' is no {' or '.join(sorted(_KIND_OF_ID[kind] for kind in kinds))} "
            "as the ids of the images are; write both alike",
        )
    if is_panoptic:
        sound = _of_one_each(sound, faults)
    return CocoContent(images, sound, categories, unlisted)


def _where(number: int, annotation: Entry) -> str:
    of = annotation.get("image_id")
    return f"annotations[{number}] (id {annotation.get('id')!r}, image {of!r})"


def _entries(content: Any, key: str, file: str | Path) -> list[Entry] | None:
    if not isinstance(content, dict):
        raise ValueError(f"{file}: not in COCO's format: it is no object with 'images'")
    entries = content.get(key)
    if entries is None:
        return None
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise ValueError(f"{file}: not in COCO's format: '{key}' is no list of entries")
    return entries


def _images(
    entries: list[Entry], has_names: bool, is_panoptic: bool, faults: Faults
) -> dict[Id, Entry]:
    images: dict[Id, Entry] = {}
    for number, entry in enumerate(entries):
        image_id, name = entry.get("id"), entry.get("file_name")
        try:
            if not is_id(image_id):
                raise ValueError(f"'id' is {_with_remedy(image_id, 'a whole number or text')}")
            if (has_names or name is not None) and (not isinstance(name, str) or not name):
                raise ValueError(f"'file_name' is {name!r}; it is a path below the images' folder")
            if has_names or not is_panoptic:
                entry["height"], entry["width"] = image_size(entry)
        except ValueError as error:
            faults.add("unusable image entry", f"images[{number}] (id {image_id!r}): {error}")
            continue
        if image_id in images:
            faults.add(
                "image id used twice",
                f"images[{number}] (id {image_id!r}): {name} has the id of "
                f"{images[image_id].get('file_name')}, too; every image has its own",
            )
            continue
        images[image_id] = entry
    if len(set(map(type, images))) > 1:
        text = next(i for i in images if isinstance(i, str))
        faults.add("mixed image ids", f"image ids are numbers and text ({text!r}); use one of both")
    return images


def _with_remedy(value: Any, wanted: str) -> str:
    """No id, and what is written instead of it; tables with gaps make 7.0 of a 7."""
    is_whole = isinstance(value, float) and value.is_integer()
    return f"{value!r}; write {int(value)}" if is_whole else f"{value!r}; it is {wanted}"


def sound_categories(entries: list[Entry], is_panoptic: bool, faults: Faults) -> list[Entry]:
    """``categories`` with whole numbers as ids, each once, and ``isthing`` of 0 or 1."""
    found: dict[int, Entry] = {}
    for number, entry in enumerate(entries):
        category, name = entry.get("id"), entry.get("name")
        where = f"categories[{number}] ({name!r})"
        try:
            category = whole_number(category, "id")
            if is_panoptic:
                entry = {**entry, "isthing": flag(entry.get("isthing"), "isthing")}
        except ValueError as error:
            faults.add("unusable category", f"{where}: {error}")
            continue
        if category in found:
            faults.add(
                "category id used twice",
                f"{where}: its id {category} is that of {found[category].get('name')!r}, too",
            )
            continue
        found[category] = {**entry, "id": category}
    return list(found.values())


def _instance_fault(annotation: Entry, category_ids: set[int]) -> str | None:
    """What is wrong with an annotation, apart from its mask and box; None: nothing."""
    if not is_id(annotation.get("image_id")):
        return f"'image_id' is {_with_remedy(annotation.get('image_id'), 'the id of an image')}"
    try:
        category = whole_number(annotation.get("category_id"), "category_id")
        is_ignored = flag(annotation.get("ignore"), "ignore")
        if annotation.get("keypoints") is not None:
            check_keypoints(annotation["keypoints"])
    except ValueError as error:
        return str(error)
    if category not in category_ids:
        return f"the category id {shown(category)} is not among the categories of the data set"
    if is_ignored:
        return "'ignore' is 1, which COCO's format does not know; set \"iscrowd\": 1, or delete it"
    if not annotation.get("bbox") and not annotation.get("segmentation"):
        return "it has neither 'segmentation' nor 'bbox'"
    mask = annotation.get("segmentation")
    if mask is not None and (mask == {} or not isinstance(mask, list | dict)):
        return f"'segmentation' is {shown(mask)}: the mask is neither a list of polygons nor an RLE"
    if (
        isinstance(mask, list)
        and len(mask) > 2
        and all(isinstance(part, list) and len(part) == 2 for part in mask)
    ):
        return "'segmentation' is a list of points; write polygons as [[x0, y0, x1, y1, ...]]"
    return None


def _panoptic_fault(annotation: Entry, category_ids: set[int]) -> str | None:
    if not is_id(annotation.get("image_id")):
        return f"'image_id' is {_with_remedy(annotation.get('image_id'), 'the id of an image')}"
    name, segments = annotation.get("file_name"), annotation.get("segments_info")
    if not isinstance(name, str) or not name:
        return f"'file_name' is {name!r}; it is the name of a PNG"
    if not isinstance(segments, list) or not {dict}.issuperset(map(type, segments)):
        return "'segments_info' is missing, or no list of entries"
    categories = [segment.get("category_id") for segment in segments]
    if {int, float}.issuperset(map(type, categories)) and category_ids.issuperset(categories):
        return None
    for number, category in enumerate(categories):
        if type(category) not in (int, float) or category not in category_ids:
            return (
                f"segment {number} has the category id {shown(category)}, which is not among the "
                "categories of the data set"
            )
    return None


def _of_one_each(annotations: list[Entry], faults: Faults) -> list[Entry]:
    """The first annotation of each image."""
    found: dict[Id, Entry] = {}
    for annotation in annotations:
        first = found.setdefault(annotation["image_id"], annotation)
        if first is not annotation:
            faults.add(
                "image annotated twice",
                f"image {annotation['image_id']!r} is annotated by {first['file_name']} and by "
                f"{annotation['file_name']}; keep one",
            )
    return list(found.values())
