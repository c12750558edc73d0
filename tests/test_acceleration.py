"""d2seg.acceleration: the plain model is the reference."""

import copy
from pathlib import Path
from types import ModuleType

import pytest
import torch
from detectron2.layers import Conv2d, FrozenBatchNorm2d
from detectron2.modeling import build_model
from torch import nn

from d2seg import acceleration
from d2seg.acceleration import (
    FrozenNormConv2d,
    autocast_dtype,
    fold_batch_norms,
    is_own,
    prepare_as_configured,
    prepare_for_inference,
    prepare_for_training,
)
from d2seg.config.loading import load_config
from families import mask2former_config, maskformer_config
from families.mask_classification import example


def conv(norm: nn.Module | None, bias: bool) -> Conv2d:
    return Conv2d(3, 8, kernel_size=3, padding=1, bias=bias, norm=norm, activation=torch.relu)


def randomised(norm: nn.Module) -> nn.Module:
    for tensor in norm.state_dict().values():
        if tensor.is_floating_point():
            tensor.uniform_(0.5, 2.0)
    return norm


def test_outputs_stay() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(
        conv(randomised(FrozenBatchNorm2d(8)), bias=False),
        Conv2d(8, 8, kernel_size=1, norm=randomised(nn.BatchNorm2d(8))),
        Conv2d(8, 8, kernel_size=1, norm=nn.GroupNorm(2, 8)),
        Conv2d(8, 4, kernel_size=1, norm=randomised(nn.SyncBatchNorm(4))),
        Conv2d(4, 4, kernel_size=1),
    ).eval()
    image = torch.randn(2, 3, 9, 7)
    with torch.no_grad():
        expected = model(image)
        assert fold_batch_norms(model) == 3
        torch.testing.assert_close(model(image), expected, atol=1e-5, rtol=1e-5)
    assert model[0].norm is None
    assert isinstance(model[2].norm, nn.GroupNorm)


def test_training_mode_is_refused() -> None:
    with pytest.raises(ValueError, match=r"call model\.eval\(\) first"):
        fold_batch_norms(conv(FrozenBatchNorm2d(8), bias=False))


