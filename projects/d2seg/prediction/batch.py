"""A model over rows of pictures, for this process, a launcher's or another machine's."""

import os
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import cv2
import torch
from detectron2.config import CfgNode
from torch import Size

from ..acceleration import is_out_of_memory
from ..config.description import config_from_description, describe
from ..config.imports import import_modules
from ..pictures import UnreadableFileError, read_image
from ..visualization.media import MAX_DRAWN_PIXELS
from .building import build_predictor
from .encoding import condense, encode
from .inputs import Picture
from .predictor import Predictor

Row = dict[str, Any]
_AUTO_PIXELS = {"cpu": 4 * 256 * 256, "cuda": 16 * 1024 * 1024}  # of the inputs of one batch
_MAX_AUTO = {"cpu": 8, "cuda": 32}
_WINDOWS_AHEAD = 2
_WINDOW = 2  # batches: among so many pictures those of one size are looked for


class BatchPredictor:
    """Rows of pictures in, rows of results out; the model is built where it is first called.

    It can be pickled: it holds config, classes and numbers, and the path of the weights. Results do
    not depend on how far reading runs ahead, only on the rows and the batch size.
    """

    def __init__(
        self,
        cfg: CfgNode,
        task: str,
        *,
        confidence_threshold: float | None = None,
        batch_size: int | None = None,
        num_threads: int | None = None,
        imports: Sequence[str] = (),
        device: str | None = None,
    ) -> None:
        """
        Args:
            cfg: of ``load_config``, its data sets registered.
            task: "instance", "panoptic" or "semantic".
            confidence_threshold: see ``Predictor.__call__``.
            batch_size: how many pictures whose inputs have one size the model takes at a time, at
                most; None: by their pixels, up to 8 on a CPU and 32 elsewhere.
            num_threads: that decode pictures and encode results; None: one per core, up to 4.
            imports: modules of the user to import before the model is built.
            device: None: MODEL.DEVICE; "auto": CUDA where the model is built, if there is a GPU.

        Raises:
            ValueError: the batch size or the number of threads is below 1.
        """
        for name, number in (("batch_size", batch_size), ("num_threads", num_threads)):
            if number is not None and number < 1:
                raise ValueError(f"{name} is {number}; it is 1 or more")
        self.task = task
        self.confidence_threshold = confidence_threshold
        self.batch_size = batch_size
        self._description = describe(cfg)
        self._weights = str(cfg.MODEL.WEIGHTS)
        self._num_threads = num_threads or min(4, os.cpu_count() or 1)
        self._imports = list(imports)
        self._device = device
        self._predictor: Predictor | None = None
        self._num_classes = 0

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_predictor": None}

    @property
    def predictor(self) -> Predictor:
        """The predictor, built when it is first asked for.

        Raises:
            ValueError: as ``build_predictor``.
        """
        if self._predictor is None:
            import_modules(self._imports)
            cfg = config_from_description(self._description, self._weights)
            if self._device == "auto":
                cfg.MODEL.DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
            elif self._device is not None:
                cfg.MODEL.DEVICE = self._device
            self._predictor = build_predictor(cfg, self.task, self.confidence_threshold)
            self._num_classes = cfg.MODEL.SEM_SEG_HEAD.NUM_CLASSES
        return self._predictor

    def __call__(self, rows: Sequence[Row]) -> list[Row]:
        """
        Args:
            rows: dicts with ``id``, and ``path`` or the file's ``bytes``. What else they hold comes
                back.

        Returns:
            A row for each, in order, without ``bytes``, with ``height`` and ``width``, ``result``
            and ``png`` (see :mod:`.encoding`), and ``error``: empty, or why the picture could not
            be read or predicted; then the sizes are 0, and the others empty.
        """
        return list(self.stream([rows]))

    def stream(self, groups: Iterable[Iterable[Row]]) -> Iterator[Row]:
        """As :meth:`__call__`, with pictures read ahead and results encoded behind.

        Args:
            groups: of rows; no batch holds rows of two groups, so that the result of a group is the
                same whatever comes before it.
        """
        predictor = self.predictor
        with ThreadPoolExecutor(self._num_threads) as pool:
            reading: deque[list[tuple[Row, Future]]] = deque()
            encoding: deque[list[tuple[Row, Future | str]]] = deque()
            try:
                for window in _windows(groups, _WINDOW * self._most()):
                    reading.append([(row, pool.submit(_read, predictor, row)) for row in window])
                    if len(reading) > _WINDOWS_AHEAD:
                        encoding.append(self._predict(reading.popleft(), pool))
                    if len(encoding) > 1:
                        yield from _finished(encoding.popleft())
                while reading:
                    encoding.append(self._predict(reading.popleft(), pool))
                    yield from _finished(encoding.popleft())
                while encoding:
                    yield from _finished(encoding.popleft())
            finally:
                pool.shutdown(cancel_futures=True)

    def _most(self) -> int:
        return self.batch_size or _MAX_AUTO[self._device_type()]

    def _device_type(self) -> str:
        """Parameters of an exported model are on the meta device, if there are any."""
        devices = {parameter.device.type for parameter in self.predictor.model.parameters()}
        return "cuda" if devices - {"cpu", "meta"} else "cpu"

    def _batch_of(self, shape: Size) -> int:
        if self.batch_size is not None:
            return self.batch_size
        pixels = max(1, shape[-1] * shape[-2])
        fitting = _AUTO_PIXELS[self._device_type()] // pixels
        return max(1, min(fitting, self._most()))

    def _predict(
        self, window: list[tuple[Row, Future]], pool: ThreadPoolExecutor
    ) -> list[tuple[Row, Future | str]]:
        """The results of a window, each being encoded, or the reason why there is none."""
        examples = [future.result() for _, future in window]
        results: list[Future | str] = [e if isinstance(e, str) else "" for e in examples]
        by_shape: dict[Size, list[int]] = {}
        for place, example in enumerate(examples):
            if not isinstance(example, str):
                by_shape.setdefault(example["image"].shape, []).append(place)
        pending: deque[Future] = deque()
        for shape, places in by_shape.items():
            size = self._batch_of(shape)
            for start in range(0, len(places), size):
                chosen = places[start : start + size]
                outputs = self._run([examples[place] for place in chosen])
                for place, output in zip(chosen, outputs, strict=True):
                    if not isinstance(output, str):
                        output = pool.submit(encode, output, self._num_classes)
                        pending.append(output)
                    results[place] = output
                while len(pending) > self._num_threads + size:  # masks take much memory
                    pending.popleft().result()
        return [
            (_result_row(row, example), result)
            for (row, _), example, result in zip(window, examples, results, strict=True)
        ]

    def _run(self, examples: list[dict[str, Any]]) -> list[dict[str, Any] | str]:
        """What the model gives; where memory does not suffice, of half as many at a time."""
        predictor = self.predictor
        try:
            return [
                condense(output, self.task, self.confidence_threshold)
                for output in predictor.run_model(examples)
            ]
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        if len(examples) > 1:
            half = len(examples) // 2
            return self._run(examples[:half]) + self._run(examples[half:])
        (example,) = examples
        size = f"{example['width']}x{example['height']}"
        return [f"the model needs more memory for its {size} pixels (width x height) than is free"]


