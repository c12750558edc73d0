"""Models that find boxes first, as a graph of fixed sizes: detectron2's ``GeneralizedRCNN`` with a
region proposal network (Ren et al. 2015, section 3) on a pyramid, its box head and a mask head.

detectron2 keeps lists as long as the picture has proposals and detections. Here each step has as
many rows as it may keep at most; what is none has the score ``_NONE`` and comes last.

L levels of the pyramid, A anchors of a cell, P proposals, K classes, N detections, S the side of a
mask, (H, W) the input. Boxes are XYXY in pixels of the input.
"""

import torch
from detectron2.modeling import GeneralizedRCNN
from detectron2.modeling.poolers import ROIPooler, assign_boxes_to_levels
from detectron2.modeling.proposal_generator import RPN
from detectron2.modeling.roi_heads import StandardROIHeads
from detectron2.modeling.roi_heads.fast_rcnn import FastRCNNOutputLayers
from detectron2.structures import Boxes, Instances
from torch import Tensor, nn
from torchvision.ops import nms

from .sizes import STOCK_DIVISIBILITY

Features = dict[str, Tensor]
_NONE = -1e10  # below every logit and probability
# the best boxes of all classes, which suppress each other; detectron2 takes all above the threshold
_MOST_CANDIDATES = 2000


