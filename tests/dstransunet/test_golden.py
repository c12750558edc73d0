"""Equality with the official DS-TransUNet under seeded weights, see ``golden/seeded_weights.py``.

Each run is one more pass of the model: at 512 x 512 pixels ("") and 64 x 64 ("small_"), where the
shifted windows of one padded window and the fusion's tokens show; once more ("scaled_") with tables
of relative positions 50 times as large, which hardly show otherwise, and with auxiliary heads whose
ReLU cuts less; and at the sizes of the multi-scale training ("ms384_", "ms640_").
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from d2seg.checkpoint.layouts import find_layout
from families.dstransunet_config import published_model
from golden.pictures import read_picture
from golden.seeded_weights import seeded_state_dict

CASE = "ds_transunet_base"
TOLERANCE = 3e-5  # of the logits, whose fp32 noise is 6e-6
FEATURE_TOLERANCE = 2e-5  # relative to the largest value; the noise is 2e-6
TABLE_FACTOR = 50.0
SCALES = {"ms384_": 0.75, "ms640_": 1.25}
# a pass over a large picture takes ten seconds; "small_scaled_" shows the same tables, and "ms384_"
# the other direction of resizing
LARGE = (pytest.mark.slow, pytest.mark.extended)
RUNS = ("", pytest.param("scaled_", marks=LARGE), "small_", "small_scaled_")
TRAINING_RUNS = ("ms384_", pytest.param("ms640_", marks=LARGE))


@dataclass
class Run:
    features: dict[str, Tensor]  # (C, positions)
    maps: dict[str, Tensor]  # (C, h, w)
    logits: list[Tensor]  # (1, 2, H, W) of the head and of the auxiliary heads
    losses: dict[str, float]


@pytest.fixture(scope="module")
def outputs(repo_dir: Path) -> dict[str, np.ndarray]:
    return dict(np.load(repo_dir / "tests" / "golden" / "outputs" / f"{CASE}.npz"))


@pytest.fixture(scope="module")
def official_state(repo_dir: Path) -> dict[str, Tensor]:
    """As the authors' training saves it; the indices are integers, which are not seeded."""
    shapes = json.loads((repo_dir / "tests" / "golden" / "keys" / f"{CASE}.json").read_text())
    assert len(shapes) == 840
    floats = {n: torch.zeros(s) for n, s in shapes.items() if not n.endswith("_index")}
    return seeded_state_dict(floats)


@pytest.fixture(scope="module")
def model(repo_dir: Path, official_state: dict[str, Tensor]) -> nn.Module:
    model = published_model(repo_dir)
    layout = find_layout(official_state.keys())
    assert layout.name == "official DS-TransUNet"
    result = model.load_state_dict(layout.convert(official_state), strict=False)
    assert not result.unexpected_keys
    assert len(result.missing_keys) == 42
    assert all(name.endswith("relative_position_index") for name in result.missing_keys)
    return model.eval()


def hooked(model: nn.Module) -> dict[str, nn.Module]:
    """The modules whose outputs are the official features of these names."""
    backbone, head = model.backbone, model.decode_head
    modules = {
        "enc1_patch_embed": backbone.fine.patch_embed,
        "enc2_patch_embed": backbone.coarse.patch_embed,
        "skip_full": backbone.full_conv,
        "skip_half": backbone.half_convs,
    }
    for i, fusion in enumerate(head.fusions.values()):
        modules |= {f"tif_e{i}": fusion.fine_layer, f"tif_r{i}": fusion.coarse_layer}
        modules[f"fused{i}"] = fusion
    for i, level in enumerate(head.levels, 1):
        modules[f"dec{i}"] = level
        if level.swin is not None:
            modules[f"dec{i}_up"] = level.project
    for i, auxiliary in enumerate(model.auxiliary_heads, 1):
        modules[f"aux{i}_pre_relu"] = auxiliary.predictor
    return modules


