"""Any convolutional or hierarchical model of timm (``timm.list_models()``) as a backbone."""

import timm
import torch
from detectron2.config import CfgNode
from detectron2.layers import ShapeSpec
from detectron2.modeling import BACKBONE_REGISTRY
from detectron2.modeling.backbone import Backbone
from timm.models.efficientnet import EfficientNetFeatures
from timm.models.mobilenetv3 import MobileNetV3Features
from torch import Tensor, nn

from .freezing import Freezable, Part, parts_until
from .outputs import STRIDE_OF_STAGE, leave_out


class TimmBackbone(Freezable, Backbone):
    """A timm model's feature pyramid under ResNet's names of the stages."""

    def __init__(
        self,
        *,
        name: str,
        in_channels: int = 3,
        pretrained: bool = False,
        out_features: tuple[str, ...] = tuple(STRIDE_OF_STAGE),
    ) -> None:
        """
        Raises:
            ValueError: timm has no such model, the model cannot give a feature pyramid, or it has
                no feature at the stride of one of ``out_features``.
        """
        super().__init__()
        check_model_name("MODEL.TIMM.NAME", name)
        # asked on the meta device first: a model made for chosen features ends after the last one
        info = self._pyramid(name).feature_info
        strides = info.reduction()
        # the last feature of a stride is the end of its stage
        index_of_stride = {stride: i for i, stride in enumerate(strides)}
        missing = [f for f in out_features if STRIDE_OF_STAGE.get(f) not in index_of_stride]
        if missing or not out_features:
            raise ValueError(
                f"MODEL.TIMM.OUT_FEATURES: '{name}' has features at strides {strides}, none for "
                f"{missing or list(out_features)}"
            )
        stages = sorted(out_features, key=STRIDE_OF_STAGE.get)
        modules = [entry["module"] for entry in info.get_dicts()]
        self._ends = [modules[index_of_stride[s]] for s in sorted(index_of_stride) if s >= 4]
        self.model = timm.create_model(
            name,
            pretrained=pretrained,
            in_chans=in_channels,
            features_only=True,
            out_indices=[index_of_stride[STRIDE_OF_STAGE[stage]] for stage in stages],
        )
        if isinstance(self.model, EfficientNetFeatures | MobileNetV3Features):
            # the two that do not end after the last feature by themselves; stage 0 is the stem
            leave_out(self.model, "blocks", self.model.feature_info.get_dicts()[-1]["stage"])
        # timm's Swin and its kin yield (B, h, w, C)
        self.channels_last = getattr(self.model, "output_fmt", None) == "NHWC"
        self._out_features = stages
        self._out_feature_strides = {stage: STRIDE_OF_STAGE[stage] for stage in stages}
        channels = self.model.feature_info.channels()
        self._out_feature_channels = dict(zip(stages, channels, strict=True))

    @staticmethod
    def _pyramid(name: str) -> nn.Module:
        try:
            with torch.device("meta"):
                return timm.create_model(name, features_only=True)
        except (RuntimeError, AttributeError, TypeError) as error:
            raise ValueError(
                f"MODEL.TIMM.NAME: timm's '{name}' gives no feature pyramid ({error}); choose a "
                "convolutional or hierarchical model"
            ) from error

    def parts(self) -> list[Part]:
        """Everything before stride 4, then what leads to stride 4, 8, 16 and 32."""
        net = getattr(self.model, "model", self.model)  # timm wraps some
        names = {name.replace(".", "_") for name, _ in net.named_modules()}
        ends = [end for end in self._ends if end.replace(".", "_") in names]  # the others left out
        return parts_until(net, ends)

    @property
    def size_divisibility(self) -> int:
        return 32  # some timm models crop a remainder

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """(B, 3, H, W), H and W multiples of 32 -> {stage: (B, C, H / stride, W / stride)}."""
        features = self.model(images)
        if self.channels_last:
            features = [feature.permute(0, 3, 1, 2) for feature in features]
        return dict(zip(self._out_features, features, strict=True))


def check_model_name(key: str, name: str) -> None:
    """Raises ValueError where timm has no model ``name``, which the config key ``key`` names."""
    if not timm.is_model(name):
        near = timm.list_models(f"*{name.split('_')[0]}*")[:8]
        raise ValueError(f"{key}: timm has no model '{name}'; near it: {near}")


@BACKBONE_REGISTRY.register()
def build_timm_backbone(cfg: CfgNode, input_shape: ShapeSpec) -> TimmBackbone:
    return TimmBackbone(
        name=cfg.MODEL.TIMM.NAME,
        in_channels=input_shape.channels,
        pretrained=cfg.MODEL.TIMM.PRETRAINED,
        out_features=tuple(cfg.MODEL.TIMM.OUT_FEATURES),
    ).freeze(cfg.MODEL.BACKBONE.FREEZE_AT)
