"""Test-time augmentation: one view is the plain result, a mirrored picture gives the mirrored one,
and the means are those worked out by hand."""

from pathlib import Path

import numpy as np
import pytest
import torch
from detectron2.modeling import build_model
from detectron2.structures import Boxes, Instances
from PIL import Image
from torch import Tensor, nn

from d2seg.mask_classification.query_masks import ImageMasks
from d2seg.mask_classification.segmentor import ImageQueries
from d2seg.views.detections import merge_detections
from d2seg.views.queries import average_queries
from d2seg.views.settings import ViewSettings
from d2seg.views.viewed_model import ViewedModel, views_of
from families.color_segmentor import ColorModel, scene
from families.mask2former_config import confident_model
from families.segformer_config import small_config as segformer_config

TASKS = ("semantic", "instance", "panoptic")


@pytest.fixture(scope="module")
def mask2former(repo_dir: Path) -> nn.Module:
    return confident_model(repo_dir)


@pytest.fixture(scope="module")
def segformer(repo_dir: Path) -> nn.Module:
    torch.manual_seed(0)
    return build_model(segformer_config(repo_dir)).eval()


def picture(height: int = 64, width: int = 96) -> dict:
    generator = torch.Generator().manual_seed(0)
    image = torch.randint(0, 256, (3, height, width), generator=generator, dtype=torch.uint8)
    return {"image": image, "height": height, "width": width}


def viewed(model: nn.Module, sizes: tuple[int, ...], flip: bool, **settings) -> ViewedModel:
    views = ViewSettings(sizes, 1000, flip)
    return ViewedModel(model, views, tasks=TASKS, **settings).eval()


def assert_same(first: dict, second: dict) -> None:
    assert first.keys() == second.keys()
    assert torch.equal(first["sem_seg"], second["sem_seg"])
    if "panoptic_seg" in first:
        assert torch.equal(first["panoptic_seg"][0], second["panoptic_seg"][0])
        assert first["panoptic_seg"][1] == second["panoptic_seg"][1]
        for name, values in first["instances"].get_fields().items():
            other = second["instances"].get(name)
            assert torch.equal(getattr(values, "tensor", values), getattr(other, "tensor", other))


@pytest.mark.parametrize("name", ["mask2former", "segformer"])
@pytest.mark.parametrize("sizes", [(0,), (64,)])
@torch.no_grad()
def test_one_view_is_the_plain_result(name: str, sizes: tuple, request) -> None:
    model = request.getfixturevalue(name)
    assert_same(viewed(model, sizes, False)([picture()])[0], model([picture()])[0])


@pytest.mark.parametrize("name", ["mask2former", "segformer"])
@torch.no_grad()
def test_semantic_scores_are_the_mean_over_sizes_and_mirrors(name: str, request) -> None:
    model = request.getfixturevalue(name)
    (found,) = viewed(model, (64, 96), True)([picture()])

    def scores(view: Tensor) -> Tensor:
        (result,) = model([{"image": view, "height": 64, "width": 96}])
        return result["sem_seg"].softmax(0) if name == "segformer" else result["sem_seg"]

    image = picture()["image"]
    pixels = Image.fromarray(image.permute(1, 2, 0).numpy()).resize((144, 96), Image.BILINEAR)
    larger = torch.from_numpy(np.array(pixels)).permute(2, 0, 1)
    views = [scores(x) + scores(x.flip(-1)).flip(-1) for x in (image, larger)]
    assert torch.allclose(found["sem_seg"], sum(views) / 4, atol=1e-6)
    labels = viewed(model, (64, 96), True, semantic_output="labels")([picture()])[0]["sem_seg"]
    assert labels.dtype == torch.int32
    assert torch.equal(labels.long(), found["sem_seg"].argmax(0))


@pytest.mark.parametrize("name", ["mask2former", "segformer"])
def test_a_mirrored_picture_gives_the_mirrored_result(name: str, request) -> None:
    model = request.getfixturevalue(name)
    mirrored = picture() | {"image": picture()["image"].flip(-1)}
    (found,), (other,) = (viewed(model, (0,), True)([x]) for x in (picture(), mirrored))
    assert torch.equal(found["sem_seg"], other["sem_seg"].flip(-1))
    if name == "segformer":
        return
    assert len(found["instances"])
    for one, two in zip(found["instances"].pred_masks, other["instances"].pred_masks, strict=True):
        assert torch.equal(one, two.flip(-1))
    one, two = (
        np.array([0] + [s["category_id"] + 1 for s in segments])[ids.numpy()]
        for ids, segments in (found["panoptic_seg"], other["panoptic_seg"])
    )
    assert len(np.unique(one)) > 1
    assert np.mean(one == two[:, ::-1]) > 0.99  # matched from the other view's queries


def test_the_settings_of_the_model_come_back(mask2former: nn.Module) -> None:
    before = mask2former.inference_settings
    (found,) = viewed(mask2former, (0,), True)([picture()])
    assert mask2former.inference_settings is before
    assert found.keys() == {"sem_seg", "instances", "panoptic_seg"}


