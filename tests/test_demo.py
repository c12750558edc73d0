"""demo.py from the command line to the files it writes."""

import importlib.util
import json
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import cv2
import numpy as np
import pytest
import torch
from detectron2.data.detection_utils import read_image
from detectron2.modeling import build_model
from PIL import Image

from d2seg.cli import draw
from d2seg.config.loading import load_config
from families.maskformer_config import small_config
from families.programs import run_program

PANOPTIC_FPN = "COCO-PanopticSegmentation/panoptic_fpn_R_50_3x.yaml"
RETINANET = "COCO-Detection/retinanet_R_50_FPN_3x.yaml"
SEMANTIC_FPN = "Misc/semantic_R_50_FPN_1x.yaml"
# detectron2's architectures with few channels
SMALL = {
    "MODEL.DEVICE": "cpu",
    "MODEL.RESNETS.DEPTH": "18",
    "MODEL.RESNETS.RES2_OUT_CHANNELS": "64",
    "MODEL.FPN.OUT_CHANNELS": "16",
    "MODEL.SEM_SEG_HEAD.CONVS_DIM": "32",
    "MODEL.ROI_BOX_HEAD.FC_DIM": "16",
    "MODEL.ROI_MASK_HEAD.CONV_DIM": "16",
    "INPUT.MIN_SIZE_TEST": "64",
}


@pytest.fixture(scope="module")
def demo(repo_dir: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location("d2seg_demo", repo_dir / "demo.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def run(demo: ModuleType, capfd: pytest.CaptureFixture) -> Callable[..., tuple[int, str, str]]:
    """The exit code, stdout and stderr of a call."""

    def call(*arguments: object) -> tuple[int, str, str]:
        capfd.readouterr()
        try:
            code = demo.main([str(argument) for argument in arguments])
        except SystemExit as end:
            code = end.code
        return code, *capfd.readouterr()

    return call


@pytest.fixture(scope="module")
def weights_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], list[str]]:
    """KEY VALUE pairs for a small model of the zoo with random weights in a file."""
    made: dict[str, list[str]] = {}

    def make(name: str) -> list[str]:
        if name not in made:
            pairs = [part for pair in SMALL.items() for part in pair]
            torch.manual_seed(0)
            model = build_model(load_config(name, pairs))
            path = tmp_path_factory.mktemp("weights") / "model.pth"
            torch.save({"model": model.state_dict()}, path)
            made[name] = [*pairs, "MODEL.WEIGHTS", str(path)]
        return made[name]

    return make


