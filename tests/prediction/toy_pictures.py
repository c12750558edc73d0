"""A model that needs no time and no weights, and pictures for it."""

from pathlib import Path
from typing import Any

import detectron2.data.transforms as T
import numpy as np
import torch
from detectron2.data import Metadata
from detectron2.structures import Boxes, Instances
from PIL import Image
from torch import nn

from d2seg.config.loading import load_config
from d2seg.prediction.batch import BatchPredictor
from d2seg.prediction.predictor import Predictor


class Thresholds(nn.Module):
    """Labels a pixel by its red value, in 4 classes, and notes the sizes of its batches."""

    def __init__(self, task: str = "semantic", most: int = 1000) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))
        self.task, self.most = task, most
        self.batches: list[list[tuple[int, ...]]] = []

    def forward(self, batch: list[dict[str, Any]]) -> list[dict[str, Any]]:
        self.batches.append([tuple(example["image"].shape[1:]) for example in batch])
        if len(batch) > self.most:
            raise RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory")
        return [self.answer(example["image"][0].long() // 64) for example in batch]

    def answer(self, labels: torch.Tensor) -> dict[str, Any]:
        if self.task == "semantic":
            return {"sem_seg": labels}
        classes = labels.unique()
        masks = torch.stack([labels == number for number in classes])
        if self.task == "panoptic":
            infos = [{"id": int(c) + 1, "category_id": int(c), "isthing": c < 2} for c in classes]
            return {"panoptic_seg": (labels + 1, infos)}
        found = Instances(tuple(labels.shape))
        found.pred_masks, found.pred_classes = masks, classes
        found.scores = torch.linspace(0.9, 0.3, len(classes))
        height, width = labels.shape
        found.pred_boxes = Boxes(torch.tensor([[0.0, 0.0, width, height]] * len(classes)))
        return {"instances": found}


def toy_predictor(
    task: str = "semantic", batch_size: int | None = 4, most: int = 1000
) -> BatchPredictor:
    """A predictor with :class:`Thresholds` for a model; it cannot be pickled with it."""
    made = BatchPredictor(load_config(None), task, batch_size=batch_size, num_threads=2)
    made._predictor = Predictor(
        model=Thresholds(task, most),
        task=task,
        resize=T.RandomApply(T.NoOpTransform(), 0.0),
        image_format="RGB",
    )
    made._num_classes = 4
    return made


CLASSES = {
    "thing_classes": ["cat", "dog"],
    "stuff_classes": ["cat", "dog", "sky, heaven", "sea"],
    "thing_dataset_id_to_contiguous_id": {11: 0, 12: 1},
    "stuff_dataset_id_to_contiguous_id": {11: 0, 12: 1, 13: 2, 14: 3},
}


def toy_metadata() -> Metadata:
    return Metadata().set(**CLASSES)


def write_pictures(folder: Path, number: int, side: int = 64) -> Path:
    """PNG files 0001.png, ... of random blocks."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(number)
    for place in range(1, number + 1):
        blocks = rng.integers(0, 255, (4, 4, 3), np.uint8)
        pixels = blocks.repeat(side // 4, 0).repeat(side // 4, 1)
        Image.fromarray(pixels).save(folder / f"{place:04d}.png")
    return folder
