"""The LazyConfig example, trained by detectron2's own machinery."""

from pathlib import Path

import pytest
import torch
from detectron2.config import LazyConfig, instantiate
from detectron2.engine import SimpleTrainer, hooks
from detectron2.modeling import build_model
from omegaconf import DictConfig
from torch import nn

from d2seg.config.loading import load_config
from d2seg.data.shapes.categories import CATEGORIES
from d2seg.engine.lazy import ClippingAdamW, backbone_tenth
from d2seg.engine.solver import build_optimizer


@pytest.fixture
def cfg(repo_dir: Path) -> DictConfig:
    return LazyConfig.load(str(repo_dir / "configs/lazy/mask2former_coco_panoptic_r50.py"))


def shrink(cfg: DictConfig) -> None:
    cfg.model.pixel_decoder.encoder.num_layers = 1
    cfg.model.transformer_decoder.num_layers = 1
    cfg.model.transformer_decoder.num_queries = 5
    cfg.model.criterion.matcher.num_points = 64
    cfg.model.criterion.num_classes = len(CATEGORIES)
    cfg.model.inference.thing_ids = [0, 1, 2]
    cfg.dataloader.train.dataset.names = "shapes_panoptic_train"
    cfg.dataloader.train.total_batch_size = 1
    cfg.dataloader.train.num_workers = 0
    for augmentation in cfg.dataloader.train.mapper.augmentations:
        for key in augmentation:
            if key in ("target_height", "target_width"):
                augmentation[key] = 64
            elif key == "crop_size":
                augmentation[key] = (64, 64)


@pytest.mark.usefixtures("few_shapes")
def test_two_steps_change_every_weight_that_is_trained(cfg: DictConfig) -> None:
    shrink(cfg)
    model = instantiate(cfg.model)
    assert instantiate(cfg.dataloader.test.mapper).num_classes == len(CATEGORIES)
    cfg.optimizer.params.model = model
    optimizer = instantiate(cfg.optimizer)
    before = {name: p.detach().clone() for name, p in model.named_parameters() if p.requires_grad}
    model.train()
    trainer = SimpleTrainer(model, instantiate(cfg.dataloader.train), optimizer)
    trainer.register_hooks([hooks.LRScheduler(scheduler=instantiate(cfg.lr_multiplier))])
    trainer.train(0, 2)
    assert trainer.storage.latest()["loss_ce_0"][0] > 0
    still = [
        name for name, p in model.named_parameters() if name in before and p.equal(before[name])
    ]
    assert len(still) < 0.02 * len(before), still


def test_it_can_be_stored_as_detectron2_does(cfg: DictConfig, tmp_path: Path) -> None:
    LazyConfig.save(cfg, str(tmp_path / "config.yaml"))
    stored = LazyConfig.load(str(tmp_path / "config.yaml"))
    assert stored.optimizer.params.lr_factor_func is backbone_tenth
    assert stored.model.criterion.matcher.num_points == 12544
    changed = LazyConfig.apply_overrides(stored, ["model.criterion.num_classes=7"])
    assert instantiate(changed.model.criterion).num_classes == 7


def test_the_recipe_is_that_of_the_yaml(cfg: DictConfig, repo_dir: Path) -> None:
    yaml = load_config(str(repo_dir / "configs/mask2former/coco_panoptic_resnet50.yaml"))
    yaml.MODEL.DEVICE = "cpu"
    ours, theirs = build_model(yaml), instantiate(cfg.model)
    shapes = {name: tensor.shape for name, tensor in ours.state_dict().items()}
    assert shapes == {name: tensor.shape for name, tensor in theirs.state_dict().items()}
    assert theirs.inference_settings == ours.inference_settings
    for name in ("class_weight", "mask_weight", "dice_weight", "mask_loss", "num_points"):
        assert getattr(theirs.criterion.matcher, name) == getattr(ours.criterion.matcher, name)
    assert torch.equal(theirs.criterion.class_weights, ours.criterion.class_weights)
    assert torch.equal(theirs.pixel_mean, ours.pixel_mean)
    solver = yaml.SOLVER
    assert (cfg.train.max_iter, cfg.optimizer.lr) == (solver.MAX_ITER, solver.BASE_LR)
    assert cfg.optimizer.max_norm == solver.CLIP_GRADIENTS.CLIP_VALUE
    assert cfg.lr_multiplier.scheduler.milestones == list(solver.STEPS)
    assert cfg.dataloader.train.total_batch_size == solver.IMS_PER_BATCH
    cfg.optimizer.params.model = theirs
    groups = (instantiate(cfg.optimizer).param_groups, build_optimizer(yaml, ours).param_groups)
    rates = [{group["lr"] for group in side} for side in groups]
    assert rates[0] == rates[1] == {1e-4, 1e-5}


def test_gradients_of_all_parameters_are_clipped_together() -> None:
    weights = [nn.Parameter(torch.zeros(1)) for _ in range(2)]
    optimizer = ClippingAdamW([{"params": [w]} for w in weights], max_norm=1.0, lr=0.1)
    for weight, gradient in zip(weights, (3.0, 4.0), strict=True):
        weight.grad = torch.tensor([gradient])
    optimizer.step()
    assert [w.grad.item() for w in weights] == pytest.approx([0.6, 0.8], rel=1e-4)
    assert all(w.item() < 0 for w in weights)
    with pytest.raises(ValueError, match="max_norm is 0; it is above 0"):
        ClippingAdamW(weights, max_norm=0)
    assert (backbone_tenth("backbone.stem"), backbone_tenth("pixel_decoder.x")) == (0.1, 1.0)
