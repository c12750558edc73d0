"""TransUNet's official names; equality of what it computes is in tests/transunet/test_golden.py."""

from collections.abc import Callable
from pathlib import Path

import pytest
from detectron2.modeling import build_model

from d2seg.checkpoint.conversion import to_flavour
from d2seg.checkpoint.layouts.official_transunet import LAYOUT
from families.transunet_config import small_config


@pytest.mark.parametrize("name", ["synapse_semantic_r50_vit_base", "synapse_semantic_vit_base"])
def test_there_and_back(
    repo_dir: Path, name: str, randomised: Callable, round_trip: Callable
) -> None:
    state = randomised(build_model(small_config(repo_dir, name))).state_dict()
    round_trip(state, "official", LAYOUT)
    assert not to_flavour(state, "official").keys() & state.keys()
