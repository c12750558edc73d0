"""train_net.py with DS-TransUNet on medical slices and volumes."""

import json
from pathlib import Path

from medical_files import volume, write_h5, write_list

from families.programs import run_program

SMALL = (
    *("MODEL.DEVICE", "cpu", "SOLVER.IMS_PER_BATCH", "2", "SOLVER.MAX_ITER", "2"),
    *("MODEL.DS_TRANSUNET.TRAIN_SCALES", "[0.5,1.0]", "INPUT.SLICE_SIZE", "(64,64)"),
)


def test_trains_on_slices_and_scores_volumes(repo_dir: Path, tmp_path: Path) -> None:
    arrays = volume()
    acdc = tmp_path / "datasets" / "ACDC"
    data = acdc / "data"
    write_h5(data / "patient0_frame01.h5", **arrays)
    one = {key: array[0] for key, array in arrays.items()}
    write_h5(data / "slices" / "patient0_frame01_slice_1.h5", **one)
    write_list(acdc / "train_slices.list", ["patient0_frame01_slice_1"])
    write_list(acdc / "val.list", ["patient0_frame01"])
    config = repo_dir / "configs" / "dstransunet" / "acdc_semantic_small.yaml"

    def scores(folder: str, output: str, *arguments: str) -> dict[str, float]:
        """Of a call whose model gives ``output``."""
        out = tmp_path / folder
        words = ["--config-file", config, *arguments, *SMALL, "OUTPUT_DIR", out]
        done = run_program(repo_dir / "train_net.py", words, tmp_path)
        assert done.returncode == 0, done.stderr
        said = f"Semantic results: MODEL.PER_PIXEL.TEST.OUTPUT is {output}"
        assert (out / "log.txt").read_text().count(said) == 1
        return json.loads((out / "results.json").read_text())["sem_seg"]

    trained = scores("out", "labels")
    assert 0 <= trained["Dice"] <= 100
    wanted = ("MODEL.PER_PIXEL.TEST.OUTPUT", "scores")
    weights = ("MODEL.WEIGHTS", str(tmp_path / "out" / "model_final.pth"))
    assert scores("evaluated", "scores", "--eval-only", *weights, *wanted) == trained
