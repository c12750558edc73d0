"""Registers data sets of slices, to train on, and of volumes, to test on, that list files name.

A volume's dicts are its slices: the loader, the model and the evaluators see images as ever, and
``VolumeEvaluator`` puts the slices together again.
"""

import json
import logging
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from detectron2.data import DatasetCatalog, MetadataCatalog

from ...pictures import refuse_special_file
from ..datasets.declared_text import decoded
from ..datasets.registration import check_is_new
from .files import ArrayFileError, volume_shape
from .inspection import inspect_slice

logger = logging.getLogger(__name__)

IGNORE_LABEL = 255  # no pixel has it
EVALUATOR_TYPES = {"slices": "sem_seg", "volumes": "volumes"}


def register_all(root: Path) -> None:
    """Register ``<name>_{slices,volumes}_<split>`` of ``datasets.json`` below ``root``; a name that
    is taken stays."""
    table = json.loads(Path(__file__).with_name("datasets.json").read_text(encoding="utf-8"))
    for entry in table:
        for kind in EVALUATOR_TYPES:
            for split, files in entry[kind].items():
                name = f"{entry['name']}_{kind}_{split}"
                if name in DatasetCatalog:
                    logger.info("%s is registered elsewhere and stays as it is", name)
                    continue
                register_medical(
                    name,
                    kind,
                    list_file=root / files["list"],
                    folders=[root / folder for folder in files["folders"]],
                    suffix=files["suffix"],
                    classes=[organ for organ, _ in entry["classes"]],
                    colors=[color for _, color in entry["classes"]],
                )


def register_medical(
    name: str,
    kind: str,
    *,
    list_file: str | Path,
    folders: Sequence[str | Path],
    suffix: str,
    classes: Sequence[str],
    colors: Sequence[Sequence[int]],
    voxel_spacing: tuple[float, float, float] = (1.0, 1.0, 1.0),
) -> None:
    """Register one split; its files are read when its dicts are asked for.

    Args:
        kind: "slices", files of one slice each, or "volumes".
        list_file: a text file with a name per line; the file of a name is ``<name><suffix>`` in
            the first of ``folders`` that has it.
        classes: the first one is the background, which is not scored.
        voxel_spacing: (slice, row, column) in the unit that HD95 is to have; 1 as TransUNet
            publishes it, which gives voxels.

    Raises:
        ValueError: an unknown kind, or a name that is taken.
    """
    if kind not in EVALUATOR_TYPES:
        raise ValueError(f"data set {name!r}: kind is {kind!r}; it is one of slices, volumes")
    check_is_new(name)
    load = load_slices if kind == "slices" else load_volumes
    DatasetCatalog.register(name, partial(load, list_file, folders, suffix))
    MetadataCatalog.get(name).set(
        evaluator_type=EVALUATOR_TYPES[kind],
        list_file=str(list_file),
        stuff_classes=list(classes),
        stuff_colors=[list(color) for color in colors],
        ignore_label=IGNORE_LABEL,
        voxel_spacing=tuple(voxel_spacing),
        inspect_entry=inspect_slice,
    )


def load_slices(
    list_file: str | Path, folders: Sequence[str | Path], suffix: str
) -> list[dict[str, Any]]:
    """Dicts with ``file_name`` and ``image_id``.

    Raises:
        ValueError: the list is missing or empty, or a file that it names is.
    """
    return [
        {"file_name": path, "image_id": name}
        for name, path in _listed(list_file, folders, suffix).items()
    ]


def load_volumes(
    list_file: str | Path, folders: Sequence[str | Path], suffix: str
) -> list[dict[str, Any]]:
    """A dict for each slice of each volume, with ``file_name``, ``image_id``, ``slice_index``,
    ``num_slices``, and the slice's ``height`` and ``width``.

    A volume that cannot be read has one dict for all, which the mapper will stumble over again.

    Raises:
        ValueError: as :func:`load_slices`.
    """
    dicts = []
    for name, path in _listed(list_file, folders, suffix).items():
        try:
            depth, height, width = volume_shape(path)
        except ArrayFileError as error:
            logger.error("%s", error)
            dicts.append({"file_name": path, "image_id": name, "slice_index": 0, "num_slices": 1})
            continue
        dicts += [
            {
                "file_name": path,
                "image_id": f"{name}_slice{index:03d}",
                "slice_index": index,
                "num_slices": depth,
                "height": height,
                "width": width,
            }
            for index in range(depth)
        ]
    return dicts


def _listed(list_file: str | Path, folders: Sequence[str | Path], suffix: str) -> dict[str, str]:
    """{name: path} in the order of the list."""
    try:
        refuse_special_file(list_file)
        lines = decoded(Path(list_file).read_bytes()).splitlines()
    except (OSError, ValueError) as error:
        raise ValueError(f"the list of files cannot be read: {list_file}: {error}") from error
    names = [line.strip() for line in lines if line.strip()]
    if not names:
        raise ValueError(f"{list_file} names no file")
    found, missing = {}, []
    for name in names:
        paths = [Path(folder) / f"{name}{suffix}" for folder in folders]
        path = next((path for path in paths if path.is_file()), None)
        if path is None:
            missing.append(f"{name}{suffix}")
        else:
            found[name] = str(path)
    if missing:
        raise ValueError(
            f"{list_file} names {len(names)} files, of which {len(missing)} are missing, the first "
            f"being {missing[0]}, in {' and in '.join(map(str, folders)) or 'no folder at all'}"
        )
    return found
