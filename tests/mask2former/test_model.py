"""Mask2Former as a meta-architecture: the variants that a config can ask for."""

from pathlib import Path

import pytest
import torch
from detectron2.config import CfgNode
from detectron2.modeling import build_model
from torch import Tensor, nn

from families.mask2former_config import small_config
from families.mask_classification import MaskClassificationChecks, example


class TestMask2Former(MaskClassificationChecks):
    def config(self, repo_dir: Path) -> CfgNode:
        return small_config(repo_dir)

    def test_losses_of_the_queries_and_four_layers(self, model: nn.Module) -> None:
        losses = self.train_step(model, [example(64, 64, [1])])
        assert len(losses) == 15

    def test_one_prediction_at_inference(self, model: nn.Module) -> None:
        model.eval()
        with torch.no_grad():
            logits, masks = predictions(model, torch.randn(2, 3, 64, 96))
        assert logits.shape == (1, 2, 7, 6)
        assert masks.all().shape == (1, 2, 7, 16, 24)

    def test_a_pixel_decoder_that_there_is_not_is_named(self, repo_dir: Path) -> None:
        cfg = self.config(repo_dir)
        cfg.MODEL.MASK2FORMER.PIXEL_DECODER = "bifpn"
        with pytest.raises(ValueError, match=r"PIXEL_DECODER is 'bifpn'; it is one of"):
            build_model(cfg)

    @pytest.mark.parametrize("features", [["res3", "res4"], ["res2", "res5"], ["res4", "p6"], []])
    def test_encoder_features_are_the_coarsest(self, repo_dir: Path, features: list[str]) -> None:
        cfg = self.config(repo_dir)
        cfg.MODEL.MASK2FORMER.ENCODER_IN_FEATURES = features
        with pytest.raises(ValueError, match=r"it must name the coarsest of MODEL\.SEM_SEG_HEAD"):
            build_model(cfg)

    @pytest.mark.parametrize("num_scales", [0, 5])
    def test_no_more_scales_than_features(self, repo_dir: Path, num_scales: int) -> None:
        cfg = self.config(repo_dir)
        cfg.MODEL.MASK2FORMER.NUM_SCALES = num_scales
        with pytest.raises(ValueError, match=rf"NUM_SCALES is {num_scales}; .* it is 1 to 4"):
            build_model(cfg)

    @pytest.mark.parametrize(
        ("key", "value", "message"),
        [
            ("MASK2FORMER.DEFORMABLE_ATTENTION", "cuda", "DEFORMABLE_ATTENTION: 'cuda' is unknown"),
            ("MASK2FORMER.OVERSAMPLE_RATIO", 0.5, r"OVERSAMPLE_RATIO and .* at least 1"),
            (
                "MASK2FORMER.IMPORTANCE_SAMPLE_RATIO",
                1.5,
                r"IMPORTANCE_SAMPLE_RATIO: .* got 3.0 and",
            ),
            ("MASK_CLASSIFICATION.MASK_LOSS", "l1", r"MASK_LOSS: 'l1' is no mask loss"),
        ],
    )
    def test_wrong_values_are_named_by_their_keys(
        self, repo_dir: Path, key: str, value: object, message: str
    ) -> None:
        cfg = self.config(repo_dir)
        cfg.merge_from_list([f"MODEL.{key}", value])
        with pytest.raises(ValueError, match=rf"^MODEL\..*{message}"):
            build_model(cfg)


class TestMask2FormerFPN(MaskClassificationChecks):
    def config(self, repo_dir: Path) -> CfgNode:
        cfg = small_config(repo_dir)
        cfg.MODEL.MASK2FORMER.PIXEL_DECODER = "fpn"
        return cfg

    def test_scales_are_the_pyramid(self, model: nn.Module) -> None:
        decoded = model.pixel_decoder(model.backbone(torch.randn(1, 3, 64, 96)))
        sizes = [tuple(scale.shape[1:]) for scale in decoded.multi_scale_features]
        assert sizes == [(64, 2, 3), (64, 4, 6), (64, 8, 12)]
        assert decoded.mask_features.shape == (1, 32, 16, 24)


class TestMask2FormerOnTwoEncoderLevels(MaskClassificationChecks):
    """The encoder on the two coarsest features, two lateral steps, the scales from both."""

    def config(self, repo_dir: Path) -> CfgNode:
        cfg = small_config(repo_dir)
        cfg.MODEL.MASK2FORMER.ENCODER_IN_FEATURES = ["res5", "res4"]
        cfg.MODEL.MASK2FORMER.PRE_NORM = True
        cfg.MODEL.MASK2FORMER.DROPOUT = 0.1
        return cfg


class TestMask2FormerSwin(MaskClassificationChecks):
    def config(self, repo_dir: Path) -> CfgNode:
        return small_config(repo_dir, "coco_instance_swin_tiny")


def predictions(model: nn.Module, images: Tensor) -> tuple:
    return model.transformer_decoder(model.pixel_decoder(model.backbone(images)))


def gradients(model: nn.Module) -> dict[str, Tensor]:
    model.zero_grad()
    torch.manual_seed(0)  # the points of the losses
    sum(model([example(64, 96, [0, 3])]).values()).backward()
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


def test_checkpointed_activations_give_the_same_gradients(repo_dir: Path) -> None:
    cfg = small_config(repo_dir)
    model = build_model(cfg).train()
    cfg.MODEL.MASK2FORMER.CHECKPOINT_ACTIVATIONS = True
    recomputing = build_model(cfg).train()
    recomputing.load_state_dict(model.state_dict())
    calls = []
    for layer in (
        recomputing.pixel_decoder.encoder.layers[0],
        recomputing.transformer_decoder.layers[0],
    ):
        layer.register_forward_pre_hook(lambda *_: calls.append(1))
    expected, actual = gradients(model), gradients(recomputing)
    assert len(calls) == 4  # forward, and again in the backward pass
    assert actual.keys() == expected.keys()
    for name, gradient in expected.items():
        torch.testing.assert_close(actual[name], gradient, msg=name)
