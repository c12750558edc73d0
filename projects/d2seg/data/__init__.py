"""Data sets, mappers and loaders. Importing this package registers the data sets."""

from . import datasets, shapes

__all__ = ["datasets", "shapes"]
