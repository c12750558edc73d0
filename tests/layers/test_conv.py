import torch
from detectron2.layers import Conv2d
from torch import nn
from torch.nn import functional as F

from d2seg.layers.conv import conv_norm


def test_norm_and_activation_follow_the_convolution() -> None:
    conv = conv_norm(4, 6, 3, norm=nn.GroupNorm(2, 6), stride=2, activation=F.relu)
    maps = torch.randn(2, 4, 7, 9)
    plain = F.conv2d(maps, conv.weight, stride=2, padding=1)
    assert torch.equal(conv(maps), F.relu(conv.norm(plain)))
    assert type(conv) is Conv2d  # which speed-ups look for
    assert conv.bias is None


def test_names_of_norms_are_detectron2s() -> None:
    assert isinstance(conv_norm(4, 6, norm="BN").norm, nn.BatchNorm2d)
    assert conv_norm(4, 6, norm="").norm is None


def test_the_convolution_can_be_filled() -> None:
    conv = conv_norm(4, 6, 5, norm="", bias=True, groups=2, fill=lambda c: nn.init.ones_(c.weight))
    maps = torch.ones(1, 4, 5, 5)
    middle = conv(maps)[0, :, 2, 2] - conv.bias
    torch.testing.assert_close(middle, torch.full((6,), 50.0))
