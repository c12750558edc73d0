"""ImageNet ResNets of torchvision and timm give the same features in detectron2's ResNet."""

import pytest
import timm
import torch
from detectron2.config import get_cfg
from detectron2.layers import ShapeSpec
from detectron2.projects.deeplab import add_deeplab_config
from detectron2.projects.deeplab.resnet import build_resnet_deeplab_backbone
from torch import Tensor, nn
from torchvision.models import resnet50
from torchvision.models.feature_extraction import create_feature_extractor

from d2seg.checkpoint.layouts import find_layout
from d2seg.checkpoint.layouts.resnet import LAYOUT

IMAGES = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))


def detectron2_resnet(stem: str = "basic") -> nn.Module:
    cfg = get_cfg()
    add_deeplab_config(cfg)
    cfg.MODEL.RESNETS.STRIDE_IN_1X1 = False
    cfg.MODEL.RESNETS.STEM_TYPE = stem
    cfg.MODEL.RESNETS.STEM_OUT_CHANNELS = 128 if stem == "deeplab" else 64
    cfg.MODEL.RESNETS.RES5_MULTI_GRID = [1, 1, 1]
    cfg.MODEL.RESNETS.OUT_FEATURES = ["res2", "res3", "res4", "res5"]
    return build_resnet_deeplab_backbone(cfg, ShapeSpec(channels=3)).eval()


def randomise_norms(model: nn.Module) -> nn.Module:
    """Statistics and scales under which a swapped norm shows."""
    torch.manual_seed(1)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            for tensor in (module.weight, module.bias, module.running_mean, module.running_var):
                nn.init.uniform_(tensor, 0.5, 1.5)
    return model.eval()


def stages_of_torchvision(model: nn.Module) -> list[Tensor]:
    layers = ["layer1", "layer2", "layer3", "layer4"]
    features = create_feature_extractor(model, layers)(IMAGES)
    return [features[layer] for layer in layers]


def stages_of_timm(model: nn.Module) -> list[Tensor]:
    _stem, *stages = model.forward_intermediates(IMAGES, intermediates_only=True)
    return stages


@pytest.mark.parametrize(
    ("create", "stages_of", "stem"),
    [
        (resnet50, stages_of_torchvision, "basic"),
        (lambda: timm.create_model("resnet50"), stages_of_timm, "basic"),
        (lambda: timm.create_model("resnet50s"), stages_of_timm, "deeplab"),
    ],
    ids=["torchvision", "timm", "timm with a deep stem"],
)
def test_equal_features(create, stages_of, stem: str) -> None:
    theirs = randomise_norms(create())
    state = theirs.state_dict()
    assert find_layout(state.keys()) is LAYOUT
    ours = detectron2_resnet(stem)
    converted = LAYOUT.convert(state)
    ours.load_state_dict({name.removeprefix("backbone."): t for name, t in converted.items()})
    with torch.no_grad():
        actual, expected = ours(IMAGES), stages_of(theirs)
    for name, feature in zip(("res2", "res3", "res4", "res5"), expected, strict=True):
        torch.testing.assert_close(actual[name], feature, rtol=1e-4, atol=1e-4)
