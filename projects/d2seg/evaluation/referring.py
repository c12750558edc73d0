"""The evaluator of referring segmentation: each expression's mask against the object it means.

E expressions of a picture of H x W pixels.
"""

import json
import logging
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from detectron2.evaluation import DatasetEvaluator
from detectron2.structures import Instances
from detectron2.utils import comm
from tabulate import tabulate

from ..data.segmentations import encode_mask
from .records.files import recording
from .records.referring import referring_record
from .referring_metrics import (
    ExpressionCounts,
    count_expression,
    listening,
    mean_iou_by_kind,
    summarise,
)
from .referring_truth import Picture, read_pictures

logger = logging.getLogger(__name__)


class ReferringEvaluator(DatasetEvaluator):
    """Overall and mean IoU, precision, no-target accuracy, and whether the model listens.

    :func:`summarise` and :func:`listening` define the figures. Each expression is scored once, at
    its picture's own size, whatever the batches and processes; a second prediction of it, as from
    a sampler that pads, is left aside. An object whose mask has no pixel at that size counts as no
    target.
    """

    def __init__(
        self, dataset_name: str, output_dir: str | None = None, *, record: bool = False
    ) -> None:
        """
        Args:
            record: also write what a report needs to ``records/referring.json`` there.
            dataset_name: registered, with ``expressions`` in its dicts (:func:`read_pictures`);
                where they have a ``kind``, mIoU is also given per kind.
            output_dir: where ``referring_predictions.json`` goes, the worst first; None writes
                nothing.

        Raises:
            ValueError: as :func:`read_pictures`.
        """
        self._dataset_name = dataset_name
        self._output_dir = output_dir
        self._record = record and output_dir is not None
        self._pictures = read_pictures(dataset_name)
        self._picture_of = {
            e.id: picture for picture in self._pictures for e in picture.expressions
        }
        self.reset()

    def reset(self) -> None:
        self._counts: dict[int, ExpressionCounts] = {}  # by the expression's id
        self._saved: dict[int, dict[str, Any]] = {}  # its score and RLE

    def process(self, inputs: Sequence[Mapping], outputs: Sequence[Mapping]) -> None:
        """Score a batch.

        Args:
            inputs: dicts with ``expressions``, dicts with an ``id`` of the data set's, all of one
                picture.
            outputs: dicts with ``referring``, Instances of the same E expressions: ``pred_masks``
                (E, H, W) bool and ``scores`` (E,) in [0, 1].

        Raises:
            ValueError: no such output, or for another number of expressions; an expression that
                the data set does not have; masks of another size than the picture.
        """
        for example, output in zip(inputs, outputs, strict=True):
            expressions = example["expressions"]
            found = self._found(output, len(expressions))
            if not expressions:
                continue
            picture = self._find_picture(expressions)
            masks = found.pred_masks.cpu().numpy().astype(bool, copy=False)
            if masks.shape[1:] != picture.size:
                raise ValueError(
                    f"{picture.file_name} is {picture.size} (height, width) and the masks for it "
                    f"are {masks.shape[1:]}: the model must give them at the picture's own size"
                )
            ids = [entry["id"] for entry in expressions]
            self._score(picture, dict(zip(ids, masks, strict=True)))
            if self._output_dir is not None:
                for one, mask, score in zip(ids, masks, found.scores.tolist(), strict=True):
                    self._saved.setdefault(one, {"score": score, "segmentation": encode_mask(mask)})

    def evaluate(self) -> OrderedDict[str, dict[str, float]] | None:
        """The results of all processes, in percent; None in all but the main process.

        Raises:
            ValueError: expressions of the data set got no prediction.
        """
        comm.synchronize()
        gathered = comm.gather((self._counts, self._saved), dst=0)
        if not comm.is_main_process():
            return None
        counts: dict[int, ExpressionCounts] = {}
        saved: dict[int, dict[str, Any]] = {}
        for some_counts, some_saved in reversed(gathered):  # the first process wins
            counts.update(some_counts)
            saved.update(some_saved)
        if self._output_dir is not None:
            self._write(Path(self._output_dir), counts, saved)
        self._check_complete(counts)
        results = self._results(counts)
        rows = [[name, value] for name, value in results.items()]
        table = tabulate(rows, ["", "%"], "pipe", floatfmt=".2f")
        logger.info("%s, %d expressions:\n%s", self._dataset_name, len(counts), table)
        return OrderedDict(referring=results)

    def _found(self, output: Mapping, num_expressions: int) -> Instances:
        if "referring" not in output:
            raise ValueError(
                f"{self._dataset_name}: the model gives no 'referring' but {sorted(output)}; "
                "take 'referring' out of TEST.TASKS or use a model that has this output"
            )
        found = output["referring"]
        if len(found) != num_expressions:
            raise ValueError(
                f"{self._dataset_name}: the model gives {len(found)} masks for {num_expressions} "
                "expressions; it must give one for each, empty where nothing is meant"
            )
        return found

    def _find_picture(self, expressions: Sequence[Mapping]) -> Picture:
        pictures = [self._picture_of.get(entry["id"]) for entry in expressions]
        unknown = [e["id"] for e, known in zip(expressions, pictures, strict=True) if known is None]
        if unknown:
            raise ValueError(
                f"{self._dataset_name} has no expression {unknown[0]}, which was predicted; "
                "evaluate on the data set that the loader reads"
            )
        return pictures[0]

    def _score(self, picture: Picture, masks: Mapping[int, np.ndarray]) -> None:
        """Count the expressions that have not been counted yet."""
        objects = picture.draw_objects()
        for expression in picture.expressions:
            if expression.id in masks and expression.id not in self._counts:
                own = expression.object_name
                others = {}
                if expression.target:  # else it may mean one of the others
                    others = {n: m for n, m in objects.items() if n != own and type(n) is not str}
                self._counts[expression.id] = count_expression(
                    masks[expression.id], objects.get(own), others
                )

    def _check_complete(self, counts: Mapping[int, ExpressionCounts]) -> None:
        missing = [one for one in self._picture_of if one not in counts]
        if missing:
            raise ValueError(
                f"{self._dataset_name}: {len(missing)} of {len(self._picture_of)} expressions have "
                f"no prediction, e.g. expression {missing[0]} of "
                f"{self._picture_of[missing[0]].file_name}"
            )
        invisible = sum(
            not counts[expression.id].num_target and expression.segmentation is not None
            for picture in self._pictures
            for expression in picture.expressions
        )
        if invisible:
            logger.warning(
                "%s: the masks of %d expressions have no pixel; they count as without a target",
                self._dataset_name,
                invisible,
            )

    def _results(self, counts: Mapping[int, ExpressionCounts]) -> dict[str, float]:
        expressions = [e for picture in self._pictures for e in picture.expressions]
        # in the data set's order, so that sums of floats do not depend on the processes
        ordered = [counts[expression.id] for expression in expressions]
        pictures = (
            [(e.object_name, counts[e.id]) for e in picture.expressions]
            for picture in self._pictures
        )
        kinds = [expression.kind for expression in expressions]
        return {**summarise(ordered), **listening(pictures), **mean_iou_by_kind(ordered, kinds)}

    def _write(
        self, folder: Path, counts: Mapping[int, ExpressionCounts], saved: Mapping[int, dict]
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        predictions = [
            {
                "expression_id": expression.id,
                "image_id": picture.image_id,
                "file_name": picture.file_name,
                "sentence": expression.sentence,
                "iou": counts[expression.id].iou,
                **saved[expression.id],
            }
            for picture in self._pictures
            for expression in picture.expressions
            if expression.id in counts
        ]
        predictions.sort(key=lambda prediction: prediction["iou"])
        path = folder / "referring_predictions.json"
        path.write_text(json.dumps(predictions) + "\n")
        logger.info("Predictions, the worst first: %s", path)
        if self._record:
            with recording(folder, "referring") as write:
                write(referring_record(predictions, self._truth_of))

    def _truth_of(self, expression_id: int) -> np.ndarray | None:
        picture = self._picture_of[expression_id]
        [own] = [e for e in picture.expressions if e.id == expression_id]
        return picture.draw_objects().get(own.object_name)
