"""The data set "shapes" with few pictures, which passes for the whole one."""

import json
from pathlib import Path

from d2seg.data.shapes.generate import NUM_IMAGES, ensure_shapes


def make_few_shapes(folder: Path, train: int, val: int) -> None:
    """Make it in ``folder``, of the first pictures of each split, unless there is one."""
    stamp_file = folder / "stamp.json"
    if stamp_file.exists():
        return
    try:
        ensure_shapes(folder, {"train": train, "val": val})
    except ValueError:
        if stamp_file.exists():  # another process has made the whole one meanwhile
            return
        raise
    stamp = json.loads(stamp_file.read_text())
    stamp["num_images"] = NUM_IMAGES
    stamp_file.write_text(json.dumps(stamp))
