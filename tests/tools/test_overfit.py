"""tools/overfit.py: the choice of images, the annotation files of their own, a run to its scores."""

import argparse
import json
from pathlib import Path

import pytest
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.engine import default_argument_parser

from d2seg.data.shapes import ensure_shapes
from d2seg.data.shapes.register import shapes_folder

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
