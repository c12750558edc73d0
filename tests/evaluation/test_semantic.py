"""The semantic evaluator: cases by hand, detectron2's own as reference, real data."""

import json

import numpy as np
import pytest
import torch
from detectron2.data import DatasetCatalog
from detectron2.evaluation import CityscapesSemSegEvaluator, SemSegEvaluator
from PIL import Image

from d2seg.data.label_maps import read_id_map
from d2seg.evaluation import SemanticEvaluator
from d2seg.evaluation.id_maps import read_label_map
from d2seg.evaluation.semantic import CityscapesSemanticEvaluator
from evaluation.evaluation_cases import (
    SEMANTIC_NAME,
    evaluate,
    make_semantic,
    register,
    register_coco,
    semantic_output,
    unregister,
)


def score(evaluator, outputs: list[dict], names: list[str] | None = None) -> dict:
    names = names or [f"{i}.jpg" for i in range(len(outputs))]
    inputs = [{"file_name": name} for name in names]
    return evaluate(evaluator, zip(inputs, outputs, strict=True))


@pytest.fixture(autouse=True)
def clean_catalog():
    yield
    unregister(SEMANTIC_NAME)


@pytest.mark.parametrize(
    ("num_classes", "ignore", "dtype"),
    [(3, 255, np.uint8), (3, 3, np.uint8), (3, 65535, np.uint16), (300, 65535, np.uint16)],
)
def test_worked_by_hand(tmp_path, num_classes, ignore, dtype):
    gt = np.array([[0, 0, 0, 1], [1, 1, ignore, ignore]], dtype)
    pred = np.array([[0, 0, 1, 1], [1, 2, 2, 0]])
    name = make_semantic(tmp_path, [gt], num_classes, ignore)
    result = score(SemanticEvaluator(name), [semantic_output(pred, num_classes)])["sem_seg"]
    # class 0: 2 of 3; class 1: 2 of 4 in the union; class 2 has no ground truth and is left out
    assert result["mIoU"] == pytest.approx(100 * (2 / 3 + 2 / 4) / 2)
    assert result["mACC"] == pytest.approx(100 * 2 / 3)
    assert result["pACC"] == pytest.approx(100 * 4 / 6)
    assert np.isnan(result["IoU-class 2"])
    assert not [key for key in result if "Boundary" in key or "B-Iou" in key]


def test_label_255_is_a_class_where_65535_is_ignored(tmp_path):
    gt = np.array([[255, 255, 65535]], np.uint16)
    name = make_semantic(tmp_path, [gt], 300, 65535)
    result = score(SemanticEvaluator(name), [semantic_output(np.array([[255, 0, 255]]), 300)])
    assert result["sem_seg"]["IoU-class 255"] == pytest.approx(50)


def test_equal_to_detectron2(tmp_path):
    rng = np.random.default_rng(0)
    labels = [rng.integers(0, 12, (20, 30)).astype(np.uint8) for _ in range(3)]
    name = make_semantic(tmp_path, labels, 11, 11)
    outputs = [{"sem_seg": torch.from_numpy(rng.random((11, 20, 30)))} for _ in labels]
    ours, theirs = SemanticEvaluator(name), SemSegEvaluator(name, sem_seg_loading_fn=read_label_map)
    result, expected = score(ours, outputs), score(theirs, outputs)
    assert (ours._conf_matrix == theirs._conf_matrix).all()
    assert result["sem_seg"] == {k: expected["sem_seg"][k] for k in result["sem_seg"]}


def test_labels_count_as_scores_do(tmp_path):
    rng = np.random.default_rng(0)
    labels = [rng.integers(0, 300, (20, 30)).astype(np.uint16) for _ in range(2)]
    name = make_semantic(tmp_path, labels, 300, 65535)
    scores = [{"sem_seg": torch.from_numpy(rng.random((300, 20, 30)))} for _ in labels]
    maps = [{"sem_seg": output["sem_seg"].max(0)[1].to(torch.int32)} for output in scores]
    of_scores, of_maps = SemanticEvaluator(name), SemanticEvaluator(name)
    score(of_scores, scores)
    score(of_maps, maps)
    assert (of_scores._conf_matrix == of_maps._conf_matrix).all()


def test_cityscapes_takes_labels(monkeypatch):
    """detectron2's evaluator reads scores, and writes the same files for both."""
    written = []
    monkeypatch.setattr(
        CityscapesSemSegEvaluator,
        "process",
        lambda self, inputs, outputs: written.extend(o["sem_seg"].argmax(0) for o in outputs),
    )
    scores = torch.randn(19, 6, 8, generator=torch.Generator().manual_seed(0))
    labels = scores.max(0)[1]
    evaluator = object.__new__(CityscapesSemanticEvaluator)
    evaluator.process([{}, {}], [{"sem_seg": scores}, {"sem_seg": labels.to(torch.int32)}])
    assert torch.equal(written[0], labels)
    assert torch.equal(written[1], labels)


def test_saves_in_the_ids_of_the_data_set_things_too(tmp_path):
    """Standard panoptic metadata: the stuff mapping holds stuff only, the model predicts both."""
    name = make_semantic(
        tmp_path,
        [np.array([[0, 1]], np.uint8)],
        2,
        255,
        thing_dataset_id_to_contiguous_id={18: 0},
        stuff_dataset_id_to_contiguous_id={92: 1},
    )
    score(SemanticEvaluator(name, str(tmp_path / "out")), [semantic_output(np.array([[0, 1]]), 2)])
    saved = json.loads((tmp_path / "out" / "sem_seg_predictions.json").read_text())
    assert [x["category_id"] for x in saved] == [18, 92]


