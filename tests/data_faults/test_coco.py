"""JSON files in COCO's formats with one thing wrong: one line from loader, checker, evaluator."""

import json
import logging

import numpy as np
import pytest
import torch
from coco_cases import (
    BAD_MASKS,
    CATEGORIES,
    MORE_REFUSED,
    SQUARE,
    drop,
    instances,
    panoptic,
    put,
    square_mask,
    twice,
)
from dataset_files import H, W
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.structures import Boxes, Instances
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mapper_samples import make_cfg
from PIL import Image

from d2seg.data.catalog import check_files
from d2seg.data.datasets.coco_files import read_coco
from d2seg.data.dicts import load_dicts
from d2seg.data.inspection.dataset import inspect_dataset
from d2seg.data.mappers import build_mapper
from d2seg.evaluation.instance import InstanceEvaluator
from d2seg.evaluation.panoptic_evaluation import PanopticEvaluator

A0, A1, I0 = ("annotations", 0), ("annotations", 1), ("images", 0)
REFUSED = {
    "image without id": (drop(*I0, "id"), "images[0] (id None): 'id' is None"),
    "image id null": (put(*I0, "id", value=None), "'id' is None; it is a whole number or text"),
    "image id a list": (put(*I0, "id", value=[1]), "'id' is [1]"),
    "image id 0.0": (put(*I0, "id", value=0.0), "images[0] (id 0.0): 'id' is 0.0; write 0"),
    "image_id 0.0": (put(*A0, "image_id", value=0.0), "'image_id' is 0.0; write 0"),
    "image ids mixed": (put(*I0, "id", value="a"), "image ids are numbers and text ('a')"),
    "image id twice": (put("images", 1, "id", value=0), "001.jpg has the id of 000.jpg, too"),
    "no height": (drop(*I0, "height"), "'height' is missing; it is a whole number"),
    "height null": (put(*I0, "height", value=None), "'height' is missing"),
    "height of text": (put(*I0, "height", value="12"), "'height' is '12'"),
    "height 0": (put(*I0, "height", value=0), "they are at least 1"),
    "height 1e9": (put(*I0, "height", value=10**9), "178956970 pixels"),
    "no file_name": (drop(*I0, "file_name"), "'file_name' is None"),
    "file_name a number": (put(*I0, "file_name", value=3), "'file_name' is 3"),
    "no images": (drop("images"), "'images' is missing"),
    "images null": (put("images", value=None), "'images' is missing"),
    "images an object": (put("images", value={}), "'images' is no list of entries"),
    "annotations of numbers": (put("annotations", value=[1]), "'annotations' is no list"),
    "annotation without image": (drop(*A0, "image_id"), "annotations[0] (id 1, image None)"),
    "no category": (drop(*A0, "category_id"), "'category_id' is missing; it is a whole number"),
    "unknown category": (put(*A0, "category_id", value=6), "category id 6 is not among"),
    "category of text": (put(*A0, "category_id", value="5"), "'category_id' is '5'"),
    "category id twice": (put("categories", 0, "id", value=5), "id 5 is that of 'chair', too"),
    "ignore": (put(*A0, "ignore", value=1), "'ignore' is 1, which COCO's format does not know"),
    "no mask and no box": (
        put("annotations", 0, value={"image_id": 0, "category_id": 5}),
        "neither",
    ),
    "points": (put(*A0, "segmentation", value=[[3, 2], [8, 2], [8, 6]]), "is a list of points"),
    "iscrowd 2": (put(*A0, "iscrowd", value=2), "'iscrowd' is 2; it is 0 or 1"),
    "iscrowd yes": (put(*A0, "iscrowd", value="yes"), "'iscrowd' is 'yes'"),
    "box of NaN": (put(*A0, "bbox", value=[float("nan"), 1, 2, 3]), "four finite numbers"),
    "box of three": (put(*A0, "bbox", value=[1, 2, 3]), "'bbox' is [1, 2, 3]"),
    **MORE_REFUSED,
    **{f"mask: {k}": (put(*A0, "segmentation", value=v), m) for k, (v, m) in BAD_MASKS.items()},
}


