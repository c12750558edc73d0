"""The panoptic evaluator: detectron2's ``COCOPanopticEvaluator`` without panopticapi."""

import itertools
import json
import logging
import os
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from detectron2.data import MetadataCatalog
from detectron2.evaluation import DatasetEvaluator
from detectron2.utils import comm
from detectron2.utils.file_io import PathManager
from tabulate import tabulate

from ..data.datasets.coco_files import CocoContent, read_coco
from ..data.entries import sound_segments
from ..data.faults import Faults
from ..data.label_maps import read_id_map, write_id_map
from ..data.readers import PictureReader
from .id_maps import check_encoding
from .panoptic_quality import PanopticQuality
from .records.files import recording
from .records.panoptic import PanopticRecord, SegmentMaps

logger = logging.getLogger(__name__)


class PanopticEvaluator(DatasetEvaluator):
    """Panoptic quality of ``output["panoptic_seg"]`` against a data set in COCO panoptic format.

    Protocol, results and formats are those of detectron2's ``COCOPanopticEvaluator``. Every image
    is scored when it is processed, in the process that has it; only counts are gathered.
    """

    def __init__(
        self,
        dataset_name: str,
        output_dir: str | None = None,
        *,
        record: bool = False,
        reader: PictureReader | None = None,
    ) -> None:
        """
        Args:
            dataset_name: its metadata has ``panoptic_json`` and ``panoptic_root``.
            record: also write what a report needs to ``records/panoptic.json`` there.
            reader: of pictures with other bands, for the report.
            output_dir: where ``predictions.json`` and the PNGs beside it in ``predictions`` go, in
                COCO panoptic format; None writes nothing. With several machines the PNGs are on
                the machine that made them.

        Raises:
            ValueError: the JSON or the folder is missing, or the JSON holds no annotations.
        """
        self._metadata = MetadataCatalog.get(dataset_name)
        self._dataset_name = dataset_name
        self._output_dir, self._reader = output_dir, reader
        self._root = PathManager.get_local_path(self._metadata.panoptic_root)
        if not PathManager.isfile(self._metadata.panoptic_json):
            raise ValueError(
                f"{dataset_name}: the panoptic_json {self._metadata.panoptic_json} does not exist"
            )
        content = read_coco(self._metadata.panoptic_json, is_panoptic=True, has_names=False)
        if not os.path.isdir(self._root):
            raise ValueError(f"{dataset_name}: the panoptic_root {self._root} does not exist")
        for key in ("thing_dataset_id_to_contiguous_id", "stuff_dataset_id_to_contiguous_id"):
            if self._metadata.get(key) is None:
                raise ValueError(
                    f"{dataset_name}: its metadata lack {key}; set it with "
                    f"MetadataCatalog.get({dataset_name!r}).set({key}={{...}})"
                )
        self._json = {"images": list(content.images.values()), "categories": content.categories}
        where = Faults(str(self._metadata.panoptic_json))
        self._annotations = {
            x["image_id"]: {**x, "segments_info": _sound_segments(x, where)}
            for x in content.annotations or ()
        }
        first = next(iter(self._annotations.values()))  # as one is, all are, before a training
        if os.path.isfile(file := os.path.join(self._root, first["file_name"])):
            check_encoding(read_id_map(file), first["segments_info"], file)
        self._ends = _output_stems(content)
        self._record = (
            PanopticRecord(len(content.categories)) if record and output_dir is not None else None
        )
        self._thing_ids = _inverse(self._metadata.thing_dataset_id_to_contiguous_id)
        self._stuff_ids = _inverse(self._metadata.stuff_dataset_id_to_contiguous_id)

    @property
    def has_truth(self) -> bool:
        """Whether there is anything to find."""
        listed = (x for entry in self._annotations.values() for x in entry["segments_info"])
        return not all(segment.get("iscrowd") for segment in listed)

    def reset(self) -> None:
        self._quality = PanopticQuality(self._json["categories"])
        self._predictions: list[dict[str, Any]] = []
        if self._output_dir is not None:
            PathManager.mkdirs(os.path.join(self._output_dir, "predictions"))
        if self._record is not None:
            self._record.reset()

    def process(self, inputs: Sequence[Mapping], outputs: Sequence[Mapping]) -> None:
        """Score a batch.

        Args:
            inputs: dicts with ``image_id`` and ``file_name``.
            outputs: dicts with ``panoptic_seg``: the (H, W) id map, 0 = void, and its segments
                (``id``, ``category_id`` contiguous, ``isthing``; without ``isthing`` the category
                is already the data set's); or (H, W) ``category * label_divisor + instance``,
                -1 = void, and None.

        Raises:
            ValueError: the model gave no panoptic output, the image is not in the data set, or
                what :meth:`PanopticQuality.update` raises.
        """
        for image, output in zip(inputs, outputs, strict=True):
            if "panoptic_seg" not in output:
                raise ValueError(
                    f"{self._dataset_name}: the model gives no 'panoptic_seg' but {sorted(output)};"
                    " take 'panoptic' out of TEST.TASKS or use a model that has this output"
                )
            annotation = self._annotations.get(image["image_id"])
            if annotation is None:
                raise ValueError(
                    f"{self._dataset_name}: the image {image['image_id']} ({image['file_name']}) "
                    f"has no annotation in {self._metadata.panoptic_json}"
                )
            id_map, segments = self._prediction(*output["panoptic_seg"], image["image_id"])
            file = os.path.join(self._root, annotation["file_name"])
            truth, true_segments = read_id_map(file), annotation["segments_info"]
            match = self._quality.update(id_map, segments, truth, true_segments, image["image_id"])
            if not match.intersections.any():
                check_encoding(truth, true_segments, file)
            if self._record is not None:
                self._record.add(str(image["image_id"]), image["file_name"], match)
            stem = _stem(image["file_name"]) + self._ends.get(image["image_id"], "")
            self._predictions.append(
                {
                    "image_id": image["image_id"],
                    "file_name": f"{stem}.png",
                    "segments_info": segments,
                }
            )
            if self._output_dir is not None:
                write_id_map(os.path.join(self._output_dir, "predictions", f"{stem}.png"), id_map)

    def evaluate(self) -> OrderedDict[str, dict[str, float]] | None:
        """The result of all processes, in percent; None in all but the main process.

        Raises:
            ValueError: an annotated image has no prediction, or one has two.
        """
        comm.synchronize()
        self._quality.gather()
        if self._record is not None:
            self._record.gather()
        gathered = comm.gather(self._predictions, dst=0)
        if not comm.is_main_process():
            return None
        predictions = list(itertools.chain.from_iterable(gathered))
        self._check_complete([x["image_id"] for x in predictions])
        if self._output_dir is not None:
            path = os.path.join(self._output_dir, "predictions.json")
            logger.info("Saving panoptic predictions to %s", path)
            with PathManager.open(path, "w") as file:
                json.dump({**self._json, "annotations": predictions}, file)
        if self._record is not None:
            with recording(self._output_dir, "panoptic") as write:
                write(self._record_content(predictions))
        quality = self._quality.compute()
        _log_table(quality)
        result = {
            f"{metric.upper()}{suffix}": 100 * quality[group][metric]
            for group, suffix in (("All", ""), ("Things", "_th"), ("Stuff", "_st"))
            for metric in ("pq", "sq", "rq")
        }
        return OrderedDict(panoptic_seg=result)

    def _prediction(
        self, id_map: torch.Tensor, segments: Sequence[Mapping] | None, image_id: Any
    ) -> tuple[np.ndarray, list[dict]]:
        """Id map with 0 = void, and its segments with the data set's category ids.

        Neither argument is changed: other evaluators and the visualizer see them too.
        """
        ids = id_map.cpu().numpy()
        if segments is None:
            ids, segments = self._decode(ids)
        converted = []
        for segment in segments:
            segment = dict(segment)
            isthing = segment.pop("isthing", None)
            if isthing is not None:
                known = self._thing_ids if isthing else self._stuff_ids
                category = segment["category_id"]
                if category not in known:
                    raise ValueError(
                        f"image {image_id}: the model predicts a {'thing' if isthing else 'stuff'} "
                        f"segment of class {category}, which {self._dataset_name} does not have "
                        "there; compare the number and order of its classes with the model's"
                    )
                segment["category_id"] = known[category]
            converted.append({key: _plain(value) for key, value in segment.items()})
        return ids, converted

    def _decode(self, labels: np.ndarray) -> tuple[np.ndarray, list[dict]]:
        """Panoptic-DeepLab's ``category * label_divisor + instance``, -1 = void."""
        divisor = self._metadata.label_divisor
        # Ids are dense enough to count: at most the number of classes times the divisor.
        ids = labels.astype(np.int64) + 1
        present = np.flatnonzero(np.bincount(ids.ravel()))
        segments = [
            {
                "id": int(i),
                "category_id": int(i - 1) // divisor,
                "isthing": int(i - 1) // divisor in self._thing_ids,
            }
            for i in present
            if i > 0
        ]
        return ids, segments

    def _record_content(self, predictions: Sequence[Mapping]) -> dict[str, Any]:
        found = {str(x["image_id"]): x for x in predictions}

        def maps_of(key: str) -> SegmentMaps:
            prediction = found[key]
            annotation = self._annotations[prediction["image_id"]]
            file = os.path.join(self._output_dir, "predictions", prediction["file_name"])
            return SegmentMaps(
                read_id_map(file),
                prediction["segments_info"],
                read_id_map(os.path.join(self._root, annotation["file_name"])),
                annotation["segments_info"],
            )

        return self._record.content(self._quality, self._json["categories"], maps_of, self._reader)

    def _check_complete(self, image_ids: list) -> None:
        missing = self._annotations.keys() - set(image_ids)
        if missing:
            raise ValueError(
                f"{self._dataset_name}: {len(missing)} of {len(self._annotations)} annotated "
                f"images have no prediction, e.g. image {next(iter(missing))}"
            )
        if len(image_ids) > len(self._annotations):
            raise ValueError(
                f"{self._dataset_name}: {len(image_ids)} predictions for "
                f"{len(self._annotations)} images; the test loader repeats images"
            )


