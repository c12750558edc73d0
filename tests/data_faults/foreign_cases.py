"""Damages to small folders of other tools' annotations, each with the line that it ends in."""

import base64
import io
import json
import os
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

Damage = Callable[[Path], None]


def edit_json(name: str, change: Callable[[dict], None]) -> Damage:
    def damage(source: Path) -> None:
        file = source / name
        content = json.loads(file.read_text())
        change(content)
        file.write_text(json.dumps(content))

    return damage


def replace(name: str, old: str, new: str) -> Damage:
    def damage(source: Path) -> None:
        file = source / name
        text = file.read_text()
        assert old in text
        file.write_text(text.replace(old, new, 1))

    return damage


def write(name: str, content: str | bytes) -> Damage:
    return lambda source: (source / name).write_bytes(
        content if isinstance(content, bytes) else content.encode()
    )


def both(first: Damage, second: Damage) -> Damage:
    def damage(source: Path) -> None:
        first(source)
        second(source)

    return damage


def pipe(name: str) -> Damage:
    """Who opens it waits for ever."""

    def damage(source: Path) -> None:
        (source / name).unlink(missing_ok=True)
        os.mkfifo(source / name)

    return damage


def delete(name: str) -> Damage:
    return lambda source: (source / name).unlink()


def shape(**keys: Any) -> Damage:
    """Of LabelMe's first."""
    return edit_json("a.json", lambda content: content["shapes"][0].update(keys))


def line(text: str) -> Damage:
    """One more of YOLO's."""

    def damage(source: Path) -> None:
        file = source / "labels/train/a.txt"
        file.write_text(f"{file.read_text()}{text}\n")

    return damage


def element(text: str) -> Damage:
    """One more of CVAT's."""
    return replace("annotations.xml", "</image>", f"{text}</image>")


def thing(**keys: Any) -> Damage:
    """Supervisely's first object: a polygon."""
    return edit_json("ds0/ann/a.png.json", lambda content: content["objects"][0].update(keys))


def bitmap(data: bytes, origin: list[Any] | None = None) -> Damage:
    packed = {
        "data": base64.b64encode(data).decode(),
        "origin": [1, 1] if origin is None else origin,
    }
    return thing(geometryType="bitmap", bitmap=packed)


