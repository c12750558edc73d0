#!/usr/bin/env python
"""Scores of mosaics of "shapes" in tiles against the same pictures one by one, by a trained model.

    python tools/benchmarking/mosaics.py --sides 640 2048 --weights output/demo/model_final.pth \
        --config-file configs/mask2former/shapes_panoptic_small.yaml

Mosaics are laid of the pictures of the validation split, half a picture up and to the left, so that
the seams of tiles do not follow the pictures' borders. Tiles are as large as a picture is to the
model, and share half of that. An object of which the mosaic's edge leaves less than "shapes" leaves
of any object is in no score, for or against. Printed are PQ, mask AP (pycocotools) and, at a score
of 0.5, the number of instances.

A tile holds parts of several pictures, which no picture of "shapes" does. To see what tiles cost,
and not what the unknown does, train on windows of mosaics of the training split, beside it:

    python tools/benchmarking/mosaics.py --write-windows output/windows
    python train_net.py --config-file configs/mask2former/shapes_panoptic_small.yaml \
        DATASETS.DECLARATIONS "('output/windows/windows.yaml',)" \
        DATASETS.TRAIN "('shapes_panoptic_train', 'windows_train')" OUTPUT_DIR output/on_windows \
        SOLVER.MAX_ITER 1300 MODEL.DEVICE cpu
"""

import argparse
import contextlib
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from d2seg_process import prepare_process

prepare_process()  # before the imports that warn

import cv2
import numpy as np
import pycocotools.mask as mask_util
from detectron2.config import CfgNode
from detectron2.data import DatasetCatalog, MetadataCatalog
from panopticapi.utils import id2rgb, rgb2id
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from tqdm import tqdm

from d2seg.config.loading import load_config
from d2seg.evaluation.panoptic_quality import PanopticQuality
from d2seg.pictures import read_image
from d2seg.prediction.building import build_predictor

DATASET = "shapes_panoptic_{}"
COUNTED_SCORE = 0.5
WHOLE_SHARE = 0.65  # of an object that the edge of a picture of "shapes" leaves, at least
Scene = tuple[np.ndarray, np.ndarray, list[dict[str, Any]]]  # picture, ids and their segments


def singles(split: str) -> list[Scene]:
    """Pictures (H, W, 3) RGB, ids (H, W) and their segments, with contiguous categories."""
    scenes = []
    for record in DatasetCatalog.get(DATASET.format(split)):
        ids = rgb2id(read_image(record["pan_seg_file_name"], "RGB"))
        scenes.append((read_image(record["file_name"], "RGB"), ids, record["segments_info"]))
    return scenes


