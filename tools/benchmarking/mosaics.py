#!/usr/bin/env python
"""Scores of mosaics of "shapes" in tiles against the same pictures one by one, by a trained model.

    python tools/benchmarking/mosaics.py --sides 640 2048 --weights output/demo/model_final.pth \
        --config-file configs/mask2former/shapes_panoptic_small.yaml

Mosaics are laid of the pictures of the validation split, half a picture up and to the left, so that
the seams of tiles do not follow the pictures' borders. Tiles are as large as a picture is to the
model, and share half of that, or --overlap. An object of which the mosaic's edge leaves less than
"shapes" leaves of any object is in no score, for or against. Printed are PQ, mask AP (pycocotools)
and, at a score of 0.5, the number of instances; of mosaics also what the same pictures give one by
one, laid and cut as the mosaic has them.

A tile holds parts of several pictures, which no picture of "shapes" does. To see what tiles cost,
and not what the unknown does, train on windows of mosaics of the training split, beside its
pictures:

    python tools/benchmarking/mosaics.py --write-windows output/windows
    python train_net.py --config-file configs/mask2former/shapes_panoptic_small.yaml \
        DATASETS.DECLARATIONS "('output/windows/panoptic.yaml',)" \
        DATASETS.TRAIN "('windows_panoptic_train',)" OUTPUT_DIR output/on_windows \
        SOLVER.MAX_ITER 1300 MODEL.DEVICE cpu

or a model that sees objects by their surroundings alone, by detectron2's own training data:

    D2SEG_WINDOWS=output/windows python train_net.py --import tools.benchmarking.separated_windows \
        --config-file tools/benchmarking/panoptic_fpn.yaml OUTPUT_DIR output/panoptic_fpn \
        MODEL.DEVICE cpu
"""

import argparse
import contextlib
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from d2seg_process import prepare_process

prepare_process()  # before the imports that warn

import numpy as np
from detectron2.config import CfgNode
from detectron2.data import MetadataCatalog
from mosaic_scenes import (
    DATASET,
    Scene,
    are_things,
    coco_entry,
    joined_stuff,
    mosaics,
    singles,
    window_of,
    windows,
    write_windows,
)
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from tqdm import tqdm

from d2seg.acceleration import flush_denormals
from d2seg.config.loading import load_config
from d2seg.config.tasks import tasks_of
from d2seg.evaluation.panoptic_quality import PanopticQuality
from d2seg.prediction.building import build_predictor

COUNTED_SCORE = 0.5


class Found(NamedTuple):
    """panoptic: ids (H, W) and their segments; None of a model of instances alone. masks: (H, W)
    bool each."""

    panoptic: tuple[np.ndarray, list[dict[str, Any]]] | None
    masks: Sequence[np.ndarray]
    scores: list[float]
    classes: list[int]


class Scores:
    """PQ, AP and the number of instances of pictures."""

    def __init__(self) -> None:
        self._is_thing = are_things(MetadataCatalog.get(DATASET.format("val")))
        self._quality = PanopticQuality(
            [{"id": i, "isthing": int(thing)} for i, thing in enumerate(self._is_thing)]
        )
        self._truth: list[dict[str, Any]] = []
        self._found: list[dict[str, Any]] = []
        self._images: list[dict[str, Any]] = []
        self._num_found = 0
        self._is_panoptic = False

    def add(self, scene: Scene, found: Found) -> None:
        _, ids, segments = scene
        if found.panoptic is not None:
            self._quality.update(*found.panoptic, ids, segments)
            self._is_panoptic = True
        image = {"id": len(self._images) + 1, "height": ids.shape[0], "width": ids.shape[1]}
        self._images.append(image)
        for info in segments:
            if info["isthing"]:
                entry = coco_entry(ids == info["id"], info["category_id"], image["id"])
                crowd = info.get("iscrowd", 0)
                self._truth.append(entry | {"iscrowd": crowd, "id": len(self._truth) + 1})
        cut = np.isin(ids, [info["id"] for info in segments if info.get("iscrowd")])
        for mask, score, category in zip(found.masks, found.scores, found.classes, strict=True):
            self._found.append(coco_entry(mask, category, image["id"]) | {"score": score})
            is_counted = score >= COUNTED_SCORE and 2 * np.count_nonzero(mask & cut) <= mask.sum()
            self._num_found += int(is_counted)

    def __str__(self) -> str:
        quality = ""
        if self._is_panoptic:
            quality = f"PQ {100 * self._quality.compute()['All']['pq']:.1f}, "
        num_objects = sum(not truth["iscrowd"] for truth in self._truth)
        return (
            f"{len(self._images)} pictures, {quality}mask AP {self._precision():.1f}, "
            f"{self._num_found} instances found of {num_objects}"
        )

    def _precision(self) -> float:
        categories = [{"id": i} for i, is_thing in enumerate(self._is_thing) if is_thing]
        with contextlib.redirect_stdout(io.StringIO()):
            truth = COCO()
            truth.dataset = {
                "images": self._images,
                "annotations": self._truth,
                "categories": categories,
            }
            truth.createIndex()
            run = COCOeval(truth, truth.loadRes(self._found), "segm")
            run.params.maxDets = [1, 100, 100_000]
            run.evaluate()
            run.accumulate()
        precision = run.eval["precision"][:, :, :, 0, -1]  # all areas
        return 100 * float(precision[precision > -1].mean())


