"""Times readers of data files, and training mappers, against those of another tree of this project.

    git worktree add ../old 1812e9a
    python tools/benchmarking/reading.py --old ../old/projects [--repeats 40]

Each tree's readers run in a process of their own, in turn on the same files, which are made for
the purpose; CPU time, so that a busy machine counts little. Printed: the new time, the median
of the ratios new / old of the turns, and the ratio of the fastest ones, which a machine whose speed
varies from turn to turn changes less. COCO files are of 2000 pictures with 8 objects each.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

REPO = Path(__file__).resolve().parents[2]
HEIGHT, WIDTH = 480, 640
NUM_PICTURES, NUM_OBJECTS = 2000, 8
# Reads requests "kind file repeats" and answers with seconds. Runs on either tree, so it looks for
# functions where that has them.
WORKER = """
import importlib.util, numpy, os, sys, time, torch
sys.path.insert(0, sys.argv[1])
import d2seg
assert d2seg.__file__.startswith(sys.argv[1]), d2seg.__file__
if importlib.util.find_spec("d2seg_process"):  # as scripts do; the import did it once
    importlib.import_module("d2seg_process").keep_freed_memory()

def find(name, *modules):
    for module in modules:
        try:
            return getattr(importlib.import_module(module), name)
        except (ImportError, AttributeError):
            pass
    raise SystemExit(f"{sys.argv[1]} has no {name}")

image = find("read_image", "d2seg.pictures") if importlib.util.find_spec("d2seg.pictures") else (
    find("_read_image", "d2seg.data.mappers"))
places = "d2seg.data.datasets.json_loaders", "d2seg.data.datasets.loaders"
instances, panoptic = find("load_instances", *places), find("load_panoptic", *places)
things = {"thing_dataset_id_to_contiguous_id": {1: 0, 2: 1}}
readers = {
    "picture": lambda file: image(file, "RGB"),
    "labels": find("read_labels", "d2seg.data.label_maps"),
    "ids": find("read_id_map", "d2seg.data.label_maps"),
    "instances": lambda file: instances(file, "images", things),
    "panoptic": lambda file: panoptic(
        file, "images", "png", {**things, "stuff_dataset_id_to_contiguous_id": {}}),
}
load_config = find("load_config", "d2seg.config.loading", "d2seg.configuration")
build_mapper = find("build_mapper", "d2seg.data.mappers")
for name in ("ade20k", "cityscapes"):
    config = os.path.join(sys.argv[1], f"../configs/mask2former/{name}_semantic_resnet50.yaml")
    mapper = build_mapper(load_config(os.path.realpath(config)), True)
    readers[name] = lambda file, mapper=mapper: mapper(
        {"file_name": file, "sem_seg_file_name": file + ".labels.png"})
torch.set_num_threads(1)
if hasattr(os, "sched_setaffinity"):  # both sides on one core: another may be a busier one
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
answers = os.fdopen(os.dup(1), "w")
os.dup2(2, 1)  # loaders print
for line in sys.stdin:
    kind, file, repeats = line.rstrip("\\n").split("\\t")
    read = readers[kind]
    numpy.random.seed(0)  # the same crops in every turn
    start = time.process_time()
    for _ in range(int(repeats)):
        read(file)
    seconds = time.process_time() - start
    answers.write(f"{seconds / int(repeats)}\\n")
    answers.flush()
