"""Models that find boxes first: as a graph of fixed sizes, and as files."""

from pathlib import Path

import numpy as np
import pytest
import torch
from detectron2.config import CfgNode
from detectron2.layers import paste_masks_in_image
from detectron2.structures import Instances
from torch import nn

import d2seg
from d2seg.config.description import describe
from d2seg.export.boxes import BoxNetwork, paste
from d2seg.export.detections import align
from d2seg.export.exporting import Request, export
from d2seg.export.network import Network, RunByTorch
from d2seg.export.verification import compare, expect
from d2seg.prediction.exported_stock import replace_parts
from d2seg.runtimes import open_session
from families.exports import small_model, trusted_programs  # noqa: F401
from families.point_rend_reference import our_config

SIZE = (64, 96)
COUNT = 40  # detections: enough for several classes
CONTENT = (64, 80)  # of the picture within
HEADS = ("PointRendInstanceHead", "ImplicitPointRendInstanceHead", "MaskRCNNConvUpsampleHead")


def box_config(head: str = HEADS[0]) -> CfgNode:
    cfg = our_config(head)
    cfg.INPUT.MIN_SIZE_TEST = SIZE[0]
    # boxes of two levels: each of more is as many operators again
    cfg.MODEL.RPN.IN_FEATURES = cfg.MODEL.ROI_HEADS.IN_FEATURES = ["p2", "p3"]
    cfg.MODEL.ANCHOR_GENERATOR.SIZES = [[16], [32]]
    cfg.MODEL.PIXEL_STD = [57.0] * 3
    cfg.MODEL.RPN.PRE_NMS_TOPK_TEST = 40
    cfg.TEST.DETECTIONS_PER_IMAGE = COUNT
    cfg.MODEL.RPN.NMS_THRESH = 0.4  # so that there is something to suppress
    cfg.MODEL.POINT_HEAD.SUBDIVISION_STEPS = 2
    if "MaskRCNN" in head:
        cfg.MODEL.ROI_MASK_HEAD.POOLER_TYPE = "ROIAlignV2"
        cfg.MODEL.ROI_MASK_HEAD.NUM_CONV = 1
    return cfg


def box_model(cfg: CfgNode) -> nn.Module:
    """With classes, boxes and masks that differ, which a fresh model has hardly."""
    model = small_model(cfg)
    generator = torch.Generator().manual_seed(1)
    for name, parameter in model.named_parameters():
        if name.endswith("weight") and any(
            part in name for part in ("cls_score", "bbox_pred", "objectness", "deltas", "predictor")
        ):
            noise = torch.randn(parameter.shape, generator=generator)
            share = 0.2 if "cls_score" in name else 1.0  # else one class has all
            parameter.data.copy_(share * noise * parameter[0].numel() ** -0.5)
    return model


