"""Checks that every mask-classification method passes; a method's test class gives its config."""

import itertools
import logging
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from detectron2.config import CfgNode
from detectron2.data import MetadataCatalog
from detectron2.modeling import build_model
from detectron2.structures import BitMasks, Instances
from detectron2.utils.events import EventStorage
from torch import Tensor, nn

from d2seg.engine.train_step import TrainingDivergedError, TrainStep
from d2seg.mask_classification.mask_resizer import MaskResizer
from d2seg.mask_classification.postprocessing import semantic_inference

NUM_CLASSES = 5
THINGS = "d2seg_test_five_classes"
MetadataCatalog.get(THINGS).thing_dataset_id_to_contiguous_id = {10: 0, 20: 1, 30: 2}


def shrink(cfg: CfgNode) -> None:
    """The published architecture with little of everything, for a two-core CPU."""
    cfg.MODEL.DEVICE = "cpu"
    cfg.MODEL.WEIGHTS = ""
    cfg.MODEL.RESNETS.DEPTH = 18
    cfg.MODEL.RESNETS.RES2_OUT_CHANNELS = 64
    cfg.MODEL.SWIN.EMBED_DIM = 12
    cfg.MODEL.SWIN.DEPTHS = [2, 1, 1, 1]
    cfg.MODEL.SEM_SEG_HEAD.NUM_CLASSES = NUM_CLASSES
    cfg.MODEL.SEM_SEG_HEAD.CONVS_DIM = 64  # GroupNorm needs two values per group
    cfg.MODEL.MASK_CLASSIFICATION.SIZE_DIVISIBILITY = 32
    cfg.MODEL.MASK_CLASSIFICATION.MASK_DIM = 32
    cfg.MODEL.MASK_CLASSIFICATION.NUM_QUERIES = 7
    cfg.DATASETS.TRAIN = (THINGS,)
    cfg.DATASETS.TEST = (THINGS,)
    cfg.TEST.TASKS = ["semantic", "instance", "panoptic"]


