"""What a report says of the run itself: config, weights, versions, the published figure."""

import dataclasses
import datetime
import importlib.metadata
import json
import platform
from collections.abc import Sequence
from pathlib import Path

import detectron2
import torch

from ...version import __version__

RUN_FILE = "run.json"  # in OUTPUT_DIR, beside results.json
_PACKAGES = ("torch", "numpy", "timm", "pycocotools")


@dataclasses.dataclass(frozen=True)
class Published:
    """What the authors of a config state: ``metric`` as "mIoU", ``result`` as "47.8/50.1", of which
    the second is for several scales and flips, or the second of two metrics."""

    metric: str
    result: str
    source: str


def write_run_info(
    output_dir: str | Path,
    *,
    config: str,
    architecture: str,
    weights: str,
    device: str,
    datasets: Sequence[str],
    published: Published | None,
) -> None:
    """Write RUN_FILE.

    Args:
        config: name or path, as it was given
        weights: what was evaluated
    """
    content = {
        "config": config,
        "architecture": architecture,
        "weights": weights,
        "device": _device_name(device),
        "datasets": list(datasets),
        "published": dataclasses.asdict(published) if published else None,
        "time": datetime.datetime.now().astimezone().isoformat(timespec="seconds"),
        "versions": {"d2seg": __version__, "Python": platform.python_version(), **_versions()},
    }
    path = Path(output_dir) / RUN_FILE
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def _versions() -> dict[str, str]:
    versions = {"detectron2": detectron2.__version__}  # its distributions have several names
    for name in _PACKAGES:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:  # a source tree
            versions[name] = "unknown"
    return versions


def _device_name(device: str) -> str:
    if device.startswith("cuda") and torch.cuda.is_available():
        return f"{device} ({torch.cuda.get_device_name(device)})"
    return device
