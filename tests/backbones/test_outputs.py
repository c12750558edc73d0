"""What backbones leave out where the last outputs are not asked for: parameters without a gradient,
which training in several processes would refuse. Checkpoints of the whole still fill the rest."""

from collections.abc import Callable
from pathlib import Path

import pytest
import timm
import torch
from detectron2.modeling.backbone import Backbone
from torch import Tensor, nn

from d2seg.backbones.swin import SwinBackbone
from d2seg.backbones.timm import TimmBackbone
from d2seg.backbones.vit import ViTBackbone
from d2seg.checkpoint import Checkpointer
from d2seg.segformer.mit import MixTransformer

SWIN = {"embed_dim": 12, "depths": (1, 2, 2, 1), "num_heads": (1, 2, 4, 8)}
MIT = {"embed_dims": (8, 16, 20, 32), "depths": (1, 1, 2, 1)}
VIT = {"name": "vit_tiny_patch16_224", "img_size": (64, 64)}
# a backbone of given outputs, all of them, and some without the last
CASES: dict[str, tuple[Callable[[list[str]], Backbone], list[str], list[str]]] = {
    "swin": (lambda f: SwinBackbone(**SWIN, out_features=f), ["res2", "res3", "res5"], ["res3"]),
    "mit": (lambda f: MixTransformer(**MIT, out_features=f), ["res3", "res5"], ["res3"]),
    "vit": (
        lambda f: ViTBackbone(**VIT, depth=8, out_features=tuple(f)),
        ["block2", "block8"],
        ["block2"],
    ),
    **{
        name: (
            lambda f, name=name: TimmBackbone(name=name, out_features=tuple(f)),
            ["res3", "res5"],
            ["res3"],
        )
        for name in ("resnet10t", "efficientnet_lite0", "mobilenetv3_small_050")
    },
}


class Model(nn.Module):
    def __init__(self, backbone: Backbone) -> None:
        super().__init__()
        self.backbone = backbone


@pytest.fixture(params=CASES)
def backbones(request: pytest.FixtureRequest) -> tuple[Backbone, Backbone]:
    """One with all outputs, one that lacks the last."""
    build, all_outputs, first_outputs = CASES[request.param]
    torch.manual_seed(0)
    return build(all_outputs), build(first_outputs)


def test_every_parameter_gets_a_gradient(backbones: tuple[Backbone, Backbone]) -> None:
    for backbone in backbones:
        features = backbone.train()(torch.randn(2, 3, 64, 64))
        sum(feature.square().sum() for feature in features.values()).backward()
        assert not [name for name, p in backbone.named_parameters() if p.grad is None]
    whole, cut = (sum(p.numel() for p in backbone.parameters()) for backbone in backbones)
    assert cut < whole


def test_a_checkpoint_of_the_whole_fills_the_rest(
    backbones: tuple[Backbone, Backbone], tmp_path: Path
) -> None:
    whole, cut = backbones
    torch.save({"model": Model(whole).state_dict()}, tmp_path / "whole.pth")
    Checkpointer(Model(cut)).load(str(tmp_path / "whole.pth"), require_complete=True)
    images = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        expected, found = whole.eval()(images), cut.eval()(images)
    [(name, feature)] = found.items()
    assert torch.equal(feature, expected[name])


def imagenet_vit(tmp_path: Path) -> tuple[str, dict[str, Tensor]]:
    """A file as timm publishes it: twelve blocks and the classifier, under bare names."""
    torch.manual_seed(0)
    state = timm.create_model(VIT["name"]).state_dict()
    torch.save(state, tmp_path / "vit.pth")
    return str(tmp_path / "vit.pth"), state


def test_a_whole_imagenet_vit_fills_one_of_two_blocks(tmp_path: Path) -> None:
    path, published = imagenet_vit(tmp_path)
    backbone = ViTBackbone(**VIT, out_features=("block2",))
    Checkpointer(Model(backbone)).load(path)
    assert len(backbone.model.blocks) == 2
    for name, parameter in backbone.model.named_parameters():
        if name != "pos_embed":  # of another grid
            assert torch.equal(parameter, published[name]), name
    assert torch.equal(backbone.model.pos_embed[:, 0], published["pos_embed"][:, 0])


def test_a_deeper_network_is_still_another_architecture(tmp_path: Path) -> None:
    """What is passed over are the model's own blocks alone, here the second and the third."""
    path, _ = imagenet_vit(tmp_path)
    backbone = ViTBackbone(**VIT, depth=3, out_features=("block1",))
    with pytest.raises(ValueError, match=r"another architecture.*not in the model: .*blocks\.3\."):
        Checkpointer(Model(backbone)).load(path)


def test_stochastic_depth_is_that_of_the_whole() -> None:
    whole, cut = (SwinBackbone(**SWIN, out_features=f) for f in (("res5",), ("res3",)))
    rates = [
        [getattr(block.drop_path, "drop_prob", 0.0) for layer in m.layers for block in layer.blocks]
        for m in (whole, cut)
    ]
    assert rates[0][:3] == rates[1]
    assert rates[1][-1] > 0
