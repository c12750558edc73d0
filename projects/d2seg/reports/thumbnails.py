"""Pictures inside a page, as data URIs.

H, W of a picture; colours are RGB.
"""

import base64

import cv2
import numpy as np

QUALITY = 80  # of JPEG


def fitted(size: tuple[int, int], longest: int) -> tuple[int, int]:
    """(height, width) with the longer edge at most ``longest``; never enlarged, at least 1."""
    scale = min(1.0, longest / max(size))
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))


def jpeg_uri(image: np.ndarray, quality: int = QUALITY) -> str:
    """``image``, (H, W, 3) or (H, W) uint8, as a JPEG."""
    return data_uri(_encoded(image, ".jpg", [cv2.IMWRITE_JPEG_QUALITY, quality]), "image/jpeg")


def png_uri(image: np.ndarray) -> str:
    """``image``, (H, W, 3) or (H, W) uint8, as a PNG."""
    return data_uri(_encoded(image, ".png", [cv2.IMWRITE_PNG_COMPRESSION, 9]), "image/png")


def data_uri(content: bytes, kind: str) -> str:
    """``content`` of the media type ``kind`` as an address that holds it."""
    return f"data:{kind};base64,{base64.b64encode(content).decode('ascii')}"


def _encoded(image: np.ndarray, ending: str, options: list[int]) -> bytes:
    pixels = image[..., ::-1] if image.ndim == 3 else image  # OpenCV takes BGR
    return cv2.imencode(ending, np.ascontiguousarray(pixels), options)[1].tobytes()
