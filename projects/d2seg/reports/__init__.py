"""What all HTML reports share: a page in one file, its look, plots and thumbnails."""

from .page import TemplateMissingError, render
from .plots import heat_map, line_chart
from .thumbnails import data_uri, fitted, jpeg_uri, png_uri

__all__ = [
    "TemplateMissingError",
    "data_uri",
    "fitted",
    "heat_map",
    "jpeg_uri",
    "line_chart",
    "png_uri",
    "render",
]
