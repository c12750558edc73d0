"""Every model gives scores (K, H, W) by default; this project's scripts ask it for labels (H, W)."""

from argparse import Namespace
from pathlib import Path

import numpy as np
import pytest
import torch
from detectron2.config import CfgNode, get_cfg
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.evaluation import DatasetEvaluator, SemSegEvaluator
from detectron2.modeling import build_model
from PIL import Image

from d2seg import add_d2seg_config
from d2seg.config.loading import load_config
from d2seg.engine.prepare import read_config
from d2seg.evaluation.semantic import SemanticEvaluator

NUM_CLASSES = 13  # of "shapes"
SIZE = (50, 70)
DATASET = "d2seg_test_semantic_output"
METHODS = (
    *("dstransunet", "mask2former", "maskformer", "pointrend"),
    *("segformer", "setr", "topformer", "transunet"),
)
KEYS = ("MODEL.PER_PIXEL.TEST.OUTPUT", "MODEL.MASK_CLASSIFICATION.TEST.SEMANTIC_OUTPUT")


@pytest.fixture(scope="module")
def record(tmp_path_factory: pytest.TempPathFactory) -> dict:
    """The one image of a data set whose labels are random."""
    folder = tmp_path_factory.mktemp("semantic")
    labels = np.random.default_rng(0).integers(0, NUM_CLASSES, SIZE, np.uint8)
    Image.fromarray(labels).save(folder / "labels.png")
    files = {"file_name": str(folder / "a.jpg"), "sem_seg_file_name": str(folder / "labels.png")}
    DatasetCatalog.register(DATASET, lambda: [files])
    MetadataCatalog.get(DATASET).set(
        stuff_classes=[str(i) for i in range(NUM_CLASSES)], ignore_label=255
    )
    return files


def small_model(cfg: CfgNode) -> torch.nn.Module:
    cfg.MODEL.DEVICE, cfg.MODEL.WEIGHTS = "cpu", ""
    torch.manual_seed(0)
    return build_model(cfg).eval()


def scored(evaluator: DatasetEvaluator, record: dict, output: dict) -> dict[str, float]:
    evaluator.reset()
    evaluator.process([record], [output])
    return evaluator.evaluate()["sem_seg"]


@pytest.mark.parametrize("method", METHODS)
@torch.no_grad()
def test_detectron2_scores_what_its_config_builds(
    repo_dir: Path, record: dict, method: str
) -> None:
    file = str(repo_dir / "configs" / method / "shapes_semantic_small.yaml")
    cfg = get_cfg()
    add_d2seg_config(cfg)
    cfg.merge_from_file(file)
    generator = torch.Generator().manual_seed(0)
    image = torch.randint(0, 256, (3, 64, 90), generator=generator, dtype=torch.uint8)
    example = {"image": image, "height": SIZE[0], "width": SIZE[1]}
    (scores,) = small_model(cfg)([example])
    assert scores["sem_seg"].shape == (NUM_CLASSES, *SIZE)
    (labels,) = small_model(load_config(file, labels=True))([example])
    if method != "pointrend":  # whose model is built like detectron2's and always gives scores
        assert labels["sem_seg"].shape == SIZE
    stock = SemSegEvaluator(
        DATASET, sem_seg_loading_fn=lambda path, dtype: np.asarray(Image.open(path), dtype)
    )
    expected = scored(stock, record, scores)
    assert expected["pACC"] > 0
    actual = scored(SemanticEvaluator(DATASET), record, labels)
    assert {name: expected[name] for name in actual} == pytest.approx(actual, nan_ok=True)


@pytest.mark.parametrize("key", KEYS)
def test_scripts_ask_for_labels_unless_told_otherwise(key: str) -> None:
    def output(cfg: CfgNode) -> str:
        for name in key.split("."):
            cfg = cfg[name]
        return cfg

    assert output(load_config(None)) == "scores"
    assert output(load_config(None, labels=True)) == "labels"
    assert output(load_config(None, [key, "scores"], labels=True)) == "scores"
    call = Namespace(config_file="", eval_only=True, opts=["MODEL.DEVICE", "cpu"])
    assert output(read_config(call)) == "labels"


@pytest.mark.parametrize(
    ("node", "expected"),
    [
        ("PER_PIXEL: {TEST: {OUTPUT: scores}}", ["scores", "labels"]),
        ("MASK_CLASSIFICATION: {TEST: {SEMANTIC_OUTPUT: scores}}", ["labels", "scores"]),
    ],
)
def test_a_file_that_asks_for_scores_gets_them(
    tmp_path: Path, node: str, expected: list[str]
) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(f"MODEL: {{{node}}}\n")
    model = load_config(str(path), labels=True).MODEL
    found = [model.PER_PIXEL.TEST.OUTPUT, model.MASK_CLASSIFICATION.TEST.SEMANTIC_OUTPUT]
    assert found == expected
