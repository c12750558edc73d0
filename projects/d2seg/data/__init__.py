"""Data sets, mappers and loaders. Importing this package registers the data sets."""

from . import datasets, medical, shapes

__all__ = ["datasets", "medical", "shapes"]
