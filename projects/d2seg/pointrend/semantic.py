"""Semantic PointRend (Kirillov et al. 2020, section 5): a coarse head of detectron2's, Semantic FPN
or DeepLabV3+, and the point head."""

from detectron2.config import CfgNode
from detectron2.modeling import META_ARCH_REGISTRY, build_backbone, build_sem_seg_head
from torch import Tensor, nn

from ..per_pixel.segmentor import PerPixelSegmentor, per_pixel_arguments


class CoarseDecodeHead(nn.Module):
    """The logits of one of detectron2's semantic heads at the head's own stride."""

    def __init__(self, coarse_head: nn.Module) -> None:
        """
        Raises:
            ValueError: the head does not give them.
        """
        super().__init__()
        if not hasattr(coarse_head, "layers"):
            raise ValueError(
                f"MODEL.SEM_SEG_HEAD.NAME is {type(coarse_head).__name__!r}, which has no coarse "
                "logits; PointRendSemantic takes SemSegFPNHead or DeepLabV3PlusHead"
            )
        self.coarse_head = coarse_head

    def forward(self, features: dict[str, Tensor]) -> Tensor:
        """{stage: feature} -> (B, K, h, w)."""
        return self.coarse_head.layers(features)


@META_ARCH_REGISTRY.register()
class PointRendSemantic(PerPixelSegmentor):
    """Coarse logits, refined at uncertain points. Without MODEL.POINT_HEAD.ENABLED it is the coarse
    model alone, for comparison."""

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict:
        backbone = build_backbone(cfg)
        coarse_head = build_sem_seg_head(cfg, backbone.output_shape())
        return per_pixel_arguments(cfg, backbone) | {"decode_head": CoarseDecodeHead(coarse_head)}
