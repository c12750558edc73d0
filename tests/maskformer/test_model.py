"""MaskFormer as a meta-architecture, and its per-pixel baselines."""

from pathlib import Path

import pytest
import torch
from detectron2.config import CfgNode
from detectron2.modeling import build_model
from torch import nn
from torch.nn import functional as F

from families.mask_classification import MaskClassificationChecks, example
from families.maskformer_config import small_config


class TestMaskFormer(MaskClassificationChecks):
    def config(self, repo_dir: Path) -> CfgNode:
        return small_config(repo_dir)

    def test_losses_of_six_layers(self, model: nn.Module) -> None:
        losses = self.train_step(model, [example(64, 64, [1])])
        assert len(losses) == 18

    def test_without_deep_supervision(self, repo_dir: Path) -> None:
        cfg = self.config(repo_dir)
        cfg.MODEL.MASK_CLASSIFICATION.DEEP_SUPERVISION = False
        losses = self.train_step(build_model(cfg), [example(64, 64, [1])])
        assert set(losses) == {"loss_ce", "loss_mask", "loss_dice"}

    def test_no_feature_at_all_is_refused(self, repo_dir: Path) -> None:
        cfg = self.config(repo_dir)
        cfg.MODEL.SEM_SEG_HEAD.IN_FEATURES = []
        with pytest.raises(ValueError, match=r"IN_FEATURES asks for nothing, but the backbone"):
            build_model(cfg)

    def test_unknown_task_is_named(self, repo_dir: Path) -> None:
        cfg = self.config(repo_dir)
        cfg.TEST.TASKS = ["panoptical"]
        with pytest.raises(ValueError, match=r"TEST\.TASKS is \['panoptical'\]"):
            build_model(cfg)


class TestMaskFormerWithTransformerEncoder(MaskClassificationChecks):
    def config(self, repo_dir: Path) -> CfgNode:
        cfg = small_config(repo_dir, "coco_panoptic_resnet50")
        cfg.MODEL.MASKFORMER.NUM_PIXEL_ENCODER_LAYERS = 2
        cfg.MODEL.MASKFORMER.PRE_NORM = True
        return cfg


class TestMaskFormerSwin(MaskClassificationChecks):
    def config(self, repo_dir: Path) -> CfgNode:
        return small_config(repo_dir, "coco_panoptic_swin_tiny")


class TestMaskFormerTimm(MaskClassificationChecks):
    seed = 1  # with which some mask is not empty

    def config(self, repo_dir: Path) -> CfgNode:
        cfg = small_config(repo_dir)
        cfg.MODEL.BACKBONE.NAME = "build_timm_backbone"
        cfg.MODEL.TIMM.NAME = "test_convnext2"
        return cfg