class BoxNetwork(nn.Module):
    """The network of a ``GeneralizedRCNN``, from normalised pictures to detections."""

    def __init__(self, model: GeneralizedRCNN) -> None:
        """
        Raises:
            ValueError: the model has other parts than these, for which there is no graph.
        """
        super().__init__()
        heads, rpn = model.roi_heads, model.proposal_generator
        wanted = [
            (model, GeneralizedRCNN),
            (rpn, RPN),
            (heads, StandardROIHeads),
            (getattr(heads, "box_predictor", None), FastRCNNOutputLayers),
        ]
        for part, kind in wanted:
            if type(part) is not kind:
                raise ValueError(
                    f"a model with {type(part).__name__} in the place of detectron2's "
                    f"{kind.__name__} cannot be exported (docs/export.md)"
                )
        if heads.keypoint_on:
            raise ValueError("a model with keypoints cannot be exported (docs/export.md)")
        self.backbone, self.rpn, self.heads = model.backbone, rpn, heads
        self.pixel_mean, self.pixel_std = model.pixel_mean, model.pixel_std
        self.size_divisibility = max(model.backbone.size_divisibility, STOCK_DIVISIBILITY)

    def example_of_size(self, size: tuple[int, int]) -> dict[str, Tensor]:
        """The input of :meth:`network` beside the images: a picture without padding."""
        return {"image_size": torch.tensor(size, dtype=torch.float32)}

    def network(self, images: Tensor, image_size: Tensor) -> dict[str, Tensor]:
        """
        Args:
            images: (1, C, H, W), normalised.
            image_size: (2,) float, height and width of the picture within, which boxes are cut to.

        Returns:
            ``boxes`` (N, 4), ``scores`` (N,), best first, also those below the model's score
            threshold, 0 where there is no detection, ``classes`` (N,) int64 and, of a model with
            masks, ``mask_probs`` (N, 1, S, S) over the box.
        """
        features = self.backbone(images)
        limits = image_size.flip(0).repeat(2)  # of x, y, x, y
        proposals, is_proposal = self._propose(features, limits)
        boxes, scores, classes = self._detect(features, proposals, is_proposal, limits)
        found = {"boxes": boxes, "scores": scores, "classes": classes}
        if self.heads.mask_on:
            found["mask_probs"] = self._masks(features, boxes, classes)
        return found

    def network_results(
        self, outputs: dict[str, Tensor], size: tuple[int, int], task: str
    ) -> dict[str, Tensor]:
        """``boxes``, ``scores`` and ``classes`` of :meth:`network`, with the score 0 where it is
        below the threshold, and ``masks`` (N, H, W) bool.

        Raises:
            ValueError: the model does not do the task.
        """
        if task != "instance":
            raise ValueError(f"--postprocess {task}: the model offers instance")
        scores = outputs["scores"]
        is_sure = scores > self.heads.box_predictor.test_score_thresh
        results = {
            "boxes": outputs["boxes"],
            "scores": torch.where(is_sure, scores, 0.0),
            "classes": outputs["classes"].int(),
        }
        if "mask_probs" in outputs:
            probs = paste(outputs["mask_probs"][:, 0], outputs["boxes"], size)
            results["masks"] = (probs >= 0.5) & is_sure[:, None, None]
        return results

    def _propose(self, features: Features, limits: Tensor) -> tuple[Tensor, Tensor]:
        """Boxes (P, 4) and whether each is one; as ``find_top_rpn_proposals``."""
        rpn = self.rpn
        maps = [features[name] for name in rpn.in_features]
        boxes, scores = [], []
        for anchors, logits, deltas in zip(self._anchors(maps), *rpn.rpn_head(maps), strict=True):
            flat = logits[0].permute(1, 2, 0).flatten()  # (h * w * A,)
            of_anchor = deltas[0].unflatten(0, (-1, 4)).permute(2, 3, 0, 1).flatten(0, 2)
            top, chosen = _best(flat, rpn.pre_nms_topk[False])
            level = rpn.box2box_transform.apply_deltas(of_anchor[chosen], anchors[chosen])
            level = _cut(level, limits)
            is_large = ((level[:, 2:] - level[:, :2]) > rpn.min_box_size).all(1)
            top = torch.where(is_large, top, _NONE)
            boxes.append(level)
            scores.append(_suppress(level, top, rpn.nms_thresh))
        top, chosen = _best(torch.cat(scores), rpn.post_nms_topk[False])
        return torch.cat(boxes)[chosen], top > _NONE

    def _anchors(self, maps: list[Tensor]) -> list[Tensor]:
        """L of (h * w * A, 4)."""
        generator = self.rpn.anchor_generator
        anchors = []
        for features, cell, stride in zip(
            maps, generator.cell_anchors, generator.strides, strict=True
        ):
            rows, columns = (
                (torch.arange(count, dtype=torch.float32) + generator.offset) * stride
                for count in features.shape[-2:]
            )
            y, x = torch.meshgrid(rows, columns, indexing="ij")
            shifts = torch.stack([x, y, x, y], dim=-1)  # (h, w, 4)
            anchors.append((shifts[:, :, None] + cell).flatten(0, 2))
        return anchors

    def _detect(
        self, features: Features, proposals: Tensor, is_proposal: Tensor, limits: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Boxes (N, 4), scores and classes (N,); as ``fast_rcnn_inference``."""
        heads, predictor = self.heads, self.heads.box_predictor
        maps = [features[name] for name in heads.box_in_features]
        logits, deltas = predictor(heads.box_head(pool(heads.box_pooler, maps, proposals)))
        probs = logits.sigmoid() if predictor.use_sigmoid_ce else logits.softmax(-1)
        probs = probs[:, :-1]  # (P, K), the last class is none
        boxes = predictor.box2box_transform.apply_deltas(deltas, proposals)
        boxes = _cut(boxes.unflatten(1, (-1, 4)), limits)  # (P, K or 1, 4)
        # the score threshold comes last: what lies below it suppresses nothing that lies above
        flat = torch.where(is_proposal[:, None], probs, _NONE).flatten()
        top, chosen = _best(flat, min(flat.shape[0], _MOST_CANDIDATES))
        rows, classes = chosen // probs.shape[1], chosen % probs.shape[1]
        boxes = boxes[rows, classes if boxes.shape[1] > 1 else torch.zeros_like(classes)]
        # boxes of different classes are moved apart, so that they do not suppress each other
        apart = boxes + (classes * (limits.max() + 1))[:, None]
        top = _suppress(apart, top, predictor.test_nms_thresh)
        top, chosen = _best(top, predictor.test_topk_per_image)
        is_found = top > _NONE
        boxes = torch.where(is_found[:, None], boxes[chosen], 0.0)
        return boxes, torch.where(is_found, top, 0.0), classes[chosen]

    def _masks(self, features: Features, boxes: Tensor, classes: Tensor) -> Tensor:
        """(N, 1, S, S) probabilities."""
        heads, names = self.heads, self.heads.mask_in_features
        detections = Instances((1, 1), pred_boxes=Boxes(boxes), pred_classes=classes)
        if heads.mask_pooler is None:  # a head that samples the features itself
            inputs = {name: features[name] for name in names}
        else:
            inputs = pool(heads.mask_pooler, [features[name] for name in names], boxes)
        return heads.mask_head(inputs, [detections])[0].pred_masks


def pool(pooler: ROIPooler, maps: list[Tensor], boxes: Tensor) -> Tensor:
    """(R, C, S, S) of boxes (R, 4): as ``ROIPooler`` does it, but from every level, where the boxes
    of others are empty and cost nothing."""
    if len(maps) > 1:
        levels = assign_boxes_to_levels(
            [Boxes(boxes)],
            pooler.min_level,
            pooler.max_level,
            pooler.canonical_box_size,
            pooler.canonical_level,
        )
    else:
        levels = torch.zeros_like(boxes[:, 0])
    pooled = None
    for number, (align, features) in enumerate(zip(pooler.level_poolers, maps, strict=True)):
        is_here = levels == number
        regions = torch.where(is_here[:, None], boxes, 0.0)
        part = align(features, torch.cat([torch.zeros_like(regions[:, :1]), regions], dim=1))
        part = torch.where(is_here[:, None, None, None], part, 0.0)
        pooled = part if pooled is None else pooled + part
    return pooled


def paste(probs: Tensor, boxes: Tensor, size: tuple[int, int]) -> Tensor:
    """Masks (N, S, S) over boxes (N, 4) in the input, (N, *size), zeros outside of their boxes.

    Bilinear, as ``paste_masks_in_image``, as two matrix products: each axis has its weights.
    """
    side = probs.shape[-1]

    def weights(low: Tensor, high: Tensor, length: int) -> Tensor:  # (N, length, S)
        pixels = torch.arange(length, dtype=torch.float32) + 0.5
        extent = (high - low).clamp(min=1e-6)[:, None]
        places = (pixels - low[:, None]) / extent * side - 0.5
        distance = places[..., None] - torch.arange(side, dtype=torch.float32)
        return (1 - distance.abs()).clamp(min=0)

    x0, y0, x1, y1 = boxes.unbind(1)
    return weights(y0, y1, size[0]) @ probs @ weights(x0, x1, size[1]).mT


def _best(scores: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """The ``count`` best of (n,) and their places; ``_NONE`` at the place 0 where n is less."""
    top, chosen = torch.cat([scores, scores.new_full((count,), _NONE)]).topk(count)
    return top, torch.where(top > _NONE, chosen, 0)


def _suppress(boxes: Tensor, scores: Tensor, threshold: float) -> Tensor:
    """Scores (n,), ``_NONE`` where a better box overlaps by more than ``threshold``."""
    # two more that overlap nothing: of a recorded suppression torchvision says that it keeps two
    others = boxes.new_tensor([[-2.0, -2.0, -1.0, -1.0], [-4.0, -4.0, -3.0, -3.0]])
    with_others = torch.cat([scores, scores.new_full((2,), _NONE)])
    kept = nms(torch.cat([boxes, others]), with_others, threshold)
    is_kept = torch.zeros_like(with_others).scatter(0, kept, 1.0)[:-2]
    return torch.where(is_kept > 0, scores, _NONE)


def _cut(boxes: Tensor, limits: Tensor) -> Tensor:
    """Boxes (..., 4) within (0, 0) and the limits (4,)."""
    return torch.minimum(boxes.clamp(min=0), limits)