def test_an_exact_model_gives_exact_instances_on_all_views() -> None:
    image = scene(96, 120, 0)
    example = {"image": image, "height": 96, "width": 120}
    (whole,) = ColorModel()([example])
    views = ViewSettings((0,), 1000, True)
    wrapped = ViewedModel(ColorModel(), views, tasks=("semantic", "instance"))
    (found,) = wrapped([example])
    masks = [np.asarray(x["instances"].pred_masks) for x in (whole, found)]
    assert sorted(m.tobytes() for m in masks[0]) == sorted(m.tobytes() for m in masks[1])


def detections(masks: list[tuple[int, int]], scores: list[float], classes: list[int]) -> Instances:
    """Masks are columns from .. to of a picture 4 x 10."""
    found = Instances((4, 10))
    found.pred_masks = torch.zeros(len(masks), 4, 10, dtype=torch.bool)
    for mask, (start, stop) in zip(found.pred_masks, masks, strict=True):
        mask[:, start:stop] = True
    found.pred_boxes = Boxes(torch.tensor([[a, 0.0, b, 4.0] for a, b in masks]).reshape(-1, 4))
    found.scores = torch.tensor(scores)
    found.pred_classes = torch.tensor(classes)
    return found


def test_detections_are_merged_by_weight() -> None:
    first = detections([(0, 4), (6, 10)], [0.8, 0.5], [0, 1])
    second = detections([(0, 3), (7, 10)], [0.4, 0.3], [0, 2])
    merged = merge_detections([first, second], tight_boxes=True)
    # columns 0-3: 0.8 of 1.2 say 4 columns. The others are of different classes: half of the score
    assert merged.scores.tolist() == pytest.approx([0.6, 0.25, 0.15])
    assert merged.pred_classes.tolist() == [0, 1, 2]
    assert merged.pred_boxes.tensor.tolist() == [[0, 0, 4, 4], [6, 0, 10, 4], [7, 0, 10, 4]]
    assert merged.pred_masks[0].sum() == 16
    boxes = merge_detections([first, second], tight_boxes=False).pred_boxes.tensor
    assert boxes[0].tolist() == pytest.approx([0, 0, (0.8 * 4 + 0.4 * 3) / 1.2, 4])


def test_a_view_gives_an_object_one_detection() -> None:
    doubled = detections([(0, 4), (0, 4)], [0.8, 0.6], [0, 0])
    merged = merge_detections([doubled, detections([(0, 4)], [0.7], [0])], tight_boxes=True)
    assert merged.scores.tolist() == pytest.approx([0.75, 0.3])


def test_no_detections_at_all() -> None:
    empty = detections([], [], [])
    merged = merge_detections([empty, empty], tight_boxes=True)
    assert len(merged) == 0
    assert merged.pred_masks.shape == (0, 4, 10)


def test_queries_are_matched_whatever_their_order() -> None:
    generator = torch.Generator().manual_seed(0)
    logits = 4 * torch.randn(6, 4, generator=generator)
    masks = 4 * torch.randn(6, 8, 12, generator=generator)
    order = torch.tensor([3, 0, 5, 1, 4, 2])
    sizes = ((32, 48), (32, 48), (32, 48))
    queries = ImageQueries(logits, ImageMasks(torch.eye(6), masks), *sizes)
    mirrored = ImageQueries(logits[order], ImageMasks(torch.eye(6), masks[order].flip(-1)), *sizes)
    found, averaged, resize = average_queries([(queries, False), (mirrored, True)])
    assert torch.allclose(found.softmax(-1), logits.softmax(-1), atol=1e-4)
    assert torch.allclose(averaged.logits().sigmoid(), masks.sigmoid(), atol=1e-4)
    assert resize.final_size == (32, 48)


@pytest.mark.parametrize(
    ("sizes", "max_size", "message"),
    [
        ((), 100, "MIN_SIZES is "),
        ((-1,), 100, "MIN_SIZES is "),
        ((1.5,), 100, "MIN_SIZES is "),
        (("400",), 100, "MIN_SIZES is "),
        ((400,), 0, "MAX_SIZE is 0"),
        ((400,), 0.5, "MAX_SIZE is 0.5"),
    ],
)
def test_views_that_make_no_sense(sizes: tuple, max_size: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ViewSettings(sizes, max_size, True)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
def test_bands_are_resized_each_by_itself(dtype: torch.dtype) -> None:
    """Also where there are other than three, of which Pillow knows none or takes one for opacity."""
    generator = torch.Generator().manual_seed(0)
    image = torch.randint(0, 256, (5, 20, 30), generator=generator).to(dtype)
    settings = ViewSettings((40,), 100, flip=True)
    all_bands = [view["image"] for view in views_of({"image": image}, settings)]
    assert [view.shape for view in all_bands] == [(5, 40, 60)] * 2
    for band in range(5):
        alone = views_of({"image": image[band : band + 1]}, settings)
        for view, expected in zip(all_bands, alone, strict=True):
            assert torch.equal(view[band], expected["image"][0])
