"""What the tests of the referring evaluator share: six expressions in two pictures."""

from collections.abc import Sequence

import numpy as np
import pycocotools.mask as mask_util
import torch
from detectron2.structures import Instances

from d2seg.evaluation import ReferringEvaluator

NAME = "evaluation_test_referring"


def box(size: tuple[int, int], *boxes: tuple[int, int, int, int]) -> np.ndarray:
    """(H, W) bool, True in boxes (x0, y0, x1, y1)."""
    mask = np.zeros(size, dtype=bool)
    for x0, y0, x1, y1 in boxes:
        mask[y0:y1, x0:x1] = True
    return mask


def polygon(x0: int, y0: int, x1: int, y1: int) -> list[list[int]]:
    return [[x0, y0, x1, y0, x1, y1, x0, y1]]


def rle(mask: np.ndarray) -> dict:
    return mask_util.encode(np.asfortranarray(mask, dtype=np.uint8))


def expression(number: int, target: object, segmentation: object, **more: str) -> dict:
    sentence = {"sentence": f"expression {number}"}
    return {"id": number, **sentence, "annotation_id": target, "segmentation": segmentation, **more}


FIRST, SECOND = (10, 12), (6, 8)  # height, width
LEFT, RIGHT = (0, 0, 4, 5), (6, 0, 10, 5)  # two objects of 20 pixels
PAIR = box(SECOND, (0, 0, 2, 3), (4, 3, 6, 6))  # two annotations, 12 pixels


def dicts() -> list[dict]:
    first = [
        expression(1, 101, polygon(*LEFT), kind="place"),
        expression(2, 102, polygon(*RIGHT), kind="place"),
        expression(3, 101, polygon(*LEFT), kind="size"),
    ]
    second = [
        expression(4, None, None),
        expression(5, None, None),
        expression(6, [103, 104], rle(PAIR)),
    ]
    return [picture("a.png", FIRST, first), picture("b.png", SECOND, second)]


def picture(name: str, size: tuple[int, int], expressions: list[dict]) -> dict:
    height, width = size
    record = {"file_name": name, "image_id": name[0], "height": height, "width": width}
    return {**record, "expressions": expressions}


MASKS = {
    1: box(FIRST, (0, 0, 4, 4)),  # 16 of 20; nothing of the right one
    2: box(FIRST, LEFT),  # 0 of 20, union 40; all of the left one
    3: box(FIRST, (0, 0, 2, 5), RIGHT),  # 10 of 20, union 40; 20 of the right one, union 30
    4: box(SECOND),  # nothing, as it should be
    5: box(SECOND, (0, 0, 3, 1)),  # 3 pixels, and there is no target
    6: PAIR,
}


def entries(*numbers: int) -> dict:
    return {"expressions": [{"id": n, "sentence": f"expression {n}"} for n in numbers]}


def output(masks: Sequence[np.ndarray], scores: Sequence[float] | None = None) -> dict:
    stacked = torch.from_numpy(np.stack(masks)) if masks else torch.zeros(0, 6, 8).bool()
    found = Instances(tuple(stacked.shape[1:]), pred_masks=stacked)
    found.scores = torch.tensor(scores if scores else [0.5] * len(stacked))
    found.expressions = [""] * len(stacked)
    return {"referring": found}


def predicted(*numbers: int) -> tuple[dict, dict]:
    """A model's input and its output."""
    return entries(*numbers), output([MASKS[n] for n in numbers], [n / 10 for n in numbers])


def scored(evaluator: ReferringEvaluator, *batches: list[tuple[dict, dict]]) -> dict:
    evaluator.reset()
    for batch in batches:
        evaluator.process([pair[0] for pair in batch], [pair[1] for pair in batch])
    return evaluator.evaluate()
