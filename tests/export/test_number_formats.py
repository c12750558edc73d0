"""Files in other number formats than fp32: what they hold, and how far that takes them."""

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from detectron2.config import CfgNode
from PIL import Image
from torch import Tensor, nn

from d2seg.cli.export import report
from d2seg.config.loading import load_config
from d2seg.export.exporting import Request, export
from d2seg.export.verification import NUMBERS, Difference, DifferenceError, check
from d2seg.layers.deformable_attention import MultiScaleDeformableAttention
from d2seg.layers.segmentor import Segmentor
from d2seg.runtimes import open_session
from families.exports import trusted_programs  # noqa: F401

SIZE = (32, 48)


class Convolved(Segmentor):
    """Two convolutions, whose weights are what a format changes."""

    def __init__(self) -> None:
        torch.manual_seed(0)
        backbone = nn.Sequential(
            nn.Conv2d(3, 64, 3, padding=1), nn.ReLU(), nn.Conv2d(64, 8, 3, padding=1)
        )
        backbone.size_divisibility = 16
        super().__init__(backbone=backbone, pixel_mean=[100.0] * 3, pixel_std=[50.0] * 3)

    def network(self, images: Tensor) -> dict[str, Tensor]:
        return {"logits": self.backbone(images.to(self.backbone[0].weight.dtype))}


class Deformed(Convolved):
    """A layer of deformable attention over the two convolutions."""

    def __init__(self) -> None:
        super().__init__()
        self.attention = MultiScaleDeformableAttention(8, 1, 2, 3)

    def network(self, images: Tensor) -> dict[str, Tensor]:
        features = self.backbone(images)
        size = features.shape[-2:]
        queries = features.flatten(2).transpose(1, 2)
        points = queries.new_full((1, queries.shape[1], 1, 2), 0.4)
        attended = self.attention(queries, points, queries, [tuple(size)])
        return {"logits": attended.transpose(1, 2).unflatten(2, size)}


@pytest.fixture
def cfg() -> CfgNode:
    cfg = load_config(None)
    cfg.MODEL.META_ARCHITECTURE, cfg.TEST.TASKS = "SegFormer", ["semantic"]
    return cfg


def types_in(path: Path) -> set[str]:
    """Number formats of the weights in an ONNX file."""
    onnx = pytest.importorskip("onnx")
    tensors = onnx.load(str(path)).graph.initializer
    return {onnx.TensorProto.DataType.Name(each.data_type) for each in tensors if each.dims}


def error_at_a_picture(path: Path) -> float:
    """The greatest difference from PyTorch, relative to the greatest logit."""
    pixels = np.random.default_rng(9).integers(0, 256, (1, 3, *SIZE)).astype(np.float32)
    images = torch.from_numpy((pixels - 100) / 50)
    expected = Convolved().eval().network(images)["logits"].detach()
    found = torch.from_numpy(open_session(path)(images.numpy())["logits"])
    return float((found - expected).abs().max() / expected.abs().max())


# the greatest difference, relative to the greatest logit; of fp16 and bf16 a few roundings
@pytest.mark.parametrize(
    ("name", "form", "dtype", "least", "most", "weights"),
    [
        ("a.onnx", "onnx", "fp16", 1e-6, 5e-3, "FLOAT16"),
        ("a.xml", "openvino", "fp16", 0.0, 5e-3, None),
        ("a.pt2", "torch_export", "bf16", 1e-4, 0.05, None),
    ],
)
def test_weights_are_in_the_format_and_results_near(
    cfg: CfgNode,
    tmp_path: Path,
    name: str,
    form: str,
    dtype: str,
    least: float,
    most: float,
    weights: str | None,
) -> None:
    if form != "torch_export":
        for package in ("onnxscript", "onnxruntime", "openvino"):
            pytest.importorskip(package)
    path = tmp_path / name
    made = export(cfg, Convolved(), path, Request(form, dtype, SIZE, False))
    assert least <= error_at_a_picture(path) < most
    assert made.differences[0].value < made.differences[0].limit
    if weights is not None:
        assert weights in types_in(path)
    elif form == "openvino":  # 4 bytes a weight would be 25 kB
        assert path.with_suffix(".bin").stat().st_size < 16_000


