"""The Pascal Context script on a small folder in the raw layout."""

import json
import re
import runpy
import sys

import numpy as np
import pycocotools.mask as mask_util
import pytest
from dataset_files import write_image, write_json
from PIL import Image

from d2seg.data.datasets.categories import load_categories
from d2seg.data.datasets.loaders import load_semantic

H, W = 6, 8
AEROPLANE, BAG, WOOD = 2, 9, 458  # ids of the first two classes and of the last


def compressed(mask):
    rle = mask_util.encode(np.asfortranarray(mask.astype(np.uint8)))
    return {"size": rle["size"], "counts": rle["counts"].decode()}


def run_lengths(mask):
    """The form without compression: lengths of runs down the columns, zeros first."""
    flat = mask.T.ravel().astype(int)
    ends = [*np.flatnonzero(np.diff(flat)) + 1, flat.size]
    lengths = np.diff([0, *ends]).tolist()
    return {"size": list(mask.shape), "counts": [0, *lengths] if flat[0] else lengths}


@pytest.fixture
def raw(tmp_path):
    """An aeroplane on the left, a bag over its lower half, wood in the last row; one image each in
    train and val, and one of the test phase without annotations."""
    root = tmp_path / "VOCdevkit/VOC2010"
    plane, bag, wood = (np.zeros((H, W), bool) for _ in range(3))
    plane[:, :4], bag[3:, :4], wood[5] = True, True, True
    segments = [
        {"id": 1, "image_id": 7, "category_id": AEROPLANE, "segmentation": compressed(plane)},
        {"id": 2, "image_id": 9, "category_id": BAG, "segmentation": compressed(bag)},
        {"id": 3, "image_id": 7, "category_id": BAG, "segmentation": run_lengths(bag)},
        {"id": 4, "image_id": 7, "category_id": WOOD, "segmentation": compressed(wood)},
    ]
    images = [
        {"image_id": number, "file_name": f"2008_00000{number}.jpg", "phase": phase}
        | {"height": H, "width": W}
        for number, phase in ((7, "train"), (9, "val"), (8, "test"))
    ]
    for image in images:
        write_image(root / "JPEGImages" / image["file_name"], (H, W))
    write_image(root / "JPEGImages" / "2007_000001.jpg", (H, W))  # of no concern
    write_json(root / "trainval_merged.json", {"images": images, "annos_segmentation": segments})
    return tmp_path, root


def read(file):
    with Image.open(file) as image:
        return np.array(image)


def change(root, edit):
    file = root / "trainval_merged.json"
    content = json.loads(file.read_text())
    edit(content)
    file.write_text(json.dumps(content))


def test_labels_with_and_without_background(raw, load_tool):
    folder, root = raw
    tool = load_tool("prepare_pascal_context")
    tool.main(["--root", str(folder), "--workers", "2"])
    made = root / "pascal_context"
    labels = read(made / "labels_60/train/2008_000007.png")
    assert labels.dtype == np.uint8
    assert labels[0].tolist() == [1] * 4 + [0] * 4
    assert labels[4].tolist() == [2] * 4 + [0] * 4  # the later segment
    assert labels[5].tolist() == [59] * 8
    names = [c.name for c in load_categories("pascal_context_60")]
    assert [names[i] for i in (0, 1, 2, 59)] == ["background", "aeroplane", "bag", "wood"]
    reduced = read(made / "labels_59/train/2008_000007.png")
    assert np.array_equal(reduced, np.where(labels == 0, 255, labels.astype(int) - 1))
    for split, stem in (("train", "2008_000007"), ("val", "2008_000009")):
        for kind in ("labels_59", "labels_60"):
            (entry,) = load_semantic(made / "images" / split, made / kind / split)
            assert entry["image_id"] == stem
    stamp = (made / "labels_60/train/2008_000007.png").stat().st_mtime_ns
    tool.main(["--root", str(folder)])
    assert (made / "labels_60/train/2008_000007.png").stat().st_mtime_ns == stamp


def test_the_tables_agree():
    without, whole = load_categories("pascal_context_59"), load_categories("pascal_context_60")
    assert [(c.id, c.name) for c in whole] == [
        (0, "background"),
        *((c.id, c.name) for c in without),
    ]
    assert [c.id for c in whole] == sorted(c.id for c in whole)
    assert {c.name: c.id for c in whole}["tvmonitor"] == 427


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (
            lambda c: c["annos_segmentation"][0].update(category_id=3),
            r"2008_000007\.jpg: category 3 is none of the 59",
        ),
        (lambda c: c["images"][0].update(height=7), r"2008_000007\.jpg: a segment is \(6, 8\)"),
        (lambda c: c.pop("annos_segmentation"), r"lacks \['annos_segmentation'\]"),
        (lambda c: c["images"].pop(1), "no image of the phase 'val'"),
    ],
)
def test_strange_content_is_refused(raw, load_tool, edit, message):
    folder, root = raw
    change(root, edit)
    with pytest.raises(ValueError, match=message):
        load_tool("prepare_pascal_context").main(["--root", str(folder)])


def test_an_image_of_another_size_is_refused(raw, load_tool):
    folder, root = raw
    write_image(root / "JPEGImages/2008_000009.jpg", (H, W + 1))
    with pytest.raises(ValueError, match=r"2008_000009\.jpg is \(9, 6\), its annotation \(8, 6\)"):
        load_tool("prepare_pascal_context").main(["--root", str(folder)])


def test_missing_and_truncated_files_end_in_one_line(raw, repo_dir, monkeypatch, capsys):
    folder, root = raw
    script = str(repo_dir / "tools" / "prepare_pascal_context.py")
    monkeypatch.setattr(sys, "argv", [script, "--root", str(folder)])
    (root / "trainval_merged.json").write_text('{"images": [')
    with pytest.raises(SystemExit, match="2"):
        runpy.run_path(script, run_name="__main__")
    assert re.match(
        r"error: .*trainval_merged\.json is truncated or not",
        capsys.readouterr().err.splitlines()[-1],
    )
    (root / "trainval_merged.json").unlink()
    with pytest.raises(SystemExit, match="2"):
        runpy.run_path(script, run_name="__main__")
    assert re.match(r"error: there is no .*detail-api", capsys.readouterr().err.splitlines()[-1])
    monkeypatch.setattr(sys, "argv", [script, "--root", str(folder / "empty")])
    with pytest.raises(SystemExit, match="2"):
        runpy.run_path(script, run_name="__main__")
    assert re.match(r"error: there is no .*VOCtrainval", capsys.readouterr().err.splitlines()[-1])
