"""A trained model on single pictures, and how far its answers are trusted.

H, W a picture's size in pixels, K classes, E expressions.
"""

from collections.abc import Sequence

import detectron2.data.transforms as T
import numpy as np
import torch
from detectron2.config import CfgNode
from detectron2.modeling import build_model
from detectron2.structures import Instances
from torch import Tensor, nn

from ..acceleration import prepare_as_configured
from ..checkpoint import Checkpointer
from ..config.checks import check_device
from ..config.defaults import set_semantic_output
from ..config.loading import use_words_of_checkpoint
from ..config.tasks import check_expressions
from ..data.augmentation import ResizeShortestEdge

_OUTPUT_KEYS = {
    "panoptic": "panoptic_seg",
    "semantic": "sem_seg",
    "instance": "instances",
    "referring": "referring",
}
_ROWS_AT_ONCE = 256  # of a (K, H, W) score map, where a copy of all of it would be large


class Predictor:
    """One task of a model, on one picture at a time."""

    def __init__(
        self,
        *,
        model: nn.Module,
        task: str,
        resize: T.Augmentation,
        image_format: str,
        confidence_threshold: float | None = None,
    ) -> None:
        """
        Args:
            model: in eval mode, with detectron2's interface.
            task: one of ``TASKS``.
            resize: from the picture to the model's input.
            image_format: the order of channels that the model takes, "RGB" or "BGR".
            confidence_threshold: see :meth:`__call__`; None: whatever the model gives.
        """
        self.model = model
        self.task = task
        self.resize = resize
        self.image_format = image_format
        self.confidence_threshold = confidence_threshold

    @torch.inference_mode()
    def __call__(self, image: np.ndarray, expressions: Sequence[str] = ()) -> dict:
        """
        Args:
            image: (H, W, 3) uint8 RGB.
            expressions: E of them, for the task referring and no other: what to look for.

        Returns:
            On the CPU, with ``t`` the confidence threshold:
            panoptic: {"panoptic_seg": ((H, W) ids, segments_info)}, without the segments that have
            a score below t;
            semantic: {"sem_seg": (H, W) int64 classes}, -1 where the best class is less probable
            than t;
            instance: {"instances": Instances}, without those that score below t;
            referring: {"referring": Instances} of the expressions in their order, with
            ``pred_masks`` (E, H, W) bool, ``scores`` (E,) in [0, 1] and ``expressions``. A mask is
            empty where the model finds nothing, or scores it below t.

        Raises:
            ValueError: see :func:`check_expressions`.
        """
        check_expressions(self.task, expressions)
        height, width = image.shape[:2]
        pixels = image if self.image_format == "RGB" else image[:, :, ::-1]
        pixels = self.resize.get_transform(pixels).apply_image(pixels)
        tensor = torch.as_tensor(np.ascontiguousarray(pixels.transpose(2, 0, 1)))
        example = {"image": tensor, "height": height, "width": width}
        if expressions:
            example["expressions"] = list(expressions)
        output = self.model([example])[0]
        return select_confident(output, self.task, self.confidence_threshold)

    def check_expressions(self, expressions: Sequence[str]) -> None:
        """See, before pictures are read, that the model can take the expressions.

        Beyond the function of this name, a model is asked whose words are limited: it has a method
        ``check_expressions`` that takes the list and raises.

        Raises:
            ValueError: the model cannot.
        """
        check_expressions(self.task, expressions)
        if expressions and hasattr(self.model, "check_expressions"):
            self.model.check_expressions(list(expressions))


def build_predictor(
    cfg: CfgNode, task: str, confidence_threshold: float | None = None
) -> Predictor:
    """The config's model with MODEL.WEIGHTS, on MODEL.DEVICE.

    Args:
        task: one of ``tasks_of(cfg)``, the only one that a model of this project then computes.
        confidence_threshold: in [0, 1]; reaches the model too (see ``set_confidence_threshold``).

    Raises:
        ValueError: no such device here; weights missing, or of another architecture.
    """
    cfg = cfg.clone()
    cfg.defrost()
    cfg.TEST.TASKS = [task]
    if confidence_threshold is not None:
        set_confidence_threshold(cfg, confidence_threshold)
    resize = _resize(cfg, task)
    check_device(cfg.MODEL.DEVICE)
    use_words_of_checkpoint(cfg)
    model = build_model(cfg)
    Checkpointer(model).load(cfg.MODEL.WEIGHTS, checkpointables=[], require_complete=True)
    return Predictor(
        model=prepare_as_configured(cfg, model.eval()),
        task=task,
        resize=resize,
        image_format=cfg.INPUT.FORMAT,
        confidence_threshold=confidence_threshold,
    )