@pytest.mark.parametrize("case", REFUSED)
def test_instances_are_refused_in_one_line(tmp_path, case: str) -> None:
    edit, message = REFUSED[case]
    made = instances(tmp_path, edit)
    with pytest.raises(ValueError) as caught:  # noqa: PT011
        load_dicts(made["name"], for_test=True)
    text = str(caught.value)
    assert message in text
    assert "wrong.json" in text or "000.jpg" in text
    assert "\n" not in text
    if "file_name" not in case:  # which predictions are not compared by
        with pytest.raises(ValueError) as caught:  # noqa: PT011
            InstanceEvaluator(made["name"])
        assert message in str(caught.value)
        assert "wrong.json" in str(caught.value)


def test_an_archive_of_pictures_is_to_be_unpacked(tmp_path) -> None:
    made = instances(tmp_path)
    archive = tmp_path / "images.zip"
    archive.write_bytes(b"PK")
    metadata = MetadataCatalog.get(made["name"])
    MetadataCatalog.pop(made["name"])
    MetadataCatalog.get(made["name"]).set(**{**metadata.as_dict(), "image_root": str(archive)})
    with pytest.raises(ValueError, match=r"images\.zip is a file, where a folder is needed; unp"):
        check_files([made["name"]])


def test_the_checker_says_where_all_annotations_are_crowd(tmp_path) -> None:
    """A training refuses them."""
    for is_all in (False, True):

        def edit(content: dict, is_all: bool = is_all) -> None:
            for number, annotation in enumerate(content["annotations"]):
                annotation["iscrowd"] = int(is_all or number == 0)

        made = instances(tmp_path / str(is_all), edit)
        found = [hint for hint in inspect_dataset(made["name"]).hints if "are crowd" in hint]
        assert len(found) == is_all


@pytest.mark.parametrize("case", REFUSED)
def test_the_checker_lists_the_fault_and_goes_on(tmp_path, case: str) -> None:
    edit, message = REFUSED[case]
    made = instances(tmp_path, edit)
    if case in ("no images", "images null", "images an object", "annotations of numbers"):
        with pytest.raises(ValueError, match=r"wrong\.json: not in COCO's format"):
            inspect_dataset(made["name"])
        return
    report = inspect_dataset(made["name"])
    assert any(message in problem.detail for problem in report.problems), report.problems
    assert report.num_images >= 1


def truth_of(name: str) -> list[dict]:
    return InstanceEvaluator(name)._coco_api.dataset["annotations"]


ACCEPTED = {
    "as it is": lambda content: None,
    "no annotation ids": lambda content: [a.pop("id") for a in content["annotations"]],
    "one annotation id": lambda content: [a.update(id=3) for a in content["annotations"]],
    "annotation ids 0": lambda content: [a.update(id=0) for a in content["annotations"]],
    "annotation ids of text": lambda content: [a.update(id="a") for a in content["annotations"]],
    "no boxes": lambda content: [a.pop("bbox") for a in content["annotations"]],
    "boxes null": lambda content: [a.update(bbox=None) for a in content["annotations"]],
    "boxes empty": lambda content: [a.update(bbox=[]) for a in content["annotations"]],
    "boxes elsewhere": lambda content: [
        a.update(bbox=[9, 9, 2, 2]) for a in content["annotations"]
    ],
    "no areas": lambda content: [a.pop("area") for a in content["annotations"]],
    "crowd of text": lambda content: [a.update(iscrowd="0") for a in content["annotations"]],
    "crowd null": lambda content: [a.update(iscrowd=None) for a in content["annotations"]],
    "ignore 0": lambda content: [a.update(ignore=0) for a in content["annotations"]],
    "sizes as 12.0": put(*I0, "height", value=float(H)),
}


@pytest.mark.parametrize("case", ACCEPTED)
def test_harmless_instances_have_the_values_of_sound_ones(tmp_path, case: str) -> None:
    made = instances(tmp_path, ACCEPTED[case])
    dicts = load_dicts(made["name"], for_test=True)
    assert [d["annotations"][0].get("iscrowd", 0) for d in dicts] == [0, 0]
    assert [d["annotations"][0]["category_id"] for d in dicts] == [0, 1]
    truth = truth_of(made["name"])
    assert [a["id"] for a in truth] == [1, 2]
    assert [a["area"] for a in truth] == [20, 20]
    assert [a["bbox"] for a in truth] == [[3, 2, 5, 4]] * 2
    if case != "boxes elsewhere":
        assert not inspect_dataset(made["name"]).problems


def perfect_scores(name: str, image_ids: list) -> dict:
    evaluator = InstanceEvaluator(name)
    evaluator.reset()
    for image_id, category in zip(image_ids, (0, 1), strict=True):
        output = Instances((H, W))
        output.pred_masks = torch.from_numpy(square_mask())[None]
        output.pred_boxes = Boxes([[3, 2, 8, 6]])
        output.scores, output.pred_classes = torch.ones(1), torch.tensor([category])
        evaluator.process([{"image_id": image_id}], [{"instances": output}])
    return evaluator.evaluate()