def example(height: int, width: int, labels: list[int], seed: int = 0) -> dict:
    """A mapped training example whose masks are random vertical bands."""
    generator = torch.Generator().manual_seed(seed)
    instances = Instances((height, width))
    instances.gt_classes = torch.tensor(labels, dtype=torch.int64)
    masks = torch.zeros(len(labels), height, width, dtype=torch.bool)
    for i in range(len(labels)):
        masks[i, :, i * width // len(labels) : (i + 1) * width // len(labels)] = True
    instances.gt_masks = BitMasks(masks)
    image = torch.randint(0, 256, (3, height, width), generator=generator, dtype=torch.uint8)
    return {"image": image, "instances": instances, "file_name": f"{seed}.png"}


class MaskClassificationChecks:
    """Subclass it as ``Test...`` and override :meth:`config`."""

    seed = 0  # of the model's weights

    def config(self, repo_dir: Path) -> CfgNode:
        raise NotImplementedError

    def build(self, cfg: CfgNode) -> nn.Module:
        """With a ResNet of few channels, most of whose weights would belong to the backbone."""
        cfg.MODEL.RESNETS.DEPTH = 50
        cfg.MODEL.RESNETS.STEM_OUT_CHANNELS = cfg.MODEL.RESNETS.RES2_OUT_CHANNELS = 16
        cfg.MODEL.RESNETS.WIDTH_PER_GROUP = 4
        torch.manual_seed(self.seed)
        return build_model(cfg)

    @pytest.fixture
    def model(self, repo_dir: Path) -> nn.Module:
        return self.build(self.config(repo_dir))

    def train_step(self, model: nn.Module, batch: list[dict]) -> dict[str, Tensor]:
        """Losses of a batch, after checking that each parameter has a finite gradient."""
        model.train()
        model.zero_grad()
        losses = model(batch)
        assert all(name.startswith("loss_") for name in losses)
        sum(losses.values()).backward()
        for name, parameter in model.named_parameters():
            if parameter.requires_grad:
                assert parameter.grad is not None, name
                assert torch.isfinite(parameter.grad).all(), name
        return losses

    def test_batch_of_two_sizes_trains(self, model: nn.Module) -> None:
        losses = self.train_step(model, [example(64, 96, [0, 4]), example(50, 70, [3], seed=1)])
        assert all(value > 0 for value in losses.values())

    def test_odd_sizes_train(self, model: nn.Module) -> None:
        model.size_divisibility = model.backbone.size_divisibility  # no more than it needs
        self.train_step(model, [example(37, 51, [1, 2, 3])])

    def test_image_smaller_than_the_largest_stride_trains(self, model: nn.Module) -> None:
        self.train_step(model, [example(5, 3, [1]), example(7, 9, [0, 2], seed=1)])

    def test_image_without_target_among_others(self, model: nn.Module) -> None:
        self.train_step(model, [example(64, 64, []), example(64, 64, [1], seed=1)])

    def test_batch_without_any_target(self, model: nn.Module) -> None:
        losses = self.train_step(model, [example(64, 64, []), example(64, 64, [], seed=1)])
        assert losses["loss_mask"] == 0

    def test_single_pixel_instance(self, model: nn.Module) -> None:
        batch = [example(64, 64, [2])]
        masks = torch.zeros(1, 64, 64, dtype=torch.bool)
        masks[0, 33, 18] = True
        batch[0]["instances"].gt_masks = BitMasks(masks)
        self.train_step(model, batch)

    def test_more_masks_than_queries(self, model: nn.Module) -> None:
        self.train_step(model, [example(64, 64, [0, 1, 2, 3, 4] * 3)])

    def test_padding_by_the_mapper_equals_padding_by_the_model(self, model: nn.Module) -> None:
        """Black-mean padding in the mapper, declared by content_size, changes no loss."""
        model.eval()  # no dropout
        plain = example(50, 70, [0, 3])
        padded = dict(plain)
        padded["image"] = model.pixel_mean.expand(3, 64, 96).clone()
        padded["image"][:, :50, :70] = plain["image"]
        masks = torch.zeros(2, 64, 96, dtype=torch.bool)
        masks[:, :50, :70] = plain["instances"].gt_masks.tensor
        masks[:, 60:] = True  # whatever the padding holds
        padded["instances"] = Instances((64, 96))
        padded["instances"].gt_classes = plain["instances"].gt_classes
        padded["instances"].gt_masks = BitMasks(masks)
        padded["content_size"] = (50, 70)
        model.training = True
        torch.manual_seed(0)  # where losses are taken at random points
        expected = model([plain])
        torch.manual_seed(0)
        actual = model([padded])
        for name, value in expected.items():
            torch.testing.assert_close(actual[name], value)

    @pytest.mark.parametrize("size", [(64, 96), (37, 51), (5, 3)])
    def test_eval_shapes(self, model: nn.Module, size: tuple[int, int]) -> None:
        model.eval()
        model.inference_settings = replace(  # random weights are sure of nothing
            model.inference_settings, object_mask_threshold=0.0, overlap_threshold=0.0
        )
        image = torch.randint(0, 256, (3, *size), dtype=torch.uint8)
        with torch.no_grad():
            (result,) = model([{"image": image, "height": 40, "width": 60}])
        assert result["sem_seg"].shape == (NUM_CLASSES, 40, 60)
        panoptic, segments = result["panoptic_seg"]
        assert panoptic.shape == (40, 60)
        assert segments or size == (5, 3)  # whose masks may all be empty
        assert {s["id"] for s in segments} == set(panoptic.unique().tolist()) - {0}
        instances = result["instances"]
        assert instances.image_size == (40, 60)
        assert instances.pred_masks.shape[1:] == (40, 60)
        assert set(instances.pred_classes.tolist()) <= {0, 1, 2}  # things alone

    @pytest.mark.parametrize("size", [(61, 83), (50, 70)])
    def test_labels_are_the_best_scores(self, model: nn.Module, size: tuple[int, int]) -> None:
        model.eval()
        batch = [example(50, 70, []) | {"height": size[0], "width": size[1]}]
        with torch.no_grad():
            scores = model(batch)[0]["sem_seg"]
            model.inference_settings = replace(model.inference_settings, semantic_output="labels")
            labels = model(batch)[0]["sem_seg"]
        assert labels.shape == size
        chosen = scores.gather(0, labels[None].long())[0]
        torch.testing.assert_close(chosen, scores.amax(0))  # but for equal ones

    def test_result_of_an_image_is_independent_of_its_batch(self, model: nn.Module) -> None:
        model.eval()
        first, second = example(64, 96, []), example(64, 96, [], seed=1)
        with torch.no_grad():
            alone = model([second])[0]["sem_seg"]
            together = model([first, second])[1]["sem_seg"]
        torch.testing.assert_close(together, alone, atol=1e-5, rtol=1e-4)

    def test_autocast_ends_with_the_decoders(self, model: nn.Module) -> None:
        """Masks are resized, and scores made of them, in fp32."""
        model.eval()
        image = torch.randint(0, 256, (3, 64, 96), dtype=torch.uint8)
        with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
            (result,) = model([{"image": image}])
            features = model.backbone(model.normalise(image)[None])
            logits, masks = model.transformer_decoder(model.pixel_decoder(features))
        resize = MaskResizer((64, 96), (64, 96))
        expected = semantic_inference(logits[-1, 0], masks.last_layer(0), resize)
        torch.testing.assert_close(result["sem_seg"], expected)

    @pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
    def test_trains_and_predicts_on_a_gpu(self, repo_dir: Path) -> None:
        cfg = self.config(repo_dir)
        cfg.MODEL.DEVICE = "cuda"
        model = build_model(cfg)
        self.train_step(model, [example(64, 96, [0, 4]), example(50, 70, [], seed=1)])
        model.eval()
        with torch.no_grad():
            (result,) = model([example(50, 70, [])])
        instances = result["instances"]
        tensors = [result["sem_seg"], result["panoptic_seg"][0], instances.pred_masks]
        tensors += [instances.pred_boxes.tensor, instances.scores, instances.pred_classes]
        assert {tensor.device.type for tensor in tensors} == {"cuda"}

    def test_missing_feature_is_named(self, repo_dir: Path) -> None:
        cfg = self.config(repo_dir)
        cfg.MODEL.SEM_SEG_HEAD.IN_FEATURES = ["res2", "p6"]
        with pytest.raises(ValueError, match=r"IN_FEATURES asks for \['p6'\], but the backbone"):
            build_model(cfg)

    def test_width_that_heads_do_not_divide_is_named(self, repo_dir: Path) -> None:
        cfg = self.config(repo_dir)
        cfg.MODEL.SEM_SEG_HEAD.CONVS_DIM += 1
        with pytest.raises(ValueError, match=r"CONVS_DIM is .* multiple of MODEL.*NUM_HEADS, "):
            build_model(cfg)

    def test_class_out_of_range_names_file_and_key(self, model: nn.Module) -> None:
        model.train()
        with pytest.raises(ValueError, match=r"0\.png: .* do not fit MODEL.SEM_SEG_HEAD.NUM_CLA"):
            model([example(64, 64, [NUM_CLASSES])])

    def test_missing_instances_name_the_mapper(self, model: nn.Module) -> None:
        model.train()
        batch = [example(64, 64, [1])]
        del batch[0]["instances"]
        with pytest.raises(ValueError, match=r"set INPUT\.MAPPER"):
            model(batch)

    def test_steps_with_nan_are_skipped_and_name_the_images(
        self, model: nn.Module, caplog: pytest.LogCaptureFixture
    ) -> None:
        """NaN in every mask, so that nothing can be matched."""
        with torch.no_grad():
            model.transformer_decoder.mask_embed.layers[-1].bias.fill_(torch.nan)
        before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
        batch = [example(64, 64, [0, 1]), example(64, 64, [], seed=1)]
        step = TrainStep(
            model.train(),
            itertools.repeat(batch),
            torch.optim.SGD(model.parameters(), lr=0.1),
            max_bad_steps=2,
        )
        with EventStorage(), caplog.at_level(logging.WARNING):
            step.iter = 0
            step.run_step()
            with pytest.raises(TrainingDivergedError, match=r"2 steps in a row.*: 0\.png, 1\.png$"):
                step.run_step()
        assert step.num_bad_steps == 2
        for name, tensor in model.state_dict().items():
            torch.testing.assert_close(tensor, before[name], equal_nan=True, atol=0, rtol=0)
        assert "matching costs are not finite, in 0.png; they count as unmatchable" in caplog.text
        assert "Iteration 0 skipped (1 in a row, 1 in all): loss_dice is nan" in caplog.text

    def test_bf16_autocast_trains(self, model: nn.Module) -> None:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            self.train_step(model, [example(64, 64, [0, 1])])
