"""The evaluator of volumes: from slices to numbers per organ, with volumes that cannot be read."""

import json
import math
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from detectron2.config import get_cfg
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.utils import comm
from medical_files import COLORS, ORGANS, volume, write_h5, write_list
from PIL import Image
from scipy import ndimage

from d2seg.config import add_d2seg_config
from d2seg.data.medical.files import read_slice, read_volume
from d2seg.data.medical.mapper import SliceMapper, zoom
from d2seg.data.medical.registration import register_medical
from d2seg.evaluation import VolumeEvaluator, build_evaluator, num_unreadable
from d2seg.evaluation.worst_slices import SliceScore, worst
from families.processes import run_in_two_processes

NAME = "d2seg_test_volumes"
SIZE = (10, 12)  # of the network; the volumes have twice as many rows and columns


def register(folder: Path, **changes: object) -> list[dict]:
    """The volumes in ``folder``."""
    if NAME in DatasetCatalog:
        DatasetCatalog.remove(NAME)
        MetadataCatalog.remove(NAME)
    names = sorted(path.stem for path in folder.glob("*.h5"))
    arguments = {
        "list_file": write_list(folder / "list.txt", names),
        "folders": [folder],
        "suffix": ".h5",
        "classes": ORGANS,
        "colors": COLORS,
    }
    register_medical(NAME, "volumes", **(arguments | changes))
    return DatasetCatalog.get(NAME)


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    for i in range(2):
        write_h5(tmp_path / f"case{i}.h5", **volume(seed=i))
    yield tmp_path
    if NAME in DatasetCatalog:
        DatasetCatalog.remove(NAME)
        MetadataCatalog.remove(NAME)


def perfect(entry: dict) -> torch.Tensor:
    """(h, w) labels: the truth at the network's size."""
    _, truth = read_volume(entry["file_name"])
    return torch.from_numpy(ndimage.zoom(truth[entry["slice_index"]], 0.5, order=0))


def run(
    entries: list[dict],
    predict: Callable[[dict], torch.Tensor] = perfect,
    as_scores: bool = True,
    output_dir: Path | None = None,
) -> dict:
    """The results of the evaluator on the slices of ``entries``."""
    evaluator = VolumeEvaluator(NAME, None if output_dir is None else str(output_dir))
    mapper = SliceMapper(False, size=SIZE, num_classes=3, ignore_value=255)
    for entry in entries:
        sample = mapper(entry)
        labels = torch.zeros(SIZE).long() if "error" in sample else predict(entry).long()
        scores = torch.nn.functional.one_hot(labels, 3).permute(2, 0, 1).float()
        evaluator.process([sample], [{"sem_seg": scores if as_scores else labels.int()}])
    return evaluator.evaluate()["sem_seg"]


@pytest.mark.parametrize("as_scores", [True, False])
def test_numbers_are_those_of_zoomed_back_labels(folder: Path, as_scores: bool) -> None:
    entries = register(folder)
    results = run(entries, as_scores=as_scores)
    _, truth = read_volume(entries[0]["file_name"])  # the same in both volumes
    small = [ndimage.zoom(labels, 0.5, order=0) for labels in truth]
    back = np.stack([ndimage.zoom(labels, 2, order=0) for labels in small])
    for organ in (1, 2):
        a, b = back == organ, truth == organ
        expected = 100 * 2 * (a & b).sum() / (a.sum() + b.sum())
        assert results[f"Dice-{ORGANS[organ]}"] == pytest.approx(expected)
    organs = [results[f"Dice-{name}"] for name in ORGANS[1:]]
    assert results["Dice"] == pytest.approx(np.mean(organs))
    assert 50 < results["Dice"] < 100
    assert 0 < results["HD95"] < 3
    assert results["HD95-undefined"] == 0


