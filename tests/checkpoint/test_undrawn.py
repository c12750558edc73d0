"""Models that are built without drawing their weights."""

from pathlib import Path

import pytest
import torch
from detectron2.modeling import build_model
from torch import nn

from d2seg.checkpoint.undrawn import undrawn
from d2seg.config.loading import load_config
from d2seg.prediction.building import build_predictor


def test_drawing_weights_ends_whatever_memory_holds() -> None:
    """torch draws truncated normal values again until none lies beyond the bounds."""
    weights, others = (nn.Parameter(torch.full((4, 4), 1e30)) for _ in range(2))
    with undrawn():
        assert nn.init.trunc_normal_(weights, std=0.02) is weights
        nn.init.trunc_normal_(others, std=5.0)
    assert not weights.any()
    assert not others.any()


def test_a_module_keeps_the_parameter_that_it_draws() -> None:
    class Scale(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.scale = nn.init.xavier_uniform_(nn.Parameter(torch.empty(2, 3)))
            self.register_buffer("noise", torch.empty(3).normal_(), persistent=False)

    with undrawn():
        module = Scale()
    assert list(module.state_dict()) == ["scale"]
    assert module.noise.any()  # of which no file knows


def test_weights_are_drawn_where_none_are_given() -> None:
    with undrawn(False):
        assert nn.Linear(3, 3).weight.any()
    with undrawn():
        assert not nn.Linear(3, 3).weight.any()
    assert nn.Linear(3, 3).weight.any()


def test_a_loaded_model_is_the_one_that_was_saved(
    repo_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All of it comes from the file; nothing is drawn, and nothing is left at zero."""
    monkeypatch.setattr("d2seg.prediction.building.prepare_as_configured", lambda cfg, model: model)
    cfg = load_config(
        str(repo_dir / "configs/segformer/shapes_semantic_small.yaml"), ["MODEL.DEVICE", "cpu"]
    )
    torch.manual_seed(1)
    saved = build_model(cfg).state_dict()
    torch.save({"model": saved}, tmp_path / "model.pth")
    cfg.defrost()
    cfg.MODEL.WEIGHTS = str(tmp_path / "model.pth")
    before = torch.random.get_rng_state()
    loaded = build_predictor(cfg, "semantic").model.state_dict()
    assert torch.equal(torch.random.get_rng_state(), before)
    assert loaded.keys() == saved.keys()
    for name, value in loaded.items():
        assert torch.equal(value, saved[name]), name
