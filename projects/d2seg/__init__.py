"""d2seg: the segmentation methods of the transformer era as detectron2 meta-architectures.

Importing this package registers every backbone, meta-architecture and data set.
"""

import warnings

from .memory import ask_for_huge_pages, keep_freed_memory

ask_for_huge_pages()
keep_freed_memory()

# detectron2 imports what newer versions of torch and setuptools deprecate; a user can do nothing
# about it, and the lines would stand above every message of ours
warnings.filterwarnings("ignore", message=r".*torch\.jit\.script.* is deprecated")
warnings.filterwarnings("ignore", message="pkg_resources is deprecated")
warnings.filterwarnings("ignore", message="torch.meshgrid: in an upcoming release")

from . import (  # noqa: E402, F401  (imported for their registrations)
    backbones,
    data,
    dstransunet,
    mask2former,
    maskformer,
    pointrend,
    restr,
    segformer,
    setr,
    topformer,
    transunet,
)
from .config import add_d2seg_config  # noqa: E402

__all__ = ["add_d2seg_config"]
__version__ = "0.1.0"
