"""The semantic evaluator: detectron2's ``SemSegEvaluator``, ready for numpy 2 and wide labels."""

from collections.abc import Mapping, Sequence

import numpy as np
import pycocotools.mask as mask_util
import torch
from detectron2.data import MetadataCatalog
from detectron2.evaluation import CityscapesSemSegEvaluator, SemSegEvaluator
from torch import Tensor

from ..data.checks import check_labels
from ..data.readers import PictureReader
from .id_maps import read_label_map
from .records.files import recording
from .records.gallery import Scene, read_picture
from .records.semantic import SemanticRecord, semantic_scene

_ROUNDING = 1e-2  # of half-precision sums of probabilities


class MissingGroundTruthError(ValueError):
    """The data set does not carry what a task is compared with."""


class SemanticEvaluator(SemSegEvaluator):
    """mIoU and its kin of ``output["sem_seg"]`` against the label images of a data set.

    The confusion matrix and the metrics are detectron2's. Different from its evaluator: labels are
    checked; 16-bit labels and any ``ignore_label`` work; predictions of thing classes can be saved
    for data sets whose metadata keep things and stuff apart; masks are encoded only when they are
    saved. Boundary IoU is left out: detectron2 erodes the label map as if it were one mask, so the
    "class" of a boundary pixel is a difference of two labels.
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
            record: also write what a report needs to ``records/semantic.json`` there.
            reader: of pictures with other bands, for the report.
            dataset_name: its dicts have ``sem_seg_file_name``, its metadata ``stuff_classes`` (all
                classes, in the model's order), ``ignore_label``, and ``label_values`` where the
                pixel values are not the classes.
            output_dir: where ``sem_seg_predictions.json`` and ``sem_seg_evaluation.pth`` go; None
                writes nothing.

        Raises:
            MissingGroundTruthError: dicts without label image, or metadata without those entries.
        """
        metadata = MetadataCatalog.get(dataset_name)
        self._label_values = metadata.get("label_values")
        try:
            super().__init__(
                dataset_name, output_dir=output_dir, sem_seg_loading_fn=self._load_labels
            )
        except KeyError as error:
            if error.args != ("sem_seg_file_name",):
                raise
            raise MissingGroundTruthError(
                f"{dataset_name} has no semantic ground truth: its dicts lack 'sem_seg_file_name'; "
                "add it to the data set, or take 'semantic' out of TEST.TASKS"
            ) from error
        except AttributeError as error:
            missing = [x for x in ("stuff_classes", "ignore_label") if metadata.get(x) is None]
            if not missing:
                raise
            raise MissingGroundTruthError(
                f"{dataset_name}: the metadata lack {' and '.join(missing)}; "
                f"set this with MetadataCatalog.get({dataset_name!r}).set(...)"
            ) from error
        self._compute_boundary_iou = False
        self._record, self._reader = None, reader
        if record and output_dir is not None:
            self._record = SemanticRecord(self._num_classes)
        if self._contiguous_id_to_dataset_id is not None:
            things = metadata.get("thing_dataset_id_to_contiguous_id", {})
            for dataset_id, contiguous_id in things.items():
                self._contiguous_id_to_dataset_id.setdefault(contiguous_id, dataset_id)

    def reset(self) -> None:
        super().reset()
        if self._record is not None:
            self._record.reset()

    def process(self, inputs: Sequence[Mapping], outputs: Sequence[Mapping]) -> None:
        """Count a batch.

        Args:
            inputs: dicts with ``file_name``.
            outputs: dicts with ``sem_seg``, (K, H, W) scores or (H, W) integer labels.

        Raises:
            ValueError: the model gave no or another number of classes, the label image has another
                size or holds labels that are neither a class nor ``ignore_label``.
        """
        for image, output in zip(inputs, outputs, strict=True):
            pred = predicted_labels(output, self._num_classes, self._dataset_name)
            gt_file = self.input_file_to_gt_file[image["file_name"]]
            gt = self.sem_seg_loading_fn(gt_file, dtype=int)
            if pred.shape != gt.shape:
                raise ValueError(
                    f"{gt_file}: the label image is {gt.shape} (height, width), "
                    f"the prediction for {image['file_name']} is {pred.shape}"
                )
            gt[gt == self._ignore_label] = self._num_classes
            confusion = self._count(image["file_name"], pred, gt)
            if self._record is not None:
                confidence = confidences(output["sem_seg"])
                self._record.add(image["file_name"], pred, gt, confusion, confidence)
            if self._output_dir is not None:
                self._predictions.extend(self.encode_json_sem_seg(pred, image["file_name"]))

    def evaluate(self) -> Mapping[str, dict] | None:
        if self._record is not None:
            self._record.gather()
        results = super().evaluate()
        if results is not None and self._record is not None:
            with recording(self._output_dir, "semantic") as write:
                classes = self._class_names, self._colors()
                write(self._record.content(self._conf_matrix, *classes, self._scene))
        return results

    def _scene(self, file_name: str) -> Scene:
        """Of a picture that has been counted; its prediction is one of those to be saved."""
        labels = self.sem_seg_loading_fn(self.input_file_to_gt_file[file_name], dtype=int)
        ids = {d: c for c, d in (self._contiguous_id_to_dataset_id or {}).items()}
        prediction = np.full(labels.shape, -1)
        for part in self._predictions:
            if part["file_name"] == file_name:
                mask = mask_util.decode(part["segmentation"]).astype(bool)
                prediction[mask] = ids.get(part["category_id"], part["category_id"])
        return semantic_scene(
            read_picture(file_name, labels.shape, self._reader),
            np.where(labels == self._ignore_label, -1, labels),
            prediction,
            self._class_names,
            self._colors(),
        )

    def _colors(self) -> list | None:
        return MetadataCatalog.get(self._dataset_name).get("stuff_colors")

    def _count(self, file_name: str, prediction: np.ndarray, labels: np.ndarray) -> np.ndarray:
        """Add an image, (H, W) int64; ignored pixels have the label ``num_classes``.

        Returns:
            its confusion matrix
        """
        confusion = self._confusion(prediction, labels)
        self._conf_matrix += confusion
        return confusion

    def _confusion(self, prediction: np.ndarray, labels: np.ndarray) -> np.ndarray:
        """(K + 1, K + 1) counts: rows are predictions, columns labels."""
        pairs = (self._num_classes + 1) * prediction + labels
        counts = np.bincount(pairs.ravel(), minlength=self._conf_matrix.size)
        return counts.reshape(self._conf_matrix.shape)

    def _load_labels(self, path: str, dtype: type = int) -> np.ndarray:
        labels = read_label_map(path, dtype, self._label_values)
        check_labels(labels, self._num_classes, self._ignore_label, path)
        return labels


