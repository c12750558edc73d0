"""Over-fitting to a few pictures of the embedded data set: trainer, mapper, model, evaluators."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from d2seg.config.loading import load_config
from d2seg.data.shapes import ensure_shapes
from d2seg.data.shapes.register import shapes_folder
from d2seg.engine import Trainer

SCHEDULE = {
    "MODEL.DEVICE": "cpu",
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
    def test_over_fits_two_pictures(
        self, repo_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        config = repo_dir / "configs" / self.config
        results = over_fit(config, 2, self.num_iterations, tmp_path, monkeypatch)
        assert results["panoptic_seg"]["PQ"] > self.least_score
        assert results["sem_seg"]["mIoU"] > self.least_score


def over_fit(
    config: Path,
    num_images: int,
    num_iterations: int,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    prepare: Callable[[], None] = lambda: None,
) -> dict[str, Any]:
    """Train a config of "shapes" on a few pictures; return the scores on the same pictures.

    ``prepare`` is called when the pictures are there.
    """
    monkeypatch.setenv("DETECTRON2_DATASETS", str(folder))
    ensure_shapes(shapes_folder(), {"train": num_images, "val": num_images})
    monkeypatch.setattr("d2seg.data.shapes.register.ensure_shapes", lambda *args, **kwargs: None)
    prepare()
    cfg = load_config(str(config), labels=True)
    length = {"SOLVER.IMS_PER_BATCH": num_images, "SOLVER.MAX_ITER": num_iterations}
    for key, value in (SCHEDULE | length).items():
        cfg.merge_from_list([key, value])
    cfg.DATASETS.TEST = cfg.DATASETS.TRAIN
    cfg.OUTPUT_DIR = str(folder / "output")
    Path(cfg.OUTPUT_DIR).mkdir()
    trainer = Trainer(cfg)
    trainer.resume_or_load(resume=False)
    return trainer.train()
