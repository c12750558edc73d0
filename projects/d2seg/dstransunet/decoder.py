"""The U-shaped decoder of DS-TransUNet (Lin et al. 2022) over the fused maps of both encoders.

B batch, C channels, (H, W) the images, (h, w) a map.
"""

import contextlib
from collections.abc import Sequence

import torch
from detectron2.layers import Conv2d, ShapeSpec
from detectron2.modeling.backbone.swin import BasicLayer
from torch import Tensor, nn
from torch.nn import functional as F

from ..backbones.outputs import STAGES
from ..backbones.swin_graph import stage_on_map
from ..layers.recording import is_recording
from .backbone import COARSE_PREFIX, PIXEL_FEATURES
from .blocks import NUM_GROUPS, conv_norm_relu, upsample
from .fusion import InteractiveFusion, LayerSize

# the decoder's own maps by stride, deepest first; that of stride 32 is the last fused one
DECODER_FEATURES = ("up32", "up16", "up8", "up4", "up2", "up1")
MLP_RATIO = 4.0  # of the Swin blocks
NUM_BLOCKS = 2  # per level


class SwinLevel(BasicLayer):
    """detectron2's stage of Swin blocks on a map, (B, C, h, w) -> (B, C, h, w); no norm follows."""

    def forward(self, features: Tensor) -> Tensor:
        if is_recording():
            return stage_on_map(self, features.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        size = features.shape[-2:]
        with _autocast_to(features):
            tokens = super().forward(features.flatten(2).transpose(1, 2), *size)[0]
        return tokens.transpose(1, 2).unflatten(2, size)


class DecoderLevel(nn.Module):
    """x2, joined with a skip connection: (B, C, h, w) -> (B, C / 2, 2h, 2w)."""

    def __init__(
        self, dim: int, swin: SwinLevel | None = None, num_groups: int = NUM_GROUPS
    ) -> None:
        """
        Args:
            dim: channels of the map that is upsampled.
            swin: the transformer on the upsampled map of ``dim // 2`` channels, after which both
                that and the skip connection's are halved by 1x1 convolutions; ``None``: neither.
            num_groups: see :func:`conv_norm_relu`.
        """
        super().__init__()
        self.reduce = conv_norm_relu(dim, dim // 2, num_groups)
        self.swin = swin
        if swin is not None:
            self.project = Conv2d(dim // 2, dim // 4, kernel_size=1, activation=F.relu)
            self.skip = Conv2d(dim // 2, dim // 4, kernel_size=1, activation=F.relu)
        joined = dim if swin is None else dim // 2
        self.join = Conv2d(joined, dim // 2, kernel_size=3, padding=1, activation=F.relu)

    def forward(self, features: Tensor, skip: Tensor) -> Tensor:
        """``skip``: (B, C / 2, 2h, 2w)."""
        features = self.reduce(upsample(features))
        if self.swin is not None:
            features, skip = self.project(self.swin(features)), self.skip(skip)
        return self.join(torch.cat([skip, features], dim=1))


class DSTransUNetHead(nn.Module):
    """Fusion of the encoders' maps, stage by stage, and the decoder up to the image's size."""

    def __init__(
        self,
        input_shape: dict[str, ShapeSpec],
        *,
        num_channels: int,
        num_heads: Sequence[int] = (8, 4, 2),
        window_size: int = 7,
        drop_path_rate: float = 0.2,
        fine_size: LayerSize,
        coarse_size: LayerSize,
        num_groups: int = NUM_GROUPS,
    ) -> None:
        """
        Args:
            input_shape: of a :class:`~.backbone.DualSwinBackbone`.
            num_channels: of the logits.
            num_heads: at strides 16, 8 and 4.
            drop_path_rate: of the last Swin block of each level; the first has none.
            fine_size, coarse_size: of the fusion's layers.
            num_groups: see :func:`conv_norm_relu`.

        Raises:
            ValueError: the backbone is another one; heads that do not divide their channels.
        """
        super().__init__()
        needed = [*PIXEL_FEATURES, *STAGES, *(COARSE_PREFIX + stage for stage in STAGES)]
        missing = [name for name in needed if name not in input_shape]
        if missing:
            raise ValueError(
                f"DS-TransUNet's decoder needs {missing}, but the backbone gives "
                f"{list(input_shape)}: set MODEL.BACKBONE.NAME to build_dual_swin_backbone"
            )
        dims = {stage: input_shape[stage].channels for stage in STAGES}
        _check_heads(num_heads, [dims[stage] for stage in STAGES[:0:-1]])
        self.fusions = nn.ModuleDict(
            {
                stage: InteractiveFusion(
                    dim,
                    input_shape[COARSE_PREFIX + stage].channels,
                    fine_size=fine_size,
                    coarse_size=coarse_size,
                    num_groups=num_groups,
                )
                for stage, dim in dims.items()
            }
        )
        dim = dims[STAGES[-1]]
        self.channels = {DECODER_FEATURES[0]: dim}
        self.levels = nn.ModuleList()
        for level, name in enumerate(DECODER_FEATURES[1:]):
            swin = None
            if level < len(num_heads):
                rates = torch.linspace(0, drop_path_rate, NUM_BLOCKS).tolist()
                swin = SwinLevel(
                    dim // 2,
                    NUM_BLOCKS,
                    num_heads[level],
                    window_size,
                    mlp_ratio=MLP_RATIO,
                    drop_path=rates,
                )
            self.levels.append(DecoderLevel(dim, swin, num_groups))
            dim //= 2
            self.channels[name] = dim
        self.predictor = nn.Conv2d(dim, num_channels, kernel_size=1)

    def forward(self, features: dict[str, Tensor]) -> Tensor:
        """{name: (B, C, H / stride, W / stride)} -> logits (B, num_channels, H, W)."""
        return self.predictor(self.decode(features)[DECODER_FEATURES[-1]])

    def decode(self, features: dict[str, Tensor]) -> dict[str, Tensor]:
        """The decoder's maps, {one of DECODER_FEATURES: (B, C, H / stride, W / stride)}."""
        fused = [
            fusion(features[stage], features[COARSE_PREFIX + stage])
            for stage, fusion in self.fusions.items()
        ]
        *skips, decoded = [features[name] for name in PIXEL_FEATURES] + fused
        maps = {DECODER_FEATURES[0]: decoded}
        for name, level, skip in zip(
            DECODER_FEATURES[1:], self.levels, reversed(skips), strict=True
        ):
            decoded = level(decoded, skip)
            maps[name] = decoded
        return maps


class AuxiliaryHead(nn.Module):
    """1x1 convolution and ReLU on one of the decoder's maps.

    As published, the ReLU keeps the logits from ever saying background.
    """

    def __init__(self, *, in_feature: str, in_channels: int, num_channels: int) -> None:
        super().__init__()
        self.in_feature = in_feature
        self.predictor = nn.Conv2d(in_channels, num_channels, kernel_size=1)

    def forward(self, maps: dict[str, Tensor]) -> Tensor:
        """Maps of :meth:`DSTransUNetHead.decode` -> logits (B, num_channels, h, w), >= 0."""
        return F.relu(self.predictor(maps[self.in_feature]))


def _check_heads(num_heads: Sequence[int], dims: list[int]) -> None:
    if len(num_heads) != len(dims):
        raise ValueError(
            f"MODEL.DS_TRANSUNET.DECODER.NUM_HEADS is {list(num_heads)}; it has one number for "
            "each of the strides 16, 8 and 4"
        )
    for heads, dim in zip(num_heads, dims, strict=True):
        if dim // 2 % heads:
            raise ValueError(
                f"MODEL.DS_TRANSUNET.DECODER.NUM_HEADS is {list(num_heads)}; {heads} heads do not "
                f"divide the {dim // 2} channels at their stride"
            )


def _autocast_to(features: Tensor) -> contextlib.AbstractContextManager:
    """Autocast where weights are in low precision: detectron2's Swin makes its masks in fp32."""
    if features.dtype == torch.float32:
        return contextlib.nullcontext()
    return torch.autocast(features.device.type, features.dtype)
