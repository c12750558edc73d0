"""A tiny model on tiny images in memory, for the tests of the engine and the processes they start."""

import os
from pathlib import Path
from typing import Any

import numpy as np
import torch
from detectron2.config import CfgNode, get_cfg
from detectron2.data import DatasetCatalog
from detectron2.data.samplers import InferenceSampler, TrainingSampler
from detectron2.evaluation import DatasetEvaluator
from detectron2.modeling import META_ARCH_REGISTRY
from detectron2.utils import comm
from torch import Tensor, nn

from d2seg.config import add_d2seg_config
from d2seg.data.loader import TrainLoader
from d2seg.data.seeding import seeded_sample
from d2seg.engine.trainer import Trainer

NUM_IMAGES = 12
# read here and nowhere else: the toy's way to a switch that every process sees
DROPOUT_KEY, NORM_KEY = "DROPOUT", "PRE_NORM"


def toy_cfg(output_dir: Path | str, *opts: Any) -> CfgNode:
    cfg = get_cfg()
    add_d2seg_config(cfg)
    cfg.merge_from_list(
        [
            *("MODEL.META_ARCHITECTURE", "ToySegmentor", "MODEL.DEVICE", "cpu", "SEED", 3),
            *("MODEL.MASKFORMER.DROPOUT", 0.0, "MODEL.MASKFORMER.PRE_NORM", False),
            *("DATASETS.TRAIN", ("toy",), "DATASETS.TEST", (), "DATALOADER.NUM_WORKERS", 0),
            *("SOLVER.OPTIMIZER", "ADAMW", "SOLVER.BASE_LR", 0.01, "SOLVER.IMS_PER_BATCH", 4),
            *("SOLVER.MAX_ITER", 8, "SOLVER.WARMUP_ITERS", 2, "SOLVER.STEPS", (6,)),
            *("SOLVER.CHECKPOINT_PERIOD", 100, "OUTPUT_DIR", str(output_dir)),
        ]
    )
    cfg.merge_from_list(list(opts))
    return cfg


def toy_dicts() -> list[dict[str, Any]]:
    return [
        {"file_name": f"{i}.jpg", "index": i, "width": 8 + i % 3, "height": 9}
        for i in range(NUM_IMAGES)
    ]


if "toy" not in DatasetCatalog:
    DatasetCatalog.register("toy", toy_dicts)


def toy_mapper(record: dict[str, Any]) -> dict[str, Any]:
    """A picture that belongs to the index, with noise of all three generators."""
    generator = torch.Generator().manual_seed(record["index"])
    image = torch.rand(3, 8, 8, generator=generator)
    noise = float(np.random.rand()) + float(torch.rand(()))
    return {**record, "image": image + 0.1 * noise, "worker": os.getpid()}


def toy_loader(cfg: CfgNode) -> TrainLoader:
    steps = cfg.SOLVER.ACCUMULATE_STEPS * comm.get_world_size()
    return TrainLoader(
        toy_dicts(),
        toy_mapper,
        lambda seed: TrainingSampler(NUM_IMAGES, seed=seed),
        batch_size=cfg.SOLVER.IMS_PER_BATCH // steps,
        num_workers=cfg.DATALOADER.NUM_WORKERS,
        seed=max(cfg.SEED, 0),
    )


@META_ARCH_REGISTRY.register()
class ToySegmentor(nn.Module):
    """Two scalar losses, each a mean over images."""

    def __init__(self, cfg: CfgNode) -> None:
        super().__init__()
        torch.manual_seed(0)
        options = cfg.MODEL.MASKFORMER
        self.backbone = nn.Conv2d(3, 4, 3)
        self.norm = nn.BatchNorm2d(4) if options[NORM_KEY] else nn.Identity()
        self.dropout = nn.Dropout(options[DROPOUT_KEY])
        self.head = nn.Linear(4, 2)
        self.poison: dict[str, float] = {}  # file name -> factor of the loss

    def forward(self, batch: list[dict[str, Any]]) -> dict[str, Tensor] | list[dict[str, Tensor]]:
        images = torch.stack([sample["image"] for sample in batch])
        features = self.dropout(self.norm(self.backbone(images)).relu()).mean((2, 3))
        scores = self.head(features)
        if not self.training:
            return [{"scores": s} for s in scores]
        target = torch.tensor([s["index"] / NUM_IMAGES for s in batch])
        factor = torch.tensor([self.poison.get(s["file_name"], 1.0) for s in batch])
        return {
            "loss_a": ((scores[:, 0] - target).square() * factor).mean(),
            "loss_b": (scores[:, 1] + target).square().mean(),
        }


class ToyEvaluator(DatasetEvaluator):
    """toy/score: the mean score; all processes take part."""

    def reset(self) -> None:
        self.scores: list[float] = []

    def process(self, inputs: list[dict], outputs: list[dict]) -> None:
        self.scores += [float(o["scores"][0]) for o in outputs]

    def evaluate(self) -> dict[str, Any] | None:
        scores = [score for scores in comm.all_gather(self.scores) for score in scores]
        assert len(scores) == NUM_IMAGES
        return {"toy": {"score": sum(scores) / len(scores)}} if comm.is_main_process() else None


class ToyTrainer(Trainer):
    """Keeps the total loss of each iteration that was not skipped (main process)."""

    def __init__(self, cfg: CfgNode) -> None:
        super().__init__(cfg)
        self.losses: dict[int, float] = {}

    def after_step(self) -> None:
        super().after_step()
        value, iteration = self.storage.latest().get("total_loss", (0.0, -1))
        if iteration == self.iter:
            self.losses[iteration] = value

    @classmethod
    def build_train_loader(cls, cfg: CfgNode) -> TrainLoader:
        return toy_loader(cfg)

    @classmethod
    def build_test_loader(cls, cfg: CfgNode, dataset_name: str) -> list[list[dict[str, Any]]]:
        with seeded_sample(0, 0):
            samples = [toy_mapper(record) for record in toy_dicts()]
        return [[samples[i]] for i in InferenceSampler(NUM_IMAGES)]

    @classmethod
    def build_evaluator(cls, cfg: CfgNode, dataset_name: str) -> DatasetEvaluator:
        return ToyEvaluator()


def weights_of(trainer: Trainer) -> dict[str, Tensor]:
    return {k: v.clone() for k, v in trainer.checkpointer.model.state_dict().items()}


def train_all(runs: list[tuple[CfgNode, dict[str, float]]]) -> None:
    """Several runs, one after the other, in the same processes."""
    for run in runs:
        train_in_process(*run)


def train_in_process(cfg: CfgNode, poison: dict[str, float]) -> None:
    """What a process of a test does: train; leave losses of the first, weights of the last."""
    trainer = ToyTrainer(cfg)
    trainer.checkpointer.model.poison = poison
    trainer.resume_or_load(resume=False)
    trainer.train()
    if comm.is_main_process():
        torch.save(trainer.losses, Path(cfg.OUTPUT_DIR) / "losses.pt")
    if comm.get_rank() == comm.get_world_size() - 1:
        torch.save(weights_of(trainer), Path(cfg.OUTPUT_DIR) / "weights.pt")
