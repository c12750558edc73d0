"""d2seg: the segmentation methods of the transformer era as detectron2 meta-architectures.

Importing this package registers every backbone, meta-architecture and data set, and changes nothing
else in the process. A program asks for more by ``d2seg_process.prepare_process``.
"""

from . import (  # noqa: F401  (imported for their registrations)
    backbones,
    data,
    dstransunet,
    mask2former,
    maskformer,
    model_zoo,
    pointrend,
    restr,
    segformer,
    setr,
    topformer,
    transunet,
)
from .config.defaults import add_d2seg_config

__all__ = ["add_d2seg_config"]
__version__ = "0.1.0"
