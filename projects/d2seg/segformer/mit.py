"""Mix Transformer (Xie et al. 2021, "SegFormer", section 3.1): a pyramid without position codes.

B batch, C channels, (H, W) a stage's resolution, N = H * W tokens, M tokens after the reduction.
Tokens (B, N, C) and maps (B, C, H, W) in the memory format channels_last are two views of the same
memory, and all maps here are in that format: nothing is transposed between the two.
"""

from collections.abc import Sequence

import torch
from detectron2.config import CfgNode
from detectron2.layers import ShapeSpec
from detectron2.modeling import BACKBONE_REGISTRY
from detectron2.modeling.backbone import Backbone
from timm.layers import DropPath
from torch import Tensor, nn
from torch.nn import functional as F

from ..backbones.freezing import Freezable, Part
from ..backbones.outputs import STAGES, STRIDE_OF_STAGE, choose_stages, leave_out

Size = tuple[int, int]


def to_tokens(feature: Tensor) -> Tensor:
    """(B, C, H, W) -> (B, N, C)."""
    return feature.flatten(2).transpose(1, 2)


def to_map(tokens: Tensor, size: Size) -> Tensor:
    """(B, N, C) -> (B, C, H, W)."""
    # in this order of steps, torch sees channels_last in a batch of one, too
    return tokens.unflatten(1, size).permute(0, 3, 1, 2)


