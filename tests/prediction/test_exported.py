"""Exported files in the place of the network: the same results as from the checkpoint."""

import io
import json
import zipfile
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

import numpy as np
import pytest
import torch
from detectron2.config import CfgNode

import d2seg
from d2seg.cli.train import evaluate
from d2seg.config.description import describe
from d2seg.export.exporting import Request, export
from d2seg.prediction import exported, loading
from d2seg.prediction.all_tasks import AllTasks
from d2seg.prediction.exported import build_exported
from d2seg.prediction.loading import open_weights
from d2seg.runtimes import Session, choose_runtime, description, open_session
from d2seg.runtimes.session import TRUST_VARIABLE
from families import restr_config, setr_config
from families.exports import CASES, maskformer, restr, small_model, trusted_programs  # noqa: F401

SIZE = (64, 96)
PICTURE = np.random.default_rng(0).integers(0, 256, (*SIZE, 3), np.uint8)


def write_both(folder: Path, cfg: CfgNode, size: tuple[int, int] = SIZE, name: str = "a") -> None:
    """a.pth, a checkpoint that describes itself, and a.pt2, exported from it."""
    model = small_model(cfg)
    cfg.MODEL.WEIGHTS = ""
    torch.save({"model": model.state_dict(), "d2seg": describe(cfg)}, folder / f"{name}.pth")
    export(cfg, model, folder / f"{name}.pt2", Request("torch_export", "fp32", size, False))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, repo_dir: Path) -> Path:
    folder = tmp_path_factory.mktemp("exported")
    cfg = maskformer(repo_dir, "coco_panoptic_resnet50")
    cfg.INPUT.MIN_SIZE_TEST = 64
    write_both(folder, cfg)
    return folder


@pytest.fixture(scope="module", autouse=True)
def opened_once() -> Iterator[None]:
    """Opening a program takes seconds: each is opened for the first test that asks for it."""
    opened = lru_cache(open_session)
    with pytest.MonkeyPatch.context() as patch:
        for module in (exported, loading):
            patch.setattr(module, "open_session", lambda path, *how: opened(str(path), *how))
        yield


@pytest.fixture
def session(folder: Path) -> Session:
    return loading.open_session(folder / "a.pt2")


def assert_alike(ours: torch.Tensor, theirs: torch.Tensor) -> None:
    """As `export` compares."""
    assert ours.shape == theirs.shape
    assert (ours - theirs).abs().max() < 1e-4 * theirs.abs().max()


def test_tasks_of_queries(folder: Path) -> None:
    """A picture of the file's size, which needs no padding, gives what the checkpoint gives."""
    for task in ("panoptic", "semantic", "instance"):
        theirs, ours = (
            d2seg.load(folder / name, task, "cpu", confidence=0.0)(PICTURE)
            for name in ("a.pth", "a.pt2")
        )
        assert ours.task == task
        if task == "semantic":
            assert_alike(ours["sem_seg"], theirs["sem_seg"])
        elif task == "panoptic":
            (ids, segments), (their_ids, their_segments) = (
                ours["panoptic_seg"],
                theirs["panoptic_seg"],
            )
            assert (ids == their_ids).float().mean() > 0.999
            assert [s["category_id"] for s in segments] == [
                s["category_id"] for s in their_segments
            ]
        else:
            found, expected = ours["instances"], theirs["instances"]
            torch.testing.assert_close(found.scores, expected.scores, atol=1e-4, rtol=1e-3)


def test_one_file_for_all_tasks(folder: Path) -> None:
    theirs, ours = (AllTasks(open_weights(folder / name)) for name in ("a.pth", "a.pt2"))
    assert ours.tasks == theirs.tasks == ("panoptic", "semantic", "instance")
    assert ours.describe()["device"] == "cpu"
    for task in ("semantic", "instance"):
        expected, found = (
            {one["name"]: one["area"] for one in model.answer(PICTURE, task, 0.0)["segments"]}
            for model in (theirs, ours)
        )
        assert set(found) == set(expected)
        assert sum(found.values()) == pytest.approx(sum(expected.values()), rel=1e-2)


def test_pictures_of_other_sizes_are_fit_and_padded(folder: Path) -> None:
    predictor = d2seg.load(folder / "a.pt2", "semantic")
    for size in ((30, 200), (200, 30), (64, 96), (1, 1)):
        picture = np.random.default_rng(1).integers(0, 256, (*size, 3), np.uint8)
        assert predictor(picture)["sem_seg"].shape[1:] == size
    assert len(predictor([PICTURE, PICTURE[::-1]], batch_size=2)) == 2


