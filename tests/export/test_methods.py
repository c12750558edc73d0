"""Every method's small model as a file, against PyTorch: `export` itself compares and raises."""

from pathlib import Path

import pytest
import torch

from d2seg.export.exporting import Request, export
from d2seg.export.network import Network
from d2seg.export.verification import compare, expect
from d2seg.runtimes import open_session
from families.exports import CASES, restr, small_model

# of the others, torch.export alone is compared at several sizes: ONNX takes several times as long
DYNAMIC = ("segformer_points",)
MARKS = {
    # detectron2's Swin is thousands of operators: in the suite a program of torch.export, below
    "dstransunet": pytest.mark.extended,
    "maskformer_swin": pytest.mark.extended,
    "segformer": pytest.mark.extended,  # what "segformer_points" has without its points
    # the layers of "maskformer" in detectron2's model, which test_exported.py exports as a program
    "per_pixel_plus": pytest.mark.extended,
}


@pytest.mark.parametrize("name", [pytest.param(n, marks=MARKS.get(n, ())) for n in CASES])
def test_onnx(repo_dir: Path, tmp_path: Path, name: str) -> None:
    pytest.importorskip("onnxscript")
    runtimes = [pytest.importorskip(package).__name__ for package in ("onnxruntime", "openvino")]
    cfg = CASES[name].config(repo_dir)
    model = small_model(cfg)
    is_dynamic = name in DYNAMIC
    path = tmp_path / "model.onnx"
    size = (96, 128) if is_dynamic else CASES[name].size
    made = export(cfg, model, path, Request("onnx", "fp32", size, is_dynamic))
    assert len(made.differences) == (3 if is_dynamic else 1)
    assert [file.name for file in tmp_path.iterdir()] == ["model.onnx"]
    assert str(Path(torch.__file__).parent).encode() not in path.read_bytes()  # no paths within
    network = Network(model)
    examples = [network.examples(each.size, seed=9) for each in made.differences]
    expected = expect(network, examples)
    for runtime in runtimes:
        for each in compare(open_session(path, runtime), examples, expected, "fp32"):
            assert each.value < each.limit, (runtime, each)


@pytest.mark.parametrize(
    "name",
    [
        *("maskformer", "mask2former", "setr_mla", "topformer", "transunet"),
        pytest.param("dstransunet", marks=pytest.mark.extended),  # Swin, too, in both its halves
    ],
)
def test_any_size(repo_dir: Path, tmp_path: Path, name: str) -> None:
    cfg = CASES[name].config(repo_dir)
    factor = 3 if name == "dstransunet" else 2  # whose sides are multiples of 64
    size = tuple(factor * side for side in CASES[name].size)
    request = Request("torch_export", "fp32", size, True)
    made = export(cfg, small_model(cfg), tmp_path / "model.pt2", request)
    assert len(made.differences) == 3


@pytest.mark.slow
def test_swin(repo_dir: Path, tmp_path: Path) -> None:
    cfg, size = CASES["dstransunet"].config(repo_dir), CASES["dstransunet"].size
    request = Request("torch_export", "fp32", size, False)
    made = export(cfg, small_model(cfg), tmp_path / "model.pt2", request)
    assert len(made.differences) == 1


def test_words_enter_too(repo_dir: Path, tmp_path: Path) -> None:
    pytest.importorskip("onnxscript")
    pytest.importorskip("onnxruntime")
    cfg = restr(repo_dir, tmp_path / "words.txt")
    model = small_model(cfg)
    made = export(cfg, model, tmp_path / "a.onnx", Request("onnx", "fp32", (96, 96), True))
    assert len(made.differences) == 3
    session, network = open_session(made.path, "onnxruntime"), Network(model)
    assert session.description["inputs"] == ["images", "ids", "is_word"]
    assert session.description["words"] == list(model.text_encoder.vocabulary.words)
    examples = network.examples((64, 96))
    for number in (1, 5):  # expressions, where the example had two
        words = model.example_words(number)
        inputs = [{"images": examples["images"], **words}]
        [found] = compare(session, inputs, expect(network, inputs), "fp32")
        assert found.value < found.limit
