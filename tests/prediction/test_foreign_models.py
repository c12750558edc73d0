"""Checkpoints of the official repositories by each way that detectron2 offers: equal outputs.

Weights are drawn from the official names, see ``families/golden.py``, and the expected outputs are
those of the official code.
"""

import json
from dataclasses import dataclass
from pathlib import Path

import detectron2.data.transforms as T
import numpy as np
import pytest
import torch
from detectron2.checkpoint import DetectionCheckpointer
from detectron2.config import CfgNode
from detectron2.engine import DefaultPredictor
from detectron2.modeling import build_model
from safetensors.torch import save_file
from torch import Tensor, nn

import d2seg
from d2seg.checkpoint.conversion import to_d2seg, to_flavour
from d2seg.engine.hooks import ExponentialMovingAverage
from families.golden import relative_error
from families.maskformer_config import small_config
from families.point_rend_reference import build_pair, our_config, reference_config
from golden.pictures import read_picture
from golden.seeded_weights import seeded_state_dict

# Relative errors of norms, against the official outputs; see the golden tests of the methods for
# what was measured without a predictor around the model.
TOLERANCE = 1e-5
CASES = {
    "maskformer_ade20k_semantic_R50": "maskformer/ade20k_semantic_resnet50",
    "mask2former_ade20k_semantic_swin_tiny": "mask2former/ade20k_semantic_swin_tiny",
    "segformer_b0_ade20k": "segformer/ade20k_semantic_mit_b0",
}


@dataclass
class Case:
    """state: under the official names, in the file ``weights``. picture: BGR. expected (K, h, w):
    every ``step``-th pixel of the scores."""

    cfg: CfgNode
    state: dict[str, Tensor]
    weights: Path
    picture: np.ndarray
    expected: np.ndarray
    step: int


@pytest.fixture(scope="module", params=CASES)
def case(
    request: pytest.FixtureRequest, repo_dir: Path, tmp_path_factory: pytest.TempPathFactory
) -> Case:
    name, folder = request.param, repo_dir / "tests" / "golden"
    shapes = json.loads((folder / "keys" / f"{name}.json").read_text())
    # computed by the model, not seeded
    shapes = {key: s for key, s in shapes.items() if not key.endswith("relative_position_index")}
    state = seeded_state_dict({key: torch.zeros(shape) for key, shape in shapes.items()})
    weights = tmp_path_factory.mktemp("official") / "official.pth"
    torch.save({"model": state}, weights)
    outputs = np.load(folder / "outputs" / f"{name}.npz")
    cfg = d2seg.load_config(str(repo_dir / "configs" / f"{CASES[name]}.yaml"))
    cfg.MODEL.DEVICE, cfg.MODEL.WEIGHTS = "cpu", str(weights)
    meta = json.loads(str(outputs["meta"]))
    if name.startswith("segformer"):
        size, expected, step = (512, 512), outputs["logits"], 32
    else:
        size, expected, step = meta["size"], outputs["sem_seg"], 16
    cfg.INPUT.MIN_SIZE_TEST = min(size)  # the picture as it is
    image = read_picture(f"{size[0]}x{size[1]}_seed{meta.get('seed', 0)}")
    picture = np.ascontiguousarray(image.numpy().transpose(1, 2, 0)[:, :, ::-1])
    return Case(cfg, state, weights, picture, expected, step)


def test_official_checkpoints_give_official_outputs(case: Case) -> None:
    predictor = DefaultPredictor(case.cfg)
    scores = predictor(case.picture)["sem_seg"]
    assert relative_error(scores[:, :: case.step, :: case.step], case.expected) < TOLERANCE


def test_load_finds_the_config_and_gives_the_same(case: Case) -> None:
    predictor = d2seg.load(case.weights, device="cpu")
    assert predictor.task == "semantic"
    predictor.resize = T.ResizeShortestEdge(case.cfg.INPUT.MIN_SIZE_TEST, 9999)
    result = predictor(case.picture)
    scores = result["sem_seg"][:, :: case.step, :: case.step]
    assert relative_error(scores, case.expected) < TOLERANCE
    assert predictor.metadata.stuff_classes[0].startswith("wall")


def test_plain_loading_converts_inside_another_module_too(case: Case) -> None:
    """As a training framework wraps a model; the names of the rest stay."""
    if case.cfg.MODEL.META_ARCHITECTURE == "Mask2Former":
        pytest.skip("two methods are enough, and this one is the slowest")
    wrapper = nn.ModuleDict({"model": build_model(case.cfg), "other": nn.Linear(2, 2)})
    state = {f"model.{name}": tensor for name, tensor in case.state.items()}
    state |= {f"other.{name}": tensor for name, tensor in wrapper["other"].state_dict().items()}
    wrapper.load_state_dict(state)
    converted, _ = to_d2seg(case.state)
    for name, tensor in wrapper["model"].state_dict().items():
        assert name.endswith("num_batches_tracked") or torch.equal(tensor, converted[name]), name


