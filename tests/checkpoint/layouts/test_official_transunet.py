"""TransUNet's official names; equality of what it computes is in tests/transunet/test_golden.py."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from detectron2.modeling import build_model

from d2seg.checkpoint.conversion import to_d2seg, to_flavour
from d2seg.checkpoint.layouts import LAYOUTS, find_layout
from families.transunet_config import small_config


def test_one_layout_matches_the_official_names(repo_dir: Path) -> None:
    file = repo_dir / "tests" / "golden" / "keys" / "transunet_synapse_R50_ViT_B16.json"
    names = json.loads(file.read_text()).keys()
    matching = [layout.name for layout in LAYOUTS if layout.matches(names)]
    assert matching == ["official TransUNet"]


@pytest.mark.parametrize("name", ["synapse_semantic_r50_vit_base", "synapse_semantic_vit_base"])
def test_there_and_back(
    repo_dir: Path, name: str, randomised: Callable, same_state: Callable
) -> None:
    state = randomised(build_model(small_config(repo_dir, name))).state_dict()
    assert find_layout(state.keys()) is None
    official = to_flavour(state, "official")
    assert not official.keys() & state.keys()
    back, layout = to_d2seg(official)
    assert layout.name == "official TransUNet"
    same_state(back, state)