def predictors(cfg: CfgNode, side: int, pairs: list[Any]) -> dict[str, Any]:
    """Of the tasks that the model has."""
    cfg = cfg.clone()
    cfg.merge_from_list(["INPUT.MIN_SIZE_TEST", side, "INPUT.MAX_SIZE_TEST", side, *pairs])
    tasks = [task for task in ("panoptic", "instance") if task in tasks_of(cfg)]
    return {task: build_predictor(cfg, task) for task in tasks}


def in_one_numbering(segments: list[dict[str, Any]], num_things: int) -> list[dict[str, Any]]:
    """Segments of Panoptic FPN, which counts things from 0 and stuff from 1, with the classes of
    stuff after those of things."""
    return [
        info if info["isthing"] else info | {"category_id": num_things - 1 + info["category_id"]}
        for info in segments
    ]


class Laid(Sequence):
    """Masks of pictures where a mosaic has them, made when asked for.

    Args:
        parts: top left corner (y, x) in the mosaic, which may be outside, and mask of a picture.
        side: of the mosaic.
    """

    def __init__(self, parts: list[tuple[tuple[int, int], np.ndarray]], side: int) -> None:
        self._parts, self._side = parts, side

    def __len__(self) -> int:
        return len(self._parts)

    def __getitem__(self, index: int) -> np.ndarray:
        corner, part = self._parts[index]
        mask = np.zeros((self._side, self._side), bool)
        inside, seen = shared(corner, len(part), self._side)
        mask[inside] = part[seen]
        return mask


def shared(
    corner: tuple[int, int], length: int, side: int
) -> tuple[tuple[slice, ...], tuple[slice, ...]]:
    """What a mosaic and a picture have in common, in the mosaic and in the picture."""
    spans = [(max(0, start), min(side, start + length)) for start in corner]
    seen = [slice(a - start, b - start) for (a, b), start in zip(spans, corner, strict=True)]
    return tuple(slice(*span) for span in spans), tuple(seen)