class CityscapesSemanticEvaluator(CityscapesSemSegEvaluator):
    """detectron2's, which takes scores, for models that give labels, too."""

    def process(self, inputs: Sequence[Mapping], outputs: Sequence[Mapping]) -> None:
        super().process(inputs, [{"sem_seg": _scores(output["sem_seg"])} for output in outputs])


def predicted_labels(output: Mapping, num_classes: int, dataset_name: str) -> np.ndarray:
    """The labels, (H, W) int64, of a model's ``sem_seg``: (K, H, W) scores or (H, W) labels.

    Raises:
        ValueError: there is no ``sem_seg``, or it is of another number of classes.
    """
    if "sem_seg" not in output:
        raise ValueError(
            f"{dataset_name}: the model gives no 'sem_seg' but {sorted(output)}; "
            "take 'semantic' out of TEST.TASKS or use a model that has this output"
        )
    prediction = output["sem_seg"]
    if prediction.dim() == 3:
        fits, found = len(prediction) == num_classes, f"scores {len(prediction)}"
        # max gives the same indices as argmax, and reads the channels one after another
        prediction = prediction.max(dim=0)[1]
    else:
        lowest, highest = (int(label) for label in prediction.aminmax())
        fits = lowest >= 0 and highest < num_classes
        found = f"gives the label {highest if highest >= num_classes else lowest}"
    if not fits:
        raise ValueError(
            f"{dataset_name} has {num_classes} classes, the model {found}: set "
            "MODEL.SEM_SEG_HEAD.NUM_CLASSES to the data set's number"
        )
    return prediction.cpu().numpy().astype(np.int64, copy=False)


def confidences(prediction: Tensor) -> np.ndarray | None:
    """(H, W) in [0, 1], the largest probability of each pixel, of scores (K, H, W): probabilities,
    whose sums are 1, or logits of a softmax, which per-pixel models give for a single view and of
    which some are negative. None of labels, and of the scores of mask classification, which are
    sums over queries."""
    if prediction.dim() != 3:
        return None
    scores = prediction.float()
    if float(scores.amin()) < 0:
        scores = scores.softmax(dim=0)
    elif float((scores.sum(dim=0) - 1).abs().amax()) > _ROUNDING:
        return None
    return scores.amax(dim=0).cpu().numpy()


def _scores(prediction: Tensor) -> Tensor:
    """(H, W) labels -> scores (K, H, W), 1 for the label; scores stay as they are."""
    if prediction.dim() == 3:
        return prediction
    classes = torch.arange(int(prediction.max()) + 1, device=prediction.device)
    return (prediction == classes[:, None, None]).to(torch.uint8)