def as_map(output: Tensor) -> Tensor:
    """(1, C, h, w), or (1, 1 + N, C) with the other scale's token first -> (C, h, w)."""
    if output.dim() == 4:
        return output[0]
    side = int((output.shape[1] - 1) ** 0.5)
    return output[0, 1:].T.unflatten(1, (side, side))


def inputs(model: nn.Module, outputs: dict[str, np.ndarray], name: str) -> tuple[Tensor, Tensor]:
    """The picture (1, 3, H, W) of a run, normalised, and its targets (1, 2, H, W)."""
    is_small = name.startswith("small")
    picture = read_picture(f"{CASE}_small" if is_small else CASE)
    mask = np.unpackbits(outputs["small_target_mask" if is_small else "target_mask"], axis=-1)
    images = model.normalise(picture)[None]
    targets = model.loss.targets(torch.from_numpy(mask)[None].long())
    return model.at_scale(images, targets, SCALES.get(name, 1.0))


@torch.no_grad()
def run(model: nn.Module, outputs: dict[str, np.ndarray], name: str) -> Run:
    images, targets = inputs(model, outputs, name)
    maps: dict[str, Tensor] = {}
    handles = [
        module.register_forward_hook(
            lambda _, __, output, name=feature: maps.update({name: as_map(output)})
        )
        for feature, module in hooked(model).items()
    ]
    handles.append(
        model.backbone.register_forward_hook(lambda _, __, output: maps.update(stages(output)))
    )
    logits = model.all_logits(images)
    for handle in handles:
        handle.remove()
    losses = {}
    terms_of_heads = model.loss(logits, targets)
    for output, terms in zip(("main", "aux1", "aux2"), terms_of_heads, strict=True):
        for term, value in terms.items():
            losses[f"{output}_{term}"] = value.item()
    features = {feature: values.flatten(1) for feature, values in maps.items()}
    return Run(features, maps, logits, losses)


def stages(features: dict[str, Tensor]) -> dict[str, Tensor]:
    return {
        f"enc{number}_stage{i}": features[f"{prefix}res{i + 2}"][0]
        for number, prefix in ((1, ""), (2, "coarse_"))
        for i in range(4)
    }


@pytest.fixture(scope="module")
def run_of(model: nn.Module, outputs: dict[str, np.ndarray]) -> Callable[[str], Run]:
    """Each run is made once."""

    @cache
    def make(name: str) -> Run:
        if "scaled" not in name:
            return run(model, outputs, name)
        before = {n: p.detach().clone() for n, p in model.named_parameters()}
        with torch.no_grad():
            for parameter_name, parameter in model.named_parameters():
                if parameter_name.endswith("relative_position_bias_table"):
                    parameter.mul_(TABLE_FACTOR)
                elif parameter_name.startswith("auxiliary_heads."):
                    parameter.neg_()
            made = run(model, outputs, name)
            for parameter_name, parameter in model.named_parameters():
                parameter.copy_(before[parameter_name])
        return made

    return make


def assert_near(actual: Tensor, expected: np.ndarray, tolerance: float, what: str) -> None:
    theirs = torch.from_numpy(expected)
    assert actual.shape == theirs.shape, what
    error = (actual - theirs).abs().max().item()
    assert error <= tolerance, f"{what}: {error}"


@pytest.mark.parametrize("name", RUNS)
def test_features(run_of: Callable[[str], Run], outputs: dict[str, np.ndarray], name: str) -> None:
    prefix = f"{name}feat_"
    names = [key[len(prefix) : -4] for key in outputs if key.startswith(prefix) and "_rms" in key]
    assert len(names) == 32
    features = run_of(name).features
    for feature in names:
        ours = features[feature]
        statistics = {"mean": ours.mean(1), "rms": ours.square().mean(1).sqrt()}
        largest = abs(outputs[f"{prefix}{feature}_rms"]).max().item()
        for kind, values in statistics.items():
            theirs = outputs[f"{prefix}{feature}_{kind}"]
            assert_near(values, theirs, FEATURE_TOLERANCE * largest, f"{name}{feature} {kind}")


