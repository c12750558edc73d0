"""Checks that every per-pixel method passes; a method's test class gives its config."""

from pathlib import Path

import pytest
import torch
from detectron2.config import CfgNode
from detectron2.modeling import build_model
from torch import Tensor, nn

from d2seg.acceleration import prepare_for_inference

NUM_CLASSES = 5
IGNORE = 255


def shrink(cfg: CfgNode) -> None:
    """What of a published config does not depend on the method, for a two-core CPU."""
    cfg.MODEL.DEVICE = "cpu"
    cfg.MODEL.WEIGHTS = ""
    cfg.MODEL.SEM_SEG_HEAD.NUM_CLASSES = NUM_CLASSES
    cfg.MODEL.SEM_SEG_HEAD.IGNORE_VALUE = IGNORE
    cfg.MODEL.SEM_SEG_HEAD.NORM = "BN"


def example(height: int, width: int, num_classes: int = NUM_CLASSES, seed: int = 0) -> dict:
    """A mapped training example: noise, with labels in blocks and an ignored corner."""
    generator = torch.Generator().manual_seed(seed)
    blocks = torch.randint(0, num_classes, (height // 8 + 1, width // 8 + 1), generator=generator)
    labels = blocks.repeat_interleave(8, 0).repeat_interleave(8, 1)[:height, :width].contiguous()
    labels[: height // 4, : width // 4] = IGNORE
    image = torch.randint(0, 256, (3, height, width), generator=generator, dtype=torch.uint8)
    return {"image": image, "sem_seg": labels, "file_name": f"{seed}.png"}


class PerPixelChecks:
    """Subclass it as ``Test...`` and override :meth:`config`."""

    # sides of a training crop of the model, where it takes no others
    size: tuple[int, int] = (64, 96)

    def config(self, repo_dir: Path) -> CfgNode:
        """Of a small model, after :func:`shrink`."""
        raise NotImplementedError

    @pytest.fixture
    def cfg(self, repo_dir: Path) -> CfgNode:
        return self.config(repo_dir)

    @pytest.fixture
    def model(self, cfg: CfgNode) -> nn.Module:
        return self.build(cfg)

    def build(self, cfg: CfgNode) -> nn.Module:
        torch.manual_seed(0)
        return build_model(cfg)

    def train_step(self, model: nn.Module, batch: list[dict]) -> dict[str, Tensor]:
        """Losses of a batch, after checking that each parameter has a finite gradient."""
        model.train()
        model.zero_grad()
        losses = model(batch)
        assert all(name.startswith("loss_sem_seg") for name in losses)
        assert all(torch.isfinite(value) for value in losses.values())
        sum(losses.values()).backward()
        for name, parameter in model.named_parameters():
            if parameter.requires_grad:
                assert parameter.grad is not None, name
                assert torch.isfinite(parameter.grad).all(), name
        return losses

    def predict(self, model: nn.Module, **example: object) -> Tensor:
        model.eval()
        with torch.no_grad():
            return model([example])[0]["sem_seg"]

    def test_trains(self, model: nn.Module) -> None:
        losses = self.train_step(model, [example(*self.size), example(*self.size, seed=1)])
        assert all(value > 0 for value in losses.values())
        main = next(p for n, p in model.named_parameters() if n.startswith("backbone."))
        assert main.grad.abs().sum() > 0

    def test_batch_of_two_sizes_trains(self, model: nn.Module) -> None:
        height, width = self.size
        batch = [example(height, width), example(height - 14, width - 26, seed=1)]
        self.train_step(model, batch)

    def test_odd_sizes_train(self, model: nn.Module) -> None:
        self.train_step(model, [example(37, 51), example(37, 51, seed=1)])

    def test_images_of_a_few_pixels_train(self, model: nn.Module) -> None:
        self.train_step(model, [example(5, 3), example(1, 1, seed=1)])

    def test_ignored_images(self, model: nn.Module) -> None:
        batch = [example(*self.size), example(*self.size, seed=1)]
        batch[1]["sem_seg"][:] = IGNORE
        assert all(value > 0 for value in self.train_step(model, batch).values())
        batch[0]["sem_seg"][:] = IGNORE
        losses = self.train_step(model, batch)
        assert all(value == 0 for name, value in losses.items() if not name.endswith("dice"))

    def test_one_class(self, cfg: CfgNode) -> None:
        cfg.MODEL.SEM_SEG_HEAD.NUM_CLASSES = 1
        model = self.build(cfg)
        batch = [example(*self.size, num_classes=1, seed=seed) for seed in range(2)]
        self.train_step(model, batch)
        assert self.predict(model, image=batch[0]["image"]).shape == (1, *self.size)

    def test_bf16_autocast_trains(self, model: nn.Module) -> None:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            self.train_step(model, [example(*self.size), example(*self.size, seed=1)])

    @torch.no_grad()
    def test_bf16_weights(self, model: nn.Module) -> None:
        """As TEST.DTYPE asks for them."""
        image = example(50, 70)["image"]
        expected = self.predict(model, image=image)
        scores = self.predict(prepare_for_inference(model, torch.bfloat16), image=image)
        assert scores.dtype == torch.float32
        assert (scores - expected).norm() / expected.norm() < 5e-2

    @pytest.mark.parametrize("size", [(64, 96), (37, 51), (1, 70), (50, 1), (1, 1)])
    def test_eval_shapes(self, model: nn.Module, size: tuple[int, int]) -> None:
        image = torch.randint(0, 256, (3, *size), dtype=torch.uint8)
        assert self.predict(model, image=image).shape == (NUM_CLASSES, *size)
        scores = self.predict(model, image=image, height=40, width=60)
        assert scores.shape == (NUM_CLASSES, 40, 60)
        assert torch.isfinite(scores).all()

    def test_labels_are_the_best_scores(self, cfg: CfgNode) -> None:
        image = example(70, 100)["image"]
        scores = self.predict(self.build(cfg), image=image, height=90, width=120)
        cfg.MODEL.PER_PIXEL.TEST.OUTPUT = "labels"
        labels = self.predict(self.build(cfg), image=image, height=90, width=120)
        assert labels.shape == (90, 120)
        assert torch.equal(labels.long(), scores.max(0)[1])

    def test_result_of_an_image_is_independent_of_its_batch(self, model: nn.Module) -> None:
        batch = [example(*self.size), example(50, 70, seed=1)]
        model.eval()
        with torch.no_grad():
            together = model(batch)[1]["sem_seg"]
        alone = self.predict(model, image=batch[1]["image"])
        torch.testing.assert_close(together, alone, atol=1e-5, rtol=1e-4)

    def test_label_out_of_range_names_file_and_key(self, model: nn.Module) -> None:
        batch = [example(*self.size)]
        batch[0]["sem_seg"][-1, -1] = NUM_CLASSES
        model.train()
        with pytest.raises(ValueError, match=r"0\.png: labels \[5\] .*SEM_SEG_HEAD\.NUM_CLASSES 5"):
            model(batch)

    def test_missing_labels_name_the_mapper(self, model: nn.Module) -> None:
        batch = [example(*self.size)]
        del batch[0]["sem_seg"]
        model.train()
        with pytest.raises(ValueError, match=r"0\.png: .* set INPUT\.MAPPER"):
            model(batch)
