"""Bad annotations of other tools: one line each, and the checker goes on behind them."""

import json
import re
import shutil
from pathlib import Path

import pytest
from foreign_cases import CASES, FATAL, shape, write
from foreign_files import WRITERS, toy_pictures

from d2seg.cli import main
from d2seg.data.xml_files import read_xml


@pytest.fixture(scope="module")
def sources(tmp_path_factory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("foreign")
    pictures = toy_pictures(root / "p")
    return {form: WRITERS[form](root, pictures, ["circle", "square"]) for form in WRITERS}


@pytest.mark.parametrize(
    ("form", "case", "damage", "message"), CASES, ids=[f"{c[0]}-{c[1]}" for c in CASES]
)
def test_each_fault_is_one_line_and_the_rest_is_read(
    sources, form, case, damage, message, tmp_path, capsys
) -> None:
    source = Path(shutil.copytree(sources[form], tmp_path / form))
    damage(source)
    assert main(["convert-data", str(source), str(tmp_path / "out")]) == 2
    err = capsys.readouterr().err
    assert re.search(message, err), err
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    assert not (tmp_path / "out").exists()
    assert not list(tmp_path.glob(".out*"))
    code = main(["check", str(source)])
    out, err = capsys.readouterr()
    assert re.search(message, out + err), out + err
    assert "Traceback" not in out + err
    if (form, case) in FATAL:
        assert code == 2
    else:
        assert code == 1
        rest = (
            r"_train\w*: [12] images" if (form, case) != ("yolo", "escape") else "YOLO, 0 pictures"
        )
        assert re.search(rest, out)


def test_a_page_tells_what_cannot_be_read_where_nothing_can(sources, tmp_path) -> None:
    source = Path(shutil.copytree(sources["labelme"], tmp_path / "in"))
    (source / "a.png").unlink()
    (source / "b.png").unlink()
    (tmp_path / "gone").mkdir()
    nothing = tmp_path / "nothing.yaml"
    keys = "task: semantic\nclasses: [a, b]\nsplits: {train: {images: gone, labels: gone}}\n"
    nothing.write_text(f"name: nothing\n{keys}")
    page = tmp_path / "page.html"
    for target, words in ((source, "there is no picture"), (nothing, "cannot be loaded: ")):
        assert main(["check", str(target), "--html", str(page)]) == 1
        text = page.read_text()
        assert words in text[text.index('id="problems"') : text.index('id="duplicates"')]
        assert "all is well" not in text
        assert "No problems found" not in text


def test_what_cannot_be_used_is_left_out_and_said(sources, tmp_path, capsys) -> None:
    source = Path(shutil.copytree(sources["labelme"], tmp_path / "in"))
    shape(label="cow")(source)
    write("b.json", "{")(source)
    out = tmp_path / "out"
    assert main(["convert-data", str(source), str(out)]) == 2
    assert "(1 more; d2seg check " in capsys.readouterr().err
    assert main(["convert-data", str(source), str(out), "--skip-faults"]) == 0
    printed = capsys.readouterr().out
    assert printed.count("left out: ") == 2
    assert "1 pictures of train, 2 classes, 1 masks" in printed
    assert len(json.loads((out / "annotations/train.json").read_text())["annotations"]) == 1


@pytest.mark.parametrize("suffix", ["", ".heic"])
def test_labels_of_yolo_without_a_picture_are_said(sources, tmp_path, capsys, suffix: str) -> None:
    """They were left out without a word."""
    source = Path(shutil.copytree(sources["yolo"], tmp_path / "in"))
    (source / "labels/train/classes.txt").write_text("circle\n")
    assert main(["check", str(source)]) == 0
    assert "have no picture" not in capsys.readouterr().out
    picture = source / "images/train/a.png"
    if suffix:
        picture.rename(picture.with_suffix(suffix))
    else:
        picture.unlink()
    said = f"1 files of labels have no picture (as {source}/labels/train/a.txt)"
    main(["check", str(source)])
    assert f"hint: {said}" in capsys.readouterr().out
    assert main(["convert-data", str(source), str(tmp_path / "out")]) == 0
    assert said in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["{none}", "{out}"], "there is no folder"),
        (["{empty}", "{out}"], "annotations of none of the known formats: LabelMe has .*--from"),
        (["{labelme}", "{labelme}"], "is not empty; choose a new folder"),
        (["{labelme}", "{labelme}/new"], "lies in SOURCE"),
        (["{labelme}", "{out}", "--images", "{none}"], "there is no folder"),
        (["{labelme}", "{out}", "--name", "a/b"], "the name 'a/b' has other than letters"),
        (["{labelme}", "{out}", "--val", "0.01"], r"--val 0\.01 of 2 pictures is 0"),
        (["{labelme}", "{out}", "--from", "yolo"], r"there is no data\.yaml"),
        (["{labelme}", "{out}", "--from", "voc"], "there is no folder SegmentationClass"),
        (["{yolo}", "{out}", "--from", "cvat"], "there is no XML file"),
        (["{yolo}", "{out}", "--from", "supervisely"], r"meta\.json"),
    ],
)
def test_a_call_with_a_mistake_is_one_line(sources, tmp_path, capsys, arguments, message) -> None:
    (tmp_path / "empty").mkdir()
    places = {name: tmp_path / name for name in ("none", "empty", "out")} | sources
    assert main(["convert-data", *(a.format(**places) for a in arguments)]) == 2
    err = capsys.readouterr().err
    assert re.search(message, err), err
    assert err.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_xml_of_another_kind_is_read_in_full(tmp_path) -> None:
    (tmp_path / "a.xml").write_bytes(b'\xef\xbb\xbf<?xml version="1.0"?><a b="&lt;c&gt;"><d/>e</a>')
    root = read_xml(tmp_path / "a.xml")
    assert (root.get("b"), root.find("d").tail) == ("<c>", "e")
    with pytest.raises(ValueError, match="not a readable XML file"):
        read_xml(tmp_path / "none.xml")
