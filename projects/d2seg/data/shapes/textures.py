"""Procedural textures of the stuff classes.

A texture is float32 (3, SIZE, SIZE) RGB around 0..1; planar, because numpy is faster with that.
All variation comes from the random state that is passed in and from three fixed noise fields that
tile the plane.
"""

import colorsys
import math
from collections.abc import Callable
from functools import cache

import cv2
import numpy as np

SIZE = 256  # pixels of a scene's side
_PERIOD = 512  # of the noise fields, in pixels

RandomState = np.random.RandomState


@cache
def _noise_field(kind: str) -> np.ndarray:
    """Return a field of mean 0, deviation 1 and period 512, one and a half periods wide.

    "white" is independent per pixel; "clouds" adds octaves, each with 0.6 of the one before;
    "tufts" is the same without the three coarsest ones.
    """
    rng = RandomState(("white", "clouds", "tufts").index(kind))
    if kind == "white":
        field = rng.standard_normal((_PERIOD, _PERIOD)).astype(np.float32)
    else:
        field = np.zeros((_PERIOD, _PERIOD), np.float32)
        for octave in range(2 if kind == "clouds" else 5, 8):
            field += 0.6**octave * _draw_octave(2**octave, rng)
        field = (field - field.mean()) / field.std()
    return np.pad(field, (0, _PERIOD // 2), mode="wrap")


def _draw_octave(num_cells: int, rng: RandomState) -> np.ndarray:
    """Smooth periodic noise of ``num_cells`` a period."""
    cell = _PERIOD // num_cells
    grid = rng.standard_normal((num_cells, num_cells)).astype(np.float32)
    grid = np.pad(grid, 2, mode="wrap")  # cubic interpolation looks two cells around
    octave = cv2.resize(grid, None, fx=cell, fy=cell, interpolation=cv2.INTER_CUBIC)
    return octave[2 * cell : -2 * cell, 2 * cell : -2 * cell]


def noise(
    rng: RandomState,
    kind: str = "clouds",
    scale: tuple[float, float] = (1.0, 1.0),
    angle: float = 0.0,
    shape: tuple[int, int] = (SIZE, SIZE),
) -> np.ndarray:
    """Cut a random piece out of a noise field, float32 of ``shape``, deviation about 1.

    Args:
        kind: "white", "clouds" or "tufts"
        scale: stretch along x and y (before turning); above 1 is coarser
        angle: degrees by which the piece turns
    """
    field = _noise_field(kind)
    if scale == (1.0, 1.0) and angle == 0.0:
        x, y = rng.randint(_PERIOD, size=2)
        return field[y : y + shape[0], x : x + shape[1]]
    cos, sin = math.cos(math.radians(angle)), math.sin(math.radians(angle))
    matrix = np.array([[cos / scale[0], sin / scale[0], 0], [-sin / scale[1], cos / scale[1], 0]])
    # Any offset will do; with this one the piece is mostly inside, where warping is faster.
    corners = matrix[:, :2] @ [[0, shape[1], 0, shape[1]], [0, 0, shape[0], shape[0]]]
    room = np.maximum(field.shape - np.ptp(corners, axis=1), 1)
    matrix[:, 2] = rng.uniform(0, room) - corners.min(axis=1)
    return cv2.warpAffine(
        field,
        matrix,
        shape[::-1],
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_REFLECT,
    )


def hsv(hue: float, saturation: float, value: float) -> np.ndarray:
    """RGB in 0..1 of a hue in degrees and the other two in 0..1 (clipped)."""
    return np.array(
        colorsys.hsv_to_rgb(
            hue / 360 % 1.0, min(max(saturation, 0.0), 1.0), min(max(value, 0.0), 1.0)
        ),
        np.float32,
    )


def _smoothstep(values: np.ndarray, low: float, high: float) -> np.ndarray:
    t = np.clip((values - low) / (high - low), 0, 1)
    return t * t * (3 - 2 * t)


def _ramp(t: np.ndarray, *colors: np.ndarray) -> np.ndarray:
    """Colour each number of ``t`` (0..1, clipped) along evenly spaced ``colors``."""
    places, steps = np.linspace(0, 1, len(colors)), np.linspace(0, 1, 256)
    indices = np.clip(t * 255, 0, 255).astype(np.intp)
    picture = np.empty((3, *t.shape), np.float32)
    for plane, levels in zip(picture, np.stack(colors, axis=1), strict=True):
        table = np.interp(steps, places, levels).astype(np.float32)
        np.take(table, indices, out=plane, mode="clip")
    return picture


def _grid() -> tuple[np.ndarray, np.ndarray]:
    """Coordinates x (1, SIZE) and y (SIZE, 1) in 0..1."""
    line = np.arange(SIZE, dtype=np.float32) / SIZE
    return line[None], line[:, None]


_SKIES = (  # hue, saturation and value at the zenith and at the horizon
    ((214, 0.75, 0.80), (200, 0.30, 0.97)),
    ((225, 0.60, 0.62), (205, 0.25, 0.90)),
    ((255, 0.45, 0.55), (22, 0.50, 0.98)),
    ((235, 0.55, 0.50), (340, 0.32, 0.95)),
    ((208, 0.22, 0.72), (205, 0.08, 0.90)),
)


def _sky(rng: RandomState) -> np.ndarray:
    top, bottom = (
        hsv(h + rng.uniform(-8, 8), s * rng.uniform(0.85, 1.15), v * rng.uniform(0.92, 1.05))
        for h, s, v in _SKIES[rng.choice(len(_SKIES), p=(0.4, 0.2, 0.15, 0.1, 0.15))]
    )
    _, y = _grid()
    puffs = noise(rng, scale=(rng.uniform(1.0, 1.8), rng.uniform(0.5, 0.9)))
    clouds = _smoothstep(puffs, rng.uniform(0.1, 0.9), 2.2) * rng.uniform(0.5, 0.95)
    backdrop = _ramp(y * 1.2, top, bottom)
    white = np.clip(0.25 * bottom + 0.76, 0, 1)[:, None, None]
    return backdrop + (white - backdrop) * clouds


def _grass(rng: RandomState) -> np.ndarray:
    hue, saturation, value = rng.uniform(75, 125), rng.uniform(0.5, 0.75), rng.uniform(0.45, 0.68)
    blades = noise(rng, "white", (1.1, rng.uniform(4, 8)), rng.uniform(-15, 15))
    tufts = noise(rng, "tufts", (1.5, 3.0))
    meadow = noise(rng, scale=(1.5, 1.0))
    t = 0.5 + 0.17 * blades + 0.10 * tufts + 0.10 * meadow
    return _ramp(
        t,
        hsv(hue + 14, saturation + 0.1, value * 0.5),
        hsv(hue, saturation, value),
        hsv(hue - 22, saturation - 0.08, value * 1.4),
    )


def _water(rng: RandomState) -> np.ndarray:
    hue, saturation, value = rng.uniform(180, 222), rng.uniform(0.5, 0.8), rng.uniform(0.45, 0.72)
    _, y = _grid()
    swell = noise(rng, "tufts", (10.0, 2.2), angle=rng.uniform(-6, 6))
    waves = np.sin(2 * np.pi * (rng.uniform(9, 16) * y + 0.55 * swell + rng.uniform()))
    glitter = noise(rng, "white", (rng.uniform(7, 12), 1.4))
    t = 0.42 + 0.17 * waves + 0.12 * swell + 0.3 * _smoothstep(glitter + 0.5 * waves, 0.8, 1.8)
    return _ramp(
        t,
        hsv(hue + 8, saturation + 0.1, value * 0.62),
        hsv(hue, saturation, value),
        hsv(hue - 10, saturation * 0.35, min(1.0, value * 1.6)),
    )


def _sand(rng: RandomState) -> np.ndarray:
    hue, saturation, value = rng.uniform(26, 46), rng.uniform(0.22, 0.48), rng.uniform(0.75, 0.92)
    x, y = _grid()
    dunes = noise(rng, scale=(1.2, 0.8))
    direction = math.radians(rng.uniform(-35, 35) + 90)
    phase = (x * math.cos(direction) + y * math.sin(direction)) * rng.uniform(10, 18)
    ripples = np.sin(2 * np.pi * (phase + 0.45 * dunes))
    grain = noise(rng, "white")
    t = 0.55 + rng.uniform(0.03, 0.11) * ripples + 0.10 * dunes + 0.13 * grain
    return _ramp(
        t,
        hsv(hue - 8, saturation + 0.14, value * 0.62),
        hsv(hue, saturation, value),
        hsv(hue + 4, saturation * 0.55, min(1.0, value * 1.15)),
    )


_BRICKS = (
    (12, 0.62, 0.60),
    (20, 0.48, 0.52),
    (28, 0.30, 0.72),
    (215, 0.08, 0.58),
    (350, 0.35, 0.5),
)


def _brick(rng: RandomState) -> np.ndarray:
    hue, saturation, value = _BRICKS[rng.randint(len(_BRICKS))]
    height, joint = rng.uniform(12, 20), rng.uniform(1.2, 2.2)
    width = height * rng.uniform(1.9, 2.6)
    x, y = (SIZE * axis for axis in _grid())
    wobble = 0.6 * noise(rng)
    angle = math.radians(rng.uniform(-7, 7))
    along = x * math.cos(angle) + y * math.sin(angle) + wobble + SIZE
    across = y * math.cos(angle) - x * math.sin(angle) + wobble + SIZE
    row = np.floor(across / height)
    along = along + (row % 2) * width / 2
    column = np.floor(along / width)
    # distance in pixels to the nearest edge of the brick
    edge = np.minimum(
        height / 2 - np.abs(across - (row + 0.5) * height),
        width / 2 - np.abs(along - (column + 0.5) * width),
    )
    tones = rng.standard_normal(256).astype(np.float32)
    tone = tones[(row * 37 + column * 11).astype(np.intp) % 256]
    t = 0.5 + 0.15 * tone + 0.10 * noise(rng, "tufts", (2.0, 2.0)) + 0.06 * noise(rng, "white")
    bricks = _ramp(
        t,
        hsv(hue - 6, saturation + 0.1, value * 0.6),
        hsv(hue, saturation, value),
        hsv(hue + 8, saturation * 0.8, value * 1.35),
    )
    mortar = hsv(35, 0.12, (0.4, 0.82)[rng.randint(2)] * rng.uniform(0.92, 1.05))[:, None, None]
    is_brick = np.clip(edge - joint / 2 + 0.5, 0, 1)
    return mortar + (bricks - mortar) * is_brick


_TEXTURES: dict[str, Callable[[RandomState], np.ndarray]] = {
    "sky": _sky,
    "grass": _grass,
    "water": _water,
    "sand": _sand,
    "brick": _brick,
}


def draw_texture(name: str, rng: RandomState) -> np.ndarray:
    """Return a random texture of the stuff class ``name``."""
    return _TEXTURES[name](rng)