class OverlapPatchEmbed(nn.Module):
    """A strided convolution whose patches overlap, and a norm; (B, C, H, W) -> tokens and size."""

    def __init__(self, in_channels: int, dim: int, patch_size: int, stride: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, dim, patch_size, stride, padding=patch_size // 2)
        # eps as in the official code, which sets 1e-6 for the other norms only
        self.norm = nn.LayerNorm(dim, eps=1e-5)

    def forward(self, feature: Tensor) -> tuple[Tensor, Size]:
        feature = self.conv(feature)
        return self.norm(to_tokens(feature)), tuple(feature.shape[-2:])


class EfficientAttention(nn.Module):
    """Self-attention to keys and values at a lower resolution (equation 2 of the paper)."""

    def __init__(self, dim: int, num_heads: int, reduction: int) -> None:
        """``reduction``: of each side of the map, by a convolution of that kernel and stride."""
        super().__init__()
        self.num_heads = num_heads
        self.query = nn.Linear(dim, dim)
        self.key_value = nn.Linear(dim, 2 * dim)
        self.output = nn.Linear(dim, dim)
        self.reduction = None
        if reduction > 1:
            self.reduction = nn.Conv2d(dim, dim, reduction, stride=reduction)
            self.reduction_norm = nn.LayerNorm(dim, eps=1e-5)

    def forward(self, tokens: Tensor, size: Size) -> Tensor:
        memory = tokens
        if self.reduction is not None:
            memory = self.reduction_norm(to_tokens(self.reduction(to_map(tokens, size))))
        key, value = self.key_value(memory).chunk(2, -1)
        attended = F.scaled_dot_product_attention(
            self._heads(self.query(tokens)), self._heads(key), self._heads(value)
        )
        return self.output(attended.transpose(1, 2).flatten(2))

    def _heads(self, tokens: Tensor) -> Tensor:
        """(B, N, C) -> (B, heads, N, C / heads)."""
        return tokens.unflatten(2, (self.num_heads, -1)).transpose(1, 2)


class MixFeedForward(nn.Module):
    """Feed-forward network with a depthwise 3x3 convolution, whose zero padding tells positions
    (equation 3 of the paper)."""

    def __init__(self, dim: int, hidden_dim: int) -> None:
        super().__init__()
        self.linear1 = nn.Linear(dim, hidden_dim)
        self.depthwise = nn.Conv2d(hidden_dim, hidden_dim, 3, padding=1, groups=hidden_dim)
        self.linear2 = nn.Linear(hidden_dim, dim)

    def forward(self, tokens: Tensor, size: Size) -> Tensor:
        hidden = self.depthwise(to_map(self.linear1(tokens), size))
        return self.linear2(F.gelu(to_tokens(hidden)))


class Block(nn.Module):
    def __init__(
        self, dim: int, num_heads: int, reduction: int, mlp_ratio: float, drop_path: float
    ) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(dim, eps=1e-6)
        self.attention = EfficientAttention(dim, num_heads, reduction)
        self.norm2 = nn.LayerNorm(dim, eps=1e-6)
        self.feed_forward = MixFeedForward(dim, int(dim * mlp_ratio))
        self.drop_path = DropPath(drop_path)

    def forward(self, tokens: Tensor, size: Size) -> Tensor:
        tokens = tokens + self.drop_path(self.attention(self.norm1(tokens), size))
        return tokens + self.drop_path(self.feed_forward(self.norm2(tokens), size))


class Stage(nn.Module):
    """Patch embedding, blocks and a norm; (B, C, H, W) -> (B, C', H / stride, W / stride)."""

    def __init__(self, patch_embed: OverlapPatchEmbed, blocks: list[Block], dim: int) -> None:
        super().__init__()
        self.patch_embed = patch_embed
        self.blocks = nn.ModuleList(blocks)
        self.norm = nn.LayerNorm(dim, eps=1e-6)

    def forward(self, feature: Tensor) -> Tensor:
        tokens, size = self.patch_embed(feature)
        for block in self.blocks:
            tokens = block(tokens, size)
        return to_map(self.norm(tokens), size)


class MixTransformer(Freezable, Backbone):
    """MiT-B0..B5; the defaults are B0's (table 6 of the paper)."""

    def __init__(
        self,
        *,
        in_channels: int = 3,
        embed_dims: Sequence[int] = (32, 64, 160, 256),
        depths: Sequence[int] = (2, 2, 2, 2),
        num_heads: Sequence[int] = (1, 2, 5, 8),
        reductions: Sequence[int] = (8, 4, 2, 1),
        mlp_ratio: float = 4.0,
        drop_path_rate: float = 0.1,
        out_features: Sequence[str] = STAGES,
    ) -> None:
        """
        Args:
            embed_dims, depths, num_heads, reductions: one number for each of the four stages.
            drop_path_rate: of the last block; it grows linearly from 0.
            out_features: of res2..res5; stages beyond the last of them are left out.

        Raises:
            ValueError: not four numbers each, a width that its heads do not divide, or an output
                that is none of res2..res5.
        """
        super().__init__()
        _check(embed_dims, depths, num_heads, reductions)
        self._out_features = choose_stages("MODEL.MIT.OUT_FEATURES", out_features)
        drop_paths = iter(torch.linspace(0, drop_path_rate, sum(depths)).tolist())
        self.stages = nn.ModuleList()
        channels = in_channels
        for i, dim in enumerate(embed_dims):
            # overlapped patches: kernel 7 and stride 4, then 3 and 2 (section 3.1)
            patch_embed = OverlapPatchEmbed(channels, dim, *((7, 4) if i == 0 else (3, 2)))
            blocks = [
                Block(dim, num_heads[i], reductions[i], mlp_ratio, next(drop_paths))
                for _ in range(depths[i])
            ]
            self.stages.append(Stage(patch_embed, blocks, dim))
            channels = dim
        leave_out(self, "stages", 1 + STAGES.index(self._out_features[-1]))
        self._out_feature_channels = dict(zip(STAGES, embed_dims, strict=True))
        self._out_feature_strides = STRIDE_OF_STAGE
        self.apply(_init_weights)

    def parts(self) -> list[Part]:
        """The first patch embedding, then each stage."""
        return [[self.stages[0].patch_embed], *([stage] for stage in self.stages)]

    @property
    def size_divisibility(self) -> int:
        return 32  # so that every reduction has whole patches

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """(B, 3, H, W), H and W multiples of 32 -> {stage: (B, C, H / stride, W / stride)}."""
        feature = images.contiguous(memory_format=torch.channels_last)
        outputs = {}
        for name, stage in zip(STAGES, self.stages, strict=False):
            feature = stage(feature)
            outputs[name] = feature
        return {name: outputs[name] for name in self._out_features}


def _check(
    embed_dims: Sequence[int],
    depths: Sequence[int],
    num_heads: Sequence[int],
    reductions: Sequence[int],
) -> None:
    per_stage = {
        "EMBED_DIMS": embed_dims,
        "DEPTHS": depths,
        "NUM_HEADS": num_heads,
        "REDUCTIONS": reductions,
    }
    for key, values in per_stage.items():
        if len(values) != len(STAGES):
            raise ValueError(
                f"MODEL.MIT.{key} is {list(values)}; give a number for each of 4 stages"
            )
    for dim, heads in zip(embed_dims, num_heads, strict=True):
        if dim % heads:
            raise ValueError(
                f"MODEL.MIT.EMBED_DIMS has {dim}, which is no multiple of its NUM_HEADS, {heads}"
            )


def _init_weights(module: nn.Module) -> None:
    """Initialise as the official code: truncated normals, convolutions by fan-out (He 2015)."""
    if isinstance(module, nn.Linear):
        nn.init.trunc_normal_(module.weight, std=0.02)
        nn.init.zeros_(module.bias)
    elif isinstance(module, nn.Conv2d):
        fan_out = module.weight[0, 0].numel() * module.out_channels // module.groups
        nn.init.normal_(module.weight, std=(2 / fan_out) ** 0.5)
        nn.init.zeros_(module.bias)


@BACKBONE_REGISTRY.register()
def build_mit_backbone(cfg: CfgNode, input_shape: ShapeSpec) -> MixTransformer:
    mit = cfg.MODEL.MIT
    return MixTransformer(
        in_channels=input_shape.channels,
        embed_dims=mit.EMBED_DIMS,
        depths=mit.DEPTHS,
        num_heads=mit.NUM_HEADS,
        reductions=mit.REDUCTIONS,
        mlp_ratio=mit.MLP_RATIO,
        drop_path_rate=mit.DROP_PATH_RATE,
        out_features=mit.OUT_FEATURES,
    ).freeze(cfg.MODEL.BACKBONE.FREEZE_AT)
