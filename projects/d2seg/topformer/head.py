"""TopFormer's segmentation head (Zhang et al. 2022, section 3.3)."""

from detectron2.layers import Conv2d
from torch import Tensor, nn
from torch.nn import functional as F

from ..layers.conv import conv_norm
from ..layers.resampling import resize


class SumHead(nn.Module):
    """Adds the maps at the finest one's size, mixes the channels once and classifies."""

    def __init__(
        self,
        *,
        in_features: tuple[str, ...],
        channels: int,
        num_classes: int,
        depthwise: bool = False,
        dropout: float = 0.1,
        norm: str = "SyncBN",
    ) -> None:
        """
        Args:
            in_features: fine to coarse, all of ``channels`` channels.
            depthwise: scale and shift the channels instead of mixing them.
            dropout: probability with which a whole channel is left out before the classifier.
        """
        super().__init__()
        self.in_features = in_features
        self.fuse = conv_norm(channels, channels, norm=norm, groups=channels if depthwise else 1)
        self.dropout = nn.Dropout2d(dropout)
        self.predictor = Conv2d(channels, num_classes, kernel_size=1)
        nn.init.normal_(self.predictor.weight, std=0.01)
        nn.init.zeros_(self.predictor.bias)

    def forward(self, features: dict[str, Tensor]) -> Tensor:
        """{stage: (B, C, h, w)} -> logits (B, K, h, w) at the resolution of the finest."""
        total, *coarser = (features[name] for name in self.in_features)
        for feature in coarser:
            total = total + resize(feature, total.shape[-2:])
        return self.predictor(self.dropout(F.relu(self.fuse(total), inplace=True)))
