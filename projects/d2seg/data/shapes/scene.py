"""What a scene holds: regions of stuff and the objects on them, with their visible masks.

Masks and label maps are (SIZE, SIZE); x right, y down, in pixels. A pixel belongs to whatever
covers at least half of it; of several, to the one drawn last.
"""

import math
from dataclasses import dataclass, field

import numpy as np

from .categories import STUFF, THINGS
from .outlines import draw_outline, rasterize
from .textures import SIZE, RandomState

COLORS = ("red", "orange", "yellow", "green", "blue", "purple", "pink", "white")
# Each thing has a favourite colour: a hint, which lets small models get a start within minutes.
# What an object is remains told by its form.
FAVOURITE_COLORS = {
    "circle": "pink",
    "square": "blue",
    "triangle": "purple",
    "star": "yellow",
    "ring": "orange",
    "cross": "green",
    "heart": "red",
    "moon": "white",
}
FAVOURITE_SHARE = 0.75  # of a thing's objects; the rest draw any colour
NUM_OBJECTS = (3, 8)  # least and most of them in a scene
OBJECT_SIZE = (36.0, 110.0)  # pixels of the largest extent, when nothing hides or cuts it
MIN_VISIBLE_FRACTION = 0.65  # of an object's area, whether hidden or cut off by the border
MIN_VISIBLE_AREA = 110  # pixels of an object
MIN_STUFF_AREA = 600  # pixels of each stuff class that is present
_MIN_REGION_AREA = 0.07 * SIZE * SIZE  # before objects cover it
_NEAR_OTHER = 0.35  # share of objects that are put close to another one


@dataclass
class Region:
    """A region of one stuff class: ``distance`` (SIZE, SIZE) in pixels, positive inside."""

    name: str
    distance: np.ndarray


@dataclass
class SceneObject:
    """A thing; ``coverage`` and ``corner`` as of :func:`rasterize`.

    ``full_mask`` is bool (SIZE, SIZE), without the objects in front, but cut off at the border.
    At least ``least_visible`` pixels of it stay visible.
    """

    name: str
    color: str
    size: float
    center: tuple[float, float]
    coverage: np.ndarray
    corner: tuple[int, int]
    full_mask: np.ndarray
    least_visible: float


@dataclass
class Scene:
    """Regions and objects, in the order of drawing.

    ``stuff`` (SIZE, SIZE) indexes ``STUFF`` everywhere, under the objects too. ``front`` indexes
    what can be seen: ``STUFF`` followed by ``objects``.
    """

    regions: list[Region]
    stuff: np.ndarray
    front: np.ndarray
    objects: list[SceneObject] = field(default_factory=list)

    def mask_of(self, index: int) -> np.ndarray:
        """What can be seen of ``objects[index]``, bool (SIZE, SIZE)."""
        return self.front == len(STUFF) + index


def compose_scene(rng: RandomState) -> Scene:
    """Draw a random scene.

    Everything in it is really visible: an object that would be too small to see, or would hide too
    much of another object or of a stuff class, is not part of the scene.
    """
    while True:
        scene = _draw_regions(rng)
        num_objects = rng.randint(NUM_OBJECTS[0], NUM_OBJECTS[1] + 1)
        for _ in range(10 * num_objects):
            if len(scene.objects) == num_objects:
                break
            _try_to_add(scene, rng)
        if len(scene.objects) >= NUM_OBJECTS[0]:
            return scene


def _draw_regions(rng: RandomState) -> Scene:
    names = [c.name for c in STUFF]
    while True:
        chosen = list(rng.permutation(names)[: rng.choice((2, 3, 4), p=(0.35, 0.45, 0.2))])
        angle = rng.normal(0, 9)
        if rng.rand() < 0.2:
            angle = rng.uniform(0, 360)
        elif "sky" in chosen:  # on top, as in a landscape
            chosen.remove("sky")
            chosen.insert(0, "sky")
        has_island = len(chosen) > 2 and chosen[-1] != "sky" and rng.rand() < 0.5
        island = chosen.pop() if has_island else None
        regions = _draw_layers(chosen, angle, rng)
        if island is not None:
            regions.append(Region(island, _draw_island(rng)))
        stuff = np.zeros((SIZE, SIZE), np.uint8)
        for region in regions:
            stuff[region.distance >= 0] = names.index(region.name)
        areas = np.bincount(stuff.ravel())
        if (areas > 0).sum() == len(regions) and areas[areas > 0].min() >= _MIN_REGION_AREA:
            return Scene(regions, stuff, front=stuff.copy())