def png(pixels: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def voc_map(kind: str, values: np.ndarray) -> Damage:
    return lambda source: Image.fromarray(values).save(source / f"Segmentation{kind}/a.png")


BOMB = (
    '<?xml version="1.0"?><!DOCTYPE x [<!ENTITY a "ha">'
    + "".join(f'<!ENTITY a{i} "{"&a;" if i == 0 else f"&a{i - 1};" * 10}">' for i in range(9))
    + "]><annotations><version>&a8;</version></annotations>"
)
FAR = [[-1e6, 0], [1e6, 0], [5, 1e6]]
SQUARE = [[1, 1], [9, 1], [9, 9]]
CASES: list[tuple[str, str, Damage, str]] = [
    # LabelMe
    ("labelme", "broken", write("a.json", '{"shapes": ['), r"a\.json: not a JSON file"),
    ("labelme", "text", write("a.json", b"\xff\xfe\x00{"), r"a\.json: not a JSON file"),
    ("labelme", "size_text", edit_json("a.json", lambda c: c.update(imageHeight="30")), r"a\.json: 'height' is '30'; it is a whole number"),
    ("yolo", "latin1", write("labels/train/a.txt", b"0 0.1 \xe9"), r"a\.txt: the labels cannot be read: .*; save it in UTF-8"),
    ("labelme", "deep", write("a.json", "[" * 100000), r"a\.json: not a JSON file"),
    ("labelme", "no_list", edit_json("a.json", lambda c: c.update(shapes={})), "'shapes' is no list"),
    ("labelme", "no_picture", delete("a.png"), r"no picture 'a\.png'; put it there, or .*--images"),
    ("labelme", "escape", edit_json("a.json", lambda c: c.update(imagePath="../../etc/passwd")), r"'\.\./\.\./etc/passwd' is not in .*--images"),
    ("labelme", "absolute", edit_json("a.json", lambda c: c.update(imagePath="/etc/passwd")), "'/etc/passwd' is not in"),
    ("labelme", "long", edit_json("a.json", lambda c: c.update(imagePath="x" * 5000 + ".png")), "there is no picture 'xxx"),
    ("labelme", "surrogate", edit_json("a.json", lambda c: c.update(imagePath="\ud800.png")), "there is no picture"),
    ("labelme", "huge", shape(points=[[1, 1], [10**400, 9], [5, 9]]), "not finite, or beyond 1e.09"),
    ("labelme", "no_path", edit_json("a.json", lambda c: c.update(imagePath=None)), "named None, which is no path"),
    ("labelme", "size", edit_json("a.json", lambda c: c.update(imageWidth=99)), r"is 40x30 .* of 99x30"),
    ("labelme", "cut_picture", lambda s: (s / "a.png").write_bytes((s / "a.png").read_bytes()[:99]), "the picture cannot be read"),
    ("labelme", "class", shape(label="cow"), r"class 'cow' is not in the list of labels\.txt; add it"),
    ("labelme", "no_class", shape(label=None), r"shapes\[0\]: the class is None; it is a name"),
    ("labelme", "odd_class", shape(label="a\nb"), "characters that cannot be printed"),
    ("labelme", "nan", shape(points=[[1, 1], [9, float("nan")], [5, 9]]), "number that is not finite"),
    ("labelme", "infinite", shape(points=[[1, 1], [9, 1e999], [5, 9]]), "number that is not finite"),
    ("labelme", "far", shape(points=FAR), "lies far outside of its 40x30 image"),
    ("labelme", "outside", shape(points=[[45, 1], [60, 1], [50, 9]]), "holds no pixel of its picture"),
    ("labelme", "few", shape(points=[[1, 1], [2, 2]]), "'points' has 2 points; an outline has at least 3"),
    ("labelme", "flat", shape(points=[1, 1, 2, 2, 3, 3]), r"'points' is no list of \[x, y\]"),
    ("labelme", "words", shape(points=[["1", 1], [2, 2], [3, 3]]), r"'points' is no list of"),
    ("labelme", "kind", shape(shape_type="blob"), "'shape_type' 'blob' is unknown"),
    ("labelme", "mask", shape(shape_type="mask", mask="@@", points=[[1, 1], [5, 5]]), "no PNG in base64"),
    ("labelme", "beyond", shape(shape_type="mask", mask=base64.b64encode(png(np.ones((9, 9), np.uint8))).decode(), points=[[35, 1], [44, 9]]), "9x9 from .35, 1. on, reaches beyond"),
    ("labelme", "large_mask", shape(shape_type="mask", mask=base64.b64encode(png(np.ones((99, 99), np.uint8))).decode(), points=[[0, 0], [9, 9]]), "99x99 pixels .*more than 1200"),
    ("labelme", "twice", lambda s: write("b.json", (s / "a.json").read_bytes())(s), "it is annotated twice"),
    # YOLO
    ("yolo", "broken", write("data.yaml", "names: [a"), r"data\.yaml: not valid YAML"),
    ("yolo", "no_names", replace("data.yaml", "names:\n", "names: []\nx:\n"), "'names' is missing"),
    ("yolo", "gap", replace("data.yaml", "  1: square", "  2: square"), "keys of 'names' are 0, 1, 2"),
    ("yolo", "nc", replace("data.yaml", "nc: 2", "nc: 7"), "'nc' is 7, but 'names' has 2"),
    ("yolo", "double", replace("data.yaml", "1: square", "1: circle"), "'circle' is listed twice"),
    ("yolo", "no_folder", replace("data.yaml", "val:", "val: images/val"), "'val' is 'images/val': there is no"),
    ("yolo", "escape", replace("data.yaml", "images/train", "../../../.."), r"'train' is '.*', which leads out of"),
    ("yolo", "list_escape", both(write("l.txt", "../../../etc/hosts\n"), replace("data.yaml", "val:", "val: l.txt")), r"l\.txt: line 1: the picture .* is not in"),
    ("yolo", "class", line("2 0.1 0.1 0.5 0.1 0.5 0.5"), r"line 3: the class 2 is not in 'names', .* 0 to 1"),
    ("yolo", "word", line("cat 0.1 0.1 0.5 0.1 0.5 0.5"), "the class is 'cat'; it is a number from 0 on"),
    ("yolo", "negative", line("-1 0.1 0.1 0.5 0.1 0.5 0.5"), "the class is '-1'"),
    ("yolo", "beyond", line("0 0.1 0.1 1.5 0.1 0.5 0.5"), r"line 3: a coordinate is 1\.5; .* 0 to 1"),
    ("yolo", "pixels", line("0 10 10 30 10 20 20"), "a coordinate is 10; they are parts of width"),
    ("yolo", "nan", line("0 0.1 nan 0.5 0.1 0.5 0.5"), "a coordinate is nan"),
    ("yolo", "odd", line("0 0.1 0.1 0.5 0.1 0.5 0.5 0.9"), "it has 7 coordinates"),
    ("yolo", "letters", line("0 0.1 0.1 0.5 a 0.5 0.5"), "a coordinate is no number"),
    ("yolo", "binary", write("labels/train/a.txt", b"\xff\xfe\x00"), r"a\.txt: the labels cannot be read"),
    ("yolo", "cut_picture", write("images/train/a.png", b"\x89PNG"), r"a\.png: the picture cannot be read"),
    ("yolo", "pipe", pipe("labels/train/a.txt"), r"a\.txt: the labels cannot be read: it is no regular file"),
    ("yolo", "picture_pipe", pipe("images/train/a.png"), r"a\.png: .*it is no regular file"),
    ("yolo", "list_pipe", both(pipe("l.txt"), replace("data.yaml", "val:", "val: l.txt")), r"the list .*l\.txt cannot be read: it is no"),
    # Pascal VOC
    ("voc", "map_pipe", pipe("SegmentationClass/a.png"), r"a\.png: .*it is no regular file"),
    ("voc", "no_picture", delete("JPEGImages/a.png"), r"a\.png: there is no .*JPEGImages/a\.jpg; .*--images"),
    ("voc", "no_map", delete("SegmentationClass/a.png"), r"SegmentationClass/a\.png: the label map cannot be read"),
    ("voc", "no_objects", delete("SegmentationObject/a.png"), r"SegmentationObject/a\.png: the label map cannot be read"),
    ("voc", "cut", write("SegmentationObject/a.png", b"\x89PNG\r\n"), r"SegmentationObject/a\.png: the label map"),
    ("voc", "size", voc_map("Class", np.zeros((9, 9), np.uint8)), r"the label map is 9x9 .* picture 40x30"),
    ("voc", "class", voc_map("Class", np.full((30, 40), 7, np.uint8)), r"object 1 has the values \[7\]"),
    ("voc", "none", voc_map("Class", np.zeros((30, 40), np.uint8)), "object 1 has no class"),
    ("voc", "two", voc_map("Class", np.arange(1200, dtype=np.uint8).reshape(30, 40) % 2 + 1), r"object 1 has the values \[1, 2\]"),
    ("voc", "colour", voc_map("Class", np.full((30, 40, 3), 9, np.uint8)), r"1 colours are of no class, as \[9, 9, 9\]"),
    ("voc", "escape", write("ImageSets/Segmentation/train.txt", "../../x\nb\n"), r"train\.txt: line 1: the name '\.\./\.\./x' leads out"),
    ("voc", "long", write("ImageSets/Segmentation/train.txt", "x" * 5000 + "\nb\n"), "is longer than a file's name"),
    ("voc", "list", write("ImageSets/Segmentation/train.txt", b"\xff\xfe\x00"), "the list of pictures cannot be read"),
    ("voc", "pipe", both(delete("ImageSets/Segmentation/train.txt"), pipe("ImageSets/Segmentation/a.txt")), r"a\.txt: the list of pictures cannot be read: it is no regular"),
    ("voc", "labelmap", write("labelmap.txt", "# nothing\n"), r"labelmap\.txt: it lists 0 classes"),
    ("voc", "double", write("labelmap.txt", "a:1,1,1::\na:2,2,2::\n"), "the class 'a' is listed twice"),
    ("voc", "same_colour", write("labelmap.txt", "background:0,0,0::\ncircle:9,0,0::\nsquare:9,0,0::\n"), r"labelmap\.txt: .*the colour of 'square' is 9,0,0, that of another class, too"),
    ("voc", "two_levels", write("labelmap.txt", "background:0,0::\n"), "the colour of 'background' is '0,0'; it is R,G,B, each 0 to 255"),
    ("voc", "high_level", write("labelmap.txt", "circle:300,0,0::\n"), "the colour of 'circle' is '300,0,0'"),
    # CVAT
    ("cvat", "broken", write("annotations.xml", "<annotations><image>"), r"annotations\.xml: not a readable XML"),
    ("cvat", "empty", write("annotations.xml", ""), r"annotations\.xml: not a readable XML"),
    ("cvat", "bomb", write("annotations.xml", BOMB), r"annotations\.xml: .* document type .* refused"),
    ("cvat", "entity", write("annotations.xml", '<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]><annotations>&x;</annotations>'), "document type"),
    ("cvat", "deep", write("annotations.xml", "<annotations>" + "<a>" * 200), "nested more than 100 deep"),
    ("cvat", "encoding", write("annotations.xml", '<?xml version="1.0" encoding="nothing"?><annotations/>'), "not a readable XML"),
    ("cvat", "root", write("annotations.xml", "<other><annotations/></other>"), "its root is <other>"),
    ("cvat", "video", replace("annotations.xml", "<image ", '<track id="0"/><image '), "it is 'CVAT for video'; export"),
    ("cvat", "no_image", write("annotations.xml", "<annotations/>"), "it has no <image>"),
    ("cvat", "no_picture", delete("images/a.png"), r"image 'a\.png': there is no picture 'a\.png'"),
    ("cvat", "escape", replace("annotations.xml", 'name="a.png"', 'name="../../../a.png"'), "is not in .*--images"),
    ("cvat", "subset", replace("annotations.xml", 'name="a.png"', 'subset="../\n" name="no.png"'), "there is no picture 'no.png'"),
    ("cvat", "size", replace("annotations.xml", 'width="40"', 'width="41"'), r"is 40x30 .* of 41x30"),
    ("cvat", "class", element('<polygon label="cow" points="1,1;9,1;9,9"/>'), r"class 'cow' is not in the list of <labels>"),
    ("cvat", "nan", element('<polygon label="circle" points="1,1;nan,1;9,9"/>'), "number that is not finite"),
    ("cvat", "far", element('<polygon label="circle" points="1,1;1e8,1;9,9"/>'), "far outside of its 40x30"),
    ("cvat", "word", element('<polygon label="circle" points="1,1;a,1"/>'), r"'points' has 'a,1'; it is x,y;x,y"),
    ("cvat", "no_points", element('<polygon label="circle"/>'), "'points' has ''"),
    ("cvat", "runs", element('<mask label="circle" rle="3, 4" left="0" top="0" width="3" height="3"/>'), "runs of 'rle' do not make its box of 3x3"),
    ("cvat", "long_run", element('<mask label="circle" rle="99999999999999999999" left="0" top="0" width="3" height="3"/>'), "'rle' is no list of whole numbers"),
    ("cvat", "negative_run", element('<mask label="circle" rle="-1, 10" left="0" top="0" width="3" height="3"/>'), "do not make"),
    ("cvat", "huge_mask", element('<mask label="circle" rle="0, 1" left="0" top="0" width="999999" height="999999"/>'), "do not make its box"),
    ("cvat", "beyond", element('<mask label="circle" rle="0, 9" left="38" top="0" width="3" height="3"/>'), "reaches beyond its picture"),
    ("cvat", "unknown", element('<blob label="circle"/>'), "<blob>: it is unknown"),
    # Supervisely
    ("supervisely", "broken", write("ds0/ann/a.png.json", "{"), r"a\.png\.json: not a JSON file"),
    ("supervisely", "meta", write("meta.json", "{}"), r"meta\.json: 'classes' is no list"),
    ("supervisely", "no_title", write("meta.json", '{"classes": [{}]}'), r"meta\.json: the class is None"),
    ("supervisely", "no_objects", write("ds0/ann/a.png.json", "{}"), "'objects' is no list"),
    ("supervisely", "no_picture", delete("ds0/img/a.png"), r"there is no .*img/a\.png; put it there"),
    ("supervisely", "size", edit_json("ds0/ann/a.png.json", lambda c: c.update(size={"height": 3, "width": 3})), r"is 40x30 .* of 3x3"),
    ("supervisely", "odd_size", edit_json("ds0/ann/a.png.json", lambda c: c.update(size={"height": 30, "width": "x" * 999})), r"'width' is 'x{20,40}\.\.\.x{20,40}'; it is a whole number"),
    ("supervisely", "class", thing(classTitle="cow"), r"class 'cow' is not in the list of meta\.json"),
    ("supervisely", "nan", thing(points={"exterior": [[1, 1], [2, float("nan")], [3, 3]], "interior": []}), "'exterior' has a number that is not finite"),
    ("supervisely", "hole", thing(points={"exterior": SQUARE, "interior": [[[1, 1]]]}), "'interior' has 1 points"),
    ("supervisely", "all_hole", thing(points={"exterior": SQUARE, "interior": [[[0, 0], [39, 0], [39, 29], [0, 29]]]}), "holds no pixel"),
    ("supervisely", "no_exterior", thing(points=[]), "'points' is no object with 'exterior'"),
    ("supervisely", "kind", thing(geometryType="blob"), "'geometryType' 'blob' is unknown"),
    ("supervisely", "no_data", thing(geometryType="bitmap", bitmap={}), "no object with 'data' and 'origin'"),
    ("supervisely", "no_zlib", bitmap(b"hello"), "the bitmap cannot be read: Error -3"),
    ("supervisely", "bomb", lambda s: bitmap(zlib.compress(bytes(65 << 20)))(s), "unpacks to more than 67108864 bytes"),
    ("supervisely", "no_png", bitmap(zlib.compress(b"hello")), "the bitmap cannot be read: it is no picture"),
    ("supervisely", "large", bitmap(zlib.compress(png(np.ones((99, 99), np.uint8)))), "99x99 pixels"),
    ("supervisely", "empty", bitmap(zlib.compress(png(np.zeros((9, 9), np.uint8)))), "its mask is empty"),
    ("supervisely", "beyond", bitmap(zlib.compress(png(np.ones((9, 9), np.uint8))), [35, 1]), "reaches beyond"),
    ("supervisely", "colours", bitmap(zlib.compress(png(np.ones((9, 9, 3), np.uint8)))), "colours and no transparency"),
    ("supervisely", "origin", bitmap(zlib.compress(png(np.ones((9, 9), np.uint8))), [1.5, 0]), "'origin' of the bitmap"),
]  # fmt: skip
FATAL = {
    ("yolo", "broken"), ("yolo", "no_names"), ("yolo", "gap"), ("yolo", "nc"), ("yolo", "double"),
    ("voc", "list"), ("voc", "pipe"), ("voc", "labelmap"), ("voc", "double"),
    ("voc", "same_colour"), ("voc", "two_levels"), ("voc", "high_level"),
    ("cvat", "broken"), ("cvat", "empty"), ("cvat", "bomb"), ("cvat", "entity"), ("cvat", "deep"),
    ("cvat", "encoding"), ("cvat", "root"), ("cvat", "video"), ("cvat", "no_image"),
    ("supervisely", "meta"), ("supervisely", "no_title"),
}  # fmt: skip
