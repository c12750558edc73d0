"""Names that lead elsewhere, that a terminal would act on, or that look like URLs."""

import json
import logging
from collections.abc import Callable
from pathlib import Path

import numpy as np
import prepare_coco_semantic_from_panoptic
import prepare_coco_stuff_10k
import prepare_own_labels
import pytest
import scipy.io
import torch
from coco_cases import panoptic
from dataset_files import semantic_declaration, unique_name, write_image, write_png, write_semantic
from detectron2.data import DatasetCatalog, Metadata, MetadataCatalog
from torch import nn

from d2seg.checkpoint import Checkpointer
from d2seg.checkpoint.download import split_options
from d2seg.cli import (
    check,
    convert,
    convert_data,
    draw,
    export,
    predict,
    predict_folders,
    visualize,
)
from d2seg.cli.dataset_arguments import preparation_parser
from d2seg.cli.draw import make_parser
from d2seg.cli.predict_folders import make_merge_parser
from d2seg.config.loading import load_config
from d2seg.data.datasets.declaration import register_declarations
from d2seg.data.datasets.loaders import files_below
from d2seg.data.dicts import load_dicts
from d2seg.engine.launch import _one_line
from d2seg.evaluation.panoptic_evaluation import PanopticEvaluator
from d2seg.prediction import building
from d2seg.prediction.folders.tables import TablePictures
from d2seg.prediction.formats.common import put
from d2seg.visualization.media import plan_outputs, read_picture, write_picture
from d2seg.visualization.runner import Runner

OUTSIDE = ("../../x", "a/../../x", "/tmp/x")
ODD = "odd\n\x1b[31m\udce9.png"
SHOWN = r"odd\n\x1b[31m\udce9.png"


@pytest.mark.parametrize("name", OUTSIDE)
def test_a_declared_name_does_not_lead_out_of_the_output(tmp_path, name: str) -> None:
    write_semantic(tmp_path)
    file = semantic_declaration(tmp_path / "a.json", name)
    with pytest.raises(ValueError, match="leads out of the folder"):
        register_declarations([file])


@pytest.mark.parametrize("name", OUTSIDE)
def test_a_registered_name_does_not_lead_out_of_the_pictures(tmp_path, capsys, name: str) -> None:
    image = write_image(tmp_path / "a.jpg")
    DatasetCatalog.register(name, lambda: [{"file_name": str(image), "image_id": 0}])
    try:
        assert visualize.main([name, "--output", str(tmp_path / "deep/out")]) == 2
    finally:
        DatasetCatalog.remove(name)
        MetadataCatalog.pop(name, None)
    assert "leads out of the folder" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["a.jpg"]


@pytest.mark.parametrize("name", OUTSIDE)
def test_listed_names_do_not_lead_out_of_the_data_set(tmp_path, name: str) -> None:
    root = tmp_path / "coco" / "coco_stuff_10k"
    (root / "imageLists").mkdir(parents=True)
    (root / "annotations").mkdir()
    for split in ("train", "test"):
        (root / "imageLists" / f"{split}.txt").write_text(f"{name}\n")
    scipy.io.savemat(tmp_path / "x.mat", {"S": np.full((2, 2), 2, np.uint8)})
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(ValueError, match=r"the image listed .* leads out of the folder"):
        prepare_coco_stuff_10k.main(["--root", str(tmp_path), "--workers", "1"])
    assert sorted(tmp_path.rglob("*")) == before


def panoptic_elsewhere(root: Path) -> str:
    """A data set whose picture and PNG are named by "../../", and lie there."""
    made = panoptic(root)
    content = made["content"]
    for entry, folder, name in (
        (content["images"][0], "images", "000.jpg"),
        (content["annotations"][0], "png", "000.png"),
    ):
        (root / folder / name).rename(root.parent / f"x{name}")
        entry["file_name"] = f"../../x{name}"
    made["file"].write_text(json.dumps(content))
    return made["name"]


def evaluate_panoptic(name: str, out: Path) -> None:
    evaluator = PanopticEvaluator(name, str(out), record=True)
    evaluator.reset()
    (entry,) = load_dicts(name)
    found = torch.ones(12, 16, dtype=torch.int32), [{"id": 1, "category_id": 0, "isthing": True}]
    evaluator.process([entry], [{"panoptic_seg": found}])
    evaluator.evaluate()


