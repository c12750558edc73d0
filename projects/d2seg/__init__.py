"""d2seg: the segmentation methods of the transformer era as detectron2 meta-architectures.

Importing this package registers every backbone, meta-architecture and data set, and changes nothing
else in the process. A program asks for more by ``d2seg_process.prepare_process``.

The public names, see docs/python.md, are imported when they are first used:

- ``load``: a predictor from a checkpoint alone;
- ``load_config``, ``add_d2seg_config``: configs;
- ``model_zoo``: configs and published models by name;
- ``Trainer``, ``Checkpointer``: detectron2's, for this package's models;
- ``register_dataset``: a data set of one's own.
"""

import re
from importlib import import_module
from typing import TYPE_CHECKING, Any

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

try:
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
except AssertionError as error:  # of a registry of detectron2
    taken = re.search(r"An object named '(\w+)' was already registered in '(\w+)'", str(error))
    if taken is None:
        raise
    raise ImportError(
        f"{taken[1]} is already in detectron2's registry {taken[2]}: another project registered it "
        "in this process, and both cannot be used in one; d2seg has these models under the same "
        "names and loads the official checkpoints"
    ) from None
from .checkpoint.conversion import to_whole_model
from .config.defaults import add_d2seg_config
from .layers.state_conversion import set_converter
from .version import __version__ as __version__

if TYPE_CHECKING:
    from .checkpoint import Checkpointer
    from .config.loading import load_config
    from .data.datasets import register_dataset
    from .engine import Trainer
    from .prediction.loading import load

__all__ = [
    "Checkpointer",
    "Trainer",
    "add_d2seg_config",
    "load",
    "load_config",
    "model_zoo",
    "register_dataset",
]

_MODULES = {
    "Checkpointer": ".checkpoint",
    "Trainer": ".engine",
    "load": ".prediction.loading",
    "load_config": ".config.loading",
    "register_dataset": ".data.datasets",
}

set_converter(to_whole_model)


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(_MODULES[name], __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
