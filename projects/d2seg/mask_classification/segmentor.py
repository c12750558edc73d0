"""The part of a mask-classification model that does not depend on its decoders: pictures in, losses
or results out."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import torch
from detectron2.config import CfgNode, configurable
from detectron2.data import MetadataCatalog
from detectron2.modeling.backbone import Backbone
from detectron2.modeling.postprocessing import sem_seg_postprocess
from detectron2.structures import ImageList
from torch import Tensor, nn

from ..layers.segmentor import Segmentor
from . import graph_results
from .criterion import SetCriterion
from .label_tiles import semantic_labels
from .mask_resizer import MaskResizer
from .postprocessing import (
    instance_inference,
    panoptic_inference,
    semantic_inference,
)
from .query_masks import GivenMasks, ImageMasks
from .targets import targets_of

TASKS = ("semantic", "instance", "panoptic")
SEMANTIC_OUTPUTS = ("scores", "labels")
_DEFAULT_DETECTIONS = 100  # of both keys


@dataclass(frozen=True)
class ImageQueries:
    """The queries of one image: ``logits`` (Q, K+1), ``masks`` Q of (h, w) that cover
    ``padded_size``, the image being ``content_size`` of it and ``output_size`` in the result."""

    logits: Tensor
    masks: ImageMasks
    padded_size: tuple[int, int]
    content_size: tuple[int, int]
    output_size: tuple[int, int]


@dataclass(frozen=True)
class PostprocessingSettings:
    """What is made of the queries; see ``postprocessing.py`` for the thresholds."""

    tasks: Sequence[str]
    thing_ids: Collection[int]
    object_mask_threshold: float
    overlap_threshold: float
    max_instances: int
    score_threshold: float
    intersect_panoptic: bool
    semantic_output: str
    keep_queries: bool = False  # results hold ``queries``, ImageQueries, too

    def __post_init__(self) -> None:
        object.__setattr__(self, "tasks", tuple(self.tasks))
        object.__setattr__(self, "thing_ids", frozenset(self.thing_ids))  # lists of LazyConfigs
        is_empty = not self.tasks and not self.keep_queries
        if is_empty or set(self.tasks) - set(TASKS):
            raise ValueError(f"TEST.TASKS is {list(self.tasks)}; name one or more of {list(TASKS)}")
        if self.semantic_output not in SEMANTIC_OUTPUTS:
            raise ValueError(
                f"MODEL.MASK_CLASSIFICATION.TEST.SEMANTIC_OUTPUT is {self.semantic_output!r}; "
                f"choose from {list(SEMANTIC_OUTPUTS)}"
            )

    @classmethod
    def from_config(cls, cfg: CfgNode, *, intersect_panoptic: bool) -> "PostprocessingSettings":
        test = cfg.MODEL.MASK_CLASSIFICATION.TEST
        return cls(
            tasks=tuple(cfg.TEST.TASKS),
            thing_ids=_thing_ids(cfg),
            object_mask_threshold=test.OBJECT_MASK_THRESHOLD,
            overlap_threshold=test.OVERLAP_THRESHOLD,
            max_instances=_max_instances(cfg),
            score_threshold=test.SCORE_THRESHOLD,
            intersect_panoptic=intersect_panoptic,
            semantic_output=test.SEMANTIC_OUTPUT,
        )


def _max_instances(cfg: CfgNode) -> int:
    """MODEL.MASK_CLASSIFICATION.TEST.MAX_INSTANCES, or detectron2's key for the same number."""
    key, own = "MODEL.MASK_CLASSIFICATION.TEST.MAX_INSTANCES", cfg.MODEL.MASK_CLASSIFICATION.TEST
    number, stock = own.MAX_INSTANCES, cfg.TEST.DETECTIONS_PER_IMAGE
    if stock != _DEFAULT_DETECTIONS:
        if number not in (stock, _DEFAULT_DETECTIONS):
            raise ValueError(
                f"TEST.DETECTIONS_PER_IMAGE is {stock} and {key} {number}, which mean the same; "
                "set one of them"
            )
        key, number = "TEST.DETECTIONS_PER_IMAGE", stock
    if number < 1:
        raise ValueError(f"{key} is {number}; it must be at least 1")
    return number


