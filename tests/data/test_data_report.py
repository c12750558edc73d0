"""The page on data sets: each fault in a picture, histograms by hand, bounds, bad paths."""

import json
from html.parser import HTMLParser

import numpy as np
import pytest
from dataset_files import (
    H,
    W,
    annotation,
    coco_json,
    square_rle,
    write_image,
    write_json,
    write_panoptic,
    write_png,
)
from PIL import Image
from report_data import declare, inspected, save, scene

from d2seg.cli import check
from d2seg.data.datasets.declaration import register_declarations
from d2seg.data.inspection import page_pictures
from d2seg.data.inspection.dataset import inspect_dataset
from d2seg.data.inspection.drawing import draw, read_annotated
from d2seg.data.inspection.histograms import histograms_of
from d2seg.data.inspection.measures import Inspected
from d2seg.data.inspection.page_pictures import Pictures, problems_of
from d2seg.pictures import shown_size_and_grey

HOSTILE = "</title><script>alert('x')</script>"
RED = (230, 20, 40)


def test_histograms_equal_hand_counts(tmp_path):
    labels = np.zeros((8, 16), np.uint8)
    labels[:2, :8] = 2  # 16 pixels, a side of 4; the rest, 112, has one of 10.6
    for number, grey in enumerate((20, 20, 200)):
        picture = Image.fromarray(np.full((8, 16, 3), grey, np.uint8))
        save(picture, tmp_path / f"images/train/{number}.png", labels if number else labels * 0)
    save(scene(1, (40, 70)), tmp_path / "images/train/3.png")
    [one] = inspected(declare(tmp_path, "train"))
    found = {h.title: dict(zip(h.labels, h.counts[0], strict=True)) for h in
             histograms_of([one.measures], is_semantic=True)}  # fmt: skip
    grey = int(np.asarray(scene(1, (40, 70)).convert("L")).mean()) // 16 * 16
    expected = {"16-31": 2, "192-207": 1}
    expected[f"{grey}-{grey + 15}"] = expected.get(f"{grey}-{grey + 15}", 0) + 1
    assert {k: v for k, v in found["brightness"].items() if v} == expected
    assert found["resolution"] == {"16-31": 3, "32-63": 0, "64-127": 1}
    # classes: {0}, {0, 2}, {0, 2}, {0, 1}
    assert {k: v for k, v in found["classes per picture"].items() if v} == {"1": 1, "2": 3}
    # sides: 128 -> 11.3; 16 -> 4 and 112 -> 10.6, twice; 1400 -> 37.4, twice
    assert found["size of a class in a picture"] == {"4-7": 2, "8-15": 3, "16-31": 0, "32-63": 2}
    assert one.measures.resolutions == {(8, 16): 3, (40, 70): 1}
    assert one.measures.blank == [0, 1, 2]
    assert [c for _, c, _ in one.measures.rarest] == [1, 2, 0]


def test_objects_are_counted_per_picture(tmp_path):
    write_image(tmp_path / "images/000.jpg")
    write_image(tmp_path / "images/001.jpg")
    small = annotation(image_id=1, segmentation=[[0, 0, 2, 0, 2, 2, 0, 2]], bbox=[0, 0, 2, 2])
    content = coco_json([annotation(), annotation(category_id=9), small], num_images=2)
    write_json(tmp_path / "a.json", content)
    paths = {"train": {"images": "images", "annotations": "a.json"}}
    [one] = inspected(declare(tmp_path, task="instance", splits=paths, classes=None))
    assert one.measures.objects == {2: 1, 1: 1}
    assert one.measures.sides == {2: 2, 1: 1}  # of 20 pixels: 4.5; of 4 pixels: 2


def shown_kinds(one: Inspected) -> dict[str, list[int]]:
    """Number of panels of each example, by kind of problem."""
    kinds = problems_of(one, Pictures())["kinds"]
    return {k["kind"]: [len(example["panels"]) for example in k["examples"]] for k in kinds}


