"""Reading of images, with errors that name the file."""

import numpy as np
from detectron2.data import detection_utils as utils
from PIL import Image


def read_image(file_name: str, image_format: str) -> np.ndarray:
    """detectron2's ``read_image``, uint8 (H, W, C), with the file's name in every error.

    Raises:
        ValueError: the file is missing, damaged, or larger than Pillow takes.
    """
    try:
        return utils.read_image(file_name, image_format)
    except (OSError, SyntaxError, Image.DecompressionBombError) as error:
        raise ValueError(f"cannot read the image {file_name}: {error}") from error