def test_hand_made_numbers(tmp_path: Path, folder: Path) -> None:
    """Organ 1 is shifted by one column; organ 2 is missed in one volume, and present in neither
    truth nor prediction in the other."""
    own = tmp_path / "own"
    shapes = {"image": np.zeros((2, 10, 12), np.float32)}
    label = np.zeros((2, 10, 12), np.uint8)
    label[:, 2:6, 2:6] = 1
    write_h5(own / "a.h5", label=label, **shapes)
    with_second = label.copy()
    with_second[:, 7:9, 7:9] = 2
    write_h5(own / "b.h5", label=with_second, **shapes)
    shifted = torch.from_numpy(np.roll(label[0], 1, axis=1).copy())
    results = run(register(own), lambda entry: shifted)
    assert results["Dice-left half"] == pytest.approx(100 * 24 / 32)
    assert results["HD95-left half"] == 1
    assert results["Dice-right half"] == 0  # of the one volume that has it
    assert math.isnan(results["HD95-right half"])
    assert results["HD95-undefined"] == 1
    assert results["Dice"] == pytest.approx(37.5)
    assert results["HD95"] == 1


def test_predicted_but_absent_is_no_success(tmp_path: Path, folder: Path) -> None:
    own = tmp_path / "own"
    empty = np.zeros((2, 10, 12), np.uint8)
    write_h5(own / "a.h5", image=empty.astype(np.float32), label=empty)
    entries = register(own)
    false_alarm = run(entries, lambda entry: torch.ones(SIZE))
    assert false_alarm["Dice-left half"] == 0
    assert false_alarm["HD95-undefined"] == 1
    nothing = run(entries, lambda entry: torch.zeros(SIZE))
    assert math.isnan(nothing["Dice"])
    assert nothing["HD95-undefined"] == 0


def test_spacing_scales_distances(folder: Path) -> None:
    entries = register(folder)
    voxels = run(entries)["HD95"]
    entries = register(folder, voxel_spacing=(2.0, 2.0, 2.0))
    assert run(entries)["HD95"] == pytest.approx(2 * voxels)


def test_slices_in_any_order(folder: Path) -> None:
    entries = register(folder)
    assert run(entries[::-1]) == run(entries)


