"""How long an evaluation takes for a picture, and of which data it was."""

import hashlib
import os
import time
from collections.abc import Mapping, Sequence
from typing import Any

from detectron2.data import MetadataCatalog
from detectron2.evaluation import DatasetEvaluator
from detectron2.utils import comm

from .files import remove_records, write_record

_NUM_WARMUP = 5  # batches whose times do not count, as in detectron2's loop


class TimedEvaluator(DatasetEvaluator):
    """Another evaluator, whose steps are timed; writes ``records/run.json``.

    The time between two calls of :meth:`process` is what loading and the model take, that inside
    is what scoring takes. The fingerprint of the data is a sum over pictures, so that neither their
    order nor the number of processes matters.
    """

    def __init__(self, evaluator: DatasetEvaluator, dataset_name: str, output_dir: str) -> None:
        self.evaluator = evaluator
        self._dataset_name = dataset_name
        self._output_dir = output_dir
        self._restart()

    def reset(self) -> None:
        self.evaluator.reset()
        if comm.is_main_process():
            remove_records(self._output_dir)
        self._restart()

    def process(self, inputs: Sequence[Mapping], outputs: Sequence[Mapping]) -> None:
        start = time.perf_counter()
        self.evaluator.process(inputs, outputs)
        end = time.perf_counter()
        for example in inputs:
            self._fingerprint = (self._fingerprint + _number_of(example)) % 2**64
        self._num_batches += 1
        self._num_images += len(inputs)
        if self._num_batches > _NUM_WARMUP:
            self._model_seconds += start - self._last_end
            self._scoring_seconds += end - start
            self._num_timed += len(inputs)
        self._last_end = time.perf_counter()

    def evaluate(self) -> Any:
        start = time.perf_counter()
        results = self.evaluator.evaluate()
        seconds = time.perf_counter() - start
        gathered = comm.gather(self._state())
        if comm.is_main_process():
            sums = [sum(column) for column in zip(*gathered, strict=True)]
            write_record(self._output_dir, "run", self._record(*sums, seconds))
        return results

    def _restart(self) -> None:
        self._num_batches = self._num_images = self._num_timed = self._fingerprint = 0
        self._model_seconds = self._scoring_seconds = 0.0
        self._last_end = time.perf_counter()

    def _state(self) -> tuple[float, ...]:
        times = (self._num_timed, self._model_seconds, self._scoring_seconds)
        return (self._fingerprint, self._num_images, *times)

    def _record(
        self,
        fingerprint: int,
        num_images: int,
        num_timed: int,
        model_seconds: float,
        scoring_seconds: float,
        evaluate_seconds: float,
    ) -> dict[str, Any]:
        metadata = MetadataCatalog.get(self._dataset_name)
        digest = hashlib.sha256(f"{fingerprint % 2**64:016x}".encode())
        for key in ("thing_classes", "stuff_classes"):
            digest.update(repr(list(metadata.get(key, ()))).encode())
        counted = max(num_timed, 1)
        return {
            "dataset": self._dataset_name,
            "num_images": num_images,
            "num_processes": comm.get_world_size(),
            "num_timed": num_timed,
            "seconds_model": model_seconds / counted if num_timed else None,
            "seconds_scoring": scoring_seconds / counted if num_timed else None,
            "seconds_evaluate": evaluate_seconds,
            "fingerprint": digest.hexdigest()[:16],
        }


def _number_of(example: Mapping) -> int:
    """A number that follows from the name and the size of a picture."""
    name = os.path.basename(str(example.get("file_name", example.get("image_id"))))
    text = f"{name}|{example.get('height')}|{example.get('width')}|{example.get('slice_index')}"
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big")
