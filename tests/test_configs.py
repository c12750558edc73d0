"""Every file in configs/ gives a model and a mapper, and says what was published."""

import json
from pathlib import Path

import pytest
import torch
from detectron2.config import CfgNode
from detectron2.modeling import build_model

from d2seg.config.loading import load_config
from d2seg.config.tasks import tasks_of
from d2seg.data.catalog import check_classes
from d2seg.data.mappers import build_mapper
from d2seg.prediction.identification import INDEX_FILE, matching_configs

CONFIGS = Path(__file__).resolve().parents[1] / "configs"
LEAVES = sorted(
    path.relative_to(CONFIGS)
    for path in CONFIGS.rglob("*.yaml")
    if not any(part.startswith("_base") for part in path.relative_to(CONFIGS).parts)
)
# runs of this project's own, which d2seg.load need not recognise without the config in them
UNPUBLISHED = ("shapes_", "_small", "_overfit", "_short")
INITIALISERS = [name for name in dir(torch.nn.init) if name.endswith("_") and name[0] != "_"]


@pytest.fixture
def uninitialised(monkeypatch: pytest.MonkeyPatch) -> None:
    """Models without random numbers in them: building all of them takes a minute with."""
    for name in INITIALISERS:
        monkeypatch.setattr(torch.nn.init, name, lambda tensor, *args, **kwargs: tensor)
    monkeypatch.setattr(
        "timm.layers.weight_init._trunc_normal_", lambda tensor, *args, **kwargs: tensor
    )


@pytest.fixture(scope="module", params=LEAVES, ids=str)
def path(request: pytest.FixtureRequest) -> Path:
    return request.param


@pytest.fixture(scope="module")
def cfg(path: Path) -> CfgNode:
    """Loaded once for the tests of a file, which pytest runs one after the other."""
    cfg = load_config(str(CONFIGS / path))
    cfg.MODEL.DEVICE = "cpu"
    cfg.freeze()
    return cfg


def test_builds_model_and_mappers(path: Path, cfg: CfgNode, uninitialised: None) -> None:
    check_classes(cfg)
    assert tasks_of(cfg)
    for is_train in (True, False):
        assert callable(build_mapper(cfg, is_train))
    model = build_model(cfg)
    assert any(parameter.requires_grad for parameter in model.parameters())
    name = path.with_suffix("").as_posix()
    shapes = {key: tensor.shape for key, tensor in model.state_dict().items()}
    found = [other for variant in matching_configs(shapes) for other in variant]
    assert all(other.startswith(f"{path.parts[0]}/") for other in found)
    if not any(part in name for part in UNPUBLISHED):
        assert name in found, "call tools/index_models.py"


def test_different_models_differ_in_the_index() -> None:
    """With the test above: what a checkpoint fits is all that it fits, and only that."""
    for method in json.loads(INDEX_FILE.read_text()).values():
        kinds = [json.dumps(model["shapes"]) for model in method["models"]]
        assert len(set(kinds)) == len(kinds)
        names = [n for model in method["models"] for variant in model["configs"] for n in variant]
        assert len(set(names)) == len(names)
        assert all((CONFIGS / f"{name}.yaml").is_file() for name in names)


def test_name_says_data_set_and_task(path: Path, cfg: CfgNode) -> None:
    """<method>/<dataset>_<task>_<backbone>.yaml"""
    assert any(f"_{task}_" in path.name for task in tasks_of(cfg)), path


def test_automatic_scaling_starts_from_the_batch(cfg: CfgNode) -> None:
    """Else SOLVER.AUTO_SCALE would scale a recipe that is run as it stands."""
    solver = cfg.SOLVER
    assert solver.AUTO_SCALE.REFERENCE_BATCH_SIZE == solver.IMS_PER_BATCH


def test_no_tags_in_yaml() -> None:
    """A config is data: nothing in it is run."""
    assert not [path for path in CONFIGS.rglob("*.yaml") if "!!python" in path.read_text()]
