"""A trained model on single pictures, and how far its answers are trusted.

H, W a picture's size in pixels, K classes.
"""

import detectron2.data.transforms as T
import numpy as np
import torch
from detectron2.config import CfgNode
from detectron2.modeling import build_model
from detectron2.structures import Instances
from torch import Tensor, nn

from .acceleration import prepare_as_configured
from .checkpoint import Checkpointer
from .configuration import TASKS, check_device, tasks_of

_OUTPUT_KEYS = {"panoptic": "panoptic_seg", "semantic": "sem_seg", "instance": "instances"}
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
            task: "panoptic", "semantic" or "instance".
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
    def __call__(self, image: np.ndarray) -> dict:
        """
        Args:
            image: (H, W, 3) uint8 RGB.

        Returns:
            On the CPU, with ``t`` the confidence threshold:
            panoptic: {"panoptic_seg": ((H, W) ids, segments_info)}, without the segments that have
            a score below t;
            semantic: {"sem_seg": (H, W) int64 classes}, -1 where the best class is less probable
            than t;
            instance: {"instances": Instances}, without those that score below t.
        """
        height, width = image.shape[:2]
        pixels = image if self.image_format == "RGB" else image[:, :, ::-1]
        pixels = self.resize.get_transform(pixels).apply_image(pixels)
        tensor = torch.as_tensor(np.ascontiguousarray(pixels.transpose(2, 0, 1)))
        output = self.model([{"image": tensor, "height": height, "width": width}])[0]
        return select_confident(output, self.task, self.confidence_threshold)


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
    check_device(cfg.MODEL.DEVICE)
    if cfg.TEST.TASKS:
        cfg.TEST.TASKS = [task]
    if confidence_threshold is not None:
        set_confidence_threshold(cfg, confidence_threshold)
    model = build_model(cfg)
    Checkpointer(model).load(cfg.MODEL.WEIGHTS, checkpointables=[], require_complete=True)
    return Predictor(
        model=prepare_as_configured(cfg, model.eval()),
        task=task,
        resize=T.ResizeShortestEdge(cfg.INPUT.MIN_SIZE_TEST, cfg.INPUT.MAX_SIZE_TEST),
        image_format=cfg.INPUT.FORMAT,
        confidence_threshold=confidence_threshold,
    )


def choose_task(cfg: CfgNode, wanted: str | None) -> str:
    """``wanted``, or without it panoptic, semantic, instance: the first that the model offers.

    Raises:
        ValueError: the model does not offer what is wanted.
    """
    offered = tasks_of(cfg)
    if wanted is None:
        return min(offered, key=TASKS.index)
    if wanted not in offered:
        raise ValueError(
            f"{cfg.MODEL.META_ARCHITECTURE} with this config offers {', '.join(offered)}, not "
            f"{wanted}"
        )
    return wanted


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
    cfg.MODEL.PER_PIXEL.TEST.OUTPUT = "scores"  # labels tell no probability
    cfg.MODEL.MASK_CLASSIFICATION.TEST.SEMANTIC_OUTPUT = "scores"


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


def _as_instances(proposals: Instances) -> Instances:
    """Output of detectron2's ProposalNetwork: class-agnostic boxes, their logits as scores."""
    return Instances(
        proposals.image_size,
        pred_boxes=proposals.proposal_boxes,
        scores=proposals.objectness_logits.sigmoid(),
    )
