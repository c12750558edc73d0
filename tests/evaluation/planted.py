"""A known truth and a prediction of it with a known number of errors of each kind.

30 pictures of 96x128 with 2 x 2 objects of three classes on two kinds of stuff; 120 objects, of
which 30 get another class, 20 a second detection, 10 none and 15 a mask that is shifted by half.
"""

import json
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
import torch
from detectron2.structures import Boxes, Instances

from d2seg.data.label_maps import write_id_map
from evaluation.evaluation_cases import register

NUM_IMAGES, HEIGHT, WIDTH = 30, 96, 128
THINGS, STUFF = ("disc", "box", "</script><b>"), ("sky", "ground")
NUM_THINGS = len(THINGS)
SWAPS, DUPLICATES, MISSES, SHIFTS = 30, 20, 10, 15
NUM_OBJECTS = 4 * NUM_IMAGES
SIZE = 28  # of an object
NAMES = {task: f"planted_{task}" for task in ("instance", "semantic", "panoptic")}


@dataclass
class Planted:
    """What is registered, and what a model says of it, by index of the picture."""

    names: dict[str, str]
    file_names: list[str]
    truth: list[np.ndarray]  # (H, W) classes: things, then stuff
    labels: list[np.ndarray]  # likewise predicted
    instances: list[Instances] = field(default_factory=list)
    panoptic: list[tuple[torch.Tensor, list[dict]]] = field(default_factory=list)


def plant(folder: Path) -> Planted:
    """Write and register the data set, and make the predictions."""
    for name in ("pictures", "labels", "panoptic"):
        (folder / name).mkdir(parents=True)
    planted = Planted(dict(NAMES), [], [], [])
    coco = {"images": [], "annotations": [], "categories": _categories(THINGS)}
    panoptic = {**coco, "images": coco["images"], "annotations": []}
    panoptic["categories"] = [
        {"id": i + 1, "name": name, "isthing": int(i < NUM_THINGS)}
        for i, name in enumerate((*THINGS, *STUFF))
    ]
    kinds = _kinds()
    for index in range(NUM_IMAGES):
        masks = [_object(4 * index + k) for k in range(4)]
        classes = [(4 * index + k) % NUM_THINGS for k in range(4)]
        ids, truth = _maps(masks, classes)
        stem = f"{index:03d}"
        file_name = str(folder / "pictures" / f"{stem}.png")
        cv2.imwrite(file_name, _picture(truth))
        cv2.imwrite(str(folder / "labels" / f"{stem}.png"), truth.astype(np.uint8))
        write_id_map(str(folder / "panoptic" / f"{stem}.png"), ids)
        image = {"id": index, "file_name": file_name, "height": HEIGHT, "width": WIDTH}
        coco["images"].append(image)
        coco["annotations"] += _annotations(index, masks, classes)
        segments = [{"id": k + 1, "category_id": c + 1} for k, c in enumerate(classes)]
        segments += [{"id": 5, "category_id": 4}, {"id": 6, "category_id": 5}]
        entry = {"image_id": index, "file_name": f"{stem}.png", "segments_info": segments}
        panoptic["annotations"].append(entry)
        planted.file_names.append(file_name)
        planted.truth.append(truth)
        _predict(planted, masks, classes, kinds[4 * index : 4 * index + 4])
    (folder / "instances.json").write_text(json.dumps(coco))
    (folder / "panoptic.json").write_text(json.dumps(panoptic))
    _register(folder, planted)
    return planted


def _kinds() -> list[str]:
    """What happens to each object, spread over the pictures."""
    kinds = ["swap"] * SWAPS + ["duplicate"] * DUPLICATES + ["miss"] * MISSES + ["shift"] * SHIFTS
    kinds += ["right"] * (NUM_OBJECTS - len(kinds))
    return [kinds[i] for i in np.random.default_rng(0).permutation(NUM_OBJECTS)]