def laid(found: list[Found], length: int, side: int) -> Found:
    """What was found in the pictures of a mosaic, where it has them, and cut as it is."""
    per_row = round(len(found) ** 0.5)
    ids, segments = np.zeros((side, side), np.int64), []
    parts, scores, classes = [], [], []
    for number, each in enumerate(found):
        corner = tuple(length * at - length // 2 for at in divmod(number, per_row))
        inside, seen = shared(corner, length, side)
        for mask, score, category in zip(each.masks, each.scores, each.classes, strict=True):
            if mask[seen].any():
                parts.append((corner, mask))
                scores.append(score)
                classes.append(category)
        for info in each.panoptic[1] if each.panoptic else ():
            # of no area yet, so that nothing that the mosaic cuts is taken for a crowd
            segments.append(info | {"id": len(segments) + 1, "area": 0})
            ids[inside][each.panoptic[0][seen] == info["id"]] = len(segments)
    panoptic = joined_stuff(ids, segments) if found[0].panoptic else None
    return Found(panoptic, Laid(parts, side), scores, classes)


def find(scenes: list[Scene], models: dict[str, Any], name: str, num_things: int) -> list[Found]:
    """``num_things``: of Panoptic FPN, else 0."""
    results = []
    for scene in tqdm(scenes, name):
        found = {task: model(scene[0], channel_order="RGB") for task, model in models.items()}
        panoptic, instances = None, found["instance"]["instances"]
        if "panoptic" in found:
            ids, segments = found["panoptic"]["panoptic_seg"]
            segments = in_one_numbering(segments, num_things) if num_things else segments
            panoptic = ids.numpy(), segments
        masks = [mask.numpy() for mask in instances.pred_masks]
        classes = instances.pred_classes.tolist()
        results.append(Found(panoptic, masks, instances.scores.tolist(), classes))
    return results


def show(name: str, scenes: list[Scene], found: list[Found]) -> None:
    scores = Scores()
    for scene, each in zip(scenes, found, strict=True):
        scores.add(scene, each)
    print(f"{name}: {scores}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--config-file", type=Path)
    parser.add_argument("--weights")
    parser.add_argument("--sides", type=int, nargs="+", default=[640, 2048])
    parser.add_argument("--number", type=int, help="of pictures; all if not given, or 1000 windows")
    parser.add_argument("--overlap", type=float, default=0.5, help="of tiles, as a share of one")
    parser.add_argument("--more", action="store_true", help="what tiles show, and mosaics whole")
    parser.add_argument("--write-windows", type=Path, metavar="FOLDER", help="and nothing more")
    args = parser.parse_args()
    if args.write_windows:
        write_windows(args.write_windows, args.number or 1000)
        return
    if not args.config_file or not args.weights:
        parser.error("--config-file and --weights name the model to be scored")
    fixed = ["MODEL.WEIGHTS", args.weights, "MODEL.DEVICE", "cpu"]
    if not 0 <= args.overlap < 1:
        parser.error(
            f"--overlap is {args.overlap:g}; it is a share of a tile, 0 or more and below 1"
        )
    cfg = load_config(str(args.config_file), fixed)
    if "instance" not in tasks_of(cfg):
        parser.error("--config-file is of a model without instances; TEST.TASKS needs instance")
    flush_denormals()
    own = cfg.INPUT.MIN_SIZE_TEST  # of a picture, to the model
    scenes = singles("val")[: args.number]
    length = len(scenes[0][0])
    is_fpn = cfg.MODEL.META_ARCHITECTURE == "PanopticFPN"
    num_things = cfg.MODEL.ROI_HEADS.NUM_CLASSES if is_fpn else 0

    def score(name: str, scenes: list[Scene], side: int, pairs: list[Any]) -> list[Found]:
        found = find(scenes, predictors(cfg, side, pairs), name, num_things)
        show(name, scenes, found)
        return found

    alone = score("pictures one by one", scenes, own, [])
    mirrored = ["TEST.AUG.ENABLED", True, "TEST.AUG.MIN_SIZES", (own,)]
    score("the same, with mirror images (TEST.AUG)", scenes, own, mirrored)
    for side in args.sides:
        shown = round(own * side / length)
        tiles = ["TEST.TILES.ENABLED", True, "TEST.TILES.SIZE", own]
        tiles += ["TEST.TILES.OVERLAP", round(args.overlap * own)]
        chosen = list(mosaics(len(scenes), length, side))
        corner = (length // 2, length // 2)
        pictures = [window_of([scenes[i] for i in each], corner, side) for each in chosen]
        name = f"pictures of mosaics {side}, one by one, laid as they are"
        pieces = [laid([alone[i] for i in each], length, side) for each in chosen]
        show(name, pictures, pieces)
        score(f"mosaics {side}, in tiles", pictures, shown, tiles)
        if args.more:
            step = max(1, round((1 - args.overlap) * length))
            parts = [part for each in pictures for part in windows(each, length, step)]
            score(f"what tiles of mosaics {side} show, one by one", parts, own, [])
            score(f"mosaics {side}, whole", pictures, shown, [])


if __name__ == "__main__":
    main()
