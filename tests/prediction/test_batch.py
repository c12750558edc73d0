"""Rows of pictures in, rows of results out."""

import io
import json
import pickle
from pathlib import Path

import numpy as np
import pycocotools.mask as mask_util
import pytest
import torch
from detectron2.modeling import build_model
from PIL import Image
from toy_pictures import toy_predictor, write_pictures

from d2seg.config.loading import load_config
from d2seg.data.label_maps import read_id_map
from d2seg.prediction.batch import BatchPredictor
from d2seg.prediction.columns import ColumnPredictor
from families.maskformer_config import small_config


def rows_of(folder: Path) -> list[dict]:
    return [{"id": path.stem, "path": str(path)} for path in sorted(folder.iterdir())]


def red_classes(path: str) -> np.ndarray:
    return np.asarray(Image.open(path))[..., 0] // 64


def test_results_come_in_order_whatever_the_sizes(tmp_path: Path) -> None:
    rows = rows_of(write_pictures(tmp_path / "a", 7)) + rows_of(
        write_pictures(tmp_path / "b", 6, 32)
    )
    rows = rows[::2] + rows[1::2]
    predictor = toy_predictor()
    results = predictor(rows)
    assert [row["path"] for row in results] == [row["path"] for row in rows]
    for row in results:
        assert (row["error"], row["result"]) == ("", "{}")
        labels = np.asarray(Image.open(io.BytesIO(row["png"])))
        assert labels.shape == (row["height"], row["width"])
        assert (labels == red_classes(row["path"])).all()
    batches = predictor.predictor.model.batches
    assert all(len(set(batch)) == 1 and len(batch) <= 4 for batch in batches)
    assert len(batches) < len(rows) / 2


def test_no_batch_holds_rows_of_two_groups(tmp_path: Path) -> None:
    rows = rows_of(write_pictures(tmp_path, 5))
    predictor = toy_predictor()
    assert len(list(predictor.stream([rows[:3], rows[3:]]))) == 5
    assert [len(batch) for batch in predictor.predictor.model.batches] == [3, 2]


def test_bytes_and_what_else_a_row_holds(tmp_path: Path) -> None:
    (row,) = rows_of(write_pictures(tmp_path, 1))
    content = Path(row["path"]).read_bytes()
    (got,) = toy_predictor()([{"id": 5, "bytes": content, "split": "val"}])
    (want,) = toy_predictor()([row])
    assert (got["id"], got["split"], got["png"]) == (5, "val", want["png"])
    assert "bytes" not in got


def test_what_cannot_be_read_has_a_reason_and_the_others_a_result(tmp_path: Path) -> None:
    (good,) = rows_of(write_pictures(tmp_path / "in", 1))
    (tmp_path / "cut.png").write_bytes(Path(good["path"]).read_bytes()[:60])
    paths = [tmp_path / "cut.png", tmp_path / "absent.png", tmp_path / "in"]
    bad = [{"id": path.name, "path": str(path)} for path in paths]
    bad += [{"id": 1, "bytes": b""}, {"id": 2, "path": good["path"], "error": "not wanted"}]
    results = toy_predictor()([*bad[:2], good, *bad[2:]])
    assert [bool(row["error"]) for row in results] == [True, True, False, True, True, True]
    assert all(
        (row["height"], row["png"], row["result"]) == (0, b"", "")
        for row in results
        if row["error"]
    )
    assert "No such file" in results[1]["error"]
    assert results[-1]["error"] == "not wanted"


def test_memory_that_does_not_suffice_halves_the_batch(tmp_path: Path) -> None:
    rows = rows_of(write_pictures(tmp_path, 4))
    predictor = toy_predictor(most=1)
    assert not any(row["error"] for row in predictor(rows))
    assert [len(batch) for batch in predictor.predictor.model.batches] == [4, 2, 1, 1, 2, 1, 1]
    results = toy_predictor(most=0)(rows)
    assert all("needs more memory for its 64x64 pixels" in row["error"] for row in results)


def test_another_error_of_the_model_is_not_hidden(tmp_path: Path) -> None:
    predictor = toy_predictor()
    predictor.predictor.model.task = "instance"  # it gives no sem_seg
    rows = rows_of(write_pictures(tmp_path, 1))
    with pytest.raises(KeyError, match="sem_seg"):
        predictor(rows)


