"""A model that finds what a picture is painted with: exact results, whatever it is shown.

Colours (v, v, v) with v = 100 + class are things, v = class - NUM_THINGS is stuff; a thing is what
hangs together.
"""

import numpy as np
import torch
from detectron2.structures import Boxes, Instances
from scipy import ndimage
from torch import nn

NUM_THINGS, NUM_CLASSES = 3, 5


class ColorModel(nn.Module):
    """``misread``: things of fewer pixels that an edge of the picture cuts are given another class,
    as models do that see a part of an object."""

    def __init__(self, misread: int = 0, boxes_only: bool = False) -> None:
        super().__init__()
        self.misread = misread
        self.boxes_only = boxes_only
        self.sizes: list[tuple[int, int]] = []

    def forward(self, batch: list[dict]) -> list[dict]:
        return [self.result(example) for example in batch]

    def result(self, example: dict) -> dict:
        values = example["image"][0].numpy().astype(int)
        self.sizes.append(values.shape)
        rows, columns = (
            (2 * np.arange(example.get(key, own)) + 1) * own // (2 * example.get(key, own))
            for key, own in zip(("height", "width"), values.shape, strict=True)
        )
        values = values[rows][:, columns]
        classes = np.where(values >= 100, values - 100, values + NUM_THINGS)
        masks, categories = self.things(classes)
        ids = np.zeros(classes.shape, np.int32)
        info = []
        for number, (mask, category) in enumerate(zip(masks, categories, strict=True), start=1):
            ids[mask] = number
            info.append({"id": number, "isthing": True, "category_id": category, "score": 0.9})
        for category in range(NUM_THINGS, NUM_CLASSES):
            if (classes == category).any():
                ids[classes == category] = len(info) + 1
                info.append({"id": len(info) + 1, "isthing": False, "category_id": category})
        scores = torch.from_numpy(np.stack([classes == c for c in range(NUM_CLASSES)])).float()
        return {
            "sem_seg": scores,
            "instances": self.instances(masks, categories, classes.shape),
            "panoptic_seg": (torch.from_numpy(ids), info),
        }

    def things(self, classes: np.ndarray) -> tuple[list[np.ndarray], list[int]]:
        masks, categories = [], []
        for category in range(NUM_THINGS):
            labels, number = ndimage.label(classes == category)
            for mask in (labels == i for i in range(1, number + 1)):
                edge = np.concatenate([mask[0], mask[-1], mask[:, 0], mask[:, -1]])
                is_cut = edge.any() and mask.sum() < self.misread
                masks.append(mask)
                categories.append((category + 1) % NUM_THINGS if is_cut else category)
        return masks, categories

    def instances(self, masks: list, categories: list, size: tuple[int, int]) -> Instances:
        found = Instances(size)
        tensor = torch.from_numpy(np.array(masks, bool).reshape(-1, *size))
        found.pred_boxes = Boxes(torch.tensor([box_of(m) for m in masks]).reshape(-1, 4).float())
        if not self.boxes_only:
            found.pred_masks = tensor
        found.scores = torch.linspace(0.9, 0.5, len(masks))
        found.pred_classes = torch.tensor(categories, dtype=torch.int64)
        return found


def box_of(mask: np.ndarray) -> list[int]:
    rows, columns = np.nonzero(mask)
    return [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]


def scene(height: int, width: int, seed: int, radius: int = 9) -> torch.Tensor:
    """(3, H, W) uint8: two kinds of stuff, and discs and squares that do not touch, in every cell
    of a grid at random places, so that many lie on the seams of any tiling."""
    random = np.random.default_rng(seed)
    values = np.zeros((height, width), np.uint8)
    values[:, width // 3 :] = 1
    y, x = np.mgrid[:height, :width]
    cell = 2 * radius + 8
    for top in range(0, height - cell + 1, cell):
        for left in range(0, width - cell + 1, cell):
            size = random.integers(radius // 2, radius + 1)
            center = (
                top + 2 + size + random.integers(0, cell - 2 * size - 3),
                left + 2 + size + random.integers(0, cell - 2 * size - 3),
            )
            dy, dx = abs(y - center[0]), abs(x - center[1])
            inside = (
                dy**2 + dx**2 <= size**2 if random.random() < 0.5 else np.maximum(dy, dx) < size
            )
            values[inside] = 100 + random.integers(NUM_THINGS)
    return torch.from_numpy(np.repeat(values[None], 3, 0))
