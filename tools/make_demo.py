#!/usr/bin/env python
"""What ``make demo`` runs: train a small model on the embedded data set, score it and draw it.

The same two commands can be typed by hand; each is shown before it runs. An interrupted demo goes
on where it stopped, a finished one is scored and drawn again; but where the config has changed
since, it starts anew.
"""

import json
import shlex
import shutil
import subprocess
import sys
import time
from pathlib import Path

from d2seg_process import prepare_process

prepare_process()  # before the imports that warn

from d2seg.cli.messages import Parser
from d2seg.config.loading import load_config
from d2seg.data.shapes import ensure_shapes, shapes_folder
from d2seg.data.shapes.generate import NUM_IMAGES
from d2seg.names import printable

REPO = Path(__file__).resolve().parents[1]
CONFIG = Path("configs/mask2former/shapes_panoptic_small.yaml")
OUTPUT = Path("output/demo")
NUM_PICTURES = 12
SCORES = {  # what is printed: where detectron2's evaluators put it
    "panoptic quality (PQ)": ("panoptic_seg", "PQ"),
    "semantic mIoU": ("sem_seg", "mIoU"),
    "instance mask AP": ("segm", "AP"),
}


def run(*command: str) -> None:
    print(f"\n$ {printable(shlex.join(command))}", flush=True)
    done = subprocess.run([sys.executable, *command[1:]], cwd=REPO, check=False)
    if done.returncode:
        sys.exit(done.returncode)


def remove_other_run(output: Path) -> None:
    """Remove a run of this demo with another config; a new run gets its config beside it."""
    record = output / "demo_config.yaml"
    resolved = load_config(str(REPO / CONFIG)).dump()
    if record.exists() and record.read_text() != resolved:
        print(f"{CONFIG} has changed since the run in {OUTPUT}; starting anew", flush=True)
        shutil.rmtree(output)
    if not (output / "last_checkpoint").exists():
        output.mkdir(parents=True, exist_ok=True)
        record.write_text(resolved)


def val_pictures() -> list[str]:
    folder = shapes_folder()
    ensure_shapes(folder)
    return [str(path) for path in sorted((folder / "images_val").iterdir())[:NUM_PICTURES]]


def main() -> None:
    parser = Parser(description=__doc__)
    parser.add_argument("--device", default="cpu", help="cpu, cuda or cuda:N")
    device = ("MODEL.DEVICE", parser.parse_args().device)
    start = time.monotonic()

    remove_other_run(REPO / OUTPUT)
    config = ("--config-file", str(CONFIG))
    run("python", "train_net.py", *config, "--resume", *device, "OUTPUT_DIR", str(OUTPUT))
    weights = ("MODEL.WEIGHTS", str(OUTPUT / "model_final.pth"))
    pictures = OUTPUT / "pictures"
    inputs = ("--input", *val_pictures(), "--output", str(pictures))
    run("python", "demo.py", *config, *inputs, "--opts", *weights, *device)

    results = json.loads((REPO / OUTPUT / "results.json").read_text())
    seconds = time.monotonic() - start
    print(f"\nDone in {seconds:.0f} seconds. On {NUM_IMAGES['val']} held-out images:")
    for name, (group, metric) in SCORES.items():
        print(f"  {name:<22} {results[group][metric]:5.1f}")
    print("Pictures:")
    for path in sorted((REPO / pictures).iterdir()):
        print(f"  {printable(path.relative_to(REPO))}")


if __name__ == "__main__":
    main()