def _draw_layers(names: list[str], angle: float, rng: RandomState) -> list[Region]:
    """Bands, one below the other for an angle of 0 degrees, with wavy borders."""
    x, y = _centered_grid()
    cos, sin = math.cos(math.radians(angle)), math.sin(math.radians(angle))
    along, across = x * cos + y * sin, y * cos - x * sin
    steps_per_pixel = 8
    t = np.arange(-SIZE, SIZE, 1 / steps_per_pixel, dtype=np.float32)
    index = ((along + SIZE) * steps_per_pixel).astype(np.intp)
    regions = [Region(names[0], np.full((SIZE, SIZE), np.float32(SIZE)))]
    offsets = np.sort(rng.uniform(-0.33, 0.33, len(names) - 1)) * SIZE
    for name, offset in zip(names[1:], offsets, strict=True):
        border, slope = np.full_like(t, offset), np.zeros_like(t)
        for num_waves, largest in ((1.0, 20), (2.2, 9), (4.5, 4)):
            amplitude, phase = rng.uniform(0.2, 1) * largest, rng.uniform(0, 2 * math.pi)
            frequency = 2 * math.pi * num_waves * rng.uniform(0.7, 1.3) / SIZE
            border += amplitude * np.sin(frequency * t + phase)
            slope += amplitude * frequency * np.cos(frequency * t + phase)
        steepness = np.sqrt(1 + slope**2)
        regions.append(Region(name, (across - border[index]) / steepness[index]))
    return regions


def _draw_island(rng: RandomState) -> np.ndarray:
    """Signed distance (approximate) to the shore of a wavy oval, positive inside."""
    x, y = _centered_grid()
    x = x - rng.uniform(-0.3, 0.3) * SIZE
    y = (y - rng.uniform(-0.05, 0.35) * SIZE) * rng.uniform(1.1, 1.7)
    radius = np.full_like(x + y, rng.uniform(45, 80))
    angle = np.arctan2(y, x)
    for num_waves, largest in ((2, 0.16), (3, 0.1), (5, 0.05)):
        wave = np.sin(num_waves * angle + rng.uniform(0, 2 * math.pi))
        radius *= 1 + rng.uniform(0, 1) * largest * wave
    return radius - np.hypot(x, y)


def _centered_grid() -> tuple[np.ndarray, np.ndarray]:
    line = np.arange(SIZE, dtype=np.float32) + 0.5 - SIZE / 2
    return np.broadcast_to(line[None], (SIZE, SIZE)), np.broadcast_to(line[:, None], (SIZE, SIZE))


def _try_to_add(scene: Scene, rng: RandomState) -> None:
    """Add a random object, unless that breaks one of this module's bounds on what is visible."""
    name = THINGS[rng.randint(len(THINGS))].name
    color = COLORS[rng.randint(len(COLORS))]
    if rng.rand() < FAVOURITE_SHARE:
        color = FAVOURITE_COLORS[name]
    size = rng.uniform(*OBJECT_SIZE)
    center = tuple(rng.uniform(0.02, 0.98, 2) * SIZE)
    if scene.objects and rng.rand() < _NEAR_OTHER:
        other = scene.objects[rng.randint(len(scene.objects))]
        angle = rng.uniform(0, 2 * math.pi)
        distance = rng.uniform(0.45, 1.0) * (other.size + size) / 2
        center = (
            other.center[0] + distance * math.cos(angle),
            other.center[1] + distance * math.sin(angle),
        )
    coverage, corner = rasterize(draw_outline(name, rng), center, size)
    inside = coverage >= 0.5
    here, there = overlap(corner, coverage.shape)
    full_mask = np.zeros((SIZE, SIZE), bool)
    full_mask[there] = inside[here]
    least_visible = max(MIN_VISIBLE_AREA, MIN_VISIBLE_FRACTION * np.count_nonzero(inside))
    if np.count_nonzero(full_mask) < least_visible or _hides_too_much(scene, full_mask):
        return
    scene.front[full_mask] = len(STUFF) + len(scene.objects)
    scene.objects.append(
        SceneObject(name, color, size, center, coverage, corner, full_mask, least_visible)
    )


def _hides_too_much(scene: Scene, mask: np.ndarray) -> bool:
    num_labels = len(STUFF) + len(scene.objects)
    areas = np.bincount(scene.front.ravel(), minlength=num_labels)
    rest = areas - np.bincount(scene.front[mask], minlength=num_labels)
    least = [MIN_STUFF_AREA if area else 0 for area in areas[: len(STUFF)]]
    least += [item.least_visible for item in scene.objects]
    return bool((rest < least).any())


def overlap(corner: tuple[int, int], shape: tuple[int, int]) -> tuple[tuple, tuple]:
    """Index the part of a window that lies in the image: in the window, and in the image.

    Both index the last two axes of an array, (y, x).
    """
    here, there = [], []
    for start, length in zip(corner[::-1], shape, strict=True):
        low, high = max(0, start), max(0, start, min(SIZE, start + length))
        here.append(slice(low - start, high - start))
        there.append(slice(low, high))
    return (..., *here), (..., *there)
