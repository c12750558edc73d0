"""Swin as recorded graphs hold it, against detectron2's own forward."""

import pytest
import torch
from torch import nn

from d2seg.backbones import swin
from d2seg.backbones.swin import SwinBackbone
from d2seg.export.formats import record


@pytest.fixture(scope="module")
def backbone() -> SwinBackbone:
    torch.manual_seed(0)
    model = SwinBackbone(
        embed_dim=8, depths=(2, 1, 2, 1), num_heads=(1, 1, 2, 2), window_size=3, drop_path_rate=0.0
    ).eval()
    for name, parameter in model.named_parameters():  # biases, too, count
        if name.endswith(("bias", "bias_table")):
            torch.nn.init.normal_(parameter, std=0.5)
    return model.requires_grad_(False)


# sides of 64 to 160: maps that are whole windows (3, 6) and such that are not, down to 2 x 2
@pytest.mark.parametrize("size", [(96, 96), (64, 160), (128, 64)])
def test_the_graph_s_form_equals_detectron2_s(
    backbone: SwinBackbone, monkeypatch: pytest.MonkeyPatch, size: tuple[int, int]
) -> None:
    images = torch.randn(2, 3, *size)
    expected = backbone(images)
    monkeypatch.setattr(swin, "is_recording", lambda: True)
    for stage, features in backbone(images).items():
        torch.testing.assert_close(features, expected[stage], atol=1e-5, rtol=1e-4)


class Images(nn.Module):
    """Takes its inputs as ``Network`` does."""

    def __init__(self, backbone: SwinBackbone) -> None:
        super().__init__()
        self.backbone = backbone

    def forward(self, *inputs: torch.Tensor) -> dict[str, torch.Tensor]:
        return self.backbone(*inputs)


def test_one_graph_serves_all_sizes() -> None:
    torch.manual_seed(0)
    backbone = SwinBackbone(
        embed_dim=4, depths=(2, 1, 1, 1), num_heads=(1,) * 4, window_size=5, out_features=("res3",)
    ).eval()
    backbone.requires_grad_(False)
    example = {"images": torch.randn(1, 3, 96, 128)}
    program = record(Images(backbone), example, dynamic=True, divisibility=32).module()
    for size in ((96, 128), (160, 64), (32, 224)):  # maps of a single window, too
        images = torch.randn(1, 3, *size)
        for features, expected in zip(
            program(images).values(), backbone(images).values(), strict=True
        ):
            torch.testing.assert_close(features, expected, atol=1e-5, rtol=1e-4)
