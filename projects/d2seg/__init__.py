"""d2seg: the segmentation methods of the transformer era as detectron2 meta-architectures.

Importing this package registers every backbone, meta-architecture and data set.
"""

from . import backbones, data, maskformer  # noqa: F401  (imported for their registrations)
from .config import add_d2seg_config

__all__ = ["add_d2seg_config"]
__version__ = "0.1.0"