@pytest.mark.parametrize("plus", [False, True])
class TestPerPixelBaseline:
    def model(self, repo_dir: Path, plus: bool, **head: object) -> nn.Module:
        torch.manual_seed(0)
        name = f"ade20k_semantic_per_pixel{'_plus' if plus else ''}_resnet50"
        cfg = small_config(repo_dir, name)
        cfg.MODEL.MASK_CLASSIFICATION.NUM_QUERIES = cfg.MODEL.SEM_SEG_HEAD.NUM_CLASSES
        cfg.TEST.TASKS = ["semantic"]
        cfg.MODEL.SEM_SEG_HEAD.update(head)
        return build_model(cfg)

    def batch(self, *label_maps: torch.Tensor) -> list[dict]:
        return [
            {"image": torch.randint(0, 256, (3, *labels.shape)), "sem_seg": labels}
            for labels in label_maps
        ]

    def test_trains_on_two_sizes_and_ignored_images(self, repo_dir: Path, plus: bool) -> None:
        model = self.model(repo_dir, plus).train()
        ignored = torch.full((64, 96), 255)
        losses = model(self.batch(torch.randint(0, 5, (64, 64)), ignored))
        sum(losses.values()).backward()
        assert len(losses) == (6 if plus else 1)
        assert all(torch.isfinite(p.grad).all() for p in model.parameters() if p.requires_grad)
        only_ignored = model(self.batch(ignored))
        assert all(value == 0 for value in only_ignored.values())

    @pytest.mark.parametrize("size", [(64, 64), (37, 51), (66, 97)])
    def test_loss_is_cross_entropy_at_image_size(
        self, repo_dir: Path, plus: bool, size: tuple[int, int]
    ) -> None:
        model = self.model(repo_dir, plus).eval()
        batch = self.batch(torch.randint(0, 5, size))
        batch[0]["sem_seg"][:10] = 255
        with torch.no_grad():
            scores = model(batch)[0]["sem_seg"]
            model.training = model.sem_seg_head.training = True
            loss = model(batch)["loss_sem_seg"]
        expected = F.cross_entropy(scores[None], batch[0]["sem_seg"][None], ignore_index=255)
        torch.testing.assert_close(loss, expected)

    def test_eval_shape(self, repo_dir: Path, plus: bool) -> None:
        model = self.model(repo_dir, plus).eval()
        inputs = {"image": torch.randint(0, 256, (3, 37, 51)), "height": 40, "width": 60}
        with torch.no_grad():
            assert model([inputs])[0]["sem_seg"].shape == (5, 40, 60)

    def test_trains_on_odd_sizes(self, repo_dir: Path, plus: bool) -> None:
        model = self.model(repo_dir, plus).train()
        losses = model(self.batch(torch.randint(0, 5, (37, 51)), torch.randint(0, 5, (45, 34))))
        sum(losses.values()).backward()
        assert all(torch.isfinite(value) for value in losses.values())

    def test_finest_feature_of_stride_eight(self, repo_dir: Path, plus: bool) -> None:
        """The logits of 37 x 51 pixels are 5 x 7."""
        model = self.model(repo_dir, plus, IN_FEATURES=["res3", "res4", "res5"])
        batch = self.batch(torch.randint(0, 5, (37, 51)))
        sum(model.train()(batch).values()).backward()
        columns = torch.arange(7).float().expand(1, 5, 5, 7)
        model.sem_seg_head.layer_logits = lambda decoded: [columns]
        with torch.no_grad():
            scores = model.eval()(batch)[0]["sem_seg"]
        expected = (torch.arange(51) + 0.5) / 8 - 0.5
        torch.testing.assert_close(scores[0, 20, 4:50], expected[4:50])

    def test_training_without_labels_names_the_mapper(self, repo_dir: Path, plus: bool) -> None:
        model = self.model(repo_dir, plus).train()
        with pytest.raises(ValueError, match=r"needs 'sem_seg' .* set INPUT\.MAPPER"):
            model([{"image": torch.zeros(3, 64, 64)}])

    def test_logits_of_odd_sizes_are_not_stretched(self, repo_dir: Path, plus: bool) -> None:
        """Logits that give the column's number at stride 4 give it at each pixel too."""
        model = self.model(repo_dir, plus).eval()
        columns = torch.arange(13).float().expand(1, 5, 10, 13)  # of an image of 37 x 51 pixels
        model.sem_seg_head.layer_logits = lambda decoded: [columns]
        with torch.no_grad():
            scores = model([{"image": torch.zeros(3, 37, 51)}])[0]["sem_seg"]
        assert scores.shape == (5, 37, 51)
        expected = (torch.arange(51) + 0.5) / 4 - 0.5
        torch.testing.assert_close(scores[0, 20, 2:50], expected[2:50])


def test_plus_baseline_needs_a_query_per_class(repo_dir: Path) -> None:
    cfg = small_config(repo_dir, "ade20k_semantic_per_pixel_plus_resnet50")
    cfg.TEST.TASKS = ["semantic"]
    with pytest.raises(ValueError, match=r"NUM_QUERIES is 7; .* one query per class, 5"):
        build_model(cfg)


def test_unknown_semantic_output_is_named(repo_dir: Path) -> None:
    cfg = small_config(repo_dir)
    cfg.MODEL.MASK_CLASSIFICATION.TEST.SEMANTIC_OUTPUT = "logits"
    with pytest.raises(ValueError, match=r"TEST\.SEMANTIC_OUTPUT is 'logits'; choose from"):
        build_model(cfg)
