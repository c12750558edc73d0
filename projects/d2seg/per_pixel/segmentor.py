"""Per-pixel classification: pictures in, losses or score maps out (Long et al. 2015).

B batch, N windows, K classes, (H, W) the padded batch, (h, w) a head's own resolution.
"""

from collections.abc import Iterable
from dataclasses import replace

from detectron2.config import CfgNode, configurable
from detectron2.modeling.backbone import Backbone
from detectron2.structures import ImageList
from torch import Tensor, nn

from ..layers.resampling import resize
from ..layers.segmentor import Segmentor
from .losses import PerPixelLoss
from .point_refinement import PointRefinement, build_point_refinement
from .windows import WindowSettings, predict


def per_pixel_arguments(cfg: CfgNode, backbone: Backbone) -> dict:
    """The arguments of :class:`PerPixelSegmentor` that do not depend on the method."""
    node, head = cfg.MODEL.PER_PIXEL, cfg.MODEL.SEM_SEG_HEAD
    ohem = node.LOSS.OHEM
    return {
        "backbone": backbone,
        "point_refinement": build_point_refinement(cfg, backbone.output_shape()),
        "loss": PerPixelLoss(
            num_classes=head.NUM_CLASSES,
            ignore_value=head.IGNORE_VALUE,
            ce_weight=node.LOSS.CE_WEIGHT,
            dice_weight=node.LOSS.DICE_WEIGHT,
            class_weights=list(node.LOSS.CLASS_WEIGHTS),
            ohem_threshold=ohem.THRESHOLD if ohem.ENABLED else None,
            ohem_min_kept=ohem.MIN_KEPT,
        ),
        "auxiliary_weight": node.AUX_WEIGHT,
        "inference": WindowSettings(
            mode=node.TEST.MODE,
            crop_size=tuple(node.TEST.CROP_SIZE),
            stride=tuple(node.TEST.STRIDE),
            max_windows=node.TEST.MAX_WINDOWS,
            align=node.TEST.ALIGN,
            scales=tuple(node.TEST.SCALES),
            flip=node.TEST.FLIP,
            output=node.TEST.OUTPUT,
        ),
        "size_divisibility": node.SIZE_DIVISIBILITY,
        "pixel_mean": cfg.MODEL.PIXEL_MEAN,
        "pixel_std": cfg.MODEL.PIXEL_STD,
    }


