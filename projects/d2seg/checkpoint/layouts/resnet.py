"""ImageNet checkpoints of ResNet and ResNeXt in torchvision's and timm's names.

Such models expect RGB in PIXEL_MEAN [123.675, 116.28, 103.53], PIXEL_STD [58.395, 57.12, 57.375],
and the stride in the 3x3 convolution (MODEL.RESNETS.STRIDE_IN_1X1 False). timm's deep stems
(``resnet50s``, ...) become detectron2's "deeplab" stem.
"""

from collections.abc import Set

from ..naming import NameTable, StateDict, without
from .layout import Layout

_STEM = [
    ("conv1.weight", "stem.conv1.weight"),
    ("bn1.{name}", "stem.conv1.norm.{name}"),
]
_DEEP_STEM = [
    ("conv1.0.weight", "stem.conv1.weight"),
    ("conv1.1.{name}", "stem.conv1.norm.{name}"),
    ("conv1.3.weight", "stem.conv2.weight"),
    ("conv1.4.{name}", "stem.conv2.norm.{name}"),
    ("conv1.6.weight", "stem.conv3.weight"),
    ("bn1.{name}", "stem.conv3.norm.{name}"),
]
_STAGES = [
    (f"layer{stage}.{{i}}.{theirs}", f"res{stage + 1}.{{i}}.{ours}")
    for stage in (1, 2, 3, 4)
    for theirs, ours in [
        ("conv{j}.weight", "conv{j}.weight"),
        ("bn{j}.{name}", "conv{j}.norm.{name}"),
        ("downsample.0.weight", "shortcut.weight"),
        ("downsample.1.{name}", "shortcut.norm.{name}"),
    ]
]
_OURS = ("", "backbone.")
_PLAIN = NameTable(_STEM + _STAGES, prefixes=_OURS)
_DEEP = NameTable(_DEEP_STEM + _STAGES, prefixes=_OURS)


def _matches(names: Set[str]) -> bool:
    return (
        ("conv1.weight" in names or "conv1.0.weight" in names)
        and "layer1.0.conv1.weight" in names
        # average pooling in the shortcut (resnet50d, ...), which detectron2's ResNet has not
        and "layer2.0.downsample.2.weight" not in names
    )


def _convert(state: StateDict) -> StateDict:
    state = without(state, r"fc\..*|.*\.num_batches_tracked")
    return (_DEEP if "conv1.0.weight" in state else _PLAIN).to_ours(state)


LAYOUT = Layout(
    name="ImageNet ResNet (torchvision, timm)",
    matches=_matches,
    convert=_convert,
    backbone_only=True,
)
