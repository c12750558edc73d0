"""Vision transformer on the features of a ResNet, or on the image itself (Dosovitskiy et al. 2021,
section 3.1), without a class token: the encoder of TransUNet (Chen et al. 2021, section 3.1).

B batch, C channels, N = h w tokens in rows, H = 16 h and W = 16 w pixels.
"""

from functools import partial

import torch
from detectron2.config import CfgNode
from detectron2.layers import ShapeSpec
from detectron2.modeling import BACKBONE_REGISTRY
from detectron2.modeling.backbone import Backbone
from timm.layers import PatchEmbed
from timm.models.vision_transformer import Block
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from ..backbones.freezing import Freezable, Part
from ..backbones.position_table import resize_positions
from .resnetv2 import ResNetV2

STRIDE = 16
STRIDES = {"stem": 2, "res2": 4, "res3": 8, "vit": STRIDE}
_norm = partial(nn.LayerNorm, eps=1e-6)


class HybridViT(Freezable, Backbone):
    """Gives "vit", the transformer's output at stride 16, and with a ResNet also its maps at
    strides 2, 4 and 8 as "stem", "res2" and "res3"."""

    def __init__(
        self,
        *,
        in_channels: int = 3,
        cnn: ResNetV2 | None = None,
        image_size: int = 224,
        embed_dim: int = 768,
        depth: int = 12,
        num_heads: int = 12,
        mlp_ratio: float = 4.0,
        dropout: float = 0.1,
        use_checkpoint: bool = False,
    ) -> None:
        """
        Args:
            cnn: None for the pure transformer on patches of 16 x 16 pixels.
            image_size: side of the training images, whose grid the position embedding has; on
                another grid it is interpolated.
            dropout: of the embeddings and in the MLPs; as published, the attention has none.

        Raises:
            ValueError: the image size is no multiple of 16, or the heads do not divide the width.
        """
        super().__init__()
        _check(image_size, embed_dim, num_heads)
        self.cnn = cnn
        self.grid = (image_size // STRIDE, image_size // STRIDE)
        self.patch_embed = PatchEmbed(
            img_size=None,
            patch_size=STRIDE if cnn is None else 1,
            in_chans=in_channels if cnn is None else cnn.channels["res4"],
            embed_dim=embed_dim,
            strict_img_size=False,
        )
        self.pos_embed = nn.Parameter(torch.empty(1, self.grid[0] * self.grid[1], embed_dim))
        nn.init.trunc_normal_(self.pos_embed, std=0.02)
        self.pos_drop = nn.Dropout(dropout)
        self.blocks = _encoder_blocks(depth, embed_dim, num_heads, mlp_ratio, dropout)
        self.norm = _norm(embed_dim)
        self.use_checkpoint = use_checkpoint
        self._out_feature_channels = {} if cnn is None else dict(cnn.channels)
        self._out_feature_channels.pop("res4", None)  # the transformer's input
        self._out_feature_channels["vit"] = embed_dim
        self._out_features = list(self._out_feature_channels)
        self._out_feature_strides = {name: STRIDES[name] for name in self._out_features}

    def parts(self) -> list[Part]:
        """Root and stages of the ResNet, if there is one; patches and positions; each block."""
        cnn = () if self.cnn is None else self.cnn.children()
        stem = [self.patch_embed, self.pos_embed, self.pos_drop]
        return [*([part] for part in cnn), stem, *([block] for block in self.blocks)]

    @property
    def size_divisibility(self) -> int:
        return STRIDE

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """(B, 3, H, W) -> {"stem", "res2", "res3", "vit"}, each (B, C, H / stride, W / stride).

        Raises:
            ValueError: H or W is no multiple of 16.
        """
        height, width = images.shape[-2:]
        if height % STRIDE or width % STRIDE:
            raise ValueError(
                f"the hybrid transformer needs images whose sides are multiples of {STRIDE}, not "
                f"{height}x{width} (height x width)"
            )
        features = {} if self.cnn is None else self.cnn(images)
        tokens = self.patch_embed(features.pop("res4", images))  # (B, N, C)
        grid = (height // STRIDE, width // STRIDE)
        tokens = self.pos_drop(tokens + self._position(grid))
        for block in self.blocks:
            if self.use_checkpoint and self.training:
                tokens = checkpoint(block, tokens, use_reentrant=False)
            else:
                tokens = block(tokens)
        features["vit"] = self.norm(tokens).transpose(1, 2).unflatten(2, grid)
        return features

    def _position(self, grid: tuple[int, int]) -> Tensor:
        return resize_positions(self.pos_embed, self.grid, grid)


def _check(image_size: int, embed_dim: int, num_heads: int) -> None:
    if image_size < STRIDE or image_size % STRIDE:
        raise ValueError(
            f"MODEL.HYBRID_VIT.IMAGE_SIZE is {image_size}; it must be a multiple of the patch, "
            f"{STRIDE}"
        )
    if embed_dim % num_heads:
        raise ValueError(
            f"MODEL.HYBRID_VIT.EMBED_DIM {embed_dim} is no multiple of NUM_HEADS {num_heads}"
        )


def _encoder_blocks(
    depth: int, embed_dim: int, num_heads: int, mlp_ratio: float, dropout: float
) -> nn.ModuleList:
    blocks = nn.ModuleList(
        Block(embed_dim, num_heads, mlp_ratio, qkv_bias=True, proj_drop=dropout, norm_layer=_norm)
        for _ in range(depth)
    )
    for block in blocks:  # timm's rate is for the MLP and the attention's output alike
        block.attn.proj_drop = nn.Identity()
    return blocks


@BACKBONE_REGISTRY.register()
def build_hybrid_vit_backbone(cfg: CfgNode, input_shape: ShapeSpec) -> HybridViT:
    node = cfg.MODEL.HYBRID_VIT
    cnn = None
    if node.CNN_DEPTHS:
        cnn = ResNetV2(
            in_channels=input_shape.channels, depths=tuple(node.CNN_DEPTHS), width=node.CNN_WIDTH
        )
    return HybridViT(
        in_channels=input_shape.channels,
        cnn=cnn,
        image_size=node.IMAGE_SIZE,
        embed_dim=node.EMBED_DIM,
        depth=node.DEPTH,
        num_heads=node.NUM_HEADS,
        mlp_ratio=node.MLP_RATIO,
        dropout=node.DROPOUT,
        use_checkpoint=node.USE_CHECKPOINT,
    ).freeze(cfg.MODEL.BACKBONE.FREEZE_AT)
