"""A model that needs no weights, pictures for it, and a server around it."""

import io
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pycocotools.mask as mask_util
import uvicorn
from PIL import Image

from d2seg.serving.app import make_app
from d2seg.serving.assets import Sample
from d2seg.serving.questions import Limits
from d2seg.serving.run import Connection, bind

COLORS = ((200, 30, 30), (30, 160, 60), (30, 60, 200), (220, 180, 40))
NAMES = ("floor", "cat", "dog", "sky")


class Bands:
    """Finds what is of one red value, in steps of 64. ``gate`` holds it back until it is set."""

    tasks = ("instance", "semantic", "referring")

    def __init__(self) -> None:
        self.gate = threading.Event()
        self.gate.set()
        self.asked: list[tuple[Any, ...]] = []

    def describe(self) -> dict[str, Any]:
        return {
            "method": "Bands",
            "weights": "none.pth",
            "device": "cpu",
            "tasks": list(self.tasks),
            "classes": list(NAMES),
        }

    def answer(
        self,
        image: np.ndarray,
        task: str,
        confidence: float | None,
        expressions: tuple[str, ...],
    ) -> dict[str, Any]:
        self.gate.wait(30)
        self.asked.append((image.shape, task, confidence, expressions))
        if "explode" in expressions:
            raise RuntimeError("a fault of the model")
        if "nothing" in expressions:
            return {"segments": [{"score": float("nan")}], "not_found": []}
        if "nonsense" in expressions:
            raise ValueError("no word of 'nonsense' is known")
        values = image[:, :, 0] // 64
        found = []
        for number in np.unique(values).tolist():
            mask = np.asfortranarray(values == number)
            score = None if task == "semantic" else round(0.9 - 0.2 * number, 2)
            if score is not None and confidence is not None and score < confidence:
                continue
            rle = mask_util.encode(mask.view(np.uint8))
            found.append(
                {
                    "name": NAMES[number],
                    "color": list(COLORS[number]),
                    "area": int(mask.sum()),
                    "bbox": mask_util.toBbox(rle).tolist(),
                    "score": score,
                    "category_id": number + 1,
                    "segmentation": {"size": rle["size"], "counts": rle["counts"].decode()},
                }
            )
        return {"segments": found, "not_found": [e for e in expressions if e not in NAMES]}


def picture(height: int = 60, width: int = 80) -> np.ndarray:
    """(H, W, 3): a floor, a cat on the left, a dog on the right within the sky's column."""
    values = np.zeros((height, width), np.uint8)
    values[height // 6 : height // 2, width // 8 : width // 3] = 80
    values[:, 5 * width // 8 :] = 240
    values[height // 3 : 2 * height // 3, 3 * width // 4 :] = 150
    return np.repeat(values[:, :, None], 3, 2)


def encoded(pixels: np.ndarray | None = None, kind: str = "PNG") -> bytes:
    file = io.BytesIO()
    Image.fromarray(picture() if pixels is None else pixels).save(file, format=kind)
    return file.getvalue()


def app_of(model: Bands, limits: Limits | None = None) -> Any:
    return make_app(model, limits or Limits(), [Sample("bands.png", encoded(), "image/png")])


@contextmanager
def server(app: Any) -> Iterator[str]:
    """The address of a server with ``app``, in a thread of this process."""
    with bind(0) as listening:
        config = uvicorn.Config(app, http=Connection, log_level="warning", server_header=False)
        running = uvicorn.Server(config)
        thread = threading.Thread(target=running.run, kwargs={"sockets": [listening]}, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        finally:
            running.should_exit = True
            thread.join(20)