@pytest.mark.parametrize("head", HEADS)
def test_fixed_sizes_give_what_detectron2_gives(head: str) -> None:
    model = box_model(box_config(head))
    image = torch.randint(0, 256, (3, *CONTENT), generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        [theirs] = model.inference([{"image": image}], do_postprocess=False)
        images = torch.zeros(1, 3, *SIZE)
        images[0, :, : CONTENT[0], : CONTENT[1]] = (image - model.pixel_mean) / model.pixel_std
        ours = BoxNetwork(model).network(images, torch.tensor(CONTENT, dtype=torch.float32))
    count = len(theirs)
    assert count == COUNT
    assert len(theirs.pred_classes.unique()) > 1
    torch.testing.assert_close(ours["boxes"], theirs.pred_boxes.tensor, atol=1e-3, rtol=1e-4)
    torch.testing.assert_close(ours["scores"], theirs.scores, atol=1e-5, rtol=1e-4)
    assert ours["classes"].tolist() == theirs.pred_classes.tolist()
    torch.testing.assert_close(ours["mask_probs"], theirs.pred_masks, atol=1e-3, rtol=1e-3)


def test_masks_are_pasted_as_detectron2_does() -> None:
    generator = torch.Generator().manual_seed(0)
    probs = torch.rand(4, 14, 14, generator=generator)
    boxes = torch.tensor(
        [[3.2, 5.5, 40.1, 30.0], [0.0, 0.0, 96.0, 64.0], [90.5, 60.0, 95.9, 63.7], [5, 5, 5.5, 60]]
    )
    theirs = paste_masks_in_image(probs, boxes, SIZE)
    ours = paste(probs, boxes, SIZE)
    is_near = (ours - 0.5).abs() < 1e-4
    assert torch.equal((ours >= 0.5) | is_near, theirs | is_near)
    assert is_near.float().mean() < 1e-3


def assert_same(ours: Instances, theirs: Instances) -> None:
    assert len(ours) == len(theirs) == COUNT
    torch.testing.assert_close(
        ours.pred_boxes.tensor, theirs.pred_boxes.tensor, atol=1e-2, rtol=1e-3
    )
    torch.testing.assert_close(ours.scores, theirs.scores, atol=1e-4, rtol=1e-3)
    assert (ours.pred_masks == theirs.pred_masks).float().mean() > 0.999


def test_what_detectron2_makes_of_the_outputs() -> None:
    model = box_model(box_config())
    image = torch.randint(0, 256, (3, *CONTENT), generator=torch.Generator().manual_seed(0))
    example = {"image": image, "height": 2 * CONTENT[0], "width": 2 * CONTENT[1]}
    with torch.inference_mode():
        [theirs] = model([example])
        replace_parts(model, RunByTorch(BoxNetwork(model), SIZE), SIZE, 0.0)
        [ours] = model([example])
        assert_same(ours["instances"], theirs["instances"])
        model.roi_heads.score_threshold = float(ours["instances"].scores[4:6].mean())
        [sure] = model([example])
    assert len(sure["instances"]) == 5


@pytest.fixture(scope="module")
def onnx_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """For pictures of one size: boxes, and masks within them."""
    pytest.importorskip("onnxscript")
    pytest.importorskip("onnxruntime")
    path = tmp_path_factory.mktemp("boxes") / "a.onnx"
    cfg = box_config()
    made = export(cfg, box_model(cfg), path, Request("onnx", "fp32", SIZE, False))
    assert len(made.differences) == 1
    return path


def assert_same_as_from_a_checkpoint(file: Path, folder: Path) -> None:
    cfg = box_config()
    checkpoint = folder / "a.pth"
    torch.save({"model": box_model(cfg).state_dict(), "d2seg": describe(cfg)}, checkpoint)
    picture = np.random.default_rng(0).integers(0, 256, (*CONTENT, 3), np.uint8)
    theirs, ours = (
        d2seg.load(path, device="cpu")(picture)["instances"] for path in (checkpoint, file)
    )
    assert_same(ours, theirs)


@pytest.mark.slow
def test_what_d2seg_makes_of_a_file_of_one_size(onnx_file: Path, tmp_path: Path) -> None:
    assert_same_as_from_a_checkpoint(onnx_file, tmp_path)


@pytest.mark.slow
def test_what_d2seg_makes_of_a_file_for_any_size(tmp_path: Path) -> None:
    cfg = box_config()
    request = Request("torch_export", "fp32", (128, 192), True)
    made = export(cfg, box_model(cfg), tmp_path / "a.pt2", request)
    assert len(made.differences) == 3
    assert_same_as_from_a_checkpoint(made.path, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("task", ["", "instance"])
def test_onnx_in_both_runtimes(onnx_file: Path, tmp_path: Path, task: str) -> None:
    cfg = box_config()
    model = box_model(cfg)
    path = onnx_file
    if task:
        path = tmp_path / "a.onnx"
        export(cfg, model, path, Request("onnx", "fp32", SIZE, False, task))
    network = Network(model, task)
    examples = [network.examples(SIZE, seed=9)]
    for runtime in ("onnxruntime", "openvino"):
        pytest.importorskip(runtime)
        session = open_session(path, runtime)
        [found] = compare(session, examples, expect(network, examples), "fp32")
        assert found.value <= found.limit, (runtime, found)
        assert ("masks" in session.description["outputs"]) == bool(task)


def test_detections_are_compared_in_whatever_order() -> None:
    expected = {
        "boxes": torch.tensor([[0.0, 0, 10, 10], [5, 5, 50, 50], [5, 5, 50, 50]]),
        "classes": torch.tensor([0, 1, 2]),
        "scores": torch.tensor([0.9, 0.5, 0.5]),
    }
    swapped = {name: value[[0, 2, 1]] for name, value in expected.items()}
    actual, kept, lost = align(swapped, expected, SIZE)
    assert lost == 0
    assert all(torch.equal(actual[name], kept[name]) for name in kept)
    other = dict(expected, classes=torch.tensor([0, 1, 3]))
    actual, kept, lost = align(other, expected, SIZE)
    assert lost == pytest.approx(1 / 3)
    assert kept["classes"].tolist() == [0, 1]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"MODEL.META_ARCHITECTURE": "PanopticFPN"},
            "PanopticFPN in the place of detectron2's GeneralizedRCNN cannot be exported",
        ),
        (
            {
                "MODEL.ROI_HEADS.NAME": "CascadeROIHeads",
                "MODEL.ROI_BOX_HEAD.CLS_AGNOSTIC_BBOX_REG": True,
            },
            "CascadeROIHeads in the place of detectron2's StandardROIHeads cannot be exported",
        ),
    ],
)
def test_other_models_with_boxes_are_refused(changes: dict, message: str) -> None:
    cfg = box_config("MaskRCNNConvUpsampleHead")
    cfg.merge_from_list([part for pair in changes.items() for part in pair])
    with pytest.raises(ValueError, match=message):
        Network(small_model(cfg))


def test_boxes_are_in_full_precision(tmp_path: Path) -> None:
    cfg = box_config()
    for form, dtype in (("torch_export", "bf16"), ("torch_export", "fp16")):
        with pytest.raises(ValueError, match=f"--dtype {dtype} is not for models with boxes"):
            export(cfg, small_model(cfg), tmp_path / "a.pt2", Request(form, dtype, SIZE, False))