def test_faults_of_label_maps_are_shown(tmp_path):
    for number in range(6):
        save(scene(number), tmp_path / f"images/train/{number}.png")
    labels = tmp_path / "labels/train"
    wrong = np.zeros((96, 128), np.uint8)
    wrong[10:20, 10:20] = 7
    write_png(labels / "1.png", wrong)
    write_png(labels / "2.png", np.zeros((50, 128), np.uint8))
    write_png(labels / "3.png", np.full((96, 128), 255, np.uint8))
    (labels / "4.png").write_bytes(b"no picture")
    (tmp_path / "images/train/5.png").write_bytes(b"no picture")
    [one] = inspected(declare(tmp_path, "train"))
    assert shown_kinds(one) == {
        "label out of range": [1],
        "annotation and image differ in size": [2],  # picture and label map side by side
        "nothing annotated": [1],
        "unreadable label map": [1],
        "unreadable image": [1],  # its label map
    }
    [(number, problem)] = one.measures.examples["label out of range"]
    found = read_annotated(one.measures.entries[number], one.metadata, problem.subject)
    [(_, picture)] = draw(found, one.metadata, 128)
    fault = picture[12:18, 12:18].astype(int)
    assert np.abs(fault - RED).mean() < 60  # 0.7 of red
    assert fault[..., 0].min() > picture[60:80, 60:80, 0].mean()


def test_faults_of_values_that_are_not_declared_are_shown(tmp_path):
    save(scene(0), tmp_path / "images/train/0.png")
    values = {"classes": None, "values": {0: "floor", 2: "wall"}}
    [one] = inspected(declare(tmp_path, "train", **values))
    assert shown_kinds(one) == {"label value not declared": [1]}


@pytest.mark.parametrize(
    ("change", "kind"),
    [
        ({"segmentation": None}, "no mask"),
        ({"segmentation": [[0.1, 0.2, 0.5, 0.2, 0.5, 0.9]]}, "unusable mask"),
        ({"segmentation": [[100, 100, 110, 100, 110, 110]]}, "empty mask"),
        ({"segmentation": square_rle((W, H))}, "annotation and image differ in size"),
        ({"bbox": [3, 2, 0, 4]}, "empty box"),
        ({"bbox": [9, 7, 5, 4]}, "box elsewhere than its mask"),
        ({"area": -1}, "unusable annotation"),
    ],
)
def test_faults_of_annotations_are_shown(tmp_path, change, kind):
    write_image(tmp_path / "images/000.jpg")
    write_json(tmp_path / "a.json", coco_json([annotation(), annotation(**change)]))
    paths = {"train": {"images": "images", "annotations": "a.json"}}
    [one] = inspected(declare(tmp_path, task="instance", splits=paths, classes=None))
    shown = shown_kinds(one)
    # what is wrong with a number in a JSON file, and nowhere in a picture, has no picture
    assert shown == {kind: [0 if "area" in change else 1]}


def test_faults_of_segments_are_shown(tmp_path):
    segments = [{"id": 300, "category_id": 9, "area": 3}, {"id": 9, "category_id": 7}]
    write_panoptic(tmp_path, segments)
    paths = {"images": "images", "annotations": "panoptic.json", "panoptic": "png"}
    [one] = inspected(declare(tmp_path, task="panoptic", splits={"val": paths}, classes=None))
    assert shown_kinds(one) == {
        "segment not listed": [1],
        "wrong area": [1],
        "empty mask": [1],
    }


def test_files_that_nobody_lists_are_shown(tmp_path):
    for number in range(3):
        save(scene(number), tmp_path / f"images/train/{number}.png")
    (tmp_path / "labels/train/1.png").unlink()
    (tmp_path / "images/train/2.png").unlink()
    [one] = inspected(declare(tmp_path, "train"))
    assert shown_kinds(one) == {"image without label map": [1], "label map without image": [1]}


def test_what_is_kept_does_not_grow_with_the_pictures(tmp_path):
    for number in range(40):
        save(scene(number, (20, 30)), tmp_path / f"images/train/{number}.png")
        write_png(tmp_path / f"labels/train/{number}.png", np.full((20, 30), 9, np.uint8))
    [one] = inspected(declare(tmp_path, "train"))
    assert len(one.measures.files) == 40
    assert len(one.measures.hashes) == 40 * 18
    assert {kind: len(shown) for kind, shown in one.measures.examples.items()} == {
        "label out of range": 4,
        "nothing annotated": 4,
    }
    assert len(one.measures.entries) <= 12 + 12 + 2 * 4


