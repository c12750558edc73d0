"""Small models and their weights, official names, and how the layouts of both are compared."""

import json
import resource
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from detectron2.modeling import build_model
from torch import Tensor, nn

from d2seg.checkpoint.conversion import to_flavour
from d2seg.checkpoint.layouts import Layout, find_layout
from families.maskformer_config import small_config


@pytest.fixture(scope="session")
def small_model(repo_dir: Path) -> Callable[..., nn.Module]:
    """Builds a published MaskFormer config, shrunk, with given keys changed."""

    def build(name: str = "ade20k_semantic_resnet50", **changes: Any) -> nn.Module:
        """``changes``: {key with __ for dots, under MODEL: value}."""
        torch.manual_seed(0)
        cfg = small_config(repo_dir, name)
        if "per_pixel_plus" in name:
            cfg.MODEL.MASK_CLASSIFICATION.NUM_QUERIES = cfg.MODEL.SEM_SEG_HEAD.NUM_CLASSES
        if "101c" in name:  # the deep stem comes with bottlenecks alone
            cfg.MODEL.RESNETS.DEPTH = 50
            cfg.MODEL.RESNETS.RES2_OUT_CHANNELS = 256
        if "swin" in name:
            cfg.MODEL.SWIN.EMBED_DIM = 12
            cfg.MODEL.SWIN.DEPTHS = [2, 1, 1, 1]
        for key, value in changes.items():
            cfg.merge_from_list([f"MODEL.{key.replace('__', '.')}", value])
        return build_model(cfg)

    return build


@pytest.fixture(scope="session")
def randomised() -> Callable[[nn.Module], nn.Module]:
    """Gives every tensor of a model random values, so that none can be mistaken for another."""

    def randomise(model: nn.Module) -> nn.Module:
        generator = torch.Generator().manual_seed(1)
        for name, tensor in model.state_dict().items():
            if name.endswith("running_var"):
                tensor.copy_(torch.rand(tensor.shape, generator=generator) + 0.5)
            elif tensor.is_floating_point():
                tensor.copy_(torch.randn(tensor.shape, generator=generator))
        return model

    return randomise


def assert_equal(actual: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    """The same names with the same values, bit by bit."""
    assert set(actual) == set(expected)
    different = [name for name in expected if not torch.equal(actual[name], expected[name])]
    assert not different


@pytest.fixture(scope="session")
def same_state() -> Callable[[dict[str, Tensor], dict[str, Tensor]], None]:
    return assert_equal


@pytest.fixture(scope="session")
def official_state(repo_dir: Path) -> Callable[[str], dict[str, Tensor]]:
    """The names and shapes of a published checkpoint in golden/keys, each tensor of one value that
    tells it apart."""

    def read(case: str) -> dict[str, Tensor]:
        shapes = json.loads((repo_dir / "tests" / "golden" / "keys" / f"{case}.json").read_text())
        return {name: torch.tensor(float(i)).expand(shapes[name]) for i, name in enumerate(shapes)}

    return read


def assert_round_trip(state: dict[str, Tensor], flavour: str, layout: Layout) -> None:
    """Our tensors become those of ``layout``, and those become ours again."""
    assert find_layout(state.keys()) is None
    theirs = to_flavour(state, flavour)
    assert find_layout(theirs.keys()) is layout
    assert_equal(layout.convert(theirs), state)


@pytest.fixture(scope="session")
def round_trip() -> Callable[[dict[str, Tensor], str, Layout], None]:
    return assert_round_trip


@pytest.fixture
def small_disk() -> Iterator[None]:
    """No file can grow beyond 100 kB: the operating system's limit stands for the end of a disk."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, limits)
