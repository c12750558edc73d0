"""tools/overfit.py: the choice of images, the annotation files of their own, a run to its scores."""

import argparse
import json
import logging
from pathlib import Path

import pytest
import torch
from dataset_files import semantic_declaration, unique_name, write_semantic
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.engine import default_argument_parser

from d2seg.data.shapes import ensure_shapes
from d2seg.data.shapes.register import shapes_folder
from d2seg.engine import run
from d2seg.names import printable

TINY = [
    "MODEL.DEVICE", "cpu", "SOLVER.MAX_ITER", "2", "SOLVER.IMS_PER_BATCH", "2",
    "INPUT.MIN_SIZE_TRAIN", "[64]", "INPUT.MIN_SIZE_TEST", "64",
]  # fmt: skip


@pytest.fixture
def shapes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DETECTRON2_DATASETS", str(tmp_path))
    ensure_shapes(shapes_folder(), {"train": 5, "val": 1})
    monkeypatch.setattr("d2seg.data.shapes.register.ensure_shapes", lambda *args, **kwargs: None)


def arguments(config: Path, output: Path, num_images: int) -> argparse.Namespace:
    parser = default_argument_parser(epilog=None)
    parser.add_argument("--num-images", type=int)
    options = ["--config-file", str(config), "--num-images", str(num_images)]
    return parser.parse_args([*options, *TINY, "OUTPUT_DIR", str(output)])


@pytest.mark.usefixtures("shapes")
def test_trains_and_scores_the_first_images(load_tool, repo_dir: Path, tmp_path: Path) -> None:
    config = repo_dir / "configs/maskformer/shapes_panoptic_small.yaml"
    assert load_tool("overfit").main(arguments(config, tmp_path / "out", 3)) == 0
    name = "shapes_panoptic_train_first_3"
    assert DatasetCatalog.get(name) == DatasetCatalog.get("shapes_panoptic_train")[:3]
    truth = json.loads(Path(MetadataCatalog.get(name).panoptic_json).read_text())
    assert len(truth["images"]) == len(truth["annotations"]) == 3
    instances = json.loads(Path(MetadataCatalog.get(name).json_file).read_text())
    assert {row["image_id"] for row in instances["annotations"]} <= {
        row["id"] for row in instances["images"]
    }
    folder = tmp_path / "out/inference" / name
    predictions = json.loads((folder / "predictions.json").read_text())["annotations"]
    assert {row["file_name"] for row in predictions} == {
        row["file_name"] for row in truth["annotations"]
    }


@pytest.mark.usefixtures("shapes")
@pytest.mark.parametrize("num_images", [0, 6])
def test_number_of_images_is_checked(load_tool, tmp_path: Path, num_images: int) -> None:
    register = load_tool("overfit").register_first_images
    message = f"--num-images is {num_images}, but shapes_panoptic_train has 5 images"
    with pytest.raises(ValueError, match=message):
        register("shapes_panoptic_train", num_images, tmp_path)


def test_names_of_files_are_shown_in_one_line(load_tool, repo_dir, tmp_path, capfd) -> None:
    odd = "000\n\x1b[31m.jpg"
    write_semantic(tmp_path)
    file = tmp_path / "images/train/000.jpg"
    file.rename(file.with_name(odd))
    (tmp_path / "labels/train/000.png").rename(tmp_path / "labels/train/000\n\x1b[31m.png")
    name = unique_name()
    semantic_declaration(tmp_path / "a.json", name)
    args = arguments(repo_dir / "configs/segformer/shapes_semantic_small.yaml", tmp_path / "o", 1)
    args.opts += ["DATASETS.DECLARATIONS", f"['{tmp_path}/a.json']", "DATASETS.TEST", "()"]
    args.opts += ["DATASETS.TRAIN", f"('{name}_train',)", "MODEL.SEM_SEG_HEAD.NUM_CLASSES", "3"]
    (tmp_path / "images/train" / odd).write_bytes(b"no picture")
    loggers = [logging.getLogger(name) for name in (None, "d2seg", "detectron2", "fvcore")]
    before = [(logger.handlers[:], logger.propagate, logger.level) for logger in loggers]
    try:
        assert run(load_tool("overfit").main, args) == 2
    finally:
        for logger, (handlers, logger.propagate, level) in zip(loggers, before, strict=True):
            logger.handlers[:] = handlers
            logger.setLevel(level)
        torch.set_flush_denormal(False)
    said = capfd.readouterr()
    assert f"{tmp_path}/images/train/{printable(odd)}: it is no picture" in said.err
    assert "\x1b[31m" not in said.err + said.out
