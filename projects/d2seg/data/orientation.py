"""Sizes of pictures and of what is annotated; and label maps of pictures that EXIF data turn by 180
degrees or mirror: their size does not tell whether they are of the picture as it is stored or as it
is shown.

H, W: height and width of the picture as it is shown.
"""

from typing import Any

import numpy as np

from ..pictures import UnreadableFileError, shown_size

# by the EXIF orientation: from the stored picture to the one that is shown, of the same size
_TURNS = {2: (slice(None), slice(None, None, -1)), 3: (slice(None, None, -1),) * 2}
_TURNS[4] = (slice(None, None, -1), slice(None))
_MIN_BORDER = 64  # pixels at borders between labels, for a mean that says something
_CLEARLY = 1.5  # times as steep as the mean of the picture; what lies anywhere is near 1


def fits_unturned(image: np.ndarray, labels: np.ndarray, orientation: int, label_file: str) -> bool:
    """Whether a label map clearly fits the picture as it is stored, and not as it is shown.

    Borders between labels lie where the picture changes. So the mean step of grey values at borders
    is compared with that of the whole picture, for the label map as it is and turned.

    Args:
        image: (H, W) or (H, W, C), as it is shown.
        labels: (H, W).
        orientation: the EXIF orientation of the picture.
        label_file: if EXIF data turn it as well, it has been turned already.
    """
    if orientation not in _TURNS or labels.shape != image.shape[:2]:
        return False
    grey = image.astype(np.float32)
    steps = _steps(grey.mean(axis=2) if grey.ndim == 3 else grey)
    usual = float(steps.mean())
    borders = _steps(labels.astype(np.float32)) > 0
    if borders.sum() < _MIN_BORDER or usual == 0:
        return False
    shown = float(steps[borders].mean()) / usual
    stored = float(steps[_steps(labels[_TURNS[orientation]].astype(np.float32)) > 0].mean()) / usual
    if stored < _CLEARLY or stored < _CLEARLY * shown:
        return False
    try:
        return not shown_size(label_file)[2]
    except UnreadableFileError:  # not a picture of its own
        return False


def _steps(values: np.ndarray) -> np.ndarray:
    """(H, W) largest change from each pixel to the one on its right or below."""
    steps = np.zeros_like(values)
    across, down = np.abs(np.diff(values, axis=1)), np.abs(np.diff(values, axis=0))
    steps[:, :-1] = across
    steps[:-1] = np.maximum(steps[:-1], down)
    return steps


def complaint(picture: str, orientation: int) -> str:
    """What is wrong, and what helps."""
    how = {2: "mirrors it", 3: "turns it by 180 degrees", 4: "turns it upside down"}[orientation]
    return (
        f"it fits {picture} as it is stored, but the EXIF orientation of that {how}; annotations "
        "are of the picture as it is shown: turn the label map, or take the orientation out of the "
        "picture"
    )


def check_stated_size(dataset_dict: dict[str, Any], image: np.ndarray, orientation: int) -> None:
    """See that a picture (H, W, C) has the size of its dict, which gets it where it says none.

    Args:
        orientation: the EXIF orientation that has been applied to it

    Raises:
        ValueError: it has another one.
    """
    size = image.shape[:2]
    for key, length in zip(("height", "width"), size, strict=True):
        if dataset_dict.get(key) is None:
            dataset_dict[key] = length
    stated = dataset_dict["height"], dataset_dict["width"]
    if stated != size:
        is_turned = stated == size[::-1] and orientation > 1
        raise ValueError(
            f"{dataset_dict['file_name']}: the image is {size[0]}x{size[1]} (height x width), its "
            f"entry says {stated[0]}x{stated[1]}; "
            + (
                "annotations are of the picture as its EXIF orientation turns it"
                if is_turned
                else "correct the entry, or put the picture there that was annotated"
            )
        )


def check_size(labels: np.ndarray, image: np.ndarray, file_name: str) -> None:
    """Raise ``ValueError`` where a label map (H, W) is not of its image's size (H, W, C)."""
    if labels.shape != image.shape[:2]:
        is_turned = labels.shape == image.shape[1::-1]
        raise ValueError(
            f"{file_name} has shape {labels.shape}, but its image is {image.shape[:2]} "
            "(height, width); a label image has the same size and one channel"
            + ("; labels are of the picture as its EXIF orientation turns it" if is_turned else "")
        )


def check_orientation(
    labels: np.ndarray, image: np.ndarray, dataset_dict: dict[str, Any], file_name: str
) -> None:
    """Raise ``ValueError`` where labels are of the picture before its EXIF orientation."""
    orientation = dataset_dict["orientation"]
    if fits_unturned(image, labels, orientation, file_name):
        raise ValueError(f"{file_name}: {complaint(dataset_dict['file_name'], orientation)}")
