"""What is kept and what is not; small models of the format that needs no further package."""

import math
from pathlib import Path

import pytest
import torch
from detectron2.config import CfgNode
from torch import Tensor, nn

from d2seg.config.loading import load_config
from d2seg.export.exporting import Request, export, output_path
from d2seg.export.formats import check_packages
from d2seg.export.sizes import check_size, default_size, sizes_to_compare
from d2seg.export.verification import Difference, DifferenceError, check
from d2seg.layers.recording import is_recording
from d2seg.layers.segmentor import Segmentor
from d2seg.runtimes import open_session
from families.exports import trusted_programs  # noqa: F401


class Sums(Segmentor):
    """Adds the channels; what a recorded graph adds besides is wrong."""

    def __init__(self, wrong: str = "") -> None:
        backbone = nn.Identity()
        backbone.size_divisibility = 16
        super().__init__(backbone=backbone, pixel_mean=[0.0] * 3, pixel_std=[1.0] * 3)
        self.wrong = wrong
        self.weight = nn.Parameter(torch.ones(1))

    def network(self, images: Tensor) -> dict[str, Tensor]:
        logits = images.sum(1, keepdim=True) * self.weight
        if self.wrong == "value" and is_recording():
            logits = logits + 1e-2
        if self.wrong == "shape" and is_recording():
            logits = logits[..., 1:]
        if self.wrong == "size":  # of the example, in a graph for all
            logits = logits * torch.full((), 128) if is_recording() else logits * images.shape[-1]
        return {"logits": logits}


@pytest.fixture
def cfg() -> CfgNode:
    cfg = load_config(None)
    cfg.MODEL.META_ARCHITECTURE, cfg.TEST.TASKS = "SegFormer", ["semantic"]
    return cfg


def test_a_right_file_is_kept_with_its_description(cfg: CfgNode, tmp_path: Path) -> None:
    made = export(cfg, Sums(), tmp_path / "a.pt2", Request("torch_export", "fp32", (96, 128), True))
    assert [each.size for each in made.differences] == [(96, 128), (112, 112), (80, 160)]
    assert [file.name for file in tmp_path.iterdir()] == ["a.pt2"]
    session = open_session(tmp_path / "a.pt2")
    about = session.description
    assert (about["method"], about["task"], about["size"]) == ("SegFormer", "semantic", [])
    assert (about["divisibility"], about["outputs"]) == (16, ["logits"])
    images = torch.rand(1, 3, 16, 32)
    found = session(images.numpy())["logits"]
    torch.testing.assert_close(torch.from_numpy(found), images.sum(1, keepdim=True))


@pytest.mark.parametrize(
    ("wrong", "dynamic", "where"),
    [("value", False, "96 x 128"), ("shape", False, "96 x 128"), ("size", True, "112 x 112")],
)
def test_a_wrong_file_is_deleted(
    cfg: CfgNode, tmp_path: Path, wrong: str, dynamic: bool, where: str
) -> None:
    """A size that became part of the graph shows at a second size alone."""
    request = Request("torch_export", "fp32", (96, 128), dynamic)
    with pytest.raises(DifferenceError, match=rf"at {where} the logits of the file differ"):
        export(cfg, Sums(wrong), tmp_path / "a.pt2", request)
    assert list(tmp_path.iterdir()) == []


def test_an_older_file_stays_when_the_new_one_is_wrong(cfg: CfgNode, tmp_path: Path) -> None:
    (tmp_path / "a.pt2").write_text("older")
    with pytest.raises(DifferenceError):
        export(
            cfg,
            Sums("value"),
            tmp_path / "a.pt2",
            Request("torch_export", "fp32", (96, 128), False),
        )
    assert (tmp_path / "a.pt2").read_text() == "older"


def test_limits() -> None:
    check([Difference((1, 1), "logits", 1e-4, 1e-4)], "fp32")
    for value in (1.1e-4, math.inf):
        with pytest.raises(DifferenceError):
            check([Difference((1, 1), "logits", value, 1e-4)], "fp32")


def test_sizes(cfg: CfgNode) -> None:
    cfg.INPUT.MIN_SIZE_TEST, cfg.INPUT.MAX_SIZE_TEST = 800, 1333
    assert default_size(cfg, 32) == (800, 1088)
    cfg.MODEL.PER_PIXEL.TEST.MODE, cfg.MODEL.PER_PIXEL.TEST.CROP_SIZE = "slide", (500, 512)
    assert default_size(cfg, 16) == (512, 512)
    cfg.INPUT.MAPPER, cfg.INPUT.REFERRING_SIZE = "referring", (480, 320)
    assert default_size(cfg, 1) == (480, 320)
    check_size((32, 64), 32)
    check_size((96, 96), 32, is_dynamic=True)
    with pytest.raises(ValueError, match="recorded at 64 x 96; take at least 96 x 96"):
        check_size((64, 96), 32, is_dynamic=True)
    for size in ((33, 64), (0, 32), (-32, 32)):
        with pytest.raises(ValueError, match=r"takes multiples of 32, as (64|32) (64|32)"):
            check_size(size, 32)
    assert sizes_to_compare((64, 96), 32, False) == [(64, 96)]
    assert len({h / w for h, w in sizes_to_compare((96, 96), 32, True)}) == 3


def test_what_cannot_be_is_refused(cfg: CfgNode, tmp_path: Path) -> None:
    def attempt(model: nn.Module, **changes: object) -> None:
        request = {"format": "torch_export", "dtype": "fp32", "size": None, "dynamic": False}
        export(cfg, model, tmp_path / "a.pt2", Request(**(request | changes)))

    with pytest.raises(ValueError, match="--dtype bf16 is not for --format onnx, which holds fp32"):
        attempt(Sums(), format="onnx", dtype="bf16")
    with pytest.raises(
        ValueError, match=r"--size 100 128: this model takes multiples of 16, as 112"
    ):
        attempt(Sums(), size=(100, 128))
    with pytest.raises(ValueError, match="--postprocess: Sums has no results in a graph"):
        attempt(Sums(), postprocess="semantic")
    with pytest.raises(ValueError, match="Identity has no part that can be exported"):
        attempt(nn.Identity())
    cfg.TEST.TILES.ENABLED = True
    with pytest.raises(ValueError, match=r"TEST.TILES.ENABLED is True, .* add --dynamic"):
        attempt(Sums())
    assert list(tmp_path.iterdir()) == []


def test_places(tmp_path: Path) -> None:
    assert output_path(tmp_path / "model", "onnx") == tmp_path / "model.onnx"
    with pytest.raises(ValueError, match=r"a file of --format openvino ends in \.xml"):
        output_path(tmp_path / "model.onnx", "openvino")
    (tmp_path / "folder.onnx").mkdir()
    with pytest.raises(ValueError, match=r"folder\.onnx cannot be written; choose another place"):
        output_path(tmp_path / "folder.onnx", "onnx")
    with pytest.raises(ValueError, match="there is no folder"):
        output_path(tmp_path / "absent" / "model.onnx", "onnx")


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "onnxscript", None)
    with pytest.raises(ModuleNotFoundError, match="pip install onnx onnxscript"):
        check_packages("onnx")
    check_packages("torch_export")
