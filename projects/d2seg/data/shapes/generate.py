"""Makes the data set "shapes" on disk, once, whole or not at all.

Everything is written to a temporary folder beside the final one, which is renamed when complete.
A stamp in the folder says which generator made it.
"""

import errno
import json
import logging
import os
import shutil
import zlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from iopath.common.file_io import file_lock
from portalocker.exceptions import BaseLockException
from tqdm import tqdm

from .annotations import gather_facts, instance_annotations, panoptic_map, semantic_map
from .categories import CATEGORIES, THINGS, Category
from .expressions import draw_expressions
from .render import render
from .scene import Scene, compose_scene
from .textures import SIZE, RandomState

# Raise it with every change of what is generated; folders with a lower one are made anew.
VERSION = 3
SEED = 0
NUM_IMAGES = {"train": 1000, "val": 100}

_NAME = "d2seg shapes"
_STAMP = "stamp.json"
_JPEG_QUALITY = 95
# least and most that are asked for in an image; in training nearly all that a scene has, because
# places and sizes are learnt from few examples otherwise
_NUM_EXPRESSIONS = {"train": (14, 18), "val": (4, 6)}
_IDS_PER_SPLIT = 100_000  # image ids of different splits differ, and so do file names
_OBJECTS_PER_IMAGE = 10  # annotation ids: image id times this, plus the object's place

logger = logging.getLogger(__name__)


def ensure_shapes(
    folder: Path, num_images: Mapping[str, int] = NUM_IMAGES, seed: int = SEED
) -> None:
    """Make the data set in ``folder`` unless it is there; safe when several processes ask at once.

    Args:
        folder: the data set's own, e.g. ``datasets/shapes``; temporary ones and a lock go beside it
        num_images: of each split
        seed: the same one gives the same bytes (with the same versions of numpy and OpenCV)

    Raises:
        ValueError: the folder holds something else, or a data set of a newer generator or other
            parameters (nothing is deleted then), or it cannot be written.
    """
    folder = folder.resolve()  # beside a link's target a rename stays within one file system
    stamp = {"name": _NAME, "version": VERSION, "seed": seed, "num_images": dict(num_images)}
    if _is_current(folder, stamp):
        return
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with file_lock(str(folder)):
            if not _is_current(folder, stamp):  # another process may have made it meanwhile
                _make_and_move(folder, stamp)
    except (OSError, BaseLockException) as error:
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise ValueError(
            f"cannot write the data set shapes to {folder}: {reason}; set the environment variable "
            "DETECTRON2_DATASETS to a folder that can be written and has 100 MB free"
        ) from error


def _is_current(folder: Path, stamp: dict[str, Any]) -> bool:
    """False where the data set is missing or outdated; ValueError where it must be left alone."""
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return False
    remedy = "move it away, or set DETECTRON2_DATASETS to another folder"
    try:
        found = json.loads((folder / _STAMP).read_text())
        version = int(found["version"]) if found["name"] == _NAME else None
    except (OSError, ValueError, KeyError, TypeError):
        version = None
    if version is None:
        raise ValueError(f"{folder} was not made by the generator of the data set shapes; {remedy}")
    if version > VERSION:
        raise ValueError(
            f"{folder} was made by version {version} of the generator, this is {VERSION}; {remedy}"
        )
    if version < VERSION:
        foreign = {p.name for p in folder.iterdir()} - set(found.get("entries", ()))
        if foreign:
            raise ValueError(
                f"{folder} is outdated (version {version} of {VERSION}), but has files of "
                f"other origin ({', '.join(sorted(foreign)[:3])}); {remedy}"
            )
        return False
    different = [key for key in stamp if found.get(key) != stamp[key]]
    if different:
        key = different[0]
        raise ValueError(
            f"{folder} was made with {key} {found.get(key)}, but {stamp[key]} is wanted; {remedy}"
        )
    return True


def _make_and_move(folder: Path, stamp: dict[str, Any]) -> None:
    """Make the data set anew; the caller holds the lock."""
    incomplete = folder.with_name(f".{folder.name}.d2seg-incomplete")
    outdated = folder.with_name(f".{folder.name}.d2seg-outdated")
    for leftover in (incomplete, outdated):  # of a process that was killed
        if leftover.exists():
            shutil.rmtree(leftover)
    try:
        _write_dataset(incomplete, stamp)
        if folder.exists():
            os.rename(folder, outdated)
        os.rename(incomplete, folder)
    except BaseException:  # also when the user interrupts
        shutil.rmtree(incomplete, ignore_errors=True)
        raise
    if outdated.exists():
        shutil.rmtree(outdated)


