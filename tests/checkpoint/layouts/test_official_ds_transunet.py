"""DS-TransUNet's official names; equality of what it computes is in tests/dstransunet."""

from collections.abc import Callable
from pathlib import Path

import torch
from detectron2.modeling import build_model

from d2seg.checkpoint.conversion import to_d2seg, to_flavour
from d2seg.checkpoint.layouts.official_ds_transunet import LAYOUT
from families.dstransunet_config import small_config


def test_there_and_back(repo_dir: Path, randomised: Callable, round_trip: Callable) -> None:
    state = randomised(build_model(small_config(repo_dir))).state_dict()
    round_trip(state, "official", LAYOUT)
    assert not to_flavour(state, "official").keys() & state.keys()


def test_names_of_data_parallel_training(repo_dir: Path, same_state: Callable) -> None:
    """The authors save their model from DataParallel."""
    state = build_model(small_config(repo_dir)).state_dict()
    theirs = {f"module.{name}": value for name, value in to_flavour(state, "official").items()}
    converted, layout = to_d2seg(theirs)
    assert layout is LAYOUT
    same_state(converted, {name: torch.as_tensor(value) for name, value in state.items()})