"""


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--old", required=True, help="the folder projects/ of the other tree")
    parser.add_argument("--repeats", type=int, default=40, help="turns; default: 40")
    parser.add_argument("--only", nargs="+", metavar="FILE", help="of those printed; default: all")
    args = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as folder:
        files = make_files(Path(folder))
        sides = [start(REPO / "projects"), start(Path(args.old).resolve())]
        print(f"{'file':<24}{'new, ms':>10}{'new / old':>12}{'fastest':>10}")
        for name, (kind, file, reads) in files.items():
            if args.only is not None and name not in args.only:
                continue
            turns = [
                [ask(side, kind, file, reads) for side in sides] for _ in range(args.repeats + 1)
            ][1:]  # the first one fills caches
            ratio = statistics.median(new / old for new, old in turns)
            milliseconds = 1000 * statistics.median(new for new, _ in turns)
            fastest = [min(of_side) for of_side in zip(*turns, strict=True)]
            line = f"{name:<24}{milliseconds:>10.2f}{ratio:>12.3f}{fastest[0] / fastest[1]:>10.3f}"
            print(line, flush=True)
        for side in sides:
            side.stdin.close()
            side.wait()


def start(projects: Path) -> Any:
    return subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", WORKER, str(projects)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )


def ask(side: Any, kind: str, file: Path, reads: int) -> float:
    side.stdin.write(f"{kind}\t{file}\t{reads}\n")
    side.stdin.flush()
    return float(side.stdout.readline())


def make_files(folder: Path) -> dict[str, tuple[str, Path, int]]:
    """Name, and kind, file and reads of one turn: about 50 ms of them."""
    rows, columns = np.mgrid[:HEIGHT, :WIDTH]
    waves = [np.sin(rows / (17 + i) + i) + np.cos(columns / (23 - i)) for i in range(3)]
    picture = (64 * np.stack(waves, axis=-1) + 128).astype(np.uint8)
    blocks = (rows // 60 * 11 + columns // 60).astype(np.uint8)
    ids = np.stack([blocks, blocks // 2, blocks * 0], axis=-1)
    arrays = {
        "picture.jpg": ("picture", picture, 10),
        "picture.png": ("picture", picture, 6),
        "small picture.jpg": ("picture", picture[:64, :64], 300),
        "labels.png": ("labels", blocks, 40),
        "labels of 16 bits.tif": ("labels", blocks.astype(np.uint16), 60),
        "small labels.png": ("labels", blocks[:64, :64], 600),
        "segments.png": ("ids", ids, 16),
    }
    files = {}
    for name, (kind, array, reads) in arrays.items():
        Image.fromarray(array).save(folder / name)
        files[name] = (kind, folder / name, reads)
    tall = np.tile(picture, (3, 4, 1)), np.tile(blocks % 19, (3, 4))
    for kind, name, (height, width) in (
        ("ade20k", "crop of 512.jpg", (512, 683)),
        ("cityscapes", "crop of 512 x 1024.png", (1024, 2048)),
    ):
        Image.fromarray(tall[0][:height, :width]).save(folder / name)
        Image.fromarray(tall[1][:height, :width]).save(folder / f"{name}.labels.png")
        files[name] = (kind, folder / name, 16)  # as many as ADE20K has sizes
    for kind in ("instances", "panoptic"):
        files[f"{kind}.json"] = (kind, folder / f"{kind}.json", 1)
        (folder / f"{kind}.json").write_text(json.dumps(coco(kind == "panoptic")))
    return files


def coco(is_panoptic: bool) -> dict[str, Any]:
    """Polygons of 20 points, or segments, in COCO's format."""
    angles = np.linspace(0, 2 * np.pi, 20, endpoint=False)
    outline = np.stack([50 + 30 * np.cos(angles), 60 + 40 * np.sin(angles)], axis=-1)
    outline = outline.ravel().round(2).tolist()
    pictures = [
        {"id": i, "file_name": f"{i:06d}.jpg", "height": HEIGHT, "width": WIDTH}
        for i in range(NUM_PICTURES)
    ]
    common = {"area": 3770, "bbox": [20, 20, 60, 80], "iscrowd": 0}
    if is_panoptic:
        annotations = [
            {
                "image_id": i,
                "file_name": f"{i:06d}.png",
                "segments_info": [
                    {"id": 1 + k, "category_id": 1 + k % 2, **common} for k in range(NUM_OBJECTS)
                ],
            }
            for i in range(NUM_PICTURES)
        ]
    else:
        annotations = [
            {
                "id": 1 + i,
                "image_id": i // NUM_OBJECTS,
                "category_id": 1 + i % 2,
                "segmentation": [outline],
                **common,
            }
            for i in range(NUM_PICTURES * NUM_OBJECTS)
        ]
    categories = [{"id": i, "name": f"thing {i}", "isthing": 1} for i in (1, 2)]
    return {"images": pictures, "annotations": annotations, "categories": categories}


if __name__ == "__main__":
    main()
