"""When a checkpoint fits a model, on small cases worked out by hand."""

import logging
from collections.abc import Sequence

import pytest
from torch import nn

from d2seg.checkpoint.compatibility import LoadResult, check


def result_of(
    model: Sequence[str],
    missing: Sequence[str] = (),
    unexpected: Sequence[str] = (),
    mismatched: Sequence[tuple] = (),
) -> LoadResult:
    return LoadResult(list(model), list(missing), list(unexpected), list(mismatched))


def network(depth: int) -> list[str]:
    return [f"backbone.layers.{i}.weight" for i in range(depth)]


HEAD = ["decoder.weight", "decoder.bias"]


class TestSharesOfTheBackbone:
    """At least three quarters of the backbone's tensors must be common ones."""

    @pytest.mark.parametrize("require_complete", [False, True])
    def test_all(self, require_complete: bool) -> None:
        check(result_of(network(8) + HEAD), "x.pth", require_complete)

    def test_without_heads(self, caplog: pytest.LogCaptureFixture) -> None:
        with caplog.at_level(logging.INFO):
            check(result_of(network(8) + HEAD, missing=HEAD), "x.pth", False)
        assert "x.pth has nothing for decoder: they start from scratch" in caplog.text

    def test_six_of_eight(self) -> None:
        check(result_of(network(8) + HEAD, missing=network(2)), "x.pth", False)

    def test_five_of_eight(self) -> None:
        with pytest.raises(ValueError, match="another architecture") as raised:
            check(result_of(network(8) + HEAD, missing=network(3)), "x.pth", False)
        assert str(raised.value) == (
            "x.pth is of another architecture than the config's: it fills 7 of the model's 10 "
            "tensors; missing in it: backbone.layers.0.weight, backbone.layers.1.weight, "
            "backbone.layers.2.weight. Check MODEL.WEIGHTS against the config"
        )

    def test_mismatched_shapes_count_as_missing(self) -> None:
        shapes = [(name, (2, 3), (2, 4)) for name in network(3)]
        with pytest.raises(ValueError, match=r"layers\.0\.weight \(2, 3\) and not \(2, 4\)"):
            check(result_of(network(8), mismatched=shapes), "x.pth", False)

    def test_deeper_checkpoint(self) -> None:
        """Eight layers of the model and eleven of the checkpoint: 8 / 11 are common."""
        check(result_of(network(8), unexpected=network(10)[8:]), "x.pth", False)
        with pytest.raises(ValueError, match=r"not in the model: backbone\.layers\.8\.weight, "):
            check(result_of(network(8), unexpected=network(11)[8:]), "x.pth", False)

    def test_other_surplus_does_not_count(self) -> None:
        """A classifier, or a stage that the model leaves out as a whole."""
        unexpected = ["classifier.weight", *(f"backbone.res5.{i}.weight" for i in range(9))]
        unexpected += [f"backbone.layers.norm.{kind}" for kind in ("weight", "bias")]
        check(result_of(network(4), unexpected=unexpected), "x.pth", True)

    def test_model_without_a_backbone(self) -> None:
        with pytest.raises(ValueError, match="it fills 0 of the model's 2 tensors"):
            check(result_of(HEAD, missing=HEAD), "x.pth", False)


class TestEvaluation:
    def test_missing_tensors(self) -> None:
        with pytest.raises(ValueError, match="random weights: it fills 9 of the model's 10"):
            check(result_of(network(8) + HEAD, missing=HEAD[1:]), "x.pth", True)

    def test_a_deeper_decoder(self) -> None:
        decoder = ["decoder.layers.0.weight"]
        result = result_of(network(8) + decoder, unexpected=["decoder.layers.1.weight"])
        check(result, "x.pth", False)
        with pytest.raises(ValueError, match="is of a deeper model than the config's"):
            check(result, "x.pth", True)


class TestClasses:
    NAMES = ["decoder.class_embed.weight", "decoder.class_embed.bias"]
    MISMATCHED = [(NAMES[0], (134, 256), (151, 256)), (NAMES[1], (134,), (151,))]

    def result(self, missing: Sequence[str] = ()) -> LoadResult:
        model = network(8) + HEAD + self.NAMES
        return result_of(model, missing=missing, mismatched=self.MISMATCHED)

    def test_training_warns_once(self, caplog: pytest.LogCaptureFixture) -> None:
        check(self.result(), "x.pth", False)
        assert [record.getMessage() for record in caplog.records] == [
            "x.pth has 133 classes, the config has 150 (MODEL.SEM_SEG_HEAD.NUM_CLASSES): "
            "decoder.class_embed.weight, decoder.class_embed.bias start from scratch"
        ]

    def test_evaluation_names_the_key(self) -> None:
        with pytest.raises(ValueError, match=r"x\.pth has 133 classes") as raised:
            check(self.result(), "x.pth", True)
        assert "Set MODEL.SEM_SEG_HEAD.NUM_CLASSES to 133" in str(raised.value)

    def test_evaluation_with_other_faults_lists_them(self) -> None:
        with pytest.raises(ValueError, match=r"does not fill .* it has 133 classes"):
            check(self.result(missing=HEAD), "x.pth", True)

    @pytest.mark.parametrize(
        ("name", "rows", "classes", "key"),
        [
            ("sem_seg_head.predictor.weight", (19, 150), (19, 150), "SEM_SEG_HEAD"),
            ("sem_seg_head.transformer_decoder.query_embed.weight", (3, 4), (3, 4), "SEM_SEG_HEAD"),
            ("roi_heads.box_predictor.cls_score.bias", (81, 6), (80, 5), "ROI_HEADS"),
            ("roi_heads.2.box_predictor.cls_score.bias", (81, 6), (80, 5), "ROI_HEADS"),
        ],
    )
    def test_heads(self, name: str, rows: tuple, classes: tuple, key: str) -> None:
        result = result_of([name], mismatched=[(name, (rows[0],), (rows[1],))])
        mismatch = result.class_mismatch
        assert (mismatch.in_checkpoint, mismatch.in_model) == classes
        assert mismatch.key == f"MODEL.{key}.NUM_CLASSES"

    def test_another_width_is_not_another_number_of_classes(self) -> None:
        name = self.NAMES[0]
        result = result_of([name], mismatched=[(name, (134, 256), (134, 128))])
        assert result.class_mismatch is None


class TestSortingOut:
    def test_optional_buffers_are_left_out(self) -> None:
        model = nn.Sequential(nn.BatchNorm2d(2))
        result = LoadResult.of(model, ["0.num_batches_tracked"], ["pixel_mean", "x"], [])
        assert result.model_names == ["0.weight", "0.bias", "0.running_mean", "0.running_var"]
        assert result.missing == []
        assert result.unexpected == ["x"]

    def test_mismatched_are_not_missing_as_well(self) -> None:
        shapes = [("bias", (3,), (4,))]
        result = LoadResult.of(nn.Linear(2, 4), ["weight", "bias"], [], shapes)
        assert result.missing == ["weight"]
        assert result.unfilled == {"weight", "bias"}

    def test_statistics_of_an_absent_frozen_norm_are_missing(self) -> None:
        """detectron2's FrozenBatchNorm2d fills them in silently."""
        model = nn.ModuleDict({"a": nn.BatchNorm2d(2), "b": nn.BatchNorm2d(2)})
        result = LoadResult.of(model, ["a.weight", "a.bias"], [], [])
        assert result.missing == ["a.weight", "a.bias", "a.running_mean", "a.running_var"]