def _sound_segments(annotation: Mapping, faults: Faults) -> list[dict]:
    """Without their areas, which are counted: a wrong one would give any quality."""
    segments = sound_segments(annotation["segments_info"], annotation["file_name"], faults)
    return [{k: v for k, v in segment.items() if k != "area"} for segment in segments]


def _output_stems(content: CocoContent) -> dict[Any, str]:
    """Image id -> ending of the stem of its prediction's file, which tells apart images of one name
    in several folders: empty, or a number."""
    stems = {i: _stem(image.get("file_name", "")) for i, image in content.images.items()}
    taken, ends = set(stems.values()), {}
    seen: set[str] = set()
    for image_id, stem in stems.items():
        end, number = "", 2
        while stem + end in seen or (end and stem + end in taken):
            end, number = f"_{number}", number + 1
        seen.add(stem + end)
        ends[image_id] = end
    return ends


def _stem(file_name: str) -> str:
    return os.path.splitext(os.path.basename(file_name))[0]


def _inverse(mapping: Mapping[int, int]) -> dict[int, int]:
    return {contiguous: dataset for dataset, contiguous in mapping.items()}


def _plain(value: Any) -> Any:
    """Numbers of torch and numpy as Python's own, for JSON."""
    return value.item() if isinstance(value, torch.Tensor | np.generic) else value


def _log_table(quality: Mapping[str, Mapping]) -> None:
    rows = [
        [group, *(100 * quality[group][key] for key in ("pq", "sq", "rq")), quality[group]["n"]]
        for group in ("All", "Things", "Stuff")
    ]
    headers = ["", "PQ", "SQ", "RQ", "#categories"]
    table = tabulate(
        rows, headers, tablefmt="pipe", floatfmt=".3f", stralign="center", numalign="center"
    )
    logger.info("Panoptic Evaluation Results:\n%s", table)
