"""train_net.py on medical slices and volumes: trains, scores, and says what it could not read."""

import json
from pathlib import Path
from subprocess import CompletedProcess

import pytest
from medical_files import volume, write_h5, write_list

from families.programs import run_program

SMALL = (
    *("MODEL.DEVICE", "cpu", "SOLVER.IMS_PER_BATCH", "2", "SOLVER.MAX_ITER", "2"),
    *("MODEL.HYBRID_VIT.DEPTH", "1", "MODEL.HYBRID_VIT.EMBED_DIM", "24"),
    *("MODEL.TRANSUNET.HEAD_CHANNELS", "16", "MODEL.TRANSUNET.DECODER_CHANNELS", "[8,8,8,8]"),
    *("INPUT.SLICE_SIZE", "(32,32)"),
)


@pytest.fixture
def acdc(tmp_path: Path) -> Path:
    """A folder in ACDC's layout: two slices to train on, two volumes to test on."""
    folder = tmp_path / "datasets" / "ACDC"
    for i in range(2):
        arrays = volume(seed=i)
        write_h5(folder / "data" / f"patient{i}_frame01.h5", **arrays)
        one = {key: array[0] for key, array in arrays.items()}
        write_h5(folder / "data" / "slices" / f"patient{i}_frame01_slice_1.h5", **one)
    write_list(folder / "train_slices.list", [f"patient{i}_frame01_slice_1" for i in range(2)])
    write_list(folder / "val.list", [f"patient{i}_frame01" for i in range(2)])
    return folder


def train(repo_dir: Path, folder: Path) -> CompletedProcess:
    config = repo_dir / "configs" / "transunet" / "acdc_semantic_small.yaml"
    arguments = ["--config-file", config, *SMALL, "OUTPUT_DIR", folder / "out"]
    return run_program(repo_dir / "train_net.py", arguments, folder)


def test_an_unreadable_volume_does_not_stop_the_others(
    repo_dir: Path, acdc: Path, tmp_path: Path
) -> None:
    (acdc / "data" / "patient0_frame01.h5").write_bytes(b"nothing")
    done = train(repo_dir, tmp_path)
    assert done.returncode == 1, done.stderr
    out = tmp_path / "out"
    results = json.loads((out / "results.json").read_text())["sem_seg"]
    assert results["unreadable_volumes"] == 1
    assert 0 <= results["Dice"] <= 100
    assert "patient0_frame01.h5 cannot be read" in (out / "log.txt").read_text()
    folder = out / "inference" / "acdc_volumes_val"
    assert (folder / "worst_slices.png").is_file()
    (scored,) = json.loads((folder / "volumes.json").read_text())["volumes"]
    assert Path(scored).name == "patient1_frame01.h5"


def test_a_wrong_training_label_is_named(repo_dir: Path, acdc: Path, tmp_path: Path) -> None:
    for path in (acdc / "data" / "slices").iterdir():
        arrays = {key: array[0] for key, array in volume().items()}
        arrays["label"][0, 0] = 77
        write_h5(path, **arrays)
    done = train(repo_dir, tmp_path)
    assert done.returncode == 2
    assert "slice_1.h5: labels outside of 0..3 (ignore label 255): 77 (1 times)" in done.stderr