OTHER_IDS = {
    "text": "image {}".format,
    "negative": lambda number: -1 - number,
    "hashes": lambda number: 2**64 - 1 - number,  # compiled code takes 63 bits and no sign
    "huge": lambda number: 2**70 + number,
}


@pytest.mark.parametrize("case", ["as it is", "no areas", "annotation ids 0", *OTHER_IDS])
def test_perfect_predictions_score_100(tmp_path, case: str) -> None:
    def with_others(content: dict) -> None:
        for image in content["images"]:
            image["id"] = OTHER_IDS[case](image["id"])
        for entry in content["annotations"]:
            entry["image_id"] = OTHER_IDS[case](entry["image_id"])

    made = instances(tmp_path, ACCEPTED.get(case, with_others))
    ids = [image["id"] for image in made["content"]["images"]]
    result = perfect_scores(made["name"], ids)
    for task in ("bbox", "segm"):
        assert result[task]["AP"] == result[task]["APs"] == pytest.approx(100)


PANOPTIC = {
    "annotated twice": (twice("annotations"), "image 4 is annotated by 000.png and by 000.png"),
    "no segments": (drop(*A0, "segments_info"), "'segments_info' is missing"),
    "segments null": (put(*A0, "segments_info", value=None), "'segments_info' is missing"),
    "no file_name": (drop(*A0, "file_name"), "'file_name' is None"),
    "unlisted image": (put(*A0, "image_id", value=5), "the image of annotation 5 is not listed"),
    "unknown category": (put(*A0, "segments_info", 0, "category_id", value=6), "category id 6"),
    "no annotations": (put("annotations", value=[]), "holds no annotations"),
    "isthing 2": (put("categories", 0, "isthing", value=2), "'isthing' is 2"),
    "category id twice": (put("categories", 0, "id", value=7), "its id 7 is that of"),
    "segment id 0": (put(*A0, "segments_info", 0, "id", value=0), "'id' is 0"),
    "segment id 2 ** 24": (put(*A0, "segments_info", 0, "id", value=2**24), "16777215"),
    "segment id twice": (put(*A0, "segments_info", 0, "id", value=70000), "id 70000"),
    "segment id null": (put(*A0, "segments_info", 0, "id", value=None), "'id' is missing"),
}


@pytest.mark.parametrize("case", PANOPTIC)
def test_panoptic_data_are_refused_in_one_line(tmp_path, case: str) -> None:
    edit, message = PANOPTIC[case]
    made = panoptic(tmp_path, edit)
    for read in (lambda name: load_dicts(name), PanopticEvaluator):
        with pytest.raises(ValueError) as caught:  # noqa: PT011
            read(made["name"])
        assert message in str(caught.value)
        assert "\n" not in str(caught.value)
    if case != "no annotations":
        problems = inspect_dataset(made["name"]).problems
        assert any(message in problem.detail for problem in problems), problems


@pytest.mark.parametrize("pixels", [np.uint8, np.uint16])
def test_a_panoptic_png_of_one_channel_is_told_how_ids_are_written(tmp_path, pixels: type) -> None:
    made = panoptic(tmp_path)
    file = next((tmp_path / "png").rglob("*.png"))
    with Image.open(file) as image:
        Image.fromarray((np.array(image)[..., 0] > 0).astype(pixels) * pixels(7)).save(file)
    [entry] = load_dicts(made["name"])
    cfg = make_cfg("panoptic", 3)
    message = r"000\.png.*id % 256, id // 256 % 256 .*task: instance with 'labels'"
    with pytest.raises(ValueError, match=message):
        build_mapper(cfg, is_train=True)(entry)
    found = inspect_dataset(made["name"])
    said = [*found.hints, *(problem.detail for problem in found.problems)]
    assert any("task: instance with 'labels'" in line for line in said)


