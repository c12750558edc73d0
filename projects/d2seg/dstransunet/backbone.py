"""The two encoders of DS-TransUNet (Lin et al. 2022, "dual-scale encoding").

B batch, C channels, (H, W) the images.
"""

from detectron2.config import CfgNode
from detectron2.layers import ShapeSpec
from detectron2.modeling import BACKBONE_REGISTRY
from detectron2.modeling.backbone import Backbone
from torch import Tensor, nn

from ..backbones.outputs import STAGES
from ..backbones.swin import SwinBackbone
from .blocks import NUM_GROUPS, conv_norm_relu

PIXEL_FEATURES = ("full", "half")  # of convolutions on the image, at strides 1 and 2
COARSE_PREFIX = "coarse_"


class DualSwinBackbone(Backbone):
    """Two Swin Transformers that see the same whole image in patches of two sizes.

    The fine maps are res2..res5, the coarse ones, of half their sides, coarse_res2..coarse_res5.
    Two maps of plain convolutions serve the decoder's last steps.
    """

    def __init__(
        self,
        *,
        fine: SwinBackbone,
        coarse: SwinBackbone,
        in_channels: int = 3,
        num_groups: int = NUM_GROUPS,
    ) -> None:
        """
        Args:
            fine, coarse: on patches of 4 and 8 pixels, with the outputs res2..res5.
            num_groups: see :func:`conv_norm_relu`.
        """
        super().__init__()
        self.fine = fine
        self.coarse = coarse
        width = fine.output_shape()[STAGES[0]].channels
        channels = dict(zip(PIXEL_FEATURES, (width // 4, width // 2), strict=True))
        self.full_conv = nn.Conv2d(in_channels, channels["full"], kernel_size=1)
        self.half_convs = nn.Sequential(
            nn.MaxPool2d(2),
            conv_norm_relu(channels["full"], channels["half"], num_groups),
            conv_norm_relu(channels["half"], channels["half"], num_groups),
        )
        strides = dict(zip(PIXEL_FEATURES, (1, 2), strict=True))
        for prefix, encoder, factor in (("", fine, 1), (COARSE_PREFIX, coarse, 2)):
            for stage, shape in encoder.output_shape().items():
                channels[prefix + stage] = shape.channels
                strides[prefix + stage] = shape.stride * factor
        self._out_features = list(channels)
        self._out_feature_channels = channels
        self._out_feature_strides = strides

    @property
    def size_divisibility(self) -> int:
        return 64  # the stride of the last coarse map, whose double joins the fine one

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """(B, 3, H, W) with sides of multiples of 64 -> {name: (B, C, H / stride, W / stride)}."""
        full = self.full_conv(images)
        maps = {"full": full, "half": self.half_convs(full)}
        maps |= self.fine(images)
        return maps | {COARSE_PREFIX + s: f for s, f in self.coarse(images).items()}


@BACKBONE_REGISTRY.register()
def build_dual_swin_backbone(cfg: CfgNode, input_shape: ShapeSpec) -> DualSwinBackbone:
    node = cfg.MODEL.DS_TRANSUNET
    encoders = [
        SwinBackbone(
            patch_size=patch_size,
            in_chans=input_shape.channels,
            embed_dim=encoder.EMBED_DIM,
            depths=encoder.DEPTHS,
            num_heads=encoder.NUM_HEADS,
            window_size=node.WINDOW_SIZE,
            drop_path_rate=encoder.DROP_PATH_RATE,
            use_checkpoint=node.USE_CHECKPOINT,
            key=f"MODEL.DS_TRANSUNET.{name}",
        ).freeze(cfg.MODEL.BACKBONE.FREEZE_AT)
        for name, encoder, patch_size in (("FINE", node.FINE, 4), ("COARSE", node.COARSE, 8))
    ]
    return DualSwinBackbone(
        fine=encoders[0],
        coarse=encoders[1],
        in_channels=input_shape.channels,
        num_groups=node.NUM_GROUPS,
    )
