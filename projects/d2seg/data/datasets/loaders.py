"""Dataset dicts in detectron2's format from files on disk, without opening any image."""

import logging
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from ...names import alike
from ..label_values import LabelValues
from .selection import Selection

logger = logging.getLogger(__name__)

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp")
ARRAY_SUFFIXES = (".npy",)  # of images where there are no others, for INPUT.READER bands
LABEL_SUFFIXES = (".png", ".tif", ".tiff", ".bmp")  # lossless ones
CONVERT = "convert it to PNG, as tools/prepare_own_labels.py does with GIF"
LOSSY_SUFFIXES = (".jpg", ".jpeg", ".webp")
_UNREAD_SUFFIXES = (  # of pictures, as cameras and programs write them
    *(".heic", ".heif", ".avif", ".jxl", ".jp2", ".gif", ".tga", ".ppm", ".pgm", ".psd", ".exr"),
    *(".dng", ".cr2", ".cr3", ".nef", ".arw", ".raw", ".dcm", ".nii", ".nrrd", ".mha", ".npy"),
)
_RENAME = "give both one name"


def pair_files(
    image_root: str | Path,
    label_root: str | Path,
    label_suffix: str = "",
    *,
    lossy: bool = False,
    selection: Selection | None = None,
) -> tuple[list[tuple[str, str]], list[str], list[str]]:
    """Match images and label maps by their path below the root, without extension.

    The label map of ``a/b.jpg`` is ``a/b<label_suffix>.png`` (or .tif, .bmp). Hidden files are
    left out.

    Args:
        label_suffix: may end with an extension, which is then the only one
        lossy: label maps may be JPEG or WebP
        selection: of the images

    Returns:
        the pairs (image, label map) in the order of their names; images without a label map;
        label maps without an image

    Raises:
        ValueError: a folder is missing, two files of one folder differ only in the extension, a
            label map is JPEG and ``lossy`` is not set; or as ``Selection.pick``.
    """
    suffix, extensions = _split_suffix(label_suffix)
    wanted = extensions if lossy else tuple(x for x in extensions if x not in LOSSY_SUFFIXES)
    labels = _by_stem(files_below(label_root, wanted), label_root, suffix)
    taken = set(labels.values())  # images and label maps may lie in one folder
    found = [f for f in files_below(image_root, IMAGE_SUFFIXES) if f not in taken]
    # arrays beside pictures are something else, as depth
    images = _by_stem(found or files_below(image_root, ARRAY_SUFFIXES), image_root, "")
    chosen = sorted(images) if selection is None else _pick(selection, images, image_root)
    alone = [images[stem] for stem in sorted(images.keys() & set(chosen) - labels.keys())]
    if alone and not lossy:
        _refuse_lossy(label_root, suffix, {s: images[s] for s in chosen if s not in labels})
    pairs = [(images[stem], labels[stem]) for stem in chosen if stem in labels]
    return pairs, alone, [labels[stem] for stem in sorted(labels.keys() - images.keys())]


def _pick(selection: Selection, stems: Iterable[str], image_root: str | Path) -> list[str]:
    try:
        return selection.pick(stems)
    except ValueError as error:
        raise ValueError(f"{image_root}: {error}") from error


def _split_suffix(label_suffix: str) -> tuple[str, tuple[str, ...]]:
    """What stands behind a stem, and the extensions that follow."""
    for extension in LABEL_SUFFIXES + LOSSY_SUFFIXES:
        if label_suffix.lower().endswith(extension):
            return label_suffix[: -len(extension)], (extension,)
    return label_suffix, LABEL_SUFFIXES + LOSSY_SUFFIXES


def _refuse_lossy(label_root: str | Path, suffix: str, images: dict[str, str]) -> None:
    """Raise ``ValueError`` where an image without a label map, by stem, has one in JPEG."""
    lossy = _by_stem(files_below(label_root, LOSSY_SUFFIXES), label_root, suffix)
    found = [lossy[stem] for stem, image in images.items() if lossy.get(stem, image) != image]
    if found:
        raise ValueError(
            f"{found[0]}: a label map in JPEG or WebP, which does not keep values exactly "
            f"({len(found)} of them); declare 'values' with nearest_value: true (docs/own_data.md)"
        )


def hints_on_unpaired(
    image_root: str | Path,
    label_root: str | Path,
    label_suffix: str,
    no_label: Sequence[str],
    no_image: Sequence[str],
) -> dict[str, str]:
    """What may be the partner of images and label maps that have none, by file: one of a format
    that is not read, whose name is written in another way, or has more behind it."""
    suffix, _ = _split_suffix(label_suffix)
    of_images = {_stem(image, image_root) + suffix: image for image in no_label}
    of_labels = {_stem(label, label_root): label for label in no_image}
    hints: dict[str, str] = {}
    near = {alike(stem): label for stem, label in of_labels.items()}
    for stem, image in of_images.items():
        if label := near.get(alike(stem)):
            hints[image] = f"{label} differs from it in case, spaces or Unicode; {_RENAME}"
            hints[label] = f"{image} differs from it in case, spaces or Unicode; {_RENAME}"
    for stem, label in of_labels.items():
        for separator in "_-.":
            start, _, end = stem.rpartition(separator)
            if start in of_images:
                hint = f"{label} is one where label_suffix is {separator}{end}"
                hints.setdefault(of_images[start], hint)
    for file in files_below(label_root, ("",)) if of_images else ():
        image = of_images.get(_stem(file, label_root))
        if image is not None and not os.path.samefile(file, image):
            hints.setdefault(image, f"{file} is none: {CONVERT}")
    for file in files_below(image_root, _UNREAD_SUFFIXES) if of_labels else ():
        label = of_labels.get(_stem(file, image_root) + suffix)
        if label is not None:
            hints.setdefault(label, f"{file} is not read: convert it to PNG or JPEG")
    return hints