def test_without_a_page_nothing_is_measured(tmp_path):
    save(scene(0), tmp_path / "images/train/0.png")
    file = declare(tmp_path, "train")
    [name] = register_declarations([file])
    assert inspect_dataset(name).picture is None
    assert shown_size_and_grey(str(tmp_path / "images/train/0.png"), 0) == ((96, 128, False), None)


class Attributes(HTMLParser):
    """Name and value of every attribute of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str, str]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found += [(name, value or "") for name, value in attrs]


def test_hostile_names_stay_text_and_nothing_is_fetched(tmp_path):
    classes = ["floor", HOSTILE, "wall"]
    labels = np.ones((96, 128), np.uint8)
    labels[0, 0] = 9  # so that a problem names the file, too
    save(scene(0), tmp_path / "images/train/<img src=x onerror=alert(1)>.png", labels)
    page = tmp_path / "r.html"
    assert check.main([str(declare(tmp_path, "train", classes=classes)), "--html", str(page)]) == 1
    text = page.read_text()
    assert HOSTILE not in text
    assert "&lt;script&gt;alert" in text
    assert "<img src=x" not in text
    attributes = Attributes()
    attributes.feed(text)
    assert any(value.startswith("data:") for _, value in attributes.found)
    for name, value in attributes.found:
        assert not name.startswith("on")
        assert name not in ("src", "href", "data-src") or value.startswith(("data:", "#"))
    assert "://" not in text.replace("http://www.w3.org/2000/svg", "")  # which names a language


def test_the_pictures_of_a_page_are_bounded(monkeypatch):
    assert page_pictures.MAX_CHARACTERS < 4.5e6  # half a megabyte is left for the text
    monkeypatch.setattr(page_pictures, "MAX_CHARACTERS", 100_000)
    pictures = Pictures()
    noise = np.random.default_rng(0).integers(0, 256, (150, 150, 3), np.uint8)
    uris = [pictures.uri(noise) for _ in range(12)]
    assert pictures.num_left_out == uris.count(None) > 0
    assert 70_000 < sum(len(uri) for uri in uris if uri) < 100_000


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("none/report.html", "there is no folder"),
        ("folder.html", "is a folder"),
        ("report.txt", "does not end in .html"),
        ("report", "does not end in .html"),
        ("file.html/report.html", "there is no folder"),
    ],
)
def test_a_bad_path_ends_with_2_before_the_work(tmp_path, monkeypatch, capsys, path, message):
    (tmp_path / "folder.html").mkdir()
    (tmp_path / "file.html").touch()
    monkeypatch.setattr(check, "read_targets", lambda *_, **__: pytest.fail("work was begun"))
    with pytest.raises(SystemExit) as exit_code:
        check.main(["any", "--html", str(tmp_path / path)])
    assert exit_code.value.code == 2
    err = capsys.readouterr().err
    assert message in err
    assert err.count("\n") == 1


def test_an_interrupted_run_leaves_the_old_page(tmp_path, monkeypatch):
    save(scene(0), tmp_path / "images/train/0.png")
    page = tmp_path / "out" / "r.html"
    page.parent.mkdir()
    page.write_text("old")

    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("d2seg.checkpoint.files.os.replace", interrupt)
    with pytest.raises(KeyboardInterrupt):
        check.main([str(declare(tmp_path, "train")), "--html", str(page)])
    assert page.read_text() == "old"
    assert [*page.parent.iterdir()] == [page]


def test_a_config_shows_what_its_mapper_makes(tmp_path):
    for number in range(14):
        save(scene(number), tmp_path / f"images/train/{number}.png")
    file = declare(tmp_path, "train")
    name = f"{json.loads(file.read_text())['name']}_train"
    config = tmp_path / "c.yaml"
    config.write_text(
        f"DATASETS: {{DECLARATIONS: ['{file}'], TRAIN: ['{name}'], TEST: []}}\n"
        "MODEL: {META_ARCHITECTURE: MaskFormer, SEM_SEG_HEAD: {NUM_CLASSES: 3}}\n"
        "INPUT: {MAPPER: semantic, MIN_SIZE_TRAIN: [64], CROP: {ENABLED: False}}\n"
    )
    page = tmp_path / "r.html"
    assert check.main(["--config-file", str(config), "--html", str(page)]) == 0
    mapped = page.read_text().partition('id="mapper"')[2]
    assert mapped.count("data:image/webp") == 12
    assert "the mapper fails" not in mapped