def mosaics(scenes: list[Scene], side: int) -> Iterator[Scene]:
    """All scenes, each once where they fill the mosaics, else the first ones again."""
    length = scenes[0][1].shape[0]
    per_row = -(-(side + length // 2) // length)
    number = max(1, len(scenes) // per_row**2)
    for start in range(0, number * per_row**2, per_row**2):
        chosen = [scenes[(start + place) % len(scenes)] for place in range(per_row**2)]
        yield window_of(chosen, (length // 2, length // 2), side)


def window_of(scenes: list[Scene], corner: tuple[int, int], side: int) -> Scene:
    """Of the square that scenes make, row by row, what begins at ``corner`` (y, x)."""
    length, per_row = scenes[0][1].shape[0], round(len(scenes) ** 0.5)
    picture = np.zeros((per_row * length, per_row * length, 3), np.uint8)
    ids = np.zeros(picture.shape[:2], np.int64)
    segments: list[dict[str, Any]] = []
    for place, (image, own, infos) in enumerate(scenes):
        top, left = (length * at for at in divmod(place, per_row))
        part = slice(top, top + length), slice(left, left + length)
        picture[part] = image
        for info in infos:
            segments.append(info | {"id": len(segments) + 1})
            ids[part][own == info["id"]] = len(segments)
    window = tuple(slice(start, start + side) for start in corner)
    return picture[window], *joined_stuff(ids[window], segments)


def windows(scene: Scene, length: int) -> Iterator[Scene]:
    """Parts as large as a tile that share half of it, as tiles do, with the rest cut off."""
    picture, ids, segments = scene
    for top in range(0, len(picture) - length + 1, length // 2):
        for left in range(0, len(picture) - length + 1, length // 2):
            part = slice(top, top + length), slice(left, left + length)
            # numbers must be 1 .. of all
            yield picture[part], *joined_stuff(*numbered(ids[part], segments))


def numbered(
    ids: np.ndarray, segments: list[dict[str, Any]]
) -> tuple[np.ndarray, list[dict[str, Any]]]:
    """With ids 1 .. of all segments."""
    table = np.zeros(max(info["id"] for info in segments) + 1, np.int64)
    for number, info in enumerate(segments, start=1):
        table[info["id"]] = number
    return table[ids], [info | {"id": n} for n, info in enumerate(segments, start=1)]


def write_windows(folder: Path, number: int) -> None:
    """A panoptic data set of windows as large as a picture, anywhere in four pictures."""
    scenes, random = singles("train"), np.random.default_rng(0)
    length = scenes[0][1].shape[0]
    metadata = MetadataCatalog.get(DATASET.format("train"))
    images, annotations = [], []
    for name in ("images", "panoptic"):
        (folder / name).mkdir(parents=True)
    for index in tqdm(range(1, number + 1), "windows"):
        chosen = [scenes[i] for i in random.integers(len(scenes), size=4)]
        corner = tuple(random.integers(length + 1, size=2).tolist())
        picture, ids, segments = window_of(chosen, corner, length)
        file = f"{index:06d}.png"
        cv2.imwrite(str(folder / "images" / file), picture[..., ::-1])
        cv2.imwrite(str(folder / "panoptic" / file), id2rgb(ids)[..., ::-1])
        images.append({"id": index, "file_name": file, "height": length, "width": length})
        entries = [
            {**{key: info[key] for key in ("id", "area")}, "category_id": info["category_id"] + 1}
            for info in segments
        ]
        annotations.append({"image_id": index, "file_name": file, "segments_info": entries})
    categories = [
        {"id": i, "name": name, "isthing": int(i <= len(metadata.thing_classes))}
        for i, name in enumerate(metadata.stuff_classes, start=1)
    ]
    content = {"images": images, "annotations": annotations, "categories": categories}
    (folder / "panoptic.json").write_text(json.dumps(content))
    (folder / "windows.yaml").write_text(
        "name: windows\ntask: panoptic\nsplits:\n"
        "  train: {images: images, annotations: panoptic.json, panoptic: panoptic}\n"
    )


def joined_stuff(
    ids: np.ndarray, segments: list[dict[str, Any]]
) -> tuple[np.ndarray, list[dict[str, Any]]]:
    """One segment for each stuff class, and no segment without pixels; areas are counted anew."""
    first: dict[int, int] = {}
    table = np.zeros(len(segments) + 1, np.int64)
    for info in segments:
        number = info["id"]
        table[number] = number
        if not info["isthing"]:
            table[number] = first.setdefault(info["category_id"], number)
    ids = table[ids]
    areas = np.bincount(ids.ravel(), minlength=len(table))
    kept = []
    for info in segments:
        area = int(areas[info["id"]])
        is_cut = info["isthing"] and area < WHOLE_SHARE * info["area"]
        is_cut = is_cut or info.get("iscrowd", 0)
        if area:
            kept.append({**info, "area": area, "iscrowd": int(is_cut)})
    return ids, kept


class Scores:
    """PQ, AP and the number of instances of pictures."""

    def __init__(self) -> None:
        metadata = MetadataCatalog.get(DATASET.format("val"))
        self._is_thing = [
            i < len(metadata.thing_classes) for i in range(len(metadata.stuff_classes))
        ]
        self._quality = PanopticQuality(
            [{"id": i, "isthing": int(thing)} for i, thing in enumerate(self._is_thing)]
        )
        self._truth: list[dict[str, Any]] = []
        self._found: list[dict[str, Any]] = []
        self._images: list[dict[str, Any]] = []
        self._num_found = 0

    def add(self, scene: Scene, panoptic: tuple[Any, list], instances: Any) -> None:
        _, ids, segments = scene
        self._quality.update(panoptic[0].numpy(), panoptic[1], ids, segments)
        image = {"id": len(self._images) + 1, "height": ids.shape[0], "width": ids.shape[1]}
        self._images.append(image)
        for info in segments:
            if info["isthing"]:
                entry = self._entry(ids == info["id"], info["category_id"], image["id"])
                crowd = info.get("iscrowd", 0)
                self._truth.append(entry | {"iscrowd": crowd, "id": len(self._truth) + 1})
        cut = np.isin(ids, [info["id"] for info in segments if info.get("iscrowd")])
        rows = zip(instances.scores.tolist(), instances.pred_classes.tolist(), strict=True)
        for place, (score, category) in enumerate(rows):
            mask = instances.pred_masks[place].numpy()
            self._found.append(self._entry(mask, category, image["id"]) | {"score": score})
            is_counted = score >= COUNTED_SCORE and 2 * np.count_nonzero(mask & cut) <= mask.sum()
            self._num_found += int(is_counted)

    def _entry(self, mask: np.ndarray, category: int, image: int) -> dict[str, Any]:
        rle = mask_util.encode(np.asfortranarray(mask, np.uint8))
        box, area = mask_util.toBbox(rle).tolist(), float(mask_util.area(rle))
        return {
            "segmentation": rle,
            "category_id": category,
            "image_id": image,
            "bbox": box,
            "area": area,
        }

    def __str__(self) -> str:
        quality = self._quality.compute()["All"]["pq"]
        num_objects = sum(not truth["iscrowd"] for truth in self._truth)
        return (
            f"{len(self._images)} pictures, PQ {100 * quality:.1f}, "
            f"mask AP {self._precision():.1f}, {self._num_found} instances found of {num_objects}"
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
    cfg = cfg.clone()
    cfg.merge_from_list(["INPUT.MIN_SIZE_TEST", side, "INPUT.MAX_SIZE_TEST", side, *pairs])
    return {task: build_predictor(cfg, task) for task in ("panoptic", "instance")}


def score(scenes: list[Scene], models: dict[str, Any], name: str) -> None:
    scores = Scores()
    for scene in tqdm(scenes, name):
        panoptic = models["panoptic"](scene[0], channel_order="RGB")["panoptic_seg"]
        instances = models["instance"](scene[0], channel_order="RGB")["instances"]
        scores.add(scene, panoptic, instances)
    print(f"{name}: {scores}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--config-file", type=Path)
    parser.add_argument("--weights")
    parser.add_argument("--sides", type=int, nargs="+", default=[640, 2048])
    parser.add_argument("--number", type=int, help="of pictures; all if not given, or 1000 windows")
    parser.add_argument("--write-windows", type=Path, metavar="FOLDER", help="and nothing more")
    args = parser.parse_args()
    if args.write_windows:
        write_windows(args.write_windows, args.number or 1000)
        return
    if not args.config_file or not args.weights:
        parser.error("--config-file and --weights name the model to be scored")
    fixed = ["MODEL.WEIGHTS", args.weights, "MODEL.DEVICE", "cpu"]
    cfg = load_config(str(args.config_file), fixed)
    own = cfg.INPUT.MIN_SIZE_TEST  # of a picture, to the model
    scenes = singles("val")[: args.number]
    score(scenes, predictors(cfg, own, []), "pictures one by one")
    mirrored = ["TEST.AUG.ENABLED", True, "TEST.AUG.MIN_SIZES", (own,)]
    score(scenes, predictors(cfg, own, mirrored), "the same, with mirror images (TEST.AUG)")
    for side in args.sides:
        shown = round(own * side / scenes[0][1].shape[0])
        tiles = ["TEST.TILES.ENABLED", True, "TEST.TILES.SIZE", own, "TEST.TILES.OVERLAP", own // 2]
        laid = list(mosaics(scenes, side))
        parts = [part for scene in laid for part in windows(scene, len(scenes[0][0]))]
        score(parts, predictors(cfg, own, []), f"what tiles of mosaics {side} show, one by one")
        score(laid, predictors(cfg, shown, tiles), f"mosaics {side}, in tiles")
        score(laid, predictors(cfg, shown, []), f"mosaics {side}, whole")


if __name__ == "__main__":
    main()