@pytest.mark.parametrize("area", [1, 0, -5, 10**9, "20", None, float("nan")])
def test_a_stated_area_of_a_segment_changes_no_score(tmp_path, area) -> None:
    made = panoptic(tmp_path, put(*A0, "segments_info", 0, "area", value=area))
    evaluator = PanopticEvaluator(made["name"])
    evaluator.reset()
    (entry,) = load_dicts(made["name"])
    ids = np.full((H, W), 300)
    ids[:, W // 2 :] = 70000
    segments = [{k: s[k] for k in ("id", "category_id", "isthing")} for s in entry["segments_info"]]
    evaluator.process([entry], [{"panoptic_seg": (torch.from_numpy(ids), segments)}])
    assert evaluator.evaluate()["panoptic_seg"]["PQ"] == 100
    kinds = [problem.kind for problem in inspect_dataset(made["name"]).problems]
    assert kinds == ["wrong area"]


def test_predictions_of_images_of_one_name_get_files_of_their_own(tmp_path) -> None:
    def two_cameras(content: dict) -> None:
        content["images"] = [
            {**content["images"][0], "id": i, "file_name": f"cam{i}/frame.jpg"} for i in range(3)
        ]
        content["annotations"] = [{**content["annotations"][0], "image_id": i} for i in range(3)]

    made = panoptic(tmp_path, two_cameras)
    evaluator = PanopticEvaluator(made["name"], str(tmp_path / "out"))
    evaluator.reset()
    for entry in load_dicts(made["name"]):
        evaluator.process([entry], [{"panoptic_seg": (torch.zeros(H, W, dtype=int), [])}])
    found = sorted(file.name for file in (tmp_path / "out/predictions").iterdir())
    assert found == ["frame.png", "frame_2.png", "frame_3.png"]
    evaluator.evaluate()
    saved = json.loads((tmp_path / "out/predictions.json").read_text())["annotations"]
    assert sorted(x["file_name"] for x in saved) == found


def test_metadata_without_id_maps_are_named(tmp_path) -> None:
    made = panoptic(tmp_path)
    name = f"{made['name']}_bare"
    DatasetCatalog.register(name, lambda: load_dicts(made["name"]))
    metadata = MetadataCatalog.get(made["name"])
    MetadataCatalog.get(name).set(
        panoptic_json=metadata.panoptic_json, panoptic_root=metadata.panoptic_root
    )
    with pytest.raises(ValueError, match="its metadata lack thing_dataset_id_to_contiguous_id"):
        PanopticEvaluator(name)


def test_annotations_that_are_left_out_are_counted(tmp_path, caplog) -> None:
    made = instances(tmp_path, put(*A0, "image_id", value=77))
    with caplog.at_level(logging.WARNING, logger="d2seg"):
        dicts = load_dicts(made["name"])
    assert "1 annotations are of images that are not listed" in caplog.text
    assert [len(entry["annotations"]) for entry in dicts] == [0, 1]
    made = instances(tmp_path, lambda c: [a.update(image_id="0") for a in c["annotations"]])
    with pytest.raises(ValueError, match="none of its 2 annotations is of a listed image"):
        load_dicts(made["name"])


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_subnormal=False)
    | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=2), inner),
    max_leaves=6,
)
KEYS = [("images", 0), A0, ("categories", 0), (*A0, "segmentation"), (*A0, "bbox"), ("images",)]
NAMES = ["id", "file_name", "height", "image_id", "category_id", "iscrowd", "area", "segmentation"]


@settings(max_examples=50, deadline=None, suppress_health_check=list(HealthCheck))
@given(place=st.sampled_from(KEYS), key=st.sampled_from(NAMES), value=JSON)
def test_any_json_is_read_or_refused(tmp_path, place, key: str, value) -> None:
    path = (*place, key) if len(place) == 2 else place
    made = instances(tmp_path, put(*path, value=value))
    DatasetCatalog.pop(made["name"])  # the name is used once
    try:
        content = read_coco(made["file"])
        DatasetCatalog.register(made["name"], lambda: _dicts_of(content))
        load_dicts(made["name"])
    except ValueError as error:
        assert "\n" not in str(error)  # noqa: PT017  (any other error fails the test)
    finally:
        if made["name"] in DatasetCatalog:
            DatasetCatalog.pop(made["name"])


def _dicts_of(content) -> list[dict]:
    dicts = {i: {**image, "annotations": []} for i, image in content.images.items()}
    for entry in content.annotations or ():
        dicts[entry["image_id"]]["annotations"].append(entry)
    return list(dicts.values())


def test_the_cases_begin_with_a_sound_set(tmp_path) -> None:
    assert SQUARE
    assert len(CATEGORIES) == 3
    assert not inspect_dataset(instances(tmp_path)["name"]).problems
    assert not inspect_dataset(panoptic(tmp_path / "panoptic")["name"]).problems
