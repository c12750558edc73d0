"""The instance evaluator: detectron2's ``COCOEvaluator`` with a fast AP that needs no compiler."""

import functools
import itertools
import json
import logging
import os
from collections.abc import Collection, Sequence
from typing import Any

import torch
from detectron2.data import MetadataCatalog
from detectron2.evaluation import COCOEvaluator, coco_evaluation
from detectron2.utils.file_io import PathManager
from pycocotools.cocoeval import COCOeval

from ..data.readers import PictureReader
from .instance_truth import read_truth
from .records.files import recording
from .records.instances import instance_record

logger = logging.getLogger(__name__)

_COCO_DETECTIONS = 100


@functools.lru_cache(maxsize=1)  # chosen, and logged, once
def coco_eval_class() -> type:
    """The fastest COCO AP at hand; all give the same numbers and have pycocotools' interface.

    In this order: detectron2's compiled one, faster-coco-eval, pycocotools.
    """
    if coco_evaluation.COCOeval_opt is not COCOeval:
        return coco_evaluation.COCOeval_opt
    try:
        from faster_coco_eval import COCOeval_faster
    except ImportError as error:
        logger.info(
            "faster-coco-eval cannot be imported (%s): AP is computed with pycocotools, which is "
            "slower and gives the same numbers. `pip install faster-coco-eval` brings it.",
            error,
        )
        return COCOeval
    return COCOeval_faster


def _limits(max_detections: int) -> list[int]:
    """COCO's numbers of detections, and where more are to count, these in the last place."""
    if max_detections <= _COCO_DETECTIONS:
        return [1, 10, _COCO_DETECTIONS]
    logger.info("AP counts up to %d detections of an image; COCO's is of 100", max_detections)
    # With 100 in the third place detectron2 keeps the class that it is given, and faster-coco-eval
    # takes AP at the last one. The others take it at 100, but for a class of detectron2's own.
    is_fast = coco_eval_class().__name__ == "COCOeval_faster"
    return [1, 10, *([_COCO_DETECTIONS] if is_fast else []), max_detections]


def _complete_keypoints(truth: Collection[dict[str, Any]]) -> bool:
    """Give annotations without key points some that are not annotated, as COCO's have them, and
    each the number of those that are; return whether there are any at all."""
    longest = max((len(found.get("keypoints") or ()) for found in truth), default=0)
    for found in truth:
        found["keypoints"] = found.get("keypoints") or [0] * longest
        found.setdefault("num_keypoints", sum(seen > 0 for seen in found["keypoints"][2::3]))
    return longest > 0