def warn_of_unpaired(
    no_label: Sequence[str], no_image: Sequence[str], hints: dict[str, str]
) -> None:
    """Log how many files have no partner, with one that has a hint, if any has."""
    for kind, files in (("images without a label map", no_label), ("unused label maps", no_image)):
        if files:
            shown = next(filter(hints.get, files), files[0])
            hint = f": {hints[shown]}" if shown in hints else ""
            logger.warning("%d %s are left out, as %s%s", len(files), kind, shown, hint)


def _stem(file: str, root: str | Path) -> str:
    return os.path.splitext(os.path.relpath(file, root))[0]


def files_below(root: str | Path, suffixes: tuple[str, ...]) -> Iterable[str]:
    """The files of a folder and its subfolders with these suffixes, but for hidden ones. Links are
    followed, except those that lead back to a folder that they are in.

    Raises:
        ValueError: there is no such folder.
    """
    if not os.path.isdir(root):
        raise ValueError(f"there is no folder {root}")
    real = {str(root): os.path.realpath(root)}
    for folder, folders, names in os.walk(str(root), followlinks=True):
        folders[:] = [f for f in folders if not f.startswith(".")]
        for name in folders[:]:
            path = os.path.join(folder, name)
            real[path] = os.path.join(real[folder], name)
            if os.path.islink(path):
                real[path] = os.path.realpath(path)
                if _leads_back(path, real):
                    folders.remove(name)
        for name in names:
            if name.lower().endswith(suffixes) and not name.startswith("."):
                yield os.path.join(folder, name)


def _leads_back(link: str, real: dict[str, str]) -> bool:
    """Whether a link to a folder leads to one that it is in; ``real`` has their true paths."""
    folder = os.path.dirname(link)
    while folder in real:
        if real[folder] == real[link]:
            return True
        folder = os.path.dirname(folder)
    return False


def _by_stem(files: Iterable[str], root: str | Path, suffix: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for file in files:
        stem = _stem(file, root)
        if not stem.endswith(suffix):
            continue
        stem = stem[: len(stem) - len(suffix)]
        if stem in found:
            raise ValueError(f"{found[stem]} and {file} differ only in the extension; keep one")
        found[stem] = file
    return found


def unpaired_message(
    image_root: str | Path,
    label_root: str | Path,
    label_suffix: str,
    hints: dict[str, str],
    *,
    lossy: bool = False,
) -> str:
    """Says that no image has a label map, and what a label map would be called."""
    return (
        f"no image of {image_root} has a label map in {label_root}: the name of a label map is "
        f"that of its image{f' with {label_suffix} behind it' if label_suffix else ''}, "
        f"with the extension {' or '.join(LABEL_SUFFIXES + LOSSY_SUFFIXES * lossy)}"
        + "".join(f"; {file}: {hint}" for file, hint in list(hints.items())[:1])
    )


def load_semantic(
    image_root: str | Path,
    label_root: str | Path,
    label_suffix: str = "",
    label_values: LabelValues | None = None,
    selection: Selection | None = None,
) -> list[dict[str, Any]]:
    """Dicts with ``file_name``, ``image_id`` and ``sem_seg_file_name``; see :func:`pair_files`.

    They also have ``label_values``, which the label map is read with, where these are given.

    Raises:
        ValueError: as :func:`pair_files`, or when no image, or not every listed one, has a label
            map.
    """
    lossy = label_values is not None and label_values.nearest
    pairs, no_label, no_image = pair_files(
        image_root, label_root, label_suffix, lossy=lossy, selection=selection
    )
    if no_label and selection is not None and selection.list_file is not None:
        raise ValueError(
            f"{len(no_label)} images that {selection.list_file} lists have no label map in "
            f"{label_root}, as {no_label[0]}"
        )
    hints = hints_on_unpaired(image_root, label_root, label_suffix, no_label, no_image)
    if not pairs:
        raise ValueError(unpaired_message(image_root, label_root, label_suffix, hints, lossy=lossy))
    warn_of_unpaired(no_label, no_image, hints)
    return [
        {
            "file_name": image,
            "image_id": _stem(image, image_root),
            "sem_seg_file_name": label,
            **({} if label_values is None else {"label_values": label_values}),
        }
        for image, label in pairs
    ]