def test_unreadable_volumes_are_left_out_and_counted(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    expected = run(register(folder))
    (folder / "case7.h5").write_bytes((folder / "case0.h5").read_bytes()[:500])
    ragged = volume()
    write_h5(folder / "case8.h5", image=ragged["image"], label=ragged["label"][:, 1:])
    entries = register(folder)
    results = run(entries, output_dir=folder / "out")
    assert results.pop("unreadable_volumes") == 2
    assert results == expected
    assert "left out of the evaluation" in caplog.text
    saved = json.loads((folder / "out" / "volumes.json").read_text())
    assert [Path(file).name for file in saved["unreadable"]] == ["case7.h5", "case8.h5"]
    assert "'label' (3, 19, 24)" in saved["unreadable"][str(folder / "case8.h5")]
    assert len(saved["volumes"]) == 2


def test_a_slice_that_never_came(folder: Path) -> None:
    results = run(register(folder)[:-1])
    assert results["unreadable_volumes"] == 1


def test_number_of_unreadable_volumes() -> None:
    one = {"sem_seg": {"Dice": 1.0, "unreadable_volumes": 2}}
    assert num_unreadable(one) == 2
    assert num_unreadable({"a": one, "b": {"sem_seg": {"mIoU": 3.0}}}) == 2
    assert num_unreadable({"segm": {"AP": 1.0}}) == num_unreadable({}) == 0


def test_picture_of_the_worst_slices(folder: Path) -> None:
    entries = register(folder)
    run(entries, output_dir=folder / "out")
    picture = np.array(Image.open(folder / "out" / "worst_slices.png").convert("RGB")).astype(int)
    assert picture.shape[0] > picture.shape[1]  # six slices, a row each
    red = (picture[..., 0] - picture[..., 2] > 80).sum()
    blue = (picture[..., 2] - picture[..., 0] > 80).sum()
    assert red > 1000  # organ 1 in truth and prediction
    assert blue > 1000


def test_order_of_the_worst_slices() -> None:
    empty = np.zeros((1, 1))
    scores = [
        SliceScore(name, dice, wrong, empty, empty, empty)
        for name, dice, wrong in [("a", 0.5, 9), ("b", 0.0, 3), ("c", 0.0, 8), ("d", 0.9, 99)]
    ]
    assert [score.name for score in worst(scores, 3)] == ["c", "b", "a"]


def evaluate_share(folder: str) -> dict | None:
    """Slices shared out alternately, so that no process has a whole volume."""
    own = Path(folder, str(comm.get_rank()))
    own.mkdir()
    for i in range(2):
        write_h5(own / f"case{i}.h5", **volume(seed=i))
    # paths differ between these processes, as they would not in earnest
    entries = register(own)
    evaluator = VolumeEvaluator(NAME)
    mapper = SliceMapper(False, size=SIZE, num_classes=3, ignore_value=255)
    for entry in entries[comm.get_rank() :: comm.get_world_size()]:
        labels = perfect(entry).int()
        sample = mapper(entry)
        sample["file_name"] = str(Path(folder, "0", Path(entry["file_name"]).name))
        evaluator.process([sample], [{"sem_seg": labels}])
    return evaluator.evaluate()


def test_two_processes(folder: Path) -> None:
    results = run_in_two_processes(evaluate_share, str(folder))
    assert results[1] is None
    assert results[0]["sem_seg"] == pytest.approx(run(register(folder)))


def test_choice_of_the_evaluator(folder: Path) -> None:
    register(folder)
    cfg = get_cfg()
    add_d2seg_config(cfg)
    cfg.MODEL.SEM_SEG_HEAD.NUM_CLASSES = 3
    evaluator = build_evaluator(cfg, NAME, None, ["semantic"])
    assert isinstance(evaluator, VolumeEvaluator)
    cfg.MODEL.SEM_SEG_HEAD.NUM_CLASSES = 4
    with pytest.raises(ValueError, match=r"have 3 classes, MODEL\.SEM_SEG_HEAD\.NUM_CLASSES is 4"):
        build_evaluator(cfg, NAME, None, ["semantic"])


def test_mistakes(folder: Path) -> None:
    entries = register(folder)
    inputs = [{**entries[0]}]
    with pytest.raises(ValueError, match="the model gives no 'sem_seg'"):
        VolumeEvaluator(NAME).process(inputs, [{"instances": None}])
    with pytest.raises(ValueError, match="has 3 classes, the model scores 4"):
        VolumeEvaluator(NAME).process(inputs, [{"sem_seg": torch.zeros(4, *SIZE)}])
    with pytest.raises(ValueError, match="has 3 classes, the model gives the label 3"):
        VolumeEvaluator(NAME).process(inputs, [{"sem_seg": torch.full(SIZE, 3)}])
    register(folder, classes=ORGANS[:2], colors=COLORS[:2])
    with pytest.raises(ValueError, match=r"case0\.h5: labels outside of 0\.\.1"):
        run(entries, lambda entry: torch.zeros(SIZE), as_scores=False)


def test_real_volumes_predicted_perfectly(shared_dir: Path, folder: Path) -> None:
    """What zooming ACDC to 224 x 224 and back loses, as the published evaluation does."""
    acdc = shared_dir / "data" / "ACDC"
    names = MetadataCatalog.get("acdc_volumes_val").stuff_classes
    entries = register(
        folder,
        list_file=acdc / "val.list",
        folders=[acdc / "data"],
        classes=names,
        colors=[[0, 0, 0], *COLORS],
    )
    evaluator = VolumeEvaluator(NAME, str(folder / "out"))
    for entry in entries:
        _, label = read_slice(entry["file_name"], entry["slice_index"])
        labels = torch.from_numpy(zoom(label, (224, 224), order=0))
        evaluator.process([entry], [{"sem_seg": labels}])
    results = evaluator.evaluate()["sem_seg"]
    assert 95 < results["Dice"] < 100
    assert results["HD95"] <= 1.5
    assert len(json.loads((folder / "out" / "volumes.json").read_text())["volumes"]) == 4