def _read(predictor: Predictor, row: Row) -> dict[str, Any] | str:
    """The model's input, or why there is none."""
    if row.get("error"):
        return row["error"]
    try:
        name = str(row.get("path") or row["id"])
        reader, content = predictor.reader, row.get("bytes")
        if reader is None:
            image = read_image(name, "RGB", MAX_DRAWN_PIXELS, content)
        else:
            image = reader(name, content, MAX_DRAWN_PIXELS)
        return predictor.make_example(Picture(image, reader), [])
    except UnreadableFileError as error:
        return error.reason or str(error)
    except (ValueError, MemoryError, cv2.error) as error:  # of resizing
        return " ".join(str(error).split()) or type(error).__name__


def _result_row(row: Row, example: dict[str, Any] | str) -> Row:
    is_read = not isinstance(example, str)
    size = {key: example[key] if is_read else 0 for key in ("height", "width")}
    return {**{key: value for key, value in row.items() if key != "bytes"}, **size}


def _finished(window: list[tuple[Row, Future | str]]) -> Iterator[Row]:
    for row, result in window:
        if isinstance(result, str):
            yield {**row, "height": 0, "width": 0, "result": "", "png": b"", "error": result}
        else:
            text, png = result.result()
            yield {**row, "result": text, "png": png, "error": ""}


def _windows(groups: Iterable[Iterable[Row]], size: int) -> Iterator[list[Row]]:
    for group in groups:
        window: list[Row] = []
        for row in group:
            window.append(row)
            if len(window) == size:
                yield window
                window = []
        if window:
            yield window