def test_separated_metadata_keep_the_stuff_mapping(tmp_path):
    name = make_semantic(
        tmp_path,
        [np.array([[0, 1]], np.uint8)],
        2,
        255,
        thing_dataset_id_to_contiguous_id={1: 0, 2: 1},  # a label space of its own
        stuff_dataset_id_to_contiguous_id={0: 0, 92: 1},
    )
    score(SemanticEvaluator(name, str(tmp_path / "out")), [semantic_output(np.array([[0, 1]]), 2)])
    saved = json.loads((tmp_path / "out" / "sem_seg_predictions.json").read_text())
    assert [x["category_id"] for x in saved] == [0, 92]


@pytest.mark.parametrize(
    ("output", "message"),
    [
        ({"instances": 0}, r"gives no 'sem_seg' but \['instances'\].*TEST.TASKS"),
        (semantic_output(np.zeros((2, 2)), 4), "has 3 classes, the model scores 4.*NUM_CLASSES"),
        ({"sem_seg": torch.tensor([[0, 4]])}, "has 3 classes, the model gives the label 4: set"),
        ({"sem_seg": torch.tensor([[0, -1]])}, "has 3 classes, the model gives the label -1: set"),
        (semantic_output(np.zeros((2, 3)), 3), r"0\.png: .*\(2, 2\).*\(2, 3\)"),
    ],
)
def test_bad_outputs_are_named(tmp_path, output, message):
    name = make_semantic(tmp_path, [np.zeros((2, 2), np.uint8)], 3, 255)
    with pytest.raises(ValueError, match=message):
        score(SemanticEvaluator(name), [output])


def test_labels_out_of_range_are_named(tmp_path):
    name = make_semantic(tmp_path, [np.array([[0, 7, 7, 255]], np.uint8)], 3, 255)
    with pytest.raises(
        ValueError, match=r"0\.png: labels outside of 0\.\.2 \(ignore label 255\): 7 \(2 times\)"
    ):
        score(SemanticEvaluator(name), [semantic_output(np.zeros((1, 4)), 3)])


def test_dicts_without_labels_are_named():
    register(SEMANTIC_NAME, [{"file_name": "a.jpg"}], stuff_classes=["a"], ignore_label=255)
    with pytest.raises(ValueError, match=f"{SEMANTIC_NAME} has no semantic ground truth"):
        SemanticEvaluator(SEMANTIC_NAME)


def test_missing_metadata_are_named():
    register(
        SEMANTIC_NAME, [{"file_name": "a.jpg", "sem_seg_file_name": "a.png"}], stuff_classes=["a"]
    )
    with pytest.raises(ValueError, match=f"{SEMANTIC_NAME}: the metadata lack ignore_label"):
        SemanticEvaluator(SEMANTIC_NAME)


def test_an_error_of_the_data_set_itself_is_not_hidden():
    def fail():
        raise AttributeError("of its own")

    register(SEMANTIC_NAME, [], stuff_classes=["a"], ignore_label=255)
    DatasetCatalog.remove(SEMANTIC_NAME)
    DatasetCatalog.register(SEMANTIC_NAME, fail)
    with pytest.raises(AttributeError, match="of its own"):
        SemanticEvaluator(SEMANTIC_NAME)


def test_camvid_ground_truth_scores_100(shared_dir):
    root = shared_dir / "data" / "CamVid"
    files = sorted((root / "valannot").glob("*.png"))[:20]
    dicts = [{"file_name": x.name, "sem_seg_file_name": str(x)} for x in files]
    register(SEMANTIC_NAME, dicts, stuff_classes=[str(i) for i in range(11)], ignore_label=11)
    predictions = [read_label_map(str(x)) for x in files]
    assert any((x == 11).any() for x in predictions)
    outputs = [semantic_output(np.where(x == 11, 0, x), 11) for x in predictions]
    result = score(SemanticEvaluator(SEMANTIC_NAME), outputs, [x.name for x in files])["sem_seg"]
    assert result["mIoU"] == 100
    assert result["pACC"] == 100


def test_coco_ground_truth_scores_100(shared_dir, tmp_path):
    """Labels made from the panoptic maps, in the model's 133 classes."""
    records = DatasetCatalog.get(register_coco(shared_dir))[:3]
    outputs, dicts = [], []
    for i, record in enumerate(records):
        ids = read_id_map(record["pan_seg_file_name"])
        labels = np.full(ids.shape, 255, np.uint8)
        for s in record["segments_info"]:
            labels[ids == s["id"]] = s["category_id"]
        Image.fromarray(labels).save(tmp_path / f"{i}.png")
        path = str(tmp_path / f"{i}.png")
        dicts.append({"file_name": record["file_name"], "sem_seg_file_name": path})
        outputs.append(semantic_output(np.where(labels == 255, 0, labels), 133))
    register(SEMANTIC_NAME, dicts, stuff_classes=[str(i) for i in range(133)], ignore_label=255)
    names = [x["file_name"] for x in dicts]
    result = score(SemanticEvaluator(SEMANTIC_NAME), outputs, names)["sem_seg"]
    assert result["mIoU"] == 100
