"""DS-TransUNet as a meta-architecture, its parts and its errors."""

from pathlib import Path

import pytest
import torch
from detectron2.config import CfgNode
from detectron2.modeling import build_model
from torch import nn

from d2seg.dstransunet.decoder import AuxiliaryHead, DecoderLevel
from d2seg.dstransunet.fusion import InteractiveFusion, LayerSize
from families.dstransunet_config import small_config
from families.per_pixel import PerPixelChecks, example


class TestDSTransUNet(PerPixelChecks):
    def config(self, repo_dir: Path) -> CfgNode:
        return small_config(repo_dir)

    def test_one_class(self, cfg: CfgNode) -> None:
        """The background is a class, too: what the published code counts as one are two."""
        cfg.MODEL.SEM_SEG_HEAD.NUM_CLASSES = 1
        with pytest.raises(ValueError, match=r"NUM_CLASSES is 1; .* 2 for one kind of object"):
            build_model(cfg)

    def test_losses_and_their_weights(self, cfg: CfgNode) -> None:
        batch = [example(*self.size)]
        losses = self.train_step(self.build(cfg), batch)
        heads = ("", "_aux_0", "_aux_1")
        assert set(losses) == {
            f"loss_sem_seg{head}{term}" for head in heads for term in ("", "_iou")
        }
        cfg.MODEL.DS_TRANSUNET.LOSS.MAIN_WEIGHT = cfg.MODEL.PER_PIXEL.AUX_WEIGHT = 1.0
        cfg.MODEL.DS_TRANSUNET.LOSS.IOU_WEIGHT = 0.5
        whole = self.train_step(self.build(cfg), batch)
        for name, value in losses.items():
            weight = (0.2 if "aux" in name else 0.6) * (2 if "iou" in name else 1)
            torch.testing.assert_close(value, weight * whole[name], rtol=1e-4, atol=0)

    def test_training_scales_are_drawn(self, cfg: CfgNode) -> None:
        cfg.MODEL.DS_TRANSUNET.TRAIN_SCALES = [0.5, 1.0, 2.0]
        model = self.build(cfg).train()
        sizes = []
        model.backbone.register_forward_pre_hook(lambda _, args: sizes.append(args[0].shape[-2:]))
        for seed in range(12):
            torch.manual_seed(seed)
            assert all(torch.isfinite(value) for value in model([example(64, 128)]).values())
        # half of 64 is no multiple of 64, the least that the model takes
        assert {tuple(size) for size in sizes} == {(64, 64), (64, 128), (128, 256)}

    def test_whole_images_are_resized_and_not_padded(self, model: nn.Module) -> None:
        """At test time the model sees no border that is not in the picture."""
        model.eval()
        seen = []
        model.backbone.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
        self.predict(model, image=torch.full((3, 50, 70), 255, dtype=torch.uint8))
        assert seen[0].shape == (1, 3, 64, 128)
        assert (seen[0] == seen[0][..., :1, :1]).all()

    @pytest.mark.parametrize("scales", [[], [1.0, 0.0]])
    def test_scales_are_checked(self, cfg: CfgNode, scales: list[float]) -> None:
        cfg.MODEL.DS_TRANSUNET.TRAIN_SCALES = scales
        with pytest.raises(ValueError, match=r"TRAIN_SCALES is \[.*\]; give positive factors"):
            build_model(cfg)

    @pytest.mark.parametrize(
        ("key", "value"),
        [
            ("PER_PIXEL.LOSS.DICE_WEIGHT", 1.0),
            ("PER_PIXEL.LOSS.CLASS_WEIGHTS", [1.0] * 5),
            ("PER_PIXEL.LOSS.OHEM.ENABLED", True),
            ("POINT_HEAD.ENABLED", True),
        ],
    )
    def test_keys_without_effect_are_refused(self, cfg: CfgNode, key: str, value: object) -> None:
        cfg.merge_from_list([f"MODEL.{key}", value])
        with pytest.raises(ValueError, match=rf"MODEL\.{key} is .*DSTransUNet does not have"):
            build_model(cfg)

    def test_weights_of_the_loss_are_checked(self, cfg: CfgNode) -> None:
        cfg.MODEL.PER_PIXEL.LOSS.CE_WEIGHT = cfg.MODEL.DS_TRANSUNET.LOSS.IOU_WEIGHT = 0.0
        with pytest.raises(ValueError, match="nothing would be learnt"):
            build_model(cfg)

    def test_another_backbone_is_named(self, cfg: CfgNode) -> None:
        cfg.MODEL.BACKBONE.NAME = "build_mit_backbone"
        with pytest.raises(ValueError, match=r"set MODEL\.BACKBONE\.NAME to build_dual_swin"):
            build_model(cfg)

    def test_encoders_are_checked_under_their_own_keys(self, cfg: CfgNode) -> None:
        cfg.MODEL.DS_TRANSUNET.COARSE.DEPTHS = [2, 2]
        with pytest.raises(ValueError, match=r"MODEL\.DS_TRANSUNET\.COARSE\.DEPTHS is \[2, 2\]"):
            build_model(cfg)

    @pytest.mark.parametrize("heads", [[1, 1], [1, 3, 1]])
    def test_heads_of_the_decoder_are_checked(self, cfg: CfgNode, heads: list[int]) -> None:
        cfg.MODEL.DS_TRANSUNET.DECODER.NUM_HEADS = heads
        with pytest.raises(ValueError, match=r"DECODER\.NUM_HEADS is \[1, (1|3, 1)\]"):
            build_model(cfg)

    def test_sliding_window_takes_multiples_of_64(self, cfg: CfgNode) -> None:
        cfg.MODEL.PER_PIXEL.TEST.MODE = "slide"
        cfg.MODEL.PER_PIXEL.TEST.CROP_SIZE = cfg.MODEL.PER_PIXEL.TEST.STRIDE = (96, 96)
        with pytest.raises(ValueError, match="this model takes multiples of 64"):
            build_model(cfg)