def test_windows_are_of_the_files_size(tmp_path: Path, repo_dir: Path) -> None:
    cfg = setr_config.small_config(repo_dir, "naive")
    cfg.INPUT.MIN_SIZE_TEST = 100
    write_both(tmp_path, cfg, tuple(cfg.MODEL.PER_PIXEL.TEST.CROP_SIZE))
    picture = np.random.default_rng(0).integers(0, 256, (100, 130, 3), np.uint8)
    theirs, ours = (
        d2seg.load(tmp_path / name, device="cpu")(picture)["sem_seg"] for name in ("a.pth", "a.pt2")
    )
    assert_alike(ours, theirs)


def test_detectron2s_segmentor(tmp_path: Path, repo_dir: Path) -> None:
    cfg = CASES["per_pixel_plus"].config(repo_dir)
    cfg.INPUT.MIN_SIZE_TEST = 64
    write_both(tmp_path, cfg)
    theirs, ours = (
        d2seg.load(tmp_path / name, device="cpu")(PICTURE)["sem_seg"] for name in ("a.pth", "a.pt2")
    )
    assert_alike(ours, theirs)


def test_expressions(tmp_path: Path, repo_dir: Path) -> None:
    """The words are in the file."""
    cfg = restr(repo_dir, tmp_path / "words.txt")
    cfg.INPUT.MAPPER = "referring"
    write_both(tmp_path, cfg, (64, 64))
    (tmp_path / "words.txt").unlink()
    theirs, ours = (
        d2seg.load(tmp_path / name, device="cpu")(PICTURE, expressions=list(restr_config.SENTENCES))
        for name in ("a.pth", "a.pt2")
    )
    torch.testing.assert_close(
        ours["referring"].scores, theirs["referring"].scores, atol=1e-4, rtol=1e-3
    )
    assert d2seg.load(tmp_path / "a.pt2")(PICTURE, expressions=["red ball"])


def test_the_weights_of_the_model_are_never_made(folder: Path) -> None:
    predictor = d2seg.load(folder / "a.pt2", "semantic")
    assert {p.device.type for p in predictor.model.parameters()} == {"meta"}


def test_eval_only_takes_the_file(
    folder: Path, repo_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cfg = maskformer(repo_dir, "coco_panoptic_resnet50")
    cfg.MODEL.WEIGHTS = str(folder / "a.pt2")
    seen = {}

    def score(cfg: CfgNode, model: torch.nn.Module) -> dict:
        seen["size"] = cfg.INPUT.FIT_SIZE_TEST
        return model([{"image": torch.from_numpy(PICTURE.transpose(2, 0, 1).copy())}])[0]

    monkeypatch.setattr("d2seg.cli.train.Trainer.test", score)
    cfg.freeze()
    assert {"sem_seg", "panoptic_seg", "instances"} == evaluate(cfg, False).keys()
    assert tuple(seen["size"]) == SIZE


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        (
            "MODEL.META_ARCHITECTURE",
            "SegFormer",
            "exported with MODEL.META_ARCHITECTURE MaskFormer",
        ),
        ("MODEL.SEM_SEG_HEAD.NUM_CLASSES", 7, r"NUM_CLASSES 5; the config has 7"),
        ("INPUT.FORMAT", "BGR", "INPUT.FORMAT RGB"),
        ("MODEL.PIXEL_MEAN", [1.0], r"MODEL.PIXEL_MEAN \[.*the config has \[1.0\]"),
    ],
)
def test_a_file_of_another_model(
    session: Session, repo_dir: Path, key: str, value: object, message: str
) -> None:
    cfg = maskformer(repo_dir, "coco_panoptic_resnet50")
    cfg.merge_from_list([key, value])
    with pytest.raises(ValueError, match=message):
        build_exported(cfg, session)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"runtime": "tensorrt"}, "runtime is 'tensorrt'; it is one of auto, onnxruntime"),
        ({"runtime": "openvino"}, r"runtime is 'openvino'; .*a\.pt2 is run by torch"),
        ({"device": "cuda"}, r"device is 'cuda'; exported files, as .*a\.pt2, run on the CPU"),
        ({"dtype": "bf16"}, r"dtype is 'bf16'; the exported file .* has its own"),
        ({"config": "a.yaml"}, "config is 'a.yaml'; the exported file"),
        ({"task": "referring"}, "task is 'referring'; .* of MaskFormer, offers semantic"),
    ],
)
def test_mistakes_in_the_call_are_one_line(folder: Path, arguments: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message) as error:
        d2seg.load(folder / "a.pt2", **arguments)
    assert "\n" not in str(error.value)