class PerPixelSegmentor(Segmentor):
    """Backbone, decode head and auxiliary heads between mapped examples and results.

    A head is a module from the backbone's {stage: feature} to logits (B, K, h, w) at a resolution
    of its own. A method subclasses this, builds the parts in :meth:`from_config` and registers the
    class; :meth:`losses` and :meth:`window_logits` are what it may override.
    """

    @configurable
    def __init__(
        self,
        *,
        backbone: Backbone,
        decode_head: nn.Module,
        auxiliary_heads: Iterable[nn.Module] = (),
        auxiliary_weight: float = 0.4,
        point_refinement: PointRefinement | None = None,
        loss: PerPixelLoss,
        inference: WindowSettings,
        size_divisibility: int,
        pixel_mean: list[float],
        pixel_std: list[float],
    ) -> None:
        """
        Args:
            auxiliary_weight: of each auxiliary head's loss (0.4: Zheng et al. 2021, section 4.1).
            point_refinement: PointRend's point head behind the decode head; ``None``: none.
            backbone, size_divisibility, pixel_mean, pixel_std: see :class:`Segmentor`.

        Raises:
            ValueError: the sliding window is not such a multiple.
        """
        super().__init__(
            backbone=backbone,
            pixel_mean=pixel_mean,
            pixel_std=pixel_std,
            size_divisibility=size_divisibility,
        )
        self.decode_head = decode_head
        self.auxiliary_heads = nn.ModuleList(auxiliary_heads)
        self.auxiliary_weight = auxiliary_weight
        self.point_refinement = point_refinement
        self.loss = loss
        self.inference_settings = inference
        inference.check_crop(self.size_divisibility)

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict:
        """The arguments of a method's class: :func:`per_pixel_arguments` and its heads."""
        raise NotImplementedError(f"{cls.__name__} has no from_config")

    def forward(self, batched_inputs: list[dict]) -> dict[str, Tensor] | list[dict]:
        """
        Args:
            batched_inputs: mapped examples with ``image`` (C, h, w) uint8 or float on the 0..255
                scale; in training ``sem_seg``, (h, w) int64 labels; at inference optionally
                ``height`` and ``width`` of the result.

        Returns:
            In training the weighted losses; else per image {"sem_seg": scores (K, height, width) or
            int32 labels (height, width), as MODEL.PER_PIXEL.TEST.OUTPUT says}.

        Raises:
            ValueError: in training, labels are missing or out of range.
        """
        if self.training:
            return self.losses(*self._training_batch(batched_inputs))
        return [{"sem_seg": self._result(example)} for example in batched_inputs]

    def losses(self, images: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """Images (B, C, H, W), normalised, and labels (B, H, W) to the weighted losses."""
        features = self.backbone(images)
        logits = self.decode_head(features)
        losses = {loss_name("", term): value for term, value in self.loss(logits, labels).items()}
        if self.point_refinement is not None:
            points = self.point_refinement.training_points(logits, features, labels)
            for term, value in self.loss(*points).items():
                losses[loss_name("_point", term)] = value
        for i, head in enumerate(self.auxiliary_heads):
            for term, value in self.loss(head(features), labels).items():
                losses[loss_name(f"_aux_{i}", term)] = self.auxiliary_weight * value
        return losses

    def network(self, images: Tensor) -> dict[str, Tensor]:
        """``images`` (N, C, H, W), normalised, of a fitting size, to ``logits`` (N, K, h, w)."""
        return {"logits": self.window_logits(images)}

    def network_results(
        self, outputs: dict[str, Tensor], size: tuple[int, int], task: str
    ) -> dict[str, Tensor]:
        """``outputs`` of :meth:`network` for one image of ``size`` (H, W) to ``labels`` (H, W)
        int32, in a graph.

        Raises:
            ValueError: another task than semantic.
        """
        if task != "semantic":
            raise ValueError(f"--postprocess {task}: the model offers semantic")
        return {"labels": resize(outputs["logits"], tuple(size))[0].argmax(0).int()}

    def window_logits(self, images: Tensor) -> Tensor:
        """Normalised images (N, C, H, W) of a fitting size to class logits (N, K, h, w)."""
        features = self.backbone(images)
        logits = self.decode_head(features)
        if self.point_refinement is None:
            return logits
        return self.point_refinement(logits, features, images.shape[-2:])

    def _exported_logits(self, images: Tensor) -> Tensor:
        return self.exported(images)["logits"]

    def _training_batch(self, batched_inputs: list[dict]) -> tuple[Tensor, Tensor]:
        """Padded images (B, C, H, W) and labels (B, H, W); the padding has the ignore value."""
        for example in batched_inputs:
            self._check_labels(example)
        labels = ImageList.from_tensors(
            [example["sem_seg"].to(self.device).long() for example in batched_inputs],
            self.size_divisibility,
            self.loss.ignore_value,
        )
        return self.normalised_batch(batched_inputs).tensor, labels.tensor

    def _check_labels(self, example: dict) -> None:
        name = example.get("file_name", "(no file name)")
        if "sem_seg" not in example:
            raise ValueError(
                f"{name}: the training sample has no 'sem_seg', which a per-pixel model needs; set "
                'INPUT.MAPPER to "semantic"'
            )
        labels = example["sem_seg"]
        wrong = (labels < 0) | (labels >= self.loss.num_classes)
        wrong &= labels != self.loss.ignore_value
        if wrong.any():
            found = labels[wrong].unique().tolist()
            raise ValueError(
                f"{name}: labels {found[:5]} do not fit MODEL.SEM_SEG_HEAD.NUM_CLASSES "
                f"{self.loss.num_classes} and IGNORE_VALUE {self.loss.ignore_value}"
            )

    def _result(self, example: dict) -> Tensor:
        image = example["image"]
        height, width = image.shape[-2:]
        settings, size = self.inference_settings, None
        if self.exported is not None:
            size = self.exported.size
        if size is not None:  # the whole image, or each window, padded to the size
            stride = settings.stride if settings.mode == "slide" else size
            settings = replace(settings, mode="slide", crop_size=size, stride=stride)
        return predict(
            image,
            (example.get("height", height), example.get("width", width)),
            normalise=self.normalise,
            logits_of=self.window_logits if self.exported is None else self._exported_logits,
            settings=settings,
            divisibility=self.size_divisibility,
        )


def loss_name(suffix: str, term: str) -> str:
    """loss_sem_seg, loss_sem_seg_aux_0, loss_sem_seg_dice, loss_sem_seg_aux_0_dice, ..."""
    return f"loss_sem_seg{suffix}" + ("" if term == "ce" else f"_{term}")
