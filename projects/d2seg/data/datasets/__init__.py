"""Data sets on the user's disk. Importing this package registers them."""

from ..referring import registration as referring
from .builtin import complete_detectron2, datasets_root, register_all
from .categories import Category, distinct_colors
from .registration import register_dataset

__all__ = ["Category", "datasets_root", "distinct_colors", "register_dataset"]

register_all(datasets_root())
referring.register_all(datasets_root())
complete_detectron2()