def test_openvino_files_take_any_size_and_explain_themselves(cfg: CfgNode, tmp_path: Path) -> None:
    for package in ("onnxscript", "openvino"):
        pytest.importorskip(package)
    made = export(
        cfg, Convolved(), tmp_path / "a.xml", Request("openvino", "fp32", (48, 64), dynamic=True)
    )
    assert sorted(file.name for file in tmp_path.iterdir()) == ["a.bin", "a.xml"]
    assert made.megabytes > 0.025  # 4 bytes a weight
    session = open_session(tmp_path / "a.xml")
    about = session.description
    assert (session.runtime, about["method"], about["size"]) == ("openvino", "SegFormer", [])
    assert (about["pixel_mean"], about["outputs"]) == (list(cfg.MODEL.PIXEL_MEAN), ["logits"])
    for size in ((16, 16), (32, 80)):
        images = torch.randn(1, 3, *size)
        expected = Convolved().eval().network(images)["logits"].detach()
        found = torch.from_numpy(session(images.numpy())["logits"])
        torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(("dynamic", "bags", "samplings"), [(False, 1, 0), (True, 0, 3)])
def test_deformable_attention_is_a_bag_in_openvinos_files_of_one_size(
    cfg: CfgNode, tmp_path: Path, dynamic: bool, bags: int, samplings: int
) -> None:
    for package in ("onnxscript", "openvino"):
        pytest.importorskip(package)
    path = tmp_path / "a.xml"
    made = export(cfg, Deformed(), path, Request("openvino", "fp32", (48, 48), dynamic))
    assert all(difference.value < 1e-5 for difference in made.differences)
    graph = path.read_text()
    assert graph.count('type="EmbeddingBagPackedSum"') == bags
    assert graph.count('type="GridSample"') == samplings  # one a point


def test_a_bag_in_the_format_that_the_runtime_chooses(cfg: CfgNode, tmp_path: Path) -> None:
    """A program of someone's own lets OpenVINO compute in bf16 where the processor can."""
    pytest.importorskip("onnxscript")
    openvino = pytest.importorskip("openvino")
    path = tmp_path / "a.xml"
    export(cfg, Deformed(), path, Request("openvino", "fp32", (48, 64), False))
    images = torch.randn(1, 3, 48, 64)
    expected = Deformed().eval().network(images)["logits"].detach().numpy()
    [found] = openvino.Core().compile_model(str(path), "CPU")(images.numpy()).values()
    assert np.abs(found - expected).max() < 0.05 * np.abs(expected).max()


def test_an_int8_file_says_what_it_loses_and_how_fast_it_is(cfg: CfgNode, tmp_path: Path) -> None:
    for package in ("onnxscript", "onnxruntime"):
        pytest.importorskip(package)
    pictures = [tmp_path / f"{seed}.png" for seed in range(3)]
    for seed, picture in enumerate(pictures):
        pixels = np.random.default_rng(seed).integers(0, 256, (*SIZE, 3), np.uint8)
        Image.fromarray(pixels).save(picture)
    path = tmp_path / "a.onnx"
    made = export(cfg, Convolved(), path, Request("onnx", "int8", SIZE, False), pictures)
    assert sorted(tmp_path.iterdir()) == [*pictures, path]
    assert "INT8" in types_in(path)
    assert 1e-4 < error_at_a_picture(path) < 0.1
    assert len(made.differences) == len(pictures)
    lost = made.differences[0].value
    assert 1e-3 < lost < 0.1
    text = report(made)
    assert f"within {lost:.1e} of PyTorch (logits)" in text
    assert re.search(r"int8 takes \d+\.\d ms, the same in fp32 \d+\.\d ms", text)
    with pytest.raises(DifferenceError, match="where int8 may by 2e-01"):
        check([Difference(SIZE, "logits", 0.3, NUMBERS["int8"])], "int8")
