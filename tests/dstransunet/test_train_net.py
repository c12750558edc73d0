"""train_net.py with DS-TransUNet on medical slices and volumes."""

import json
import os
import subprocess
import sys
from pathlib import Path

from medical_files import volume, write_h5, write_list

SMALL = (
    *("MODEL.DEVICE", "cpu", "SOLVER.IMS_PER_BATCH", "2", "SOLVER.MAX_ITER", "2"),
    *("MODEL.DS_TRANSUNET.TRAIN_SCALES", "[0.5,1.0]", "INPUT.SLICE_SIZE", "(64,64)"),
)


def test_trains_on_slices_and_scores_volumes(repo_dir: Path, tmp_path: Path) -> None:
    arrays = volume()
    data = tmp_path / "ACDC" / "data"
    write_h5(data / "patient0_frame01.h5", **arrays)
    one = {key: array[0] for key, array in arrays.items()}
    write_h5(data / "slices" / "patient0_frame01_slice_1.h5", **one)
    write_list(tmp_path / "ACDC" / "train_slices.list", ["patient0_frame01_slice_1"])
    write_list(tmp_path / "ACDC" / "val.list", ["patient0_frame01"])
    config = repo_dir / "configs" / "dstransunet" / "acdc_semantic_small.yaml"
    command = [sys.executable, str(repo_dir / "train_net.py"), "--config-file", str(config)]

    def scores(folder: str, output: str, *arguments: str) -> dict[str, float]:
        """Of a call whose model gives ``output``."""
        out = tmp_path / folder
        done = subprocess.run(
            [*command, *arguments, *SMALL, "OUTPUT_DIR", str(out)],
            env=os.environ | {"DETECTRON2_DATASETS": str(tmp_path)},
            capture_output=True,
            text=True,
            timeout=300,
        )
        assert done.returncode == 0, done.stderr
        said = f"Semantic results: MODEL.PER_PIXEL.TEST.OUTPUT is {output}"
        assert (out / "log.txt").read_text().count(said) == 1
        return json.loads((out / "results.json").read_text())["sem_seg"]

    trained = scores("out", "labels")
    assert 0 <= trained["Dice"] <= 100
    wanted = ("MODEL.PER_PIXEL.TEST.OUTPUT", "scores")
    weights = ("MODEL.WEIGHTS", str(tmp_path / "out" / "model_final.pth"))
    assert scores("evaluated", "scores", "--eval-only", *weights, *wanted) == trained
