"""The input pictures of the golden cases, from files.

``images/<height>x<width>_seed<seed>.png`` is what the official outputs of that size and seed were
made from; cases of the same size and seed share it, and ``_grey`` is one of a single channel. They
are blobs of colour, enlarged bilinearly, plus noise, and they are not to be drawn anew:
``torch.nn.functional.interpolate`` rounds by instruction set and by number of threads where it hits
whole numbers, so that up to a hundred pixels differ by one, and logits by up to 7e-3.
"""

from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

_FOLDER = Path(__file__).with_name("images")


def read_picture(name: str) -> Tensor:
    """(3, H, W) uint8 RGB of ``images/<name>.png``; a grey one three times."""
    with Image.open(_FOLDER / f"{name}.png") as picture:
        pixels = np.array(picture.convert("RGB"))
    return torch.from_numpy(pixels).permute(2, 0, 1).contiguous()