def prepare_semantic(name: str, out: Path) -> None:
    entries = load_dicts(name)
    prepare_coco_semantic_from_panoptic.convert(entries[0], out)


def write_masks(name: str, out: Path) -> None:
    """As ``d2seg predict --format masks`` of a table of these paths."""
    parquet = pytest.importorskip("pyarrow.parquet")
    pyarrow = pytest.importorskip("pyarrow")
    paths = [entry["file_name"] for entry in load_dicts(name)]
    for column in ("path", "id"):
        parquet.write_table(
            pyarrow.table({"path": paths, column: [f"../../{paths[0]}"]}), out / "t.parquet"
        )
        for row in TablePictures(out / "t.parquet").rows(0, 1):
            put(out / "masks" / f"{row['stem']}.png", b"pixels")


def draw_files(name: str, out: Path) -> None:
    files = [Path(entry["file_name"]) for entry in load_dicts(name)]
    for file, target in zip(files, plan_outputs(files, out), strict=True):
        write_picture(target, read_picture(file))


WRITERS: dict[str, Callable[[str, Path], object]] = {
    "visualize": lambda name, out: visualize.main([name, "--output", str(out)]),
    "check": lambda name, out: check.main([name, "--html", str(out / "page.html")]),
    "evaluation": evaluate_panoptic,
    "prepare": prepare_semantic,
    "predict": write_masks,
    "draw": draw_files,
}


@pytest.mark.parametrize("writer", WRITERS)
def test_names_in_data_do_not_lead_out_of_the_output(tmp_path, monkeypatch, writer: str) -> None:
    monkeypatch.chdir(tmp_path)
    name = panoptic_elsewhere(tmp_path / "data/set")
    out = tmp_path / "data/set/out"
    out.mkdir()
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path.is_file()}
    WRITERS[writer](name, out)
    after = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path.is_file()}
    written = {path for path, time in after.items() if before.get(path) != time}
    assert written
    assert all(path.is_relative_to(out) for path in written)
    assert before.keys() <= after.keys()


def damaged(folder: Path) -> Path:
    """A picture with an odd name that cannot be read."""
    folder.mkdir(parents=True)
    (folder / ODD).write_bytes(b"no picture")
    return folder / ODD


def test_the_demo_shows_odd_names_escaped(tmp_path, capfd) -> None:
    file = damaged(tmp_path / "in")
    runner = Runner(lambda image: {}, Metadata())
    runner.run_files([file], [None])
    lines = capfd.readouterr().err
    assert f"{SHOWN}: cannot be read" in lines
    assert "\x1b[31m" not in lines


def test_the_checker_shows_odd_names_escaped(tmp_path, capsys) -> None:
    write_semantic(tmp_path)
    damaged(tmp_path / "images/deep")
    (tmp_path / "images/deep" / ODD).rename(tmp_path / "images/train" / ODD)
    write_png(tmp_path / "labels/train/b.png", np.zeros((2, 2), np.uint8))
    (tmp_path / "labels/train/b.png").rename(tmp_path / "labels/train" / ODD)
    file = semantic_declaration(tmp_path / "a.json", unique_name())
    assert check.main([str(file)]) == 1
    out = capsys.readouterr().out
    assert f"{SHOWN}: it is no picture" in out
    assert "\x1b[31m" not in out


def test_the_visualizer_and_warnings_show_odd_names_escaped(tmp_path, capsys) -> None:
    write_semantic(tmp_path)
    damaged(tmp_path / "more")
    (tmp_path / "more" / ODD).rename(tmp_path / "images/train" / ODD)
    file = semantic_declaration(tmp_path / "a.json", unique_name())
    root = logging.getLogger()
    before = root.handlers[:]
    root.handlers[:] = []
    try:
        assert visualize.main([str(file), "--output", str(tmp_path / "out")]) == 0
    finally:
        root.handlers[:] = before
    err = capsys.readouterr().err
    assert f"1 images without a label map are left out, as {tmp_path}/images/train/{SHOWN}" in err


def test_a_message_of_a_worker_keeps_the_odd_name() -> None:
    message = (
        f"Caught ValueError in DataLoader worker process 0.\nOriginal Traceback\nValueError: {ODD}"
    )
    assert _one_line(ValueError(message)) == SHOWN