@pytest.mark.parametrize(("side", "batches"), [(64, [8, 2]), (256, [4, 4, 2])])
def test_auto_goes_by_the_pixels(tmp_path: Path, side: int, batches: list[int]) -> None:
    predictor = toy_predictor(batch_size=None)
    assert len(predictor(rows_of(write_pictures(tmp_path, 10, side)))) == 10
    assert [len(batch) for batch in predictor.predictor.model.batches] == batches


def test_panoptic_and_instance_records(tmp_path: Path) -> None:
    rows = rows_of(write_pictures(tmp_path / "in", 2))
    for row, want in zip(toy_predictor("panoptic")(rows), rows, strict=True):
        (tmp_path / "map.png").write_bytes(row["png"])
        ids = read_id_map(str(tmp_path / "map.png"))
        assert (ids == red_classes(want["path"]) + 1).all()
        for segment in json.loads(row["result"])["segments_info"]:
            mask = ids == segment["id"]
            assert segment["area"] == mask.sum()
            rle = mask_util.encode(np.asfortranarray(mask.astype(np.uint8)))
            assert segment["bbox"] == mask_util.toBbox(rle).tolist()
    for row, want in zip(toy_predictor("instance")(rows), rows, strict=True):
        labels = red_classes(want["path"])
        for found in json.loads(row["result"])["instances"]:
            mask = mask_util.decode(found["segmentation"]).astype(bool)
            assert (mask == (labels == found["category_id"])).all()


@pytest.mark.parametrize("argument", ["batch_size", "num_threads"])
def test_numbers_below_one(argument: str) -> None:
    with pytest.raises(ValueError, match=f"{argument} is 0; it is 1 or more"):
        BatchPredictor(load_config(None), "semantic", **{argument: 0})


def test_a_pickled_predictor_gives_the_same(repo_dir: Path, tmp_path: Path) -> None:
    """Of a real model, whose weights it finds by their path; and the same as detectron2's way."""
    cfg = small_config(repo_dir, "coco_panoptic_resnet50")
    cfg.INPUT.MIN_SIZE_TEST = 64
    cfg.DATASETS.TEST = ("coco_2017_val_panoptic",)
    cfg.MODEL.SEM_SEG_HEAD.NUM_CLASSES = 133
    torch.manual_seed(0)
    torch.save({"model": build_model(cfg).state_dict()}, tmp_path / "model.pth")
    cfg.MODEL.WEIGHTS = str(tmp_path / "model.pth")
    rows = rows_of(write_pictures(tmp_path / "in", 2))
    predictor = BatchPredictor(cfg, "instance", batch_size=1, device="cpu")
    results = predictor(rows)
    copy = pickle.loads(pickle.dumps(predictor))
    assert copy._predictor is None
    assert copy(rows) == results
    for row, want in zip(results, rows, strict=True):
        found = predictor.predictor(want["path"])["instances"]
        records = json.loads(row["result"])["instances"]
        assert [record["score"] for record in records] == found.scores.tolist()
        assert [record["category_id"] for record in records] == found.pred_classes.tolist()
        masks = np.stack([mask_util.decode(record["segmentation"]) for record in records])
        assert (masks == found.pred_masks.numpy()).all()
        assert masks.any()


def test_columns_of_a_table(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    write_pictures(tmp_path / "in", 2)
    address = f"file://{tmp_path}/in/0002.png"
    batch = {
        "path": np.array(["in/0001.png", address, "s3:// no/address"], object),
        "town": np.array(["a", "b", "c"]),
    }
    predictor = ColumnPredictor(toy_predictor(), str(tmp_path))
    found = predictor(batch)
    assert list(found) == ["path", "town", "height", "width", "result", "png", "error"]
    assert found["height"].tolist() == [64, 64, 0]
    assert [bool(error) for error in found["error"]] == [False, False, True]
    rows = toy_predictor()([{"id": 0, "path": str(tmp_path / "in/0001.png")}])
    assert found["png"][0] == rows[0]["png"]
    content = np.array([(tmp_path / "in/0001.png").read_bytes()], object)
    assert predictor({"bytes": content})["png"].tolist() == [rows[0]["png"]]
    empty = predictor({name: column[:0] for name, column in batch.items()})
    assert {name: len(column) for name, column in empty.items()} == dict.fromkeys(found, 0)