def _resize(cfg: CfgNode, task: str) -> T.Augmentation:
    """What the mapper of the task does to a picture at test time."""
    if task == "referring":
        return T.Resize(tuple(cfg.INPUT.REFERRING_SIZE))
    return ResizeShortestEdge(cfg.INPUT.MIN_SIZE_TEST, cfg.INPUT.MAX_SIZE_TEST)


def set_confidence_threshold(cfg: CfgNode, threshold: float) -> None:
    """Tell the model in place, so that doubtful queries and boxes do not take pixels from others.

    The keys are read by detectron2's ROI heads and RetinaNet, its combination of instances and
    stuff, and this project's mask-classification and per-pixel models.
    """
    cfg.MODEL.ROI_HEADS.SCORE_THRESH_TEST = threshold
    cfg.MODEL.RETINANET.SCORE_THRESH_TEST = threshold
    cfg.MODEL.PANOPTIC_FPN.COMBINE.INSTANCES_CONFIDENCE_THRESH = threshold
    cfg.MODEL.MASK_CLASSIFICATION.TEST.OBJECT_MASK_THRESHOLD = threshold
    cfg.MODEL.MASK_CLASSIFICATION.TEST.SCORE_THRESHOLD = threshold
    set_semantic_output(cfg, "scores")  # labels tell no probability


def select_confident(output: dict, task: str, threshold: float | None) -> dict:
    """One task of one model output, on the CPU; see :meth:`Predictor.__call__`."""
    if task == "instance" and "proposals" in output:
        output = {"instances": _as_instances(output["proposals"])}
    value = output[_OUTPUT_KEYS[task]]
    if task == "semantic":
        return {"sem_seg": label_map(value, threshold)}
    if task == "instance":
        if threshold is not None:
            value = value[value.scores >= threshold]
        return {"instances": value.to("cpu")}
    if task == "referring":
        return {"referring": _confident_masks(value.to("cpu"), threshold)}
    panoptic_seg, segments_info = value
    if threshold is not None:
        segments_info = [s for s in segments_info if s.get("score", 1.0) >= threshold]
    return {"panoptic_seg": (panoptic_seg.cpu(), segments_info)}


def label_map(scores: Tensor, threshold: float | None = None) -> Tensor:
    """The best class of each pixel.

    Args:
        scores: (K, H, W). Negative ones mean logits, whose softmax is the probability; scores that
            are nowhere negative (MaskFormer's) count as relative to their sum over the classes.
            Or (H, W) integers: the best classes themselves.
        threshold: pixels whose best class has a lower probability get -1.

    Returns:
        (H, W) int64 on the CPU.

    Raises:
        ValueError: a threshold for labels, which tell no probability.
    """
    if scores.dim() == 2:
        if threshold is not None:
            raise ValueError(
                "a confidence threshold needs class scores, and the model gives labels: set "
                "MODEL.PER_PIXEL.TEST.OUTPUT or MODEL.MASK_CLASSIFICATION.TEST.SEMANTIC_OUTPUT to "
                '"scores"'
            )
        return scores.long().cpu()
    is_logits = threshold is not None and bool((scores < 0).any())
    rows = []
    for part in scores.float().split(_ROWS_AT_ONCE, dim=1):
        best, labels = part.max(0)
        if threshold is not None:
            if is_logits:
                probability = 1 / (part - best).exp_().sum(0)
            else:
                probability = best / part.sum(0).clamp(min=1e-12)
            labels = torch.where(probability >= threshold, labels, -1)
        rows.append(labels.cpu())
    return torch.cat(rows)


def _confident_masks(found: Instances, threshold: float | None) -> Instances:
    """``found`` with the masks of expressions that score below the threshold empty."""
    if threshold is None:
        return found
    is_confident = (found.scores >= threshold)[:, None, None]
    return Instances(
        found.image_size,
        pred_masks=found.pred_masks & is_confident,
        scores=found.scores,
        expressions=found.expressions,
    )


def _as_instances(proposals: Instances) -> Instances:
    """Output of detectron2's ProposalNetwork: class-agnostic boxes, their logits as scores."""
    return Instances(
        proposals.image_size,
        pred_boxes=proposals.proposal_boxes,
        scores=proposals.objectness_logits.sigmoid(),
    )