class TestTwoClasses:
    @pytest.fixture
    def model(self, repo_dir: Path) -> nn.Module:
        torch.manual_seed(0)
        cfg = small_config(repo_dir)
        cfg.MODEL.SEM_SEG_HEAD.NUM_CLASSES = 2
        return build_model(cfg)

    def test_have_one_logit(self, model: nn.Module) -> None:
        predictors = [model.decode_head.predictor, *(h.predictor for h in model.auxiliary_heads)]
        assert [predictor.out_channels for predictor in predictors] == [1, 1, 1]

    def test_train_as_the_published_loss(self, model: nn.Module) -> None:
        """Binary cross-entropy of the pixels that count, per head."""
        model.train()
        batch = [example(64, 64, num_classes=2), example(64, 64, num_classes=2, seed=1)]
        torch.manual_seed(0)  # of the drop path
        losses = model(batch)
        torch.manual_seed(0)
        torch.randint(1, ())
        images, labels = model._training_batch(batch)
        logits = model.all_logits(images)
        for name, weight, logit in zip(
            ("", "_aux_0", "_aux_1"), (0.6, 0.2, 0.2), logits, strict=True
        ):
            counts = labels != 255
            expected = nn.functional.binary_cross_entropy_with_logits(
                logit[:, 1][counts], labels[counts].float()
            )
            torch.testing.assert_close(losses[f"loss_sem_seg{name}"], weight * expected)

    def test_results_are_those_of_the_sigmoid(self, model: nn.Module) -> None:
        image = example(64, 64)["image"]
        model.eval()
        with torch.no_grad():
            logit = model.decode_head(model.backbone(model.normalise(image)[None]))[0, 0]
            model.decode_head.predictor.bias -= logit.median()  # as many of either class
            scores = model([{"image": image}])[0]["sem_seg"]
        shifted = logit - logit.median()
        torch.testing.assert_close(scores.softmax(0)[1], shifted.sigmoid())
        assert torch.equal(scores.argmax(0) == 1, scores[1] > 0)
        assert 0 < (scores.argmax(0) == 1).float().mean() < 1


def test_auxiliary_logits_are_never_negative() -> None:
    head = AuxiliaryHead(in_feature="up4", in_channels=1, num_channels=1)
    nn.init.ones_(head.predictor.weight)
    nn.init.zeros_(head.predictor.bias)
    logits = head({"up4": torch.tensor([-2.0, 3.0]).view(1, 1, 1, 2)})
    assert logits.flatten().tolist() == [0.0, 3.0]


def test_fusion_tokens_carry_each_scale_into_the_other() -> None:
    torch.manual_seed(0)
    size = LayerSize(num_heads=2, head_dim=4, mlp_dim=8)
    fusion = InteractiveFusion(32, 16, fine_size=size, coarse_size=size)
    fine, coarse = torch.randn(1, 32, 4, 6), torch.randn(1, 16, 2, 3)
    with torch.no_grad():
        before = fusion.interact(fine, coarse)
        of_other_coarse = fusion.interact(fine, torch.randn_like(coarse))
        of_other_fine = fusion.interact(torch.randn_like(fine), coarse)
        joined = fusion(fine, coarse)
    assert [tuple(features.shape) for features in before] == [(1, 32, 4, 6), (1, 16, 2, 3)]
    assert joined.shape == fine.shape
    assert not torch.allclose(before[0], of_other_coarse[0])
    assert not torch.allclose(before[1], of_other_fine[1])


def test_decoder_upsamples_to_the_nearest() -> None:
    level = DecoderLevel(2)
    nn.init.dirac_(level.reduce.weight)
    nn.init.zeros_(level.reduce.bias)
    level.reduce.norm = None
    with torch.no_grad():
        level.join.weight.zero_()
        level.join.bias.zero_()
        level.join.weight[0, 1, 1, 1] = 1  # the upsampled map, behind the skip connection's
        ramp = torch.arange(4.0).expand(1, 2, 4, 4)
        upsampled = level(ramp, torch.full((1, 1, 8, 8), 100.0))
    assert upsampled.shape == (1, 1, 8, 8)
    assert upsampled[0, 0, 3].tolist() == [0, 0, 1, 1, 2, 2, 3, 3]