class InstanceEvaluator(COCOEvaluator):
    """Box and mask AP of ``output["instances"]`` against a COCO instances JSON.

    Different from detectron2's evaluator: the implementation of AP is :func:`coco_eval_class`'s;
    the thing classes may lie anywhere in the model's label space, as they do in a panoptic data
    set; the categories of metadata and JSON are compared before anything is computed.
    """

    def __init__(
        self,
        dataset_name: str,
        output_dir: str | None = None,
        *,
        kpt_oks_sigmas: Sequence[float] = (),
        max_detections: int = _COCO_DETECTIONS,
        record: bool = False,
        reader: PictureReader | None = None,
    ) -> None:
        """
        Args:
            dataset_name: its metadata has ``json_file``; or its dicts have ``annotations``.
            output_dir: where the predictions go; None writes nothing.
            kpt_oks_sigmas: see ``COCOEvaluator``.
            max_detections: of an image, that count; fewer than COCO's 100 are taken for 100, since
                a model that gives no more is scored alike.
            record: also write what a report needs to ``records/instance.json`` there.
            reader: of pictures with other bands, for the report.

        Raises:
            ValueError: an annotation cannot be used, or the thing classes of the metadata are not
                the categories of the JSON.
        """
        # What the parent's constructor sets, which reads the file unchecked.
        self._logger = logger
        self._distributed = True
        self._output_dir = output_dir
        self._use_fast_impl = False  # what it chooses from is chosen by coco_eval_class
        self._max_dets_per_image = _limits(max_detections)
        self._tasks = None  # those of the predictions
        self._cpu_device = torch.device("cpu")
        self._metadata = MetadataCatalog.get(dataset_name)
        self._truth = read_truth(dataset_name, self._metadata)
        self._coco_api = self._truth.coco
        self._do_evaluation = "annotations" in self._coco_api.dataset
        self._kpt_oks_sigmas = kpt_oks_sigmas
        self._record = record and output_dir is not None
        self._reader = reader
        self._dataset_name = dataset_name
        self._check_categories()

    @property
    def has_truth(self) -> bool:
        """Whether there is anything to find, or no ground truth at all, as of a test split."""
        annotations = self._coco_api.dataset.get("annotations")
        return annotations is None or not all(found.get("iscrowd") for found in annotations)

    def _eval_predictions(self, predictions: list[dict], img_ids: list | None = None) -> None:
        """Fill ``self._results`` with the metrics of every task."""
        results = list(itertools.chain.from_iterable(x["instances"] for x in predictions))
        self._to_dataset_ids(results)
        if self._output_dir:
            path = os.path.join(self._output_dir, "coco_instances_results.json")
            logger.info("Saving instance predictions to %s", path)
            with PathManager.open(path, "w") as file:
                json.dump(results, file)
        if not self._do_evaluation:
            logger.info("%s has no instance annotations to compare with.", self._dataset_name)
            return
        numbers = self._truth.numbers
        if numbers:
            results = [{**x, "image_id": numbers[x["image_id"]]} for x in results]
            img_ids = None if img_ids is None else [numbers[i] for i in img_ids]
        categories = self._coco_api.loadCats(sorted(self._coco_api.getCatIds()))
        class_names = [str(x.get("name", f"category {x['id']}")) for x in categories]
        evaluations: dict[str, COCOeval | None] = {}
        for task in self._tasks_with_ground_truth(results):
            evaluation = self._evaluate_task(results, task, img_ids) if results else None
            self._results[task] = self._derive_coco_results(evaluation, task, class_names)
            evaluations[task] = evaluation
        kind = "segm" if "segm" in evaluations else "bbox"
        if self._record and evaluations.get(kind) is not None:
            with recording(self._output_dir, "instance") as write:
                write(
                    instance_record(
                        self._coco_api,
                        results,
                        evaluations[kind],
                        kind,
                        self._max_dets_per_image[-1],
                        self._metadata.get("image_root"),
                        self._reader,
                    )
                )

    def check_masks(self) -> None:
        """See that masks can be scored, of a model that gives them.

        Raises:
            ValueError: some annotations have masks and others have none.
        """
        truth = list(self._coco_api.anns.values())
        without = [found for found in truth if "segmentation" not in found]
        if 0 < len(without) < len(truth):
            raise ValueError(
                f"{self._dataset_name}: {len(without)} of {len(truth)} annotations have no "
                f"'segmentation', as that of image {without[0]['image_id']!r} with the box "
                f"{without[0]['bbox']}, so that masks cannot be scored; add them, or take these "
                "annotations out"
            )

    def _tasks_with_ground_truth(self, results: list[dict]) -> list[str]:
        tasks = sorted(self._tasks_from_predictions(results))
        truth = self._coco_api.anns.values()
        if "segm" in tasks:
            self.check_masks()
        if "segm" in tasks and truth and not any("segmentation" in x for x in truth):
            logger.info("%s has boxes and no masks: mask AP is skipped.", self._dataset_name)
            tasks.remove("segm")
        if "keypoints" in tasks and not _complete_keypoints(truth):
            logger.info("%s has no key points: their AP is skipped.", self._dataset_name)
            tasks.remove("keypoints")
        return tasks

    def _evaluate_task(self, results: list[dict], task: str, img_ids: list | None) -> COCOeval:
        # Key points are rare here and not covered by the tests of equality.
        eval_class = COCOeval if task == "keypoints" else coco_eval_class()
        logger.info("Evaluating %s with %s", task, eval_class.__module__)
        return coco_evaluation._evaluate_predictions_on_coco(
            self._coco_api,
            results,
            task,
            kpt_oks_sigmas=self._kpt_oks_sigmas,
            cocoeval_fn=eval_class,
            img_ids=img_ids,
            max_dets_per_image=self._max_dets_per_image,
        )

    def _to_dataset_ids(self, results: list[dict[str, Any]]) -> None:
        """Replace the model's class of every result by the data set's category id, in place."""
        mapping = self._metadata.get("thing_dataset_id_to_contiguous_id")
        if mapping is None:
            return
        dataset_ids = {contiguous: dataset for dataset, contiguous in mapping.items()}
        for result in results:
            predicted = result["category_id"]
            if predicted not in dataset_ids:
                raise ValueError(
                    f"{self._dataset_name}: the model predicts an instance of class {predicted} "
                    f"for image {result['image_id']}, which is not one of the data set's "
                    f"{len(dataset_ids)} thing classes; compare the model's number of classes"
                )
            result["category_id"] = dataset_ids[predicted]

    def _check_categories(self) -> None:
        mapping = self._metadata.get("thing_dataset_id_to_contiguous_id")
        if mapping is None or self._metadata.get("json_file") is None:
            return  # set when the data set is read; or the categories are those of the metadata
        in_json, in_metadata = set(self._coco_api.getCatIds()), set(mapping)
        if in_json != in_metadata:
            raise ValueError(
                f"{self._dataset_name}: the categories of {self._metadata.json_file} are not the "
                f"thing classes of the metadata; only in the JSON: "
                f"{sorted(in_json - in_metadata)[:10]}, only in the metadata: "
                f"{sorted(in_metadata - in_json)[:10]}"
            )
