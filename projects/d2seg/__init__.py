"""d2seg: the segmentation methods of the transformer era as detectron2 meta-architectures.

Importing this package registers every backbone, meta-architecture and data set, and changes nothing
else in the process. A program asks for more by ``d2seg_process.prepare_process``.
"""

try:
    import detectron2  # noqa: F401
except ModuleNotFoundError as error:
    if error.name != "detectron2":
        raise
    import sysconfig

    # as tools/setup_env.py does it; the wheel's only compiled file is optional
    raise ImportError(
        "d2seg needs detectron2, of which its maintainers publish no package; this brings a copy "
        "of their main branch: pip install --no-deps --only-binary=:all: --python-version 3.10 "
        "--implementation cp --abi none --platform any "
        f"--target {sysconfig.get_path('purelib')} sal-detectron2==0.7.2",
        name="detectron2",
    ) from None

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
