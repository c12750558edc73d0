"""detectron2's PointRend checkpoints, of today's and of older names, to ours and back."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from detectron2.config import CfgNode
from detectron2.modeling import build_model
from torch import Tensor, nn

from d2seg.checkpoint import Checkpointer
from d2seg.checkpoint.conversion import to_d2seg, to_flavour
from families import point_rend_reference as cases

MODELS: dict[str, Callable[[], tuple[CfgNode, CfgNode]]] = {
    "instance": lambda: (cases.reference_config(), cases.our_config()),
    "implicit": lambda: (
        cases.reference_config("ImplicitPointRendMaskHead"),
        cases.our_config("ImplicitPointRendInstanceHead"),
    ),
    "semantic FPN": lambda: (
        cases.reference_semantic_config("SemSegFPNHead"),
        cases.our_semantic_config("SemSegFPNHead"),
    ),
    "semantic DeepLab": lambda: (
        cases.reference_semantic_config("DeepLabV3PlusHead"),
        cases.our_semantic_config("DeepLabV3PlusHead"),
    ),
}


@pytest.fixture(scope="module", params=MODELS)
def pair(request: pytest.FixtureRequest) -> tuple[nn.Module, nn.Module]:
    reference, ours = MODELS[request.param]()
    return build_model(reference), build_model(ours)


def old_names(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """What the names were when R101 and X101 were released."""
    state = {
        name.replace("coarse_head.fc", "coarse_head.coarse_mask_fc"): state[name] for name in state
    }
    return {
        re.sub(r"mask_head\.(coarse|point)_head", r"mask_\1_head", name): tensor
        for name, tensor in state.items()
    }


def test_all_names_are_known_in_both_directions(
    pair: tuple[nn.Module, nn.Module], same_state: Callable
) -> None:
    reference, ours = pair
    theirs = reference.state_dict()
    converted, layout = to_d2seg(theirs)
    assert layout is not None
    assert layout.name == "detectron2's PointRend"
    shapes = {name: tensor.shape for name, tensor in ours.state_dict().items()}
    assert {name: tensor.shape for name, tensor in converted.items()} == shapes
    same_state(to_flavour(converted, "official"), theirs)


def test_our_own_names_are_no_foreign_layout(pair: tuple[nn.Module, nn.Module]) -> None:
    assert to_d2seg(pair[1].state_dict())[1] is None


def test_older_names(same_state: Callable) -> None:
    cfg = cases.reference_config()
    cfg.MODEL.ROI_HEADS.NAME = "PointRendROIHeads"
    reference = build_model(cfg)
    today = reference.state_dict()
    older = old_names(today)
    assert older.keys() != today.keys()
    reference.load_state_dict(older)  # strict: they are what detectron2 itself converts
    same_state(to_d2seg(older)[0], to_d2seg(today)[0])


@pytest.mark.parametrize("older", [False, True])
def test_a_file_fills_the_model(tmp_path: Path, same_state: Callable, older: bool) -> None:
    reference_cfg, cfg = MODELS["instance"]()
    state = build_model(reference_cfg).state_dict()
    path = tmp_path / "model_final.pth"
    torch.save({"model": old_names(state) if older else state}, path)
    model = build_model(cfg)
    Checkpointer(model).load(str(path), checkpointables=[], require_complete=True)
    same_state(model.state_dict(), to_d2seg(state)[0])
