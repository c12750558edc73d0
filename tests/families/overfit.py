"""Over-fitting to four pictures of the embedded data set: trainer, mapper, model, evaluators."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from d2seg.config.loading import load_config
from d2seg.data.shapes import ensure_shapes
from d2seg.data.shapes.register import shapes_folder
from d2seg.engine import Trainer

NUM_IMAGES = 4
SCHEDULE = {
    "MODEL.DEVICE": "cpu",
    "SOLVER.IMS_PER_BATCH": NUM_IMAGES,
    "SOLVER.WARMUP_ITERS": 20,
    "INPUT.MIN_SIZE_TRAIN": [128],
    "INPUT.MIN_SIZE_TEST": 128,
    "INPUT.RANDOM_FLIP": "none",
}


class OverfitChecks:
    """Subclass it as ``Test...`` and set these."""

    config: str  # under configs/
    num_iterations: int
    least_score: float  # PQ and mIoU, in percent

    @pytest.mark.slow
    def test_over_fits_four_pictures(
        self, repo_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        config = repo_dir / "configs" / self.config
        results = over_fit(config, self.num_iterations, tmp_path, monkeypatch)
        assert results["panoptic_seg"]["PQ"] > self.least_score
        assert results["sem_seg"]["mIoU"] > self.least_score


def over_fit(
    config: Path,
    num_iterations: int,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    prepare: Callable[[], None] = lambda: None,
) -> dict[str, Any]:
    """Train a config of "shapes" on four pictures; return the scores on the same pictures.

    ``prepare`` is called when the pictures are there.
    """
    monkeypatch.setenv("DETECTRON2_DATASETS", str(folder))
    ensure_shapes(shapes_folder(), {"train": NUM_IMAGES, "val": NUM_IMAGES})
    monkeypatch.setattr("d2seg.data.shapes.register.ensure_shapes", lambda *args, **kwargs: None)
    prepare()
    cfg = load_config(str(config), labels=True)
    for key, value in (SCHEDULE | {"SOLVER.MAX_ITER": num_iterations}).items():
        cfg.merge_from_list([key, value])
    cfg.DATASETS.TEST = cfg.DATASETS.TRAIN
    cfg.OUTPUT_DIR = str(folder / "output")
    Path(cfg.OUTPUT_DIR).mkdir()
    trainer = Trainer(cfg)
    trainer.resume_or_load(resume=False)
    return trainer.train()
