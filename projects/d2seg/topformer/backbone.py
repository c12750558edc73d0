"""TopFormer's encoder (Zhang et al. 2022, figure 2): token pyramid, transformer on the pooled
tokens of all scales, injection of its semantics into the tokens.

B batch, C channels, (H, W) image.
"""

from collections.abc import Sequence

import torch
from detectron2.config import CfgNode
from detectron2.layers import ShapeSpec
from detectron2.modeling import BACKBONE_REGISTRY
from detectron2.modeling.backbone import Backbone
from torch import Tensor, nn
from torch.nn import functional as F

from ..backbones.freezing import Freezable, Part
from ..backbones.outputs import STRIDE_OF_STAGE, choose_stages
from .semantics import SemanticsBlock, SemanticsInjection
from .token_pyramid import TokenPyramid

POOLING = 2  # of the coarsest tokens: the transformer works at stride 64 (section 3.2)


class TopFormerBackbone(Freezable, Backbone):
    """Yields maps of one width at the strides of the chosen tokens."""

    def __init__(
        self,
        *,
        in_channels: int = 3,
        pyramid_blocks: Sequence[Sequence[int]],
        depth: int,
        num_heads: int,
        key_dim: int = 16,
        out_dim: int,
        out_features: tuple[str, ...] = ("res3", "res4", "res5"),
        drop_path_rate: float = 0.1,
        norm: str = "SyncBN",
    ) -> None:
        """
        Args:
            pyramid_blocks: see :class:`TokenPyramid`.
            drop_path_rate: of the last transformer block; it grows linearly from 0.

        Raises:
            ValueError: an output that is none of res2..res5; blocks that give no such pyramid.
        """
        super().__init__()
        self._out_features = choose_stages("MODEL.TOPFORMER.OUT_FEATURES", out_features)
        self.pyramid = TokenPyramid(in_channels=in_channels, blocks=pyramid_blocks, norm=norm)
        self.channels = list(self.pyramid.channels.values())
        self.semantics = nn.Sequential(
            *(
                SemanticsBlock(sum(self.channels), num_heads, key_dim, rate, norm)
                for rate in torch.linspace(0, drop_path_rate, depth).tolist()
            )
        )
        self.injections = nn.ModuleDict(
            {
                stage: SemanticsInjection(self.pyramid.channels[stage], out_dim, norm)
                for stage in self._out_features
            }
        )
        self._out_feature_channels = dict.fromkeys(self._out_features, out_dim)
        self._out_feature_strides = STRIDE_OF_STAGE

    def parts(self) -> list[Part]:
        """The pyramid's stem, what leads to each of its tokens, and the transformer."""
        parts: list[list[nn.Module]] = [[self.pyramid.stem], []]
        for stage, block in zip(self.pyramid.stage_of_block, self.pyramid.blocks, strict=True):
            parts[-1].append(block)
            if stage is not None:
                parts.append([])
        return [*parts[:-1], [self.semantics]]

    @property
    def size_divisibility(self) -> int:
        return 0  # maps are ceiled and resized to each other

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """(B, C, H, W) -> {stage: (B, C, ceil(H / stride), ceil(W / stride))}."""
        tokens = self.pyramid(images)
        grid = [-(-side // POOLING) for side in tokens["res5"].shape[-2:]]
        pooled = torch.cat([F.adaptive_avg_pool2d(t, grid) for t in tokens.values()], dim=1)
        of_stage = self.semantics(pooled).split(self.channels, dim=1)
        semantics = dict(zip(tokens, of_stage, strict=True))
        return {
            stage: injection(tokens[stage], semantics[stage])
            for stage, injection in self.injections.items()
        }


@BACKBONE_REGISTRY.register()
def build_topformer_backbone(cfg: CfgNode, input_shape: ShapeSpec) -> TopFormerBackbone:
    node = cfg.MODEL.TOPFORMER
    return TopFormerBackbone(
        in_channels=input_shape.channels,
        pyramid_blocks=node.PYRAMID_BLOCKS,
        depth=node.DEPTH,
        num_heads=node.NUM_HEADS,
        key_dim=node.KEY_DIM,
        out_dim=node.OUT_DIM,
        out_features=tuple(node.OUT_FEATURES),
        drop_path_rate=node.DROP_PATH_RATE,
        norm=cfg.MODEL.SEM_SEG_HEAD.NORM,
    ).freeze(cfg.MODEL.BACKBONE.FREEZE_AT)