@pytest.mark.parametrize("key", ["OUTPUT_DIR", "MODEL.WEIGHTS"])
def test_a_tilde_is_the_home_folder(monkeypatch, tmp_path, key: str) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "a.yaml").write_text(
        "OUTPUT_DIR: ~/runs/a\nMODEL: {WEIGHTS: ~/runs/a}\nSOLVER: {MAX_ITER: 3}\n"
    )
    for cfg in (load_config(str(tmp_path / "a.yaml")), load_config(None, [key, "~/runs/a"])):
        value = cfg.OUTPUT_DIR if key == "OUTPUT_DIR" else cfg.MODEL.WEIGHTS
        assert value == f"{tmp_path}/runs/a"
    with pytest.raises(ValueError, match=f"{key} is '~nobody_here/a': there is no home"):
        load_config(None, [key, "~nobody_here/a"])


def test_the_output_of_the_demo_may_begin_with_a_tilde(monkeypatch, tmp_path, capsys) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    args = ["--config-file", "a", "--input", "b", "--output"]
    assert make_parser().parse_args([*args, "~/drawn"]).output == tmp_path / "drawn"
    with pytest.raises(SystemExit, match="2"):
        make_parser().parse_args([*args, "~nobody_here/drawn"])
    assert "there is no home folder ~nobody_here;" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("parser", "args", "option"),
    [
        (preparation_parser(None), ["--root={}"], "root"),
        (export.make_parser(), ["a.yaml", "a.pth", "{}"], "out"),
        (convert.make_parser(), ["a.pth", "{}"], "target"),
        (make_merge_parser(None), ["--merge={}"], "merge"),
    ],
)
def test_a_tilde_of_the_command_line_is_the_home_folder(
    monkeypatch, tmp_path, capsys, parser, args: list[str], option: str
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    found = parser.parse_args([arg.format("~/a.onnx") for arg in args])
    assert getattr(found, option) == tmp_path / "a.onnx"
    for path, message in (
        ("~nobody_here/a", "there is no home folder ~nobody_here;"),
        ("", "the path is empty; name one"),
        (f"deep/{'a' * 300}/b", "has more than 255 bytes"),
        ("s3://bucket/a.onnx", "s3://bucket/a.onnx is an address; name a path of this machine"),
    ):
        with pytest.raises(SystemExit, match="2"):
            parser.parse_args([arg.format(path) for arg in args])
        assert message in capsys.readouterr().err


@pytest.mark.parametrize("more", [[], ["--format", "coco"]])
def test_an_output_that_cannot_be_made_is_told_before_the_model_is_built(
    tmp_path, monkeypatch, more: list[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    write_image(tmp_path / "in/a.jpg")
    (tmp_path / "file").touch()
    args = ["--config-file", "a", "--input", "in", "--output", "file/below", *more]
    parsed = predict.make_parser().parse_args(args)
    check_output = predict_folders._open if more else predict.check
    with pytest.raises(ValueError, match=r"--output file/below cannot be made: .*/file is no"):
        check_output(parsed)


def test_where_pictures_are_drawn_to_is_shown_escaped(tmp_path, monkeypatch, capsys) -> None:
    runner = Runner(lambda image: {}, Metadata())
    monkeypatch.setattr(draw, "prepare", lambda args: (runner, lambda: None))
    assert draw.main(["--config-file", "a", "--input", "b", "--output", f"{tmp_path}/{ODD}"]) == 0
    assert capsys.readouterr().out == f"0 drawn into {tmp_path}/{SHOWN}, 0 could not be read\n"


@pytest.mark.parametrize("output", ["file/below", "/proc/out"])
def test_converted_data_that_cannot_be_written(tmp_path, capsys, monkeypatch, output: str) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").touch()
    write_image(tmp_path / "in/a.jpg")
    shape = {"label": "a", "points": [[1, 1], [9, 1], [9, 9]], "shape_type": "polygon"}
    content = {"imagePath": "a.jpg", "imageHeight": 12, "imageWidth": 16, "shapes": [shape]}
    (tmp_path / "in/a.json").write_text(json.dumps(content))
    assert convert_data.main(["in", output, "--name", "a"]) == 2
    [line] = [s for s in capsys.readouterr().err.splitlines() if s.startswith("error: ")]
    assert "choose another" in line or "name another" in line
    assert "OUT" in line


def test_labels_are_not_converted_into_a_folder_called_tilde(monkeypatch, tmp_path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    write_png(tmp_path / "raw/a.png", np.ones((2, 2), np.uint8))
    prepare_own_labels.main(["raw", "~/own", "--map", "1:2", "--workers", "1"])
    assert (tmp_path / "home/own/a.png").is_file()
    assert not (tmp_path / "~").exists()


def test_options_of_the_tools_that_prepare_data_are_shown_escaped(capsys) -> None:
    with pytest.raises(SystemExit, match="2"):
        prepare_own_labels.main(["raw", "own", "--map", "1:2", f"--{ODD}"])
    [line] = capsys.readouterr().err.splitlines()
    assert line.endswith(f"error: unrecognized arguments: --{SHOWN}")


@pytest.mark.parametrize("name", ["Exp:12/a.pth", "what?.pth", "a?b=c/x.pth", "50%/a#1;2.pth"])
def test_names_that_look_like_urls_are_files(tmp_path, monkeypatch, name: str) -> None:
    monkeypatch.chdir(tmp_path)
    model = nn.Linear(2, 1)
    Path(name).parent.mkdir(parents=True, exist_ok=True)
    torch.save({"model": model.state_dict()}, name)
    for path in (name, str(tmp_path / name)):
        other = nn.Linear(2, 1)
        Checkpointer(other).load(path, require_complete=True)
        assert torch.equal(other.weight, model.weight)
    with pytest.raises(ValueError, match=r"no checkpoint at .*Exp:13/what\?\.pth"):
        Checkpointer(model).load("Exp:13/what?.pth")


@pytest.mark.parametrize("name", ["Exp:12/a.pth", "what?.pth", ODD.replace(".png", ".pth")])
def test_weights_to_predict_with_are_files(tmp_path, monkeypatch, name: str) -> None:
    read = []
    monkeypatch.setattr(building, "find_file", lambda path: read.append(path) or path)
    monkeypatch.setattr(building, "read_checkpoint", lambda path: {"model": {}})
    monkeypatch.chdir(tmp_path)
    cfg = load_config("segformer/shapes_semantic_small", ["MODEL.DEVICE", "cpu"])
    cfg.MODEL.WEIGHTS = name
    with pytest.raises(ValueError, match=r"no checkpoint|lacks|none of"):
        building._build(cfg, "semantic", None)
    assert read[0] == name


def test_options_of_detectron2_are_still_split_off() -> None:
    options = "matching_heuristics=True"
    assert split_options(f"a.pth?{options}") == ("a.pth", options)
    assert split_options(f"https://x.org/a.pth?{options}") == ("https://x.org/a.pth", options)
    assert split_options("https://x.org/a.pth?token=1") == ("https://x.org/a.pth", "token=1")
    assert split_options("a.pth") == ("a.pth", "")


def test_nothing_is_written_beside_the_data(tmp_path, capsys) -> None:
    """They may be on a disk that is read-only."""
    write_semantic(tmp_path / "data")
    file = semantic_declaration(tmp_path / "data/a.json", unique_name())
    there = {path: path.stat().st_mtime_ns for path in (tmp_path / "data").rglob("*")}
    assert check.main([str(file), "--html", str(tmp_path / "a.html")]) == 0
    assert visualize.main([str(file), "--output", str(tmp_path / "drawn")]) == 0
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "data").rglob("*")} == there


def test_links_in_a_circle_end(tmp_path) -> None:
    for name in ("a", "b", "c"):
        (tmp_path / "root" / name).mkdir(parents=True)
        (tmp_path / "root" / name / "x.png").touch()
    (tmp_path / "root/a/self").symlink_to(tmp_path / "root/a")
    (tmp_path / "root/a/up").symlink_to("..")
    (tmp_path / "root/b/to_c").symlink_to(tmp_path / "root/c")
    (tmp_path / "root/c/to_b").symlink_to(tmp_path / "root/b")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere/y.png").touch()
    (tmp_path / "root/linked").symlink_to(tmp_path / "elsewhere")
    found = files_below(tmp_path / "root", (".png",))
    assert sorted(str(Path(file).relative_to(tmp_path)) for file in found) == [
        *("root/a/x.png", "root/b/to_c/x.png", "root/b/x.png", "root/c/to_b/x.png"),
        *("root/c/x.png", "root/linked/y.png"),
    ]