def _object(number: int, shift: int = 0) -> np.ndarray:
    """(H, W) bool; objects of a picture lie more than a shift apart."""
    top, left = 10 + 44 * (number % 4 // 2), 8 + 60 * (number % 2) + shift
    mask = np.zeros((HEIGHT, WIDTH), bool)
    if number % NUM_THINGS == 0:
        y, x = np.mgrid[:HEIGHT, :WIDTH]
        mask[np.hypot(y - top - SIZE / 2, x - left - SIZE / 2) < SIZE / 2] = True
    else:
        mask[top : top + SIZE, left : left + SIZE] = True
    return mask


def _maps(masks: list[np.ndarray], classes: list[int]) -> tuple[np.ndarray, np.ndarray]:
    """Segment ids 1 to 6, and classes; the upper half is sky, the lower one ground."""
    ids = np.full((HEIGHT, WIDTH), 6)
    ids[: HEIGHT // 2] = 5
    labels = np.where(ids == 5, NUM_THINGS, NUM_THINGS + 1)
    for number, (mask, kind) in enumerate(zip(masks, classes, strict=True)):
        ids[mask], labels[mask] = number + 1, kind
    return ids, labels


def _predict(
    planted: Planted, masks: list[np.ndarray], classes: list[int], kinds: list[str]
) -> None:
    found: list[tuple[np.ndarray, int, float]] = []
    for number, (mask, kind, what) in enumerate(zip(masks, classes, kinds, strict=True)):
        score = 0.9 - 0.01 * number
        if what == "swap":
            kind = (kind + 1) % NUM_THINGS
        if what == "shift":  # by half: an IoU of 1/3 for a square
            mask = np.roll(mask, SIZE // 2, axis=1)
        if what != "miss":
            found.append((mask, kind, score))
        if what == "duplicate":
            found.append((mask, kind, score / 2))
    single = [(mask, kind) for mask, kind, score in found if score > 0.5]
    ids, labels = _maps([mask for mask, _ in single], [kind for _, kind in single])
    planted.labels.append(labels)
    ids[ids >= 5] += 10
    segments = [
        {"id": n + 1, "category_id": kind, "isthing": True} for n, (_, kind) in enumerate(single)
    ]
    segments += [{"id": i + 15, "category_id": NUM_THINGS + i, "isthing": False} for i in (0, 1)]
    planted.panoptic.append((torch.from_numpy(ids.astype(np.int32)), segments))
    instances = Instances((HEIGHT, WIDTH))
    instances.pred_masks = torch.from_numpy(np.array([mask for mask, *_ in found]))
    boxes = [[xs.min(), ys.min(), xs.max() + 1, ys.max() + 1] for ys, xs in _pixels(found)]
    instances.pred_boxes = Boxes(torch.tensor(np.array(boxes, np.float32).reshape(-1, 4)))
    instances.scores = torch.tensor([score for *_, score in found])
    instances.pred_classes = torch.tensor([kind for _, kind, _ in found])
    planted.instances.append(instances)


def _pixels(found: list[tuple[np.ndarray, int, float]]) -> list[tuple[np.ndarray, np.ndarray]]:
    return [np.nonzero(mask) for mask, *_ in found]


def _annotations(index: int, masks: list[np.ndarray], classes: list[int]) -> list[dict]:
    import pycocotools.mask as mask_util

    entries = []
    for number, (mask, kind) in enumerate(zip(masks, classes, strict=True)):
        rle = mask_util.encode(np.asfortranarray(mask, np.uint8))
        box = mask_util.toBbox(rle).tolist()
        rle["counts"] = rle["counts"].decode()
        entries.append(
            {
                "id": 4 * index + number + 1,
                "image_id": index,
                "category_id": kind + 1,
                "segmentation": rle,
                "bbox": box,
                "area": int(mask.sum()),
                "iscrowd": 0,
            }
        )
    return entries


def _categories(names: tuple[str, ...]) -> list[dict]:
    return [{"id": i + 1, "name": name} for i, name in enumerate(names)]


def _picture(labels: np.ndarray) -> np.ndarray:
    colors = np.array(
        [[40, 40, 200], [60, 160, 40], [200, 120, 30], [230, 200, 170], [90, 120, 120]]
    )
    noise = np.random.default_rng(0).integers(-12, 12, (*labels.shape, 3))
    return np.clip(colors[labels] + noise, 0, 255).astype(np.uint8)


def _register(folder: Path, planted: Planted) -> None:
    names = planted.names
    things = {i + 1: i for i in range(NUM_THINGS)}
    register(
        names["instance"],
        [],
        json_file=str(folder / "instances.json"),
        image_root="",
        thing_dataset_id_to_contiguous_id=things,
        thing_classes=list(THINGS),
    )
    dicts = [
        {"file_name": file, "sem_seg_file_name": file.replace("pictures", "labels"), "image_id": i}
        for i, file in enumerate(planted.file_names)
    ]
    register(names["semantic"], dicts, stuff_classes=[*THINGS, *STUFF], ignore_label=255)
    register(
        names["panoptic"],
        [],
        panoptic_json=str(folder / "panoptic.json"),
        panoptic_root=str(folder / "panoptic"),
        thing_dataset_id_to_contiguous_id=things,
        stuff_dataset_id_to_contiguous_id={i + 1: i for i in range(5)},
        label_divisor=1000,
    )
