"""Label maps: a PNG of class ids, as the model counts them, for each picture in ``masks/``.

The largest value, 255 or 65535, is a pixel of no class; ``classes.json`` names the others.
"""

import json
from pathlib import Path

from .common import Run, put

TASKS = ("semantic",)
THRESHOLD = None
FOLDER, CLASSES = "masks", "classes.json"


def write(output: Path, run: Run) -> list[Path]:
    """Write the PNGs and the names; return their paths."""
    (output / FOLDER).mkdir(exist_ok=True)
    for record in run.records():
        put(output / FOLDER / f"{record.stem}.png", record.png)
    names = list(run.metadata.get("stuff_classes") or ())
    put(output / CLASSES, (json.dumps(names, indent=1) + "\n").encode())
    return [output / FOLDER, output / CLASSES]
