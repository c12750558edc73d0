"""Draws a scene: textures, objects with light and shadow, and a camera's noise."""

import math

import cv2
import numpy as np

from .scene import Region, Scene, SceneObject, overlap
from .textures import SIZE, RandomState, draw_texture, hsv, noise

_PALETTE = {  # hue in degrees, saturation, value, and how far each may vary either way
    "red": ((357, 0.85, 0.80), (6, 0.10, 0.12)),
    "orange": ((26, 0.90, 0.95), (5, 0.08, 0.05)),
    "yellow": ((52, 0.82, 0.96), (4, 0.10, 0.04)),
    "green": ((132, 0.72, 0.60), (16, 0.12, 0.12)),
    "blue": ((222, 0.82, 0.75), (9, 0.12, 0.15)),
    "purple": ((274, 0.65, 0.62), (8, 0.10, 0.12)),
    "pink": ((328, 0.52, 0.97), (8, 0.08, 0.03)),
    "white": ((40, 0.03, 0.95), (40, 0.03, 0.04)),
}


def render(scene: Scene, rng: RandomState) -> np.ndarray:
    """Return the picture of a scene, uint8 (SIZE, SIZE, 3) RGB."""
    angle = math.radians(rng.uniform(200, 340))  # where the light comes from; y points down
    light = (math.cos(angle), math.sin(angle))
    canvas = _draw_stuff(scene.regions, rng)
    for item in scene.objects:
        _draw_object(canvas, item, light, rng)
    return _expose(canvas, light, rng)


def _draw_stuff(regions: list[Region], rng: RandomState) -> np.ndarray:
    canvas = draw_texture(regions[0].name, rng)
    for region in regions[1:]:
        outside = np.minimum(region.distance, 0)
        canvas *= 1 - 0.3 * np.exp(outside / 5)  # as if it lay a little higher
        edge = np.clip(region.distance + 0.5, 0, 1)
        canvas += (draw_texture(region.name, rng) - canvas) * edge
    return canvas


def _draw_object(
    canvas: np.ndarray, item: SceneObject, light: tuple[float, float], rng: RandomState
) -> None:
    height = 2.0 + 0.045 * item.size  # above the ground, in pixels
    _draw_shadow(canvas, item, (-light[0] * height, -light[1] * height), 0.45 * height)
    coverage = item.coverage
    blurred = cv2.GaussianBlur(coverage, (0, 0), max(1.2, 0.045 * item.size))
    slope_x = cv2.Sobel(blurred, cv2.CV_32F, 1, 0, ksize=3)
    slope_y = cv2.Sobel(blurred, cv2.CV_32F, 0, 1, ksize=3)
    # the rim rises from the border inwards: it is bright where it faces the light
    relief = -(light[0] * slope_x + light[1] * slope_y)
    rows, columns = np.indices(coverage.shape, np.float32)
    x = (columns + item.corner[0] - item.center[0]) / item.size
    y = (rows + item.corner[1] - item.center[1]) / item.size
    shade = 1.0 + rng.uniform(0.1, 0.45) * (light[0] * x + light[1] * y)
    shade += np.clip(rng.uniform(0.12, 0.3) * item.size**0.3 * relief, -0.3, 0.3)
    shade += 0.035 * noise(rng, shape=coverage.shape)
    if rng.rand() < 0.15:
        shade += _draw_pattern(x, y, rng)
    (base, spread) = _PALETTE[item.color]
    color = hsv(*(b + s * rng.uniform(-1, 1) for b, s in zip(base, spread, strict=True)))
    painted = color[:, None, None] * shade
    gloss = np.clip(relief - 0.35 * relief.max(), 0, None)
    painted += rng.uniform(0, 0.6) * gloss
    here, there = overlap(item.corner, coverage.shape)
    canvas[there] += (painted[here] - canvas[there]) * coverage[here]


def _draw_shadow(
    canvas: np.ndarray, item: SceneObject, shift: tuple[float, float], blur: float
) -> None:
    margin = math.ceil(3 * blur + max(map(abs, shift)))
    padded = np.pad(item.coverage, margin)
    matrix = np.array([[1, 0, shift[0]], [0, 1, shift[1]]])
    padded = cv2.warpAffine(padded, matrix, padded.shape[::-1])
    shadow = cv2.GaussianBlur(padded, (0, 0), blur)
    here, there = overlap((item.corner[0] - margin, item.corner[1] - margin), shadow.shape)
    canvas[there] *= 1 - 0.5 * shadow[here]


def _draw_pattern(x: np.ndarray, y: np.ndarray, rng: RandomState) -> np.ndarray:
    """Stripes or dots that lighten and darken an object; x and y are in sizes of it."""
    angle, frequency = rng.uniform(0, math.pi), 2 * math.pi * rng.uniform(3, 7)
    along = np.sin(frequency * (x * math.cos(angle) + y * math.sin(angle)))
    strength = rng.uniform(0.06, 0.14)
    if rng.rand() < 0.6:
        return strength * np.clip(3 * along, -1, 1)
    across = np.sin(frequency * (y * math.cos(angle) - x * math.sin(angle)))
    return strength * np.clip(8 * (along * across - 0.35), -1, 1)


def _expose(canvas: np.ndarray, light: tuple[float, float], rng: RandomState) -> np.ndarray:
    """Uneven light, exposure and noise; what is too bright or dark is clipped."""
    line = (np.arange(SIZE, dtype=np.float32) - SIZE / 2) / SIZE
    x, y = line[None], line[:, None]
    brightness = rng.uniform(0.88, 1.06) + rng.uniform(0, 0.3) * (light[0] * x + light[1] * y)
    brightness = brightness - rng.uniform(0, 0.35) * (x * x + y * y)
    canvas *= brightness
    strength = rng.uniform(0.008, 0.022)
    for plane in canvas:
        plane += strength * noise(rng, "white")
    np.clip(canvas, 0, 1, out=canvas)
    canvas *= 255
    return np.ascontiguousarray(np.rint(canvas, out=canvas).astype(np.uint8).transpose(1, 2, 0))
