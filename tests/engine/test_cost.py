"""Parameters, operations and memory of models."""

from pathlib import Path

import pytest
import torch
from detectron2.modeling import build_model
from fvcore.nn import FlopCountAnalysis
from torch import nn

from d2seg.cli import main
from d2seg.config.loading import load_config
from d2seg.engine import cost

SIZE = (512, 512)
SMALL = ("--size", "64", "64", "--batch", "2", "MODEL.DEVICE", "cpu")


@pytest.fixture(scope="module")
def b0() -> nn.Module:
    pairs = ["MODEL.DEVICE", "cpu", "MODEL.WEIGHTS", ""]
    return build_model(load_config("segformer/ade20k_semantic_mit_b0", pairs, labels=True))


def test_segformer_b0_has_the_published_parameters_and_operations(b0: nn.Module) -> None:
    """3.8 million and 8.4 G at 512 x 512 (Xie et al. 2021, table 1a)."""
    assert sum(cost.count_parameters(b0).values()) / 1e6 == pytest.approx(3.8, rel=0.02)
    published = cost.count_operations(b0, SIZE, as_published=True)
    parts = sum(count for part, count in published.items() if part != cost.RESULTS)
    assert parts / 1e9 == pytest.approx(8.4, rel=0.02)
    computed = cost.count_operations(b0, SIZE)
    assert computed["backbone"] == published["backbone"]
    assert computed["decode_head"] < published["decode_head"] / 4


def test_the_published_formula_gives_the_same(b0: nn.Module) -> None:
    head = b0.decode_head.eval()
    sizes = {"res2": 32, "res3": 16, "res4": 8, "res5": 4}
    generator = torch.Generator().manual_seed(0)
    features = {
        name: torch.randn(1, head.linears[name].in_features, side, side, generator=generator)
        for name, side in sizes.items()
    }
    with torch.no_grad():
        expected, computed = head.forward_as_published(features), head(features)
    torch.testing.assert_close(computed, expected, rtol=1e-4, atol=1e-4)


def test_operations_are_those_that_fvcore_counts(b0: nn.Module) -> None:
    """But for attention, which its tracer takes for one unknown operator, and norms."""
    analysis = FlopCountAnalysis(b0.backbone.eval(), torch.zeros(1, 3, *SIZE))
    analysis.unsupported_ops_warnings(False)
    analysis.uncalled_modules_warnings(False)
    by_operator = analysis.by_operator()
    expected = by_operator["linear"] + by_operator["conv"]
    # per block: queries x keys x channels, for the scores and for the values
    for stride, reduction, channels in ((4, 8, 32), (8, 4, 64), (16, 2, 160), (32, 1, 256)):
        queries = (SIZE[0] // stride) * (SIZE[1] // stride)
        expected += 2 * 2 * queries * (queries // reduction**2) * channels
    assert cost.count_operations(b0, SIZE)["backbone"] == expected


def test_weighted_sums_of_rows_count() -> None:
    class Sums(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.bag = nn.EmbeddingBag(10, 4, mode="sum")

        def forward(self, batch: list[dict]) -> None:
            indices = torch.arange(10).reshape(2, 5)
            self.bag(indices, per_sample_weights=torch.ones(2, 5))

    assert cost.count_operations(Sums(), (8, 8)) == {"bag": 40, cost.RESULTS: 0}


def test_activations_are_what_the_backward_pass_needs() -> None:
    class Layers(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.ones(1000))

        def forward(self, batch: list[dict]) -> dict[str, torch.Tensor]:
            hidden = (batch[0]["x"] * self.weight).sigmoid()  # keeps x and what comes out
            return {"loss": hidden.exp().sum()}  # keeps what comes out

    assert cost.activation_bytes(Layers(), [{"x": torch.ones(1000)}]) == 3 * 4000


@pytest.mark.parametrize(
    "name",
    [
        "mask2former/shapes_panoptic_small",
        "pointrend/shapes_instance_small",
        "transunet/acdc_semantic_small",
        "restr/shapes_referring_small",
    ],
)
def test_any_model_is_counted_and_makes_a_step(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    (tmp_path / "words.txt").write_text("<pad>\n<go>\n<eos>\n<unk>\nobject\n")
    words = ("MODEL.RESTR.TEXT.VOCABULARY", str(tmp_path / "words.txt"))
    assert main(["info", name, *SMALL, *words]) == 0
    out = capsys.readouterr().out
    rows = {line.split("  ")[0]: line.split()[-2:] for line in out.splitlines() if "  " in line}
    assert all(float(number) > 0 for number in rows["backbone"])
    parameters, operations = (float(number) for number in rows["all parts"])
    assert parameters >= float(rows["backbone"][0])
    assert operations >= float(rows["backbone"][1])
    assert "step of 2 images on cpu: " in out
    assert "GB at its peak, measured" in out


def test_a_step_that_does_not_fit_is_not_tried(
    capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cost, "free_bytes", lambda device: 1000)
    monkeypatch.setattr(cost, "step_bytes", lambda *_: pytest.fail("was tried"))
    assert main(["info", "segformer/shapes_semantic_small", *SMALL]) == 0
    assert "0.0 are free; not tried" in capsys.readouterr().out


def test_mistakes_end_in_one_line(capsys: pytest.CaptureFixture) -> None:
    for arguments, message in (
        (["segformer/b0"], "there is no config 'segformer/b0'"),
        (
            ["segformer/shapes_semantic_small", "--size", "0", "9", "MODEL.DEVICE", "cpu"],
            "give 1 o",
        ),
        (["segformer/shapes_semantic_small", "MODEL.DEVICE", "gpu"], "MODEL.DEVICE is 'gpu'"),
    ):
        assert main(["info", *arguments]) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert line.startswith("error: ")
        assert message in line