@pytest.mark.parametrize("is_fast_backward", [True, False])
def test_training_stays(is_fast_backward: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(acceleration, "_has", lambda question: is_fast_backward)
    torch.manual_seed(0)
    plain = nn.Sequential(
        conv(randomised(FrozenBatchNorm2d(8)), bias=True),
        Conv2d(8, 8, kernel_size=3, stride=2, groups=2, norm=randomised(FrozenBatchNorm2d(8))),
        Conv2d(8, 4, kernel_size=1, norm=nn.GroupNorm(2, 4)),
    ).train()
    prepared = prepare_for_training(copy.deepcopy(plain))
    kinds = [type(module) for module in prepared]
    assert kinds == [FrozenNormConv2d, FrozenNormConv2d, Conv2d]
    assert list(prepared.state_dict()) == list(plain.state_dict())
    first = prepared[0].weight
    assert first.is_contiguous(memory_format=torch.channels_last) == is_fast_backward
    assert first.is_contiguous() != is_fast_backward

    image = torch.randn(2, 3, 9, 7)
    outputs = []
    for model in (plain, prepared):
        for steps in range(2):  # weights that have changed are folded anew
            model.zero_grad()
            output = model(image)
            output.square().sum().backward()
            if not steps:
                with torch.no_grad():
                    for parameter in model.parameters():
                        parameter -= 1e-3 * parameter.grad
        outputs.append(output)
    torch.testing.assert_close(outputs[1], outputs[0], atol=1e-5, rtol=1e-5)
    for ours, reference in zip(prepared.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(ours.grad, reference.grad, atol=1e-4, rtol=1e-4)

    image = torch.randn(1, 3, 8, 8)
    with torch.no_grad():
        expected = prepared.eval()(image)
        assert fold_batch_norms(prepared) == 2
        torch.testing.assert_close(prepared(image), expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    ("dtype", "tolerance"), [(torch.float32, 1e-4), (torch.bfloat16, 5e-2)], ids=["fp32", "bf16"]
)
@pytest.mark.parametrize(
    ("method", "name"),
    [
        (maskformer_config, "ade20k_semantic_resnet50"),
        (maskformer_config, "coco_panoptic_swin_tiny"),
        (mask2former_config, "coco_panoptic_resnet50"),
        (mask2former_config, "coco_instance_swin_tiny"),
    ],
)
def test_prepared_model(
    repo_dir: Path, method: ModuleType, name: str, dtype: torch.dtype, tolerance: float
) -> None:
    torch.manual_seed(0)
    model = build_model(method.small_config(repo_dir, name)).eval()
    batch = [example(64, 96, []), example(50, 70, [], seed=1)]
    with torch.inference_mode():
        expected = [result["sem_seg"] for result in model(batch)]
    with torch.no_grad():
        prepare_for_inference(model, dtype)
        actual = [result["sem_seg"] for result in model(batch)]
    assert model.pixel_mean.dtype == torch.float32
    assert {p.dtype for p in model.parameters()} == {dtype}
    for ours, reference in zip(actual, expected, strict=True):
        assert ours.dtype == torch.float32
        assert (ours - reference).norm() / reference.norm() < tolerance


def test_dtype_of_the_config(repo_dir: Path) -> None:
    cfg = maskformer_config.small_config(repo_dir)
    cfg.TEST.DTYPE = "bf16"
    model = prepare_as_configured(cfg, build_model(cfg))
    assert next(model.parameters()).dtype == torch.bfloat16
    cfg.TEST.DTYPE = "int8"
    with pytest.raises(ValueError, match=r"TEST.DTYPE is 'int8'; choose from \['fp32', 'bf16'"):
        prepare_as_configured(cfg, model)


def test_models_of_the_zoo_stay_as_they_are() -> None:
    cfg = load_config("Base-RCNN-FPN.yaml", ["MODEL.DEVICE", "cpu", "TEST.TASKS", "['semantic']"])
    cfg.MODEL.META_ARCHITECTURE, cfg.MODEL.RESNETS.DEPTH = "SemanticSegmentor", 50
    model = build_model(cfg).eval()
    assert not is_own(model)
    assert prepare_as_configured(cfg, model) is model
    assert isinstance(model.backbone.bottom_up.stem.conv1.norm, FrozenBatchNorm2d)
    cfg.TEST.DTYPE = "bf16"
    with pytest.raises(ValueError, match=r"TEST\.DTYPE bf16 is for d2seg's models"):
        prepare_as_configured(cfg, model)


def test_a_detector_with_a_head_of_this_project_is_its_own(repo_dir: Path) -> None:
    cfg = load_config(str(repo_dir / "configs/pointrend/shapes_instance_small.yaml"))
    cfg.MODEL.DEVICE, cfg.TEST.TASKS = "cpu", []
    assert is_own(build_model(cfg))


def test_models_with_boxes_stay_in_fp32(repo_dir: Path) -> None:
    cfg = load_config(str(repo_dir / "configs/pointrend/shapes_instance_small.yaml"))
    cfg.MODEL.DEVICE = "cpu"
    cfg.TEST.DTYPE = "bf16"
    with pytest.raises(ValueError, match=r"TEST\.DTYPE bf16 is not for models with boxes"):
        prepare_as_configured(cfg, build_model(cfg))


def test_bf16_is_trained_in_where_the_processor_has_it(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    cfg = load_config(None, ["MODEL.DEVICE", "cpu", "SOLVER.AMP.DTYPE", "bf16"])
    cpu = torch.device("cpu")
    assert autocast_dtype(cfg, cpu) is None  # not asked for
    cfg.SOLVER.AMP.ENABLED = True
    for instructions, device, dtype in (
        (True, "cpu", torch.bfloat16),
        (False, "cpu", None),
        (False, "cuda", torch.bfloat16),
    ):
        monkeypatch.setattr(acceleration, "has_bf16_instructions", lambda has=instructions: has)
        caplog.clear()
        with caplog.at_level("INFO"):
            assert autocast_dtype(cfg, torch.device(device)) is dtype
        assert ("training in fp32" in caplog.text) == (dtype is None)
    cfg.SOLVER.AMP.DTYPE = "fp16"
    assert autocast_dtype(cfg, torch.device("cuda")) is torch.float16
