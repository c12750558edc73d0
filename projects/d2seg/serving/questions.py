"""What is asked of a model, and the one line in which it is refused."""

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from ..names import printable


class RefusedError(Exception):
    """A request that gets no result.

    Attributes:
        status: of HTTP.
        line: why, in one line that can be shown.
    """

    def __init__(self, status: int, reason: object) -> None:
        self.status, self.line = status, printable(" ".join(str(reason).split()))
        super().__init__(self.line)


@dataclass(frozen=True)
class Limits:
    """Of one request, unless said otherwise."""

    max_bytes: int = 32 << 20  # of a picture's file
    max_pixels: int = 16_000_000
    max_waiting: int = 64  # requests in the line
    max_held: int = 256 << 20  # bytes of all files that wait
    answer_seconds: float = 120.0  # from the whole file to the result
    upload_seconds: float = 60.0
    max_expressions: int = 16
    max_letters: int = 200  # of an expression, and of a name

    def __post_init__(self) -> None:
        for name in ("max_bytes", "max_pixels", "max_waiting", "answer_seconds"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} is {getattr(self, name)}; it is more than 0")


@dataclass(frozen=True)
class Question:
    """name: what the client calls the picture, for messages; no file is looked for by it.
    with_picture: the answer holds the picture as it was read, for browsers that cannot."""

    content: bytes
    name: str
    task: str
    confidence: float | None = None
    expressions: tuple[str, ...] = ()
    with_picture: bool = False


class Model(Protocol):
    """What answers. :meth:`answer` is called by one thread only."""

    tasks: tuple[str, ...]

    def describe(self) -> dict[str, Any]:
        """Plain values: "method", "weights", "device", "tasks" and "classes"."""

    def answer(
        self,
        image: np.ndarray,
        task: str,
        confidence: float | None,
        expressions: tuple[str, ...],
    ) -> dict[str, Any]:
        """
        Args:
            image: (H, W, 3) uint8 RGB.

        Returns:
            "segments" and "not_found".

        Raises:
            ValueError: what is asked for cannot be answered; the message is for the client.
        """