def _thing_ids(cfg: CfgNode) -> frozenset[int]:
    """Contiguous ids of the things of the data set that the model is for. Where its metadata does
    not say: none in a set with stuff classes, all in one of plain instance annotations."""
    names = [*cfg.DATASETS.TEST, *cfg.DATASETS.TRAIN]
    metadata = MetadataCatalog.get(names[0]) if names else None
    mapping = getattr(metadata, "thing_dataset_id_to_contiguous_id", None)
    if mapping is not None:
        return frozenset(mapping.values())
    if getattr(metadata, "stuff_classes", None):
        return frozenset()
    return frozenset(range(cfg.MODEL.SEM_SEG_HEAD.NUM_CLASSES))


class MaskClassificationSegmentor(Segmentor):
    """Backbone, pixel decoder and transformer decoder between mapped examples and results.

    A method subclasses it, builds the parts in ``from_config`` and registers the class.
    """

    @configurable
    def __init__(
        self,
        *,
        backbone: Backbone,
        pixel_decoder: nn.Module,
        transformer_decoder: nn.Module,
        criterion: SetCriterion,
        inference: PostprocessingSettings,
        size_divisibility: int,
        pixel_mean: list[float],
        pixel_std: list[float],
    ) -> None:
        """
        Args:
            pixel_decoder: {stage: feature} -> an object with ``mask_features`` and what the
                transformer decoder reads besides.
            transformer_decoder: that object -> ``pred_logits`` (L, B, Q, K+1) and ``pred_masks``,
                :class:`QueryMasks` of (L, B, Q, h, w), where L is 1 at inference.
            backbone, size_divisibility, pixel_mean, pixel_std: see :class:`Segmentor`.
        """
        super().__init__(
            backbone=backbone,
            pixel_mean=pixel_mean,
            pixel_std=pixel_std,
            size_divisibility=size_divisibility,
        )
        self.pixel_decoder = pixel_decoder
        self.transformer_decoder = transformer_decoder
        self.criterion = criterion
        self.inference_settings = inference

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict:
        """A method's decoders and criterion beside ``building.segmentor_arguments``."""
        raise NotImplementedError(f"{cls.__name__} has no from_config")

    def forward(self, batched_inputs: list[dict]) -> dict[str, Tensor] | list[dict]:
        """
        Args:
            batched_inputs: mapped examples with ``image`` (3, h, w) uint8 or float on the 0..255
                scale; in training ``instances``, and ``content_size`` where the mapper padded; at
                inference optionally ``height`` and ``width`` of the result.

        Returns:
            In training the weighted losses; else per image a dict with ``sem_seg``,
            ``panoptic_seg`` and ``instances`` as the tasks ask, in detectron2's formats.
        """
        images = self.normalised_batch(batched_inputs)
        if self.exported is not None:
            return self._results_of_exported(batched_inputs, images)
        features = self.backbone(images.tensor)
        pred_logits, pred_masks = self.transformer_decoder(self.pixel_decoder(features))
        padded_size = tuple(images.tensor.shape[-2:])
        if self.training:
            targets = [
                targets_of(example, self.criterion.num_classes, self.device)
                for example in batched_inputs
            ]
            return self.criterion(pred_logits, pred_masks, targets, padded_size)
        with torch.autocast(self.device.type, enabled=False):  # resizing and scores are in fp32
            return [
                self._result(
                    pred_logits[-1, i],
                    pred_masks.last_layer(i),
                    example,
                    padded_size,
                    tuple(images.image_sizes[i]),
                )
                for i, example in enumerate(batched_inputs)
            ]

    def network(self, images: Tensor) -> dict[str, Tensor]:
        """
        Args:
            images: (B, 3, H, W), normalised, H and W multiples of ``size_divisibility``.

        Returns:
            ``pred_logits`` (B, Q, K+1), the last of them no-object; ``pred_masks`` (B, Q, h, w),
            logits.
        """
        decoded = self.pixel_decoder(self.backbone(images))
        pred_logits, pred_masks = self.transformer_decoder(decoded)
        return {"pred_logits": pred_logits[-1], "pred_masks": pred_masks.all()[-1]}

    def network_results(
        self, outputs: dict[str, Tensor], size: tuple[int, int], task: str
    ) -> dict[str, Tensor]:
        """Results in a graph, of ``outputs`` of :meth:`network` for one image of ``size``: see
        ``graph_results``.

        Raises:
            ValueError: the model does not do the task.
        """
        settings = self.inference_settings
        if task not in settings.tasks:
            raise ValueError(f"--postprocess {task}: the model offers {', '.join(settings.tasks)}")
        size, masks = tuple(size), (outputs["pred_logits"], outputs["pred_masks"])
        if task == "semantic":
            return graph_results.semantic_labels(*masks, size)
        num_classes = self.criterion.num_classes
        is_thing = torch.tensor([c in settings.thing_ids for c in range(num_classes)])
        if task == "instance":
            return graph_results.instances(
                *masks, size, is_thing=is_thing, max_instances=settings.max_instances
            )
        return graph_results.panoptic_map(
            *masks,
            size,
            is_thing=is_thing,
            object_mask_threshold=settings.object_mask_threshold,
            overlap_threshold=settings.overlap_threshold,
            intersect=settings.intersect_panoptic,
        )

    def _results_of_exported(self, batched_inputs: list[dict], images: ImageList) -> list[dict]:
        outputs = self.exported(images.tensor)
        with torch.autocast(self.device.type, enabled=False):
            return [
                self._result(
                    outputs["pred_logits"][i].float(),
                    GivenMasks(outputs["pred_masks"][i].float()),
                    example,
                    tuple(images.tensor.shape[-2:]),
                    tuple(images.image_sizes[i]),
                )
                for i, example in enumerate(batched_inputs)
            ]

    def _result(
        self,
        pred_logits: Tensor,
        pred_masks: ImageMasks,
        example: dict,
        padded_size: tuple[int, int],
        content_size: tuple[int, int],
    ) -> dict:
        """Results of one image. pred_logits: (Q, K+1)."""
        settings = self.inference_settings
        height = example.get("height", content_size[0])
        width = example.get("width", content_size[1])
        resize = MaskResizer(padded_size, content_size, (height, width))
        result: dict = {}
        if settings.keep_queries:
            result["queries"] = ImageQueries(
                pred_logits, pred_masks, padded_size, content_size, (height, width)
            )
        if "semantic" in settings.tasks:
            # as published: scores are made at the size of the input, then resized
            to_content = MaskResizer(padded_size, content_size)
            if settings.semantic_output == "labels":
                result["sem_seg"] = semantic_labels(
                    pred_logits, pred_masks, to_content, (height, width)
                )
            else:
                scores = semantic_inference(pred_logits, pred_masks, to_content)
                result["sem_seg"] = sem_seg_postprocess(scores, content_size, height, width)
        if "panoptic" in settings.tasks:
            result["panoptic_seg"] = panoptic_inference(
                pred_logits,
                pred_masks,
                resize,
                thing_ids=settings.thing_ids,
                object_mask_threshold=settings.object_mask_threshold,
                overlap_threshold=settings.overlap_threshold,
                intersect=settings.intersect_panoptic,
            )
        if "instance" in settings.tasks:
            result["instances"] = instance_inference(
                pred_logits,
                pred_masks,
                resize,
                thing_ids=settings.thing_ids,
                max_instances=settings.max_instances,
                score_threshold=settings.score_threshold,
            )
        return result
