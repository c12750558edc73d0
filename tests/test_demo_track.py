"""--track of demo.py, and what it does not go with."""

from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from detectron2.modeling import build_model
from PIL import Image

from d2seg.cli import draw
from d2seg.visualization.video_writing import VideoWriter
from families.maskformer_config import small_config

Run = Callable[..., tuple[int, str]]


@pytest.fixture
def run(repo_dir: Path, tmp_path: Path, capfd: pytest.CaptureFixture) -> Run:
    """The exit code and stderr of a call with a small MaskFormer of random weights."""
    cfg = small_config(repo_dir, "coco_panoptic_resnet50")
    cfg.INPUT.MIN_SIZE_TEST = 64
    cfg.MODEL.WEIGHTS = str(tmp_path / "model.pth")
    (tmp_path / "config.yaml").write_text(cfg.dump())

    def call(*arguments: object) -> tuple[int, str]:
        given = [
            "--config-file",
            tmp_path / "config.yaml",
            "--output",
            tmp_path / "out",
            *arguments,
        ]
        try:
            code = draw.main([str(argument) for argument in given])
        except SystemExit as end:
            code = end.code
        return code, capfd.readouterr().err

    call.cfg = cfg
    return call


@pytest.fixture
def video(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    with VideoWriter(tmp_path / "a.mp4", 12.5) as writer:
        for _ in range(3):
            writer.write(rng.integers(0, 255, (48, 64, 3), np.uint8))
    return tmp_path / "a.mp4"


def test_ids_stand_in_the_frames(run: Run, video: Path, tmp_path: Path) -> None:
    """Random weights find something, which a threshold of 0 draws."""
    torch.manual_seed(0)
    torch.save({"model": build_model(run.cfg).state_dict()}, tmp_path / "model.pth")
    code, _ = run("--input", video, "--task", "panoptic", "--track", "--confidence-threshold", "0")
    assert code == 0
    with av.open(str(tmp_path / "out" / "a.mp4")) as container:
        assert container.streams.video[0].codec_context.name == "h264"
        assert len(list(container.decode(video=0))) == 3


def test_what_it_does_not_go_with_is_refused(run: Run, video: Path, tmp_path: Path) -> None:
    """Before the weights, which are missing, are looked for."""
    Image.new("RGB", (64, 48)).save(tmp_path / "a.png")
    for source, options, message in (
        (tmp_path / "a.png", ("--track",), "--track: there is no video among --input"),
        (video, ("--track", "--task", "semantic"), "it goes with --task panoptic or instance"),
        (video, ("--opts", "INPUT.READER", "bands"), "a video's frames are RGB; a model with"),
        (video, ("--opts", "INPUT.FORMAT", "L"), "pictures in INPUT.FORMAT L have 1"),
    ):
        code, err = run("--input", source, *options)
        assert code == 2
        assert message in err
        assert not (tmp_path / "out").exists()