def test_maps(run_of: Callable[[str], Run], outputs: dict[str, np.ndarray]) -> None:
    maps = run_of("").maps
    for name in ("tif_e3", "tif_r3", "enc2_stage3", "dec1"):
        theirs = outputs[f"map_{name}"]
        assert_near(maps[name][::16], theirs, FEATURE_TOLERANCE * abs(theirs).max(), name)


@pytest.mark.parametrize("name", RUNS)
def test_logits_of_all_heads(
    run_of: Callable[[str], Run], outputs: dict[str, np.ndarray], name: str
) -> None:
    made = run_of(name)
    logits = [class_logits[0, 1] for class_logits in made.logits]
    assert all(not class_logits[0, 0].any() for class_logits in made.logits)
    if "small" in name:
        assert_near(logits[0], outputs[f"{name}logits"], TOLERANCE, name)
    else:
        assert_near(logits[0][::4, ::4], outputs[f"{name}logits"], TOLERANCE, name)
        middle = logits[0].shape[0] // 2
        assert_near(logits[0][middle], outputs[f"{name}logits_mid_row"], TOLERANCE, name)
        assert_near(logits[1][::32, ::32], outputs[f"{name}aux1"], TOLERANCE, name)
        assert_near(logits[2][::8, ::8], outputs[f"{name}aux2"], TOLERANCE, name)
    for head in ("aux1_pre_relu", "aux2_pre_relu"):
        assert_near(made.maps[head][0], outputs[name + head], TOLERANCE, name + head)


@pytest.mark.parametrize("name", [*RUNS, *TRAINING_RUNS])
def test_losses(run_of: Callable[[str], Run], outputs: dict[str, np.ndarray], name: str) -> None:
    values = outputs[f"{name}loss"].tolist()
    expected = dict(zip(outputs["loss_names"].tolist(), values, strict=True))
    losses = run_of(name).losses
    for head in ("main", "aux1", "aux2"):
        assert losses[f"{head}_ce"] == pytest.approx(expected[f"{head}_bce_plain"], rel=3e-6)
        assert losses[f"{head}_iou"] == pytest.approx(expected[f"{head}_wiou"], rel=3e-6)
    weights = {"main": 0.6, "aux1": 0.2, "aux2": 0.2}
    total = sum(weights[term.partition("_")[0]] * value for term, value in losses.items())
    assert total == pytest.approx(expected["total"], rel=3e-6)


@pytest.mark.parametrize("name", SCALES)
def test_pictures_and_targets_of_the_training_scales(
    model: nn.Module, outputs: dict[str, np.ndarray], name: str
) -> None:
    images, targets = inputs(model, outputs, name)
    assert_near(images[0, :, ::32, ::32], outputs[f"{name}image"], TOLERANCE, name)
    assert_near(targets[0, 1, ::8, ::8], outputs[f"{name}target"], TOLERANCE, name)


@pytest.mark.parametrize("name", TRAINING_RUNS)
def test_logits_of_the_training_scales(
    run_of: Callable[[str], Run], outputs: dict[str, np.ndarray], name: str
) -> None:
    made = run_of(name)
    assert_near(made.logits[0][0, 1, ::8, ::8], outputs[f"{name}logits"], TOLERANCE, name)


def test_export_gives_back_the_official_names(
    model: nn.Module, official_state: dict[str, Tensor]
) -> None:
    exported = find_layout(official_state.keys()).export.convert(model.state_dict())
    indices = {name for name in exported if name.endswith("relative_position_index")}
    assert len(indices) == 42
    assert exported.keys() - indices == official_state.keys()
    for name, tensor in official_state.items():
        assert torch.equal(exported[name], tensor), name
