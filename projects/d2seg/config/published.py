"""Where the configs of this package's models are."""

from pathlib import Path

_PACKAGE = Path(__file__).resolve().parents[1]
# packed into the package when it is built; at the top of a source tree
_FOLDERS = (_PACKAGE / "model_zoo" / "configs", _PACKAGE.parents[1] / "configs")


def config_file(name: str) -> Path:
    """The file of a config as "mask2former/coco_panoptic_resnet50".

    Raises:
        ValueError: there is none.
    """
    for folder in _FOLDERS:
        if (folder / f"{name}.yaml").is_file():
            return folder / f"{name}.yaml"
    raise ValueError(f"there is no config {name!r} in {' or '.join(map(str, _FOLDERS))}")
