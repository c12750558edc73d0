#!/usr/bin/env python
"""Over-fits a model to the first images of a data set and scores it on the same images.

    python tools/overfit.py --config-file configs/maskformer/coco_panoptic_resnet50_overfit.yaml
    python tools/overfit.py --config-file my.yaml --num-images 8 SOLVER.MAX_ITER 300

The quickest proof that a model, its mapper and its evaluators fit together: whatever learns at all
learns four images. The config's training set is used; choose an augmentation that leaves the images
nearly alone.
"""

import argparse
import json
import logging
import sys
import time
from pathlib import Path

from d2seg_process import prepare_process

prepare_process()  # before the imports that warn

from detectron2.config import CfgNode
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.engine import default_argument_parser
from detectron2.utils import comm

from d2seg.cli.messages import Parser
from d2seg.data.dicts import load_dicts
from d2seg.data.json_files import read_json
from d2seg.engine import Trainer, run, setup
from d2seg.engine.prepare import check_evaluation

logger = logging.getLogger("d2seg.overfit")


def main(args: argparse.Namespace) -> int:
    cfg = setup(args)
    cfg.defrost()
    few = register_first_images(cfg.DATASETS.TRAIN[0], args.num_images, Path(cfg.OUTPUT_DIR))
    cfg.DATASETS.TRAIN = cfg.DATASETS.TEST = (few,)
    cfg.freeze()
    if comm.is_main_process():
        check_evaluation(cfg)
    trainer = Trainer(cfg)
    trainer.resume_or_load(resume=args.resume)
    start = time.perf_counter()
    results = trainer.train()
    if results and trainer.exit_code == 0:
        report(cfg, results, time.perf_counter() - start)
    return trainer.exit_code


def register_first_images(name: str, num_images: int, output: Path) -> str:
    """Register the first images of a data set as one of its own, and return its name.

    The annotation files that evaluators read are written anew, with these images alone, in
    ``output``.

    Raises:
        ValueError: ``num_images`` is not from 1 to the size of the data set; or as
            :func:`load_dicts`.
    """
    entries = load_dicts(name)
    if not 1 <= num_images <= len(entries):
        raise ValueError(
            f"--num-images is {num_images}, but {name} has {len(entries)} images; give 1 or more"
        )
    entries = [entries[number] for number in range(num_images)]
    metadata = MetadataCatalog.get(name).as_dict()
    image_ids = {entry.get("image_id") for entry in entries}
    for key in ("json_file", "panoptic_json"):
        if metadata.get(key):
            metadata[key] = write_subset(Path(metadata[key]), image_ids, output)
    few = f"{name}_first_{num_images}"
    DatasetCatalog.register(few, lambda: entries)
    MetadataCatalog.get(few).set(**{**metadata, "name": few})
    return few


def write_subset(annotations: Path, image_ids: set, output: Path) -> str:
    """Copy a COCO JSON to ``output``, with the images of these ids alone; return the copy's path.

    COCO's panoptic entries carry their image's id as the stem of its file.
    """
    content = read_json(annotations)
    wanted = {str(image_id).lstrip("0") for image_id in image_ids}
    for part, key in (("images", "id"), ("annotations", "image_id")):
        content[part] = [row for row in content[part] if str(row[key]).lstrip("0") in wanted]
    copy = output / f"first_{len(image_ids)}_{annotations.name}"
    if comm.is_main_process():
        copy.write_text(json.dumps(content))
    comm.synchronize()  # the others read it
    return str(copy)


def report(cfg: CfgNode, results: dict[str, dict], seconds: float) -> None:
    """Log the main score of each task, and the time."""
    main_scores = {"panoptic_seg": "PQ", "segm": "AP", "sem_seg": "mIoU"}
    scores = ", ".join(
        f"{key} {results[task][key]:.1f}" for task, key in main_scores.items() if task in results
    )
    logger.info("%s on %s after %.0f s", scores, cfg.DATASETS.TEST[0], seconds)


if __name__ == "__main__":
    parents = [default_argument_parser(epilog=None)]  # which has -h
    parser = Parser(description=__doc__, parents=parents, add_help=False)
    parser.add_argument("--num-images", type=int, default=4, help="default: 4")
    sys.exit(run(main, parser.parse_args()))
