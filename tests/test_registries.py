"""Parts of a training that a user's module registers, by name."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from dataset_files import H, W, semantic_declaration, unique_name, write_semantic
from detectron2.config import CfgNode
from detectron2.data import DatasetCatalog
from detectron2.evaluation import DatasetEvaluator
from detectron2.modeling import build_model
from torch.utils.data import Sampler

from d2seg import registries
from d2seg.config.checks import check_values
from d2seg.config.loading import load_config
from d2seg.data.build import build_train_loader
from d2seg.data.datasets.declaration import register_declarations
from d2seg.data.mappers import SemanticMapper, build_mapper
from d2seg.engine.solver import build_lr_scheduler, build_optimizer
from d2seg.evaluation.build import build_evaluator

SMALL = ["MODEL.DEVICE", "cpu", "DATALOADER.NUM_WORKERS", "0", "SOLVER.IMS_PER_BATCH", "1"]


def config(*pairs: str) -> CfgNode:
    return load_config("segformer/shapes_semantic_small", [*SMALL, *pairs])


def declare(folder: Path) -> str:
    """The name of a registered data set of two images with three classes."""
    write_semantic(folder)
    [name] = register_declarations([str(semantic_declaration(folder / "toy.yaml", unique_name()))])
    return name


@pytest.fixture
def empty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Registrations of a test end with it."""
    for part in (
        registries.MAPPERS,
        registries.READERS,
        registries.SAMPLERS,
        registries.OPTIMIZERS,
        registries.LR_SCHEDULERS,
        registries.EVALUATORS,
    ):
        monkeypatch.setattr(part, "_obj_map", {})


@pytest.mark.usefixtures("empty")
class TestEveryKind:
    def test_mapper(self) -> None:
        @registries.MAPPERS.register()
        class Inverted(SemanticMapper):
            pass

        mapper = build_mapper(config("INPUT.MAPPER", "Inverted"), is_train=True)
        assert type(mapper) is Inverted

    def test_optimizer_and_schedule(self) -> None:
        @registries.OPTIMIZERS.register()
        def Plain(cfg: CfgNode, groups: list[dict[str, Any]]) -> torch.optim.Optimizer:
            return torch.optim.RMSprop(groups, lr=cfg.SOLVER.BASE_LR)

        @registries.LR_SCHEDULERS.register()
        def Halving(cfg: CfgNode, optimizer: torch.optim.Optimizer) -> Any:
            return torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.5)

        cfg = config("SOLVER.OPTIMIZER", "Plain", "SOLVER.LR_SCHEDULER_NAME", "Halving")
        check_values(cfg, training=True)
        optimizer = build_optimizer(cfg, build_model(cfg))
        assert type(optimizer) is torch.optim.RMSprop
        assert len(optimizer.param_groups) > 1  # decay apart from norms
        schedule = build_lr_scheduler(cfg, optimizer)
        rate = schedule.get_last_lr()[0]
        optimizer.step()
        schedule.step()
        assert schedule.get_last_lr()[0] == rate / 2

    def test_sampler(self, tmp_path: Path) -> None:
        @registries.SAMPLERS.register()
        class Backwards(Sampler):
            def __init__(self, cfg: CfgNode, dataset: list, seed: int) -> None:
                self.size = len(dataset)

            def __iter__(self) -> Iterator[int]:
                while True:
                    yield from reversed(range(self.size))

        name = declare(tmp_path)
        pairs = ("DATASETS.TRAIN", f"('{name}',)", "DATALOADER.SAMPLER_TRAIN", "Backwards")
        loader = iter(build_train_loader(config(*pairs, "MODEL.SEM_SEG_HEAD.NUM_CLASSES", "3")))
        seen = [next(loader)[0]["file_name"] for _ in range(2)]
        assert seen == [d["file_name"] for d in reversed(DatasetCatalog.get(name))]

    def test_evaluator(self, tmp_path: Path) -> None:
        @registries.EVALUATORS.register()
        class Counting(DatasetEvaluator):
            def __init__(self, cfg: CfgNode, name: str, output_dir: str | None) -> None:
                self.count = 0

            def process(self, inputs: list, outputs: list) -> None:
                self.count += len(outputs)

            def evaluate(self) -> dict[str, dict[str, float]]:
                return {"counting": {"images": self.count}}

        name = declare(tmp_path)
        pairs = ("TEST.EVALUATORS", "['Counting']", "MODEL.SEM_SEG_HEAD.NUM_CLASSES", "3")
        evaluator = build_evaluator(config(*pairs), name, None, ["semantic"])
        evaluator.reset()
        for entry in DatasetCatalog.get(name):
            labels = torch.zeros((H, W), dtype=torch.int64)
            evaluator.process([entry], [{"sem_seg": labels}])
        results = evaluator.evaluate()
        assert results["counting"] == {"images": 2}
        assert np.isfinite(results["sem_seg"]["mIoU"])


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("SOLVER.OPTIMIZER", "LION"),
        ("SOLVER.LR_SCHEDULER_NAME", "Halved"),
        ("TEST.EVALUATORS", "['Nobody']"),
    ],
)
def test_what_nobody_registered_is_named_before_anything_starts(key: str, value: str) -> None:
    with pytest.raises(ValueError, match=f"{key} is '.*'; it is one of .*given to --import"):
        check_values(config(key, value), training=True)


def test_a_name_that_is_taken() -> None:
    def ADAMW() -> None: ...

    with pytest.raises(ValueError, match=r"SOLVER\.OPTIMIZER has a 'ADAMW' already"):
        registries.OPTIMIZERS.register(ADAMW)
