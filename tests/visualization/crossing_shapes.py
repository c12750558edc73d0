"""A video of five shapes on crossing paths, with what a model would find in it."""

from collections.abc import Iterator

import cv2
import numpy as np
import torch
from detectron2.structures import Instances

NUM_FRAMES, SIZE = 60, (96, 144)
COLORS = ((230, 60, 60), (60, 200, 60), (60, 90, 230), (230, 200, 40), (200, 60, 200))


def _positions(rng: np.random.Generator, size: tuple[int, int]) -> np.ndarray:
    """(5, NUM_FRAMES, 2) centres (x, y): each crosses the picture, not far from its middle."""
    h, w = size
    angles = np.arange(5) * 2 * np.pi / 5 + rng.uniform(0, 2 * np.pi)
    starts = np.stack([np.cos(angles), np.sin(angles)], 1) * (0.42 * w, 0.42 * h)
    miss = rng.uniform(-0.25, 0.25, (5, 2)) * (w, h)
    times = np.linspace(1, -1, NUM_FRAMES)[None, :, None]
    speeds = rng.uniform(0.8, 1.2, (5, 1, 1))
    return starts[:, None] * times * speeds + miss[:, None] + np.array([w / 2, h / 2])


def masks_of_frames(seed: int, size: tuple[int, int] = SIZE) -> Iterator[np.ndarray]:
    """Each frame's shapes as (5, H, W) bool, the later ones in front of the earlier."""
    rng = np.random.default_rng(seed)
    positions, radii = _positions(rng, size), rng.uniform(0.09, 0.13, 5) * size[0]
    for frame in range(NUM_FRAMES):
        masks = np.zeros((5, *size), np.uint8)
        for i, ((x, y), radius) in enumerate(zip(positions[:, frame], radii, strict=True)):
            if i % 2:
                corners = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]]) * radius * 0.9 + (x, y)
                cv2.fillPoly(masks[i], [np.rint(corners).astype(np.int32)], 1)
            else:
                cv2.circle(masks[i], (round(x), round(y)), round(radius), 1, -1)
        for i in range(4):
            masks[i] &= ~masks[i + 1 :].any(0)
        yield masks.astype(bool)


def found_in(
    masks: np.ndarray, categories: list[int], rng: np.random.Generator
) -> tuple[Instances, list[int]]:
    """What a model finds of a frame, and which shape each is: shifted by up to a pixel, ragged at
    the border, missing in one of twelve cases, in any order."""
    found, shapes = [], []
    for i in rng.permutation(len(masks)).tolist():
        if masks[i].sum() < 12 or rng.random() < 1 / 12:
            continue
        shift = np.array([[1, 0, rng.integers(-1, 2)], [0, 1, rng.integers(-1, 2)]], float)
        mask = cv2.warpAffine(masks[i].astype(np.uint8), shift, masks[i].shape[::-1])
        edge = cv2.dilate(mask, np.ones((3, 3))) - cv2.erode(mask, np.ones((3, 3)))
        mask ^= (edge > 0) & (rng.random(mask.shape) < 0.3)
        found.append(mask.astype(bool))
        shapes.append(i)
    stacked = (
        torch.from_numpy(np.array(found)) if found else torch.zeros(0, *masks.shape[1:]).bool()
    )
    classes = torch.tensor([categories[i] for i in shapes], dtype=torch.int64)
    scores = torch.from_numpy(rng.uniform(0.6, 1, len(shapes)))
    return Instances(
        masks.shape[1:], pred_masks=stacked, pred_classes=classes, scores=scores
    ), shapes


def num_switches(ids: list[dict[int, int]]) -> int:
    """Of {shape: id} in each frame: how often a shape has another id than when last seen."""
    last: dict[int, int] = {}
    switches = 0
    for frame in ids:
        switches += sum(last.get(shape, number) != number for shape, number in frame.items())
        last.update(frame)
    return switches