def _write_dataset(folder: Path, stamp: dict[str, Any]) -> None:
    logger.info("Making the data set shapes in %s", folder)
    folder.mkdir()
    total = sum(stamp["num_images"].values())
    with tqdm(total=total, desc="making the data set shapes", unit="image") as progress:
        for i, (split, num_images) in enumerate(stamp["num_images"].items()):
            _write_split(folder, split, i * _IDS_PER_SPLIT, num_images, stamp["seed"], progress)
    entries = sorted([_STAMP, *(p.name for p in folder.iterdir())])
    _write_json(folder / _STAMP, {**stamp, "entries": entries})


def _write_split(
    folder: Path, split: str, first_id: int, num_images: int, seed: int, progress: tqdm
) -> None:
    for kind in ("images", "sem_seg", "panoptic"):
        (folder / f"{kind}_{split}").mkdir()
    images, instances, panoptic, referring = [], [], [], []
    for index in range(num_images):
        image_id = first_id + index + 1
        rng = RandomState(zlib.crc32(f"{seed}/{split}/{index}".encode()))
        scene = compose_scene(rng)
        segments = _write_pictures(folder, split, image_id, scene, rng)
        facts = gather_facts(scene, image_id * _OBJECTS_PER_IMAGE)
        images.append(
            {"id": image_id, "file_name": f"{image_id:06d}.jpg", "height": SIZE, "width": SIZE}
        )
        instances += instance_annotations(scene, facts, image_id)
        panoptic.append(
            {"image_id": image_id, "file_name": f"{image_id:06d}.png", "segments_info": segments}
        )
        least, most = _NUM_EXPRESSIONS[split]
        num_wanted = rng.randint(least, most + 1)
        for expression, meant in draw_expressions(facts, num_wanted, rng):
            referring.append(
                {
                    "id": first_id * _OBJECTS_PER_IMAGE + len(referring) + 1,
                    "image_id": image_id,
                    "annotation_id": meant.id,
                    "kind": expression.kind,
                    "sentence": str(expression),
                }
            )
        progress.update()
    for kind, categories, entries in (
        ("instances", THINGS, {"annotations": instances}),
        ("panoptic", CATEGORIES, {"annotations": panoptic}),
        ("referring", THINGS, {"expressions": referring}),
    ):
        head = {"info": {"description": f"{_NAME}, {split}", "version": str(VERSION)}}
        tables = {"images": images, "categories": _coco_categories(categories), **entries}
        _write_json(folder / f"{kind}_{split}.json", {**head, **tables})


def _write_pictures(
    folder: Path, split: str, image_id: int, scene: Scene, rng: RandomState
) -> list[dict[str, Any]]:
    """Write image, semantic and panoptic picture; return the segments of the latter."""
    name = f"{image_id:06d}"
    panoptic, segments = panoptic_map(scene, rng)
    _write_image(folder / f"images_{split}" / f"{name}.jpg", render(scene, rng)[..., ::-1])
    _write_image(folder / f"sem_seg_{split}" / f"{name}.png", semantic_map(scene))
    _write_image(folder / f"panoptic_{split}" / f"{name}.png", panoptic[..., ::-1])
    return segments


def _coco_categories(categories: Iterable[Category]) -> list[dict[str, Any]]:
    return [
        {"id": c.id, "name": c.name, "isthing": int(c.is_thing), "color": list(c.color)}
        for c in categories
    ]


def _write_image(path: Path, image: np.ndarray) -> None:
    """Encode a grey or BGR image; unlike ``cv2.imwrite`` it says why writing failed."""
    options = [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY] if path.suffix == ".jpg" else []
    encoded, data = cv2.imencode(path.suffix, image, options)
    if not encoded:
        raise OSError(errno.EIO, "OpenCV could not encode an image", str(path))
    path.write_bytes(data.tobytes())


def _write_json(path: Path, content: dict[str, Any]) -> None:
    path.write_text(json.dumps(content, separators=(",", ":")))