@pytest.fixture(scope="module")
def maskformer(repo_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Config file of a small MaskFormer with random weights."""
    folder = tmp_path_factory.mktemp("maskformer")
    cfg = small_config(repo_dir, "coco_panoptic_resnet50")
    cfg.INPUT.MIN_SIZE_TEST = 64
    torch.manual_seed(0)
    torch.save({"model": build_model(cfg).state_dict()}, folder / "model.pth")
    cfg.MODEL.WEIGHTS = str(folder / "model.pth")
    (folder / "config.yaml").write_text(cfg.dump())
    return folder / "config.yaml"


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    folder = tmp_path / "pictures"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for name in ("a.jpg", "b.png"):
        Image.fromarray(rng.integers(0, 255, (60, 90, 3), np.uint8)).save(folder / name)
    return folder


def make_video(path: Path, num_frames: int = 5) -> Path:
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"mp4v"), 12.5, (64, 48))
    rng = np.random.default_rng(0)
    for _ in range(num_frames):
        writer.write(rng.integers(0, 255, (48, 64, 3), np.uint8))
    writer.release()
    return path


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("task", ["panoptic", "semantic", "instance"])
def test_a_folder_is_drawn_in_every_task(run, maskformer, pictures, tmp_path, task):
    code, out, _ = run(
        *("--config-file", maskformer, "--input", pictures, "--output", tmp_path / "out"),
        *("--task", task, "--confidence-threshold", "0"),
    )
    assert code == 0
    assert out.splitlines()[-1] == f"2 drawn into {tmp_path / 'out'}, 0 could not be read"
    assert names(tmp_path / "out") == ["a.png", "b.png"]
    original = np.asarray(Image.open(pictures / "b.png").resize((360, 240), Image.NEAREST))
    drawn = np.asarray(Image.open(tmp_path / "out" / "b.png"))
    assert drawn.shape == original.shape
    assert (drawn != original).any(-1).mean() > 0.1


def test_a_threshold_leaves_pictures_bare(run, maskformer, pictures, tmp_path):
    for task in ("panoptic", "semantic", "instance"):
        code, _, _ = run(
            *("--config-file", maskformer, "--input", pictures / "b.png"),
            *("--output", tmp_path / task, "--task", task, "--confidence-threshold", "1"),
        )
        assert code == 0
        original = np.asarray(Image.open(pictures / "b.png").resize((360, 240), Image.NEAREST))
        assert np.array_equal(np.asarray(Image.open(tmp_path / task / "b.png")), original), task


def test_instances_have_a_threshold_of_one_half_by_default(maskformer):
    def threshold(*arguments: str) -> float | None:
        args = draw.make_parser().parse_args(
            ["--config-file", str(maskformer), "--input", "x", "--output", "y", *arguments]
        )
        return draw.make_runner(args, False)._predict.args[0].confidence_threshold

    assert threshold("--task", "instance") == 0.5
    assert threshold("--task", "instance", "--confidence-threshold", "0.2") == 0.2
    assert threshold("--task", "panoptic") is None


@pytest.mark.parametrize("task", ["panoptic", "semantic", "instance"])
def test_panoptic_fpn_of_the_zoo_by_name(run, weights_of, pictures, tmp_path, task):
    code, out, _ = run(
        *("--config-file", PANOPTIC_FPN, "--input", pictures / "*.jpg", "--task", task),
        *("--confidence-threshold", "0.1", "--output", tmp_path, *weights_of(PANOPTIC_FPN)),
    )
    assert code == 0, out
    assert "a.png" in names(tmp_path)


@pytest.mark.parametrize("name", [RETINANET, SEMANTIC_FPN])
def test_other_models_of_the_zoo_by_name(run, weights_of, pictures, tmp_path, name):
    code, _, _ = run(
        *("--config-file", name, "--input", pictures, "--output", tmp_path / "out"),
        *("--opts", *weights_of(name)),
    )
    assert code == 0
    assert names(tmp_path / "out") == ["a.png", "b.png"]


def test_a_video_stays_a_video(run, maskformer, tmp_path):
    video = make_video(tmp_path / "walk.mp4")
    code, _, _ = run(
        *("--config-file", maskformer, "--input", video, "--output", tmp_path / "out"),
        *("--confidence-threshold", "0"),
    )
    assert code == 0
    assert names(tmp_path / "out") == ["walk.mp4"]
    capture = cv2.VideoCapture(str(tmp_path / "out" / "walk.mp4"))
    got = [capture.get(key) for key in (cv2.CAP_PROP_FRAME_COUNT, cv2.CAP_PROP_FPS)]
    assert got == [5, 12.5]
    assert capture.read()[1].shape == (48, 64, 3)


def test_without_pyav_a_video_is_refused_at_once(run, maskformer, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "av", None)
    monkeypatch.setattr(draw, "make_runner", lambda *_: pytest.fail("a model was loaded first"))
    call = ["--config-file", maskformer, "--output", tmp_path / "out"]
    for source in (["--input", make_video(tmp_path / "walk.mp4")], ["--webcam"]):
        assert "`pip install av` brings it" in refused(run, *call, *source)


def test_unreadable_files_are_counted_and_the_rest_goes_on(run, maskformer, pictures, tmp_path):
    (pictures / "broken.png").write_text("no picture")
    absent = tmp_path / "absent.jpg"
    code, out, error = run(
        *("--config-file", maskformer, "--input", absent, pictures, "--output", tmp_path / "out"),
    )
    assert code == 1
    assert out.splitlines()[-1].startswith("2 drawn")
    assert out.splitlines()[-1].endswith("2 could not be read")
    assert f"{absent}: no such file" in error
    assert "broken.png: cannot be read" in error
    assert names(tmp_path / "out") == ["a.png", "b.png"]


def test_real_pictures(run, maskformer, shared_dir, tmp_path):
    annotations = json.loads(
        (shared_dir / "data/coco/annotations/panoptic_val2017.json").read_text()
    )
    chosen = [image["file_name"] for image in annotations["images"][:3]]
    paths = [shared_dir / "data/coco/val2017" / name for name in chosen]
    code, _, _ = run("--config-file", maskformer, "--input", *paths, "--output", tmp_path)
    assert code == 0
    for path in paths:
        height, width = read_image(str(path), "RGB").shape[:2]
        picture = Image.open(tmp_path / f"{path.stem}.png")
        assert max(picture.size) == 1024
        assert picture.size[0] / picture.size[1] == pytest.approx(width / height, rel=0.01)


def refused(run: Callable, *arguments: object) -> str:
    """The message of a call that is refused, the only line on stderr."""
    code, _, error = run(*arguments)
    assert code == 2
    (line,) = error.splitlines()
    return line


def test_mistakes_in_the_call_end_in_one_line(run, maskformer, pictures, tmp_path):
    call = ["--config-file", maskformer, "--input", pictures]
    to_out = [*call, "--output", tmp_path / "out"]
    assert "is the folder of the input" in refused(run, *call, "--output", pictures)
    (tmp_path / "file").write_text("")
    below = tmp_path / "file" / "out"
    assert f"--output {below} cannot be made" in refused(run, *call, "--output", below)
    assert "between 0 and 1" in refused(run, *to_out, "--confidence-threshold", "50")
    assert "invalid choice: 'sematic'" in refused(run, *to_out, "--task", "sematic")
    assert "SOLVER.BASE_LR" in refused(run, *to_out, "SOLVER.LR", "1")
    assert "has no value" in refused(run, *to_out, "--opts", "SEED")
    assert "MODEL.DEVICE cpu" in refused(run, *to_out, "MODEL.DEVICE", "cuda:99")
    assert "absent.pth" in refused(run, *to_out, "MODEL.WEIGHTS", "absent.pth")
    message = refused(run, *to_out, "TEST.TASKS", "['semantic']", "--task", "panoptic")
    assert "offers semantic, not panoptic" in message
    nothing = ["--config-file", maskformer, "--output", tmp_path / "out", "--input", "absent*.jpg"]
    assert "no picture or video in absent*.jpg" in refused(run, *nothing)
    assert "no picture or video in ''" in refused(run, *nothing[:-1], "")
    assert "--opts" in refused(run, *call, "MODEL.DEVICE", "cpu", "--output", tmp_path / "out")
    config = ["--config-file", "absent.yaml", "--input", pictures, "--output", tmp_path / "out"]
    assert "absent.yaml" in refused(run, *config)
    assert "required" in refused(run, "--input", pictures)
    assert not (tmp_path / "out").exists()


def test_without_output_and_display(run, maskformer, pictures, monkeypatch):
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    if sys.platform.startswith("linux"):
        message = refused(run, "--config-file", maskformer, "--input", pictures)
        assert "--output FOLDER" in message


def test_no_camera(run, maskformer, tmp_path, monkeypatch):
    class NoCamera:
        def isOpened(self) -> bool:
            return False

    monkeypatch.setattr(cv2, "VideoCapture", lambda _: NoCamera())
    call = ["--config-file", maskformer, "--webcam", "--output", tmp_path]
    assert "cannot be opened as a camera" in refused(run, *call)


def test_an_error_of_the_model_is_not_taken_for_a_mistake_of_the_user(
    demo, maskformer, pictures, tmp_path, monkeypatch
):
    def broken(*_, **__):
        raise ValueError("a bug")

    monkeypatch.setattr("d2seg.prediction.predictor.Predictor.__call__", broken)
    with pytest.raises(ValueError, match="a bug"):
        demo.main(
            ["--config-file", str(maskformer), "--input", str(pictures), "--output", str(tmp_path)]
        )


def test_the_command_itself(repo_dir, maskformer, pictures, tmp_path):
    arguments = ["--config-file", maskformer, "--input", pictures / "a.jpg", "absent.jpg"]
    arguments += ["--output", tmp_path / "out"]
    done = run_program(repo_dir / "demo.py", arguments, tmp_path)
    assert done.returncode == 1, done.stderr
    assert "1/1" in done.stderr  # the progress bar
    assert "absent.jpg: no such file" in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout.splitlines()[-1] == f"1 drawn into {tmp_path / 'out'}, 1 could not be read"
    assert names(tmp_path / "out") == ["a.png"]
