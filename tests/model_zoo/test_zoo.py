"""The functions of the model zoo."""

import hashlib
from pathlib import Path

import pytest
import torch
from detectron2.config import CfgNode
from detectron2.modeling import build_model
from loopback import loopback

from d2seg import model_zoo
from d2seg.config import zoo as table
from d2seg.config.loading import load_config

SMALL = "segformer/shapes_semantic_small"


def test_lists_by_parts() -> None:
    assert model_zoo.list(method="mask2former", task="panoptic", dataset="ade20k") == [
        "mask2former/ade20k_panoptic_resnet50",
        "mask2former/ade20k_panoptic_swin_large",
    ]
    assert len(model_zoo.list()) > len(model_zoo.list(task="semantic")) > 50
    with pytest.raises(ValueError, match=r"no method 'yolo' in the model zoo; there are \['dstra"):
        model_zoo.list(method="yolo")


def test_a_config_and_its_file() -> None:
    name = "segformer/ade20k_semantic_mit_b0"
    path = model_zoo.get_config_file(name)
    assert Path(path).is_file()
    assert path.endswith(f"configs/{name}.yaml")
    assert model_zoo.get_config(name).dump() == load_config(path).dump()
    trained = model_zoo.get_config(name, trained=True)
    assert model_zoo.get_checkpoint_url(name) == trained.MODEL.WEIGHTS
    assert trained.MODEL.WEIGHTS.startswith("https://huggingface.co/nvidia/segformer-b0-")


def test_what_there_is_not() -> None:
    for function in (model_zoo.get_config_file, model_zoo.get_config, model_zoo.get_entry):
        with pytest.raises(ValueError, match="the nearest are segformer/ade20k_semantic_mit_b0, "):
            function("segformer/ade20k_semantic_mit_b00")
    with pytest.raises(ValueError, match=f"no address .* {SMALL}; nothing is published"):
        model_zoo.get(SMALL)
    with pytest.raises(ValueError, match=r"; see https://github\.com/hustvl/TopFormer"):
        model_zoo.get_checkpoint_url("topformer/ade20k_semantic_tiny")


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    cfg: CfgNode = load_config(SMALL, ["MODEL.DEVICE", "cpu"])
    torch.save({"model": build_model(cfg).state_dict()}, tmp_path / "model.pth")
    return tmp_path / "model.pth"


def test_a_model_comes_with_its_published_weights(
    weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FVCORE_CACHE", str(tmp_path / "cache"))
    with loopback() as server:
        server.content = weights.read_bytes()
        entry = table.entry_of(SMALL)
        published = {
            **table.read_table(),
            SMALL: table.dataclasses.replace(
                entry,
                url=f"{server.url}/zoo/model.pth",
                sha256=hashlib.sha256(server.content).hexdigest(),
            ),
        }
        monkeypatch.setattr(table, "read_table", lambda: published)
        model = model_zoo.get(SMALL, device="cpu")
        assert model.training
        assert len(server.requests) == 1
        model_zoo.get(SMALL, device="cpu")
        assert len(server.requests) == 1
    for name, tensor in torch.load(weights)["model"].items():
        assert torch.equal(model.state_dict()[name], tensor), name


def test_a_model_without_them() -> None:
    model = model_zoo.get(SMALL, trained=False, device="cpu")
    assert sum(parameter.numel() for parameter in model.parameters()) > 1e5
