"""TransUNet as a meta-architecture, its decoder and its errors."""

from pathlib import Path

import pytest
import torch
from detectron2.config import CfgNode
from detectron2.layers import ShapeSpec
from detectron2.modeling import build_model
from torch import nn

from d2seg.transunet.decoder import CascadedUpsampler, UpsamplingBlock
from families.per_pixel import PerPixelChecks, example
from families.transunet_config import small_config


class TestTransUNet(PerPixelChecks):
    def config(self, repo_dir: Path) -> CfgNode:
        return small_config(repo_dir)

    def test_losses_are_halves_of_cross_entropy_and_dice(self, cfg: CfgNode) -> None:
        losses = self.train_step(self.build(cfg), [example(64, 64)])
        cfg.MODEL.PER_PIXEL.LOSS.CE_WEIGHT = cfg.MODEL.PER_PIXEL.LOSS.DICE_WEIGHT = 1.0
        whole = self.train_step(self.build(cfg), [example(64, 64)])
        assert set(losses) == {"loss_sem_seg", "loss_sem_seg_dice"}
        for name, value in losses.items():
            torch.testing.assert_close(2 * value, whole[name], rtol=1e-4, atol=0)

    def test_slices_of_floats(self, model: nn.Module) -> None:
        """What the mapper "slice" gives."""
        image = torch.rand(1, 48, 48).expand(3, -1, -1)
        assert self.predict(model, image=image, height=48, width=48).shape == (5, 48, 48)

    def test_missing_skip_is_named(self, cfg: CfgNode) -> None:
        cfg.MODEL.HYBRID_VIT.CNN_DEPTHS = []
        with pytest.raises(ValueError, match=r"SKIP_FEATURES asks for \['stem', 'res2', 'res3'\]"):
            build_model(cfg)

    @pytest.mark.parametrize("names", [["vit"], ["stem", "stem"]])
    def test_skips_without_a_stride_of_their_own_are_named(
        self, cfg: CfgNode, names: list[str]
    ) -> None:
        cfg.MODEL.TRANSUNET.SKIP_FEATURES = names
        with pytest.raises(ValueError, match=r"SKIP_FEATURES is .* of strides \[(16|2, 2)\]"):
            build_model(cfg)

    def test_another_backbone_is_named(self, cfg: CfgNode) -> None:
        cfg.MODEL.BACKBONE.NAME = "build_mit_backbone"
        with pytest.raises(ValueError, match=r"set MODEL\.BACKBONE\.NAME to build_hybrid_vit"):
            build_model(cfg)

    def test_number_of_blocks_is_checked(self, cfg: CfgNode) -> None:
        cfg.MODEL.TRANSUNET.DECODER_CHANNELS = [8, 8, 8]
        with pytest.raises(ValueError, match=r"DECODER_CHANNELS is \[8, 8, 8\]"):
            build_model(cfg)

    def test_sliding_window_takes_multiples_of_the_patch(self, cfg: CfgNode) -> None:
        cfg.MODEL.PER_PIXEL.TEST.MODE = "slide"
        cfg.MODEL.PER_PIXEL.TEST.CROP_SIZE = (64, 72)
        cfg.MODEL.PER_PIXEL.TEST.STRIDE = (32, 32)
        with pytest.raises(ValueError, match="this model takes multiples of 16"):
            build_model(cfg)


class TestPureTransUNet(PerPixelChecks):
    def config(self, repo_dir: Path) -> CfgNode:
        return small_config(repo_dir, "synapse_semantic_vit_base")


def test_published_decoder_has_the_published_channels() -> None:
    shapes = {"vit": (768, 16), "res3": (512, 8), "res2": (256, 4), "stem": (64, 2)}
    input_shape = {n: ShapeSpec(channels=c, stride=s) for n, (c, s) in shapes.items()}
    with torch.device("meta"):
        decoder = CascadedUpsampler(input_shape, num_classes=9)
    inputs = [block.conv1[0].in_channels for block in decoder.blocks]
    outputs = [block.conv2[0].out_channels for block in decoder.blocks]
    assert inputs == [512 + 512, 256 + 256, 128 + 64, 64]
    assert outputs == [256, 128, 64, 16]
    assert decoder.predictor.bias is not None


def test_upsampling_aligns_corners() -> None:
    block = UpsamplingBlock(1, 0, 1).eval()
    for stage in (block.conv1, block.conv2):  # each hands its input on
        nn.init.dirac_(stage[0].weight)
        stage[1].eps = 1e-12  # some versions of torch refuse 0
    ramp = torch.arange(4.0).expand(1, 1, 4, 4)
    with torch.no_grad():
        upsampled = block(ramp, None)
    torch.testing.assert_close(upsampled[0, 0, 3], torch.linspace(0, 3, 8))
