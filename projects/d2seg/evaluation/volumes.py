"""The evaluator of medical volumes: Dice and HD95 per organ over whole volumes, from the
predictions of their slices (Chen et al. 2021, section 4.2).

D slices of H x W pixels make a volume; the network sees and predicts slices of h x w. K classes,
class 0 the background, which is not scored.
"""

import json
import logging
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from detectron2.data import MetadataCatalog
from detectron2.evaluation import DatasetEvaluator
from detectron2.utils import comm
from tabulate import tabulate

from ..data.checks import check_labels
from ..data.medical.files import ArrayFileError, read_volume
from ..data.medical.mapper import LABEL_ORDER, zoom
from .semantic import predicted_labels
from .surface_metrics import dice, hd95
from .worst_slices import SliceScore, draw_worst_slices, slice_scores, worst

logger = logging.getLogger(__name__)

UNREADABLE = "unreadable_volumes"  # in the results: how many; only there if there are any
NUM_DRAWN = 8


@dataclass(frozen=True)
class VolumeScore:
    """One volume's numbers, by organ (K - 1 each); NaN where undefined."""

    file: str
    dice: list[float]
    hd95: list[float]


class VolumeEvaluator(DatasetEvaluator):
    """Mean Dice (percent) and HD95 (voxels, or what the data set's ``voxel_spacing`` is in).

    Per organ the mean over volumes, and over organs the mean of those. What MedPy leaves undefined:

    =====================  =========================  =====================================
    organ                  Dice                       HD95
    =====================  =========================  =====================================
    in neither             left out                   left out
    in the truth alone     0                          left out, counted as ``HD95-undefined``
    in the prediction      0                          left out, counted as ``HD95-undefined``
    alone
    =====================  =========================  =====================================

    The official evaluation of TransUNet scores the last case with Dice 1 and HD95 0, and the first
    two with 0 and 0.

    A volume that cannot be read is named in the log and left out; the results then have
    ``unreadable_volumes``.
    """

    def __init__(self, dataset_name: str, output_dir: str | None = None) -> None:
        """
        Args:
            dataset_name: registered by ``register_medical`` as volumes.
            output_dir: where ``volumes.json``, the numbers of each volume, and
                ``worst_slices.png`` go; None writes nothing.
        """
        metadata = MetadataCatalog.get(dataset_name)
        self._dataset_name = dataset_name
        self._classes = list(metadata.stuff_classes)
        self._colors = list(metadata.stuff_colors)
        self._ignore_label = metadata.ignore_label
        self._spacing = tuple(metadata.get("voxel_spacing", (1.0, 1.0, 1.0)))
        self._output_dir = output_dir
        self.reset()

    def reset(self) -> None:
        self._pending: dict[str, dict[int, np.ndarray]] = {}  # slices of volumes not yet whole
        self._num_slices: dict[str, int] = {}
        self._failed: dict[str, str] = {}  # why
        self._scores: list[VolumeScore] = []
        self._worst: list[SliceScore] = []

    def process(self, inputs: Sequence[Mapping], outputs: Sequence[Mapping]) -> None:
        """Take the predictions of slices; a volume is scored when its last one is there.

        Args:
            inputs: dicts of the mapper "slice", with ``file_name``, ``slice_index``,
                ``num_slices`` and ``error`` where the file could not be read.
            outputs: dicts with ``sem_seg``, scores (K, h, w) or labels (h, w).

        Raises:
            ValueError: no or another number of class scores, or labels in a file out of range.
        """
        for example, output in zip(inputs, outputs, strict=True):
            file = example["file_name"]
            if "error" in example:
                self._fail(file, example["error"])
            elif file not in self._failed:
                slices = self._pending.setdefault(file, {})
                labels = predicted_labels(output, len(self._classes), self._dataset_name)
                slices[example["slice_index"]] = labels.astype(np.uint8)
                self._num_slices[file] = example["num_slices"]
                if len(slices) == example["num_slices"]:
                    self._score(file)

    def evaluate(self) -> dict[str, dict[str, float]] | None:
        """The results under "sem_seg" on the main process, ``None`` on the others."""
        self._gather()
        if not comm.is_main_process():
            return None
        for file in list(self._pending):
            if len(self._pending[file]) == self._num_slices[file]:
                self._score(file)
            else:
                self._fail(file, f"{file}: slices are missing")
        self._scores.sort(key=lambda score: score.file)
        results = self._results()
        if self._output_dir is not None:
            self._write(Path(self._output_dir))
        return OrderedDict(sem_seg=results)

    def _fail(self, file: str, reason: str) -> None:
        if file not in self._failed:
            logger.error("left out of the evaluation: %s", reason)
        self._failed[file] = reason
        self._pending.pop(file, None)

    def _score(self, file: str) -> None:
        slices = self._pending.pop(file)
        try:
            image, truth = read_volume(file)
        except ArrayFileError as error:
            self._fail(file, str(error))
            return
        check_labels(truth, len(self._classes), self._ignore_label, file)
        size = truth.shape[1:]
        prediction = np.stack([zoom(slices[i], size, LABEL_ORDER) for i in range(len(truth))])
        prediction[truth == self._ignore_label] = self._ignore_label
        scores: dict[str, list[float]] = {"dice": [], "hd95": []}
        for organ in range(1, len(self._classes)):
            masks = prediction == organ, truth == organ
            scores["dice"].append(dice(*masks))
            scores["hd95"].append(hd95(*masks, self._spacing))
        self._scores.append(VolumeScore(file, **scores))
        found = slice_scores(file, image, truth, prediction, len(self._classes), NUM_DRAWN)
        self._worst = worst([*self._worst, *found], NUM_DRAWN)

    def _gather(self) -> None:
        if comm.get_world_size() == 1:
            return
        comm.synchronize()
        state = (self._pending, self._num_slices, self._failed, self._scores, self._worst)
        gathered = comm.gather(state)
        if not comm.is_main_process():
            return
        self.reset()
        for pending, num_slices, failed, scores, worst_slices in gathered:
            for file, slices in pending.items():
                self._pending.setdefault(file, {}).update(slices)
            self._num_slices.update(num_slices)
            self._failed.update(failed)
            self._scores += scores
            self._worst = worst([*self._worst, *worst_slices], NUM_DRAWN)
        for file in self._failed:
            self._pending.pop(file, None)

    def _results(self) -> dict[str, float]:
        organs = self._classes[1:]
        dices = np.array([score.dice for score in self._scores]).reshape(-1, len(organs))
        hd95s = np.array([score.hd95 for score in self._scores]).reshape(-1, len(organs))
        by_organ = [_means(100 * dices), _means(hd95s)]
        results = {"Dice": _mean(by_organ[0]), "HD95": _mean(by_organ[1])}
        for organ, one_dice, one_hd95 in zip(organs, *by_organ, strict=True):
            results |= {f"Dice-{organ}": one_dice, f"HD95-{organ}": one_hd95}
        results["HD95-undefined"] = int((np.isfinite(dices) & ~np.isfinite(hd95s)).sum())
        if self._failed:
            results[UNREADABLE] = len(self._failed)
        rows = zip(["mean", *organs], *([_mean(m), *m] for m in by_organ), strict=True)
        table = tabulate(rows, ["organ", "Dice", "HD95"], "pipe", floatfmt=".2f")
        logger.info(
            "%s, %d volumes%s:\n%s",
            self._dataset_name,
            len(self._scores),
            f" ({len(self._failed)} could not be read)" if self._failed else "",
            table,
        )
        return results

    def _write(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        organs = self._classes[1:]
        volumes = {
            score.file: {
                "Dice": dict(zip(organs, map(_jsonable, score.dice), strict=True)),
                "HD95": dict(zip(organs, map(_jsonable, score.hd95), strict=True)),
            }
            for score in self._scores
        }
        content = {"volumes": volumes, "unreadable": self._failed}
        (folder / "volumes.json").write_text(json.dumps(content, indent=2) + "\n")
        if self._worst:
            draw_worst_slices(self._worst, self._classes, self._colors, folder / "worst_slices.png")


def num_unreadable(results: Mapping[str, Any]) -> int:
    """Volumes that an evaluation had to leave out, by its results: of one data set, or of several
    by name."""
    found = (x for x in chain([results], results.values()) if isinstance(x, Mapping))
    return sum(int(x.get("sem_seg", {}).get(UNREADABLE, 0)) for x in found)


def _means(numbers: np.ndarray) -> list[float]:
    """The mean of each column of (N, K - 1), over the defined values."""
    return [_mean(column.tolist()) for column in numbers.T]


def _mean(numbers: Sequence[float]) -> float:
    defined = [number for number in numbers if np.isfinite(number)]
    return float(np.mean(defined)) if defined else float("nan")


def _jsonable(number: float) -> float | None:
    return float(number) if np.isfinite(number) else None  # JSON has no NaN
