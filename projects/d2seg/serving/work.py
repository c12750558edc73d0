"""What the thread of the model does with a question."""

import base64
import io
import json
import logging
import time
from typing import Any

import numpy as np
from PIL import Image

from ..names import printable
from ..pictures import UnreadableFileError, drawing_failure, read_image
from .questions import Limits, Model, Question, RefusedError

logger = logging.getLogger(__name__)

# Pillow's names. Others, as PostScript, are left to programs that do more than decode
FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "TIFF", "PPM", "GIF")


class Work:
    """From a question to its answer."""

    def __init__(self, model: Model, limits: Limits) -> None:
        self.model, self.limits = model, limits

    def __call__(self, question: Question) -> bytes:
        """
        Returns:
            As JSON what the model answers, and "name", "task", "width", "height", "seconds";
            with_picture: "picture", an address "data:image/png;base64,...".

        Raises:
            RefusedError: the picture cannot be read, or the question not be answered.
        """
        started = time.perf_counter()
        name = printable(question.name)
        try:
            image = read_image(
                name, "RGB", self.limits.max_pixels, question.content, formats=FORMATS
            )
            image = np.ascontiguousarray(image)
            found = self.model.answer(
                image, question.task, question.confidence, question.expressions
            )
        except (UnreadableFileError, ValueError) as error:
            raise RefusedError(422, error) from error
        except Exception as error:
            raise _failure(name, error) from error
        height, width = image.shape[:2]
        answer = {"name": name, "task": question.task, "width": width, "height": height, **found}
        if question.with_picture:
            answer["picture"] = _as_address(image)
        answer["seconds"] = round(time.perf_counter() - started, 3)
        return _as_json(answer)


def _as_json(answer: dict[str, Any]) -> bytes:
    try:
        return json.dumps(answer, allow_nan=False, separators=(",", ":")).encode()
    except ValueError as error:
        raise RefusedError(
            500, f"the model gives {answer['name']} scores that are no finite numbers"
        ) from error


def _failure(name: str, error: Exception) -> RefusedError:
    reason = drawing_failure(error)
    if reason is not None:
        return RefusedError(422, f"{name} cannot be predicted: {reason}")
    logger.error("%s: the model failed", name, exc_info=error)
    return RefusedError(
        500, f"the model failed on {name} with {type(error).__name__}; the server's log says where"
    )


def _as_address(image: np.ndarray) -> str:
    file = io.BytesIO()
    Image.fromarray(image).save(file, format="PNG", compress_level=1)
    return f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"
