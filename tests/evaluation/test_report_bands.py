"""Reports of pictures of other bands, and of files whose names no page can hold as they are."""

import base64
import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from d2seg.data.bands import read_bands
from d2seg.data.readers import PictureReader
from d2seg.evaluation import SemanticEvaluator
from d2seg.evaluation.records import TimedEvaluator, read_json
from d2seg.evaluation.report import write_report
from evaluation.evaluation_cases import SEMANTIC_NAME, evaluate, register, unregister

FILE = "caf\udce9<b>\n\u202e.npy"  # bytes that are no UTF-8, a tag, a line end, a mark of direction


@pytest.fixture
def data(tmp_path: Path) -> tuple[TimedEvaluator, list, Path]:
    """An evaluator, what it is given for one picture of 5 bands, and its OUTPUT_DIR."""
    picture = np.zeros((32, 32, 5), np.uint8)
    picture[..., 0] = 250  # red, where the first three are shown
    np.save(tmp_path / FILE, picture)
    Image.fromarray(np.zeros((32, 32), np.uint8)).save(tmp_path / "labels.png")
    entry = {"file_name": str(tmp_path / FILE), "sem_seg_file_name": str(tmp_path / "labels.png")}
    name = register(SEMANTIC_NAME, [entry], stuff_classes=["floor", "<i>wall"], ignore_label=255)
    out = tmp_path / "out"
    folder = out / "inference" / name
    folder.mkdir(parents=True)
    reader = PictureReader("RGB", 5, read_bands)
    evaluator = SemanticEvaluator(name, str(folder), record=True, reader=reader)
    output = {"sem_seg": torch.zeros((32, 32), dtype=torch.int64)}
    yield TimedEvaluator(evaluator, name, str(folder)), [(entry, output)], out
    unregister(name)


def test_bands_are_shown_and_names_are_escaped(data: tuple) -> None:
    evaluator, pairs, out = data
    (out / "results.json").write_text(json.dumps(evaluate(evaluator, pairs)))
    page = write_report(out).read_text("utf-8")
    assert "caf\\udce9&lt;b&gt;\\n\\u202e.npy" in page
    assert "&lt;i&gt;wall" in page
    assert "<i>wall" not in page
    record = read_json(out / "inference" / SEMANTIC_NAME / "records" / "semantic.json")
    uri = record["gallery"][0]["panels"][0][0]
    pixels = cv2.imdecode(np.frombuffer(base64.b64decode(uri.partition(",")[2]), np.uint8), 1)
    assert pixels[16, 16, 2] > 230 > 30 > pixels[16, 16, :2].max()


def test_records_of_an_earlier_evaluation_go(data: tuple) -> None:
    evaluator, pairs, out = data
    records = out / "inference" / SEMANTIC_NAME / "records"
    records.mkdir()
    (records / "instance.json").write_text("{}")  # of TEST.TASKS that were others
    evaluate(evaluator, pairs)
    assert sorted(file.name for file in records.iterdir()) == ["run.json", "semantic.json"]


def test_scores_outlive_records_that_cannot_be_written(data: tuple) -> None:
    evaluator, pairs, out = data
    (out / "inference" / SEMANTIC_NAME / "records").write_text("a file in the folder's place")
    assert evaluate(evaluator, pairs)["sem_seg"]["pACC"] == 100