def test_a_checkpoint_has_no_runtime(folder: Path) -> None:
    with pytest.raises(ValueError, match=r"runtime is 'openvino'; .* is no exported file"):
        d2seg.load(folder / "a.pth", runtime="openvino")


@pytest.mark.parametrize(("suffix", "package"), [(".onnx", "onnxruntime"), (".xml", "openvino")])
def test_missing_and_damaged_files(tmp_path: Path, suffix: str, package: str) -> None:
    path = tmp_path / f"a{suffix}"
    pytest.importorskip(package)
    with pytest.raises(ValueError, match="there is no file"):
        d2seg.load(path)
    path.write_bytes(b"\x08 no model")
    with pytest.raises(ValueError, match=f"a{suffix} is damaged or no") as error:
        d2seg.load(path, runtime=package)
    assert "\n" not in str(error.value)


def test_a_damaged_program(tmp_path: Path, folder: Path) -> None:
    whole = (folder / "a.pt2").read_bytes()
    for content in (b"", whole[: len(whole) // 2]):
        (tmp_path / "a.pt2").write_bytes(content)
        with pytest.raises(ValueError, match=r"a\.pt2 is damaged or no program that torch"):
            d2seg.load(tmp_path / "a.pt2")


def test_a_missing_runtime_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("d2seg.runtimes.session.find_spec", lambda name: None)
    with pytest.raises(ModuleNotFoundError, match="pip install onnxruntime"):
        choose_runtime("a.onnx")
    with pytest.raises(ModuleNotFoundError, match="pip install openvino"):
        choose_runtime("a.onnx", "openvino")


def test_a_home_folder_that_there_is_not() -> None:
    with pytest.raises(ValueError, match="there is no home folder ~nobody-here"):
        open_session("~nobody-here/a.onnx")


class Touch:
    """Makes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple:
        return Path.touch, (self.path,)


def test_programs_that_nobody_vouches_for_are_not_opened(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """torch unpickles the example inputs within, whatever they are."""
    hostile, mark = tmp_path / "a.pt2", tmp_path / "mark"
    with zipfile.ZipFile(folder / "a.pt2") as whole, zipfile.ZipFile(hostile, "w") as archive:
        for name in whole.namelist():
            content = whole.read(name)
            if "sample_inputs" in name:
                buffer = io.BytesIO()
                torch.save((Touch(mark),), buffer)
                content = buffer.getvalue()
            archive.writestr(name, content)
    assert hostile.stat().st_size > 1000
    monkeypatch.delenv(TRUST_VARIABLE)
    for call in (d2seg.load, open_session):
        with pytest.raises(ValueError, match=r"a\.pt2 is a program .* set D2SEG_TRUST_PROGRAMS=1"):
            call(hostile)
    assert not mark.exists()


def test_descriptions_of_others_and_of_other_versions(session: Session) -> None:
    texts = description.to_texts(session.description)
    assert description.from_texts(texts, "a.onnx")["method"] == "MaskFormer"
    with pytest.raises(ValueError, match=r"a\.onnx holds no description of d2seg"):
        description.from_texts({"author": "x"}, "a.onnx")
    newer = texts | {"d2seg.format": "9", "d2seg.version": json.dumps("7.0")}
    with pytest.raises(ValueError, match=r"exported by d2seg 7\.0, whose .*\(format 9\)"):
        description.from_texts(newer, "a.onnx")
    for key, text in (("size", "[1]"), ("size", "{"), ("classes", "[]"), ("num_classes", '"3"')):
        with pytest.raises(ValueError, match="its description is damaged"):
            description.from_texts(texts | {f"d2seg.{key}": text}, "a.onnx")


def test_results_in_the_file_are_for_others(tmp_path: Path, repo_dir: Path) -> None:
    cfg = CASES["segformer"].config(repo_dir)
    request = Request("torch_export", "fp32", (64, 96), False, "semantic")
    export(cfg, small_model(cfg), tmp_path / "a.pt2", request)
    session = open_session(tmp_path / "a.pt2")
    assert session.description["outputs"] == ["labels"]
    assert session(np.zeros((1, 3, 64, 96), np.float32))["labels"].shape == (64, 96)
    with pytest.raises(ValueError, match="exported with --postprocess, for programs without d2seg"):
        d2seg.load(tmp_path / "a.pt2")