def test_the_per_pixel_baseline_converts_too(repo_dir: Path) -> None:
    """It is a head of detectron2's model; and in names from before the ``pixel_decoder`` level."""
    cfg = small_config(repo_dir, "ade20k_semantic_per_pixel_resnet50")
    model = build_model(cfg)
    expected = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    official = to_flavour(expected, "official")
    assert official.keys() != expected.keys()
    head = "sem_seg_head."
    older = {
        name if name.startswith(head + "predictor.") else name.replace("pixel_decoder.", ""): tensor
        for name, tensor in official.items()
    }
    assert older.keys() != official.keys()
    for state in (official, older):
        for tensor in model.state_dict().values():
            tensor.zero_()
        model.load_state_dict({name: tensor.clone() for name, tensor in state.items()})
        for name, tensor in model.state_dict().items():
            assert torch.equal(tensor, expected[name]), name


def test_a_folder_of_transformers(repo_dir: Path, tmp_path: Path) -> None:
    cfg = d2seg.load_config(str(repo_dir / "configs/segformer/ade20k_semantic_mit_b0.yaml"))
    cfg.MODEL.DEVICE = "cpu"
    state = build_model(cfg).state_dict()
    theirs = to_flavour(state, "huggingface")
    save_file({name: t.contiguous() for name, t in theirs.items()}, tmp_path / "model.safetensors")
    predictor = d2seg.load(tmp_path, device="cpu")
    assert len(predictor.metadata.stuff_classes) == 150
    assert torch.equal(
        predictor.model.decode_head.predictor.weight, state["decode_head.predictor.weight"]
    )


HEADS = {
    "explicit": ("PointRendMaskHead", "PointRendInstanceHead"),
    "implicit": ("ImplicitPointRendMaskHead", "ImplicitPointRendInstanceHead"),
}


def point_rend(kind: str, tmp_path: Path) -> tuple[CfgNode, nn.Module, nn.Module]:
    """Our config, whose weights are the reference's in a file; the reference; ours, filled."""
    theirs, ours = HEADS[kind]
    cfg = our_config(ours)
    cfg.TEST.TASKS = ["instance"]
    reference, expected = build_pair(reference_config(theirs), cfg)
    cfg.MODEL.WEIGHTS = str(tmp_path / "point_rend.pth")
    torch.save({"model": reference.state_dict()}, cfg.MODEL.WEIGHTS)
    return cfg, reference, expected


@pytest.mark.parametrize("kind", HEADS)
def test_point_rend_of_detectron2(kind: str, tmp_path: Path) -> None:
    cfg, reference, expected = point_rend(kind, tmp_path)
    by_detectron2, plain = build_model(cfg), build_model(cfg)
    DetectionCheckpointer(by_detectron2).load(cfg.MODEL.WEIGHTS)
    plain.load_state_dict(reference.state_dict())
    for model in (by_detectron2, plain):
        for name, tensor in model.state_dict().items():
            assert torch.equal(tensor, expected.state_dict()[name]), name
    picture = np.random.default_rng(0).integers(0, 255, (96, 128, 3), np.uint8)
    cfg.INPUT.MIN_SIZE_TEST = 96
    found = d2seg.load(cfg.MODEL.WEIGHTS, device="cpu", config=cfg)(picture)["instances"]
    other = DefaultPredictor(cfg)(picture)["instances"]
    assert len(found) == len(other) > 0
    torch.testing.assert_close(found.scores, other.scores, atol=1e-5, rtol=0)
    assert (found.pred_masks != other.pred_masks).float().mean() < 1e-3


def test_point_rend_of_an_earlier_version(tmp_path: Path) -> None:
    """Its point head's weight was stored (K, C): detectron2's checkpointer would drop it."""
    cfg, _, expected = point_rend("explicit", tmp_path)
    name = "roi_heads.mask_head.point_head.predictor.weight"
    state = expected.state_dict()
    state[name] = state[name].squeeze(2)
    torch.save({"model": state}, cfg.MODEL.WEIGHTS)
    model = build_model(cfg)
    with pytest.raises(RuntimeError, match=r"load the checkpoint with d2seg\.Checkpointer"):
        DetectionCheckpointer(model).load(cfg.MODEL.WEIGHTS)
    d2seg.Checkpointer(model).load(cfg.MODEL.WEIGHTS, require_complete=True)
    assert torch.equal(model.state_dict()[name], expected.state_dict()[name])
    average = ExponentialMovingAverage(model, decay=0.9)  # of a run that goes on
    average.load_state_dict({"num_updates": 1, "average": state})
    average.before_train()
    model.state_dict()[name].zero_()
    with average.applied():
        assert torch.equal(model.state_dict()[name], expected.state_dict()[name])
