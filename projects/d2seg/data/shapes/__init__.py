"""The data set "shapes": drawn scenes that let every method train and be scored in minutes.

Eight things over five textured kinds of stuff, in pictures of 256 x 256 pixels, with semantic,
instance, panoptic and referring annotations. A thing is told by its form; it comes in eight
colours, one of them its favourite. Importing this package registers the data set, and
:func:`ensure_shapes` makes the files on first use.
"""

from .generate import ensure_shapes
from .register import register_shapes, shapes_folder

register_shapes()

__all__ = ["ensure_shapes", "register_shapes", "shapes_folder"]
