"""Medical volumes and their slices. Importing this package registers the data sets."""

from ..datasets.builtin import datasets_root
from .registration import register_all, register_medical

__all__ = ["register_medical"]

register_all(datasets_root())
