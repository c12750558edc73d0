"""Tiles of this project's models against their results on each tile, and what tiles keep."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from d2seg.config.loading import load_config
from d2seg.pictures import drawing_failure
from d2seg.views import check_views, with_views
from d2seg.views.mask_crops import Crop, PackedCrop
from d2seg.views.memory import BudgetedModel, MemoryEstimate, PictureTooLargeError, largest_tile
from d2seg.views.panoptic_map import PanopticMap
from d2seg.views.settings import TileSettings, ViewSettings
from d2seg.views.tiled_model import TiledModel
from d2seg.views.tiles import tiles_of
from d2seg.views.viewed_model import ViewedModel
from families.mask2former_config import confident_model

TILES = TileSettings(size=64, overlap=32)
TASKS = ("semantic", "instance", "panoptic")


@pytest.fixture(scope="module")
def mask2former(repo_dir: Path) -> nn.Module:
    return confident_model(repo_dir)


def picture(height: int = 64, width: int = 130) -> dict:
    generator = torch.Generator().manual_seed(0)
    image = torch.randint(0, 256, (3, height, width), generator=generator, dtype=torch.uint8)
    return {"image": image, "height": height, "width": width}


def cut(image: Tensor, area: tuple[int, int, int, int]) -> dict:
    top, left, bottom, right = area
    part = image[:, top:bottom, left:right]
    return {"image": part, "height": bottom - top, "width": right - left}


@torch.no_grad()
def test_scores_made_from_queries_are_the_mean_of_the_tiles_scores(mask2former: nn.Module) -> None:
    example = picture()
    total, count = torch.zeros(1), torch.zeros(64, 130)
    for tile in tiles_of((64, 130), TILES):
        top, left, bottom, right = tile.area
        scores = mask2former([cut(example["image"], tile.area)])[0]["sem_seg"]
        if total.dim() != 3:
            total = torch.zeros(len(scores), 64, 130)
        total[:, top:bottom, left:right] += scores
        count[top:bottom, left:right] += 1
    (found,) = TiledModel(mask2former, TILES)([example])
    assert torch.allclose(found["sem_seg"], total / count, atol=1e-5)
    (labels,) = TiledModel(mask2former, TILES, semantic_output="labels")([example])
    assert torch.equal(labels["sem_seg"].long(), found["sem_seg"].argmax(0))


def viewed(model: nn.Module, sizes: tuple[int, ...], flip: bool) -> ViewedModel:
    return ViewedModel(model, ViewSettings(sizes, 1000, flip), tasks=TASKS).eval()


def test_a_tile_over_the_picture_leaves_views_as_they_are(mask2former: nn.Module) -> None:
    views = viewed(mask2former, (64, 96), True)
    (plain,) = views([picture()])
    (found,) = TiledModel(views, TileSettings(195, 32))([picture()])
    assert torch.equal(found["sem_seg"], plain["sem_seg"])
    assert torch.equal(found["panoptic_seg"][0], plain["panoptic_seg"][0])
    assert torch.equal(found["instances"].pred_masks, plain["instances"].pred_masks)


def test_the_plain_view_in_tiles_is_the_model_in_tiles(mask2former: nn.Module) -> None:
    (plain,) = TiledModel(mask2former, TILES)([picture()])
    (found,) = TiledModel(viewed(mask2former, (0,), False), TILES)([picture()])
    assert torch.allclose(found["sem_seg"], plain["sem_seg"], atol=1e-5)
    assert torch.equal(found["panoptic_seg"][0], plain["panoptic_seg"][0])
    assert found["panoptic_seg"][1] == plain["panoptic_seg"][1]
    assert torch.equal(found["instances"].pred_masks, plain["instances"].pred_masks)


def test_views_are_merged_within_a_tile_and_tiles_joined(mask2former: nn.Module) -> None:
    """At 1.5 times the size, tiles are so much smaller that the model sees at most SIZE pixels."""
    views, seen, size = viewed(mask2former, (60,), True), [], (40, 80)
    tiles = list(tiles_of(size, TileSettings(42, 5)))
    expected = PanopticMap(size, tiles)
    for tile in tiles:
        part = cut(picture(*size)["image"], tile.area) | {"picture_size": size}
        expected.add(tile, *views([part])[0]["panoptic_seg"])
    with mask2former.register_forward_pre_hook(
        lambda _, inputs: seen.append(tuple(inputs[0][0]["image"].shape[1:]))
    ):
        (found,) = TiledModel(views, TileSettings(64, 8))([picture(*size)])
    ids, segments = expected.result()
    assert set(seen) == {(60, 63)}
    assert len(segments) > 1
    assert torch.equal(found["panoptic_seg"][0], ids)
    assert found["panoptic_seg"][1] == segments


@pytest.mark.parametrize("width", [1, 7, 8, 61])
def test_packed_masks_come_back(width: int) -> None:
    mask = torch.rand(50, width) > 0.5
    mask[0], mask[-1] = True, True
    packed = PackedCrop(Crop(mask, 3, 4))
    assert torch.equal(packed.mask, mask)
    assert packed.area() == int(mask.sum())
    assert packed.box() == [4, 3, 4 + width, 53]
    moved = packed.moved(10, 20)
    assert moved.box() == [24, 13, 24 + width, 63]
    assert torch.equal(moved.mask, mask)


def test_packed_masks_may_be_empty() -> None:
    for shape in ((0, 5), (5, 0), (0, 0)):
        packed = PackedCrop(Crop(torch.zeros(shape, dtype=torch.bool), 3, 4))
        assert packed.mask.shape == shape
        assert packed.area() == 0


def test_what_tiles_keep_of_a_mask_is_a_small_part_of_its_pixels() -> None:
    rows, columns = np.mgrid[:512, :512] - 256
    disc = torch.from_numpy(rows**2 + columns**2 < 250**2)
    noise = torch.rand(512, 512) > 0.5
    sizes = [len(PackedCrop(Crop(mask, 0, 0))._data) for mask in (disc, noise)]
    assert sizes[0] < 512**2 / 50
    assert sizes[1] < 512**2 / 7


class Layers(nn.Module):
    """Holds ``per_pixel`` bytes for each pixel, and ``weights`` bytes."""

    def __init__(self, per_pixel: int, weights: int = 0) -> None:
        super().__init__()
        self.per_pixel = per_pixel
        self.register_buffer("weights", torch.zeros(weights, dtype=torch.uint8))

    def forward(self, batch: list[dict]) -> list[dict]:
        height, width = batch[0]["image"].shape[1:]
        for _ in range(3):  # each freed before the next
            torch.empty(self.per_pixel, height, width, dtype=torch.uint8)
        return [{}]


def test_memory_is_what_tensors_hold_at_a_time() -> None:
    estimate = MemoryEstimate(Layers(1000, weights=1 << 20), 3)
    assert estimate.mib(1024, 1024) == pytest.approx(1.25 * 1000 + 1, rel=1e-3)
    assert estimate.mib(512, 2048) == estimate.mib(1024, 1024)


def test_the_largest_tile_within_a_budget() -> None:
    estimate = MemoryEstimate(Layers(800), 3)
    side = largest_tile(estimate, 1024, 256, 32)
    assert side == 1024  # 1000 MiB; with 1152 it were 1266
    assert largest_tile(estimate, 100_000, 256, 32) == 4096
    with pytest.raises(
        ValueError, match=r"TEST\.TILES\.MEMORY is 200 MiB; .* about 250 for a tile"
    ):
        largest_tile(estimate, 200, 256, 32)


def test_a_picture_above_the_budget_says_what_to_switch_on() -> None:
    model = BudgetedModel(Layers(800), 1024, 3)
    assert model([{"image": torch.zeros(3, 1000, 1000)}]) == [{}]
    with pytest.raises(PictureTooLargeError) as caught:
        model([{"image": torch.zeros(3, 1000, 2000)}])
    # drawing and prediction list the picture with this reason, and go on
    reason = drawing_failure(caught.value)
    assert reason.startswith("not enough memory: 2000 x 1000 pixels take about ")
    assert "set TEST.TILES.ENABLED True" in reason


def config(*pairs: object, **keywords: object) -> object:
    return load_config(None, ["TEST.TILES.ENABLED", True, *pairs], **keywords)


def test_auto_from_the_config() -> None:
    cfg = config("TEST.TILES.SIZE", "auto", "TEST.TILES.MEMORY", 1024)
    model = with_views(cfg, Layers(800), lambda _: ("semantic",))
    assert isinstance(model, TiledModel)
    assert model.settings == TileSettings(1024, 256)
    cfg.TEST.TILES.ENABLED = False
    assert isinstance(with_views(cfg, Layers(800), lambda _: ("semantic",)), BudgetedModel)
    cfg.TEST.TILES.MEMORY = 0
    assert isinstance(with_views(cfg, Layers(800), lambda _: ("semantic",)), Layers)


class Masks(nn.Module):
    """800 bytes for each pixel of the result."""

    def forward(self, batch: list[dict]) -> list[dict]:
        (example,) = batch
        torch.empty(example["height"] * example["width"], 100, dtype=torch.float64)
        return [{}]


@pytest.mark.parametrize(
    ("pairs", "tasks", "side"),
    [
        ((), ("panoptic",), 512),  # whose pictures are enlarged or not
        ((), ("semantic",), 1024),
        (("INPUT.MIN_SIZE_TEST", 0), ("instance",), 1024),
        (("INPUT.MIN_SIZE_TEST", 0, "INPUT.FIT_SIZE_TEST", (64, 64)), ("instance",), 512),
        (("TEST.AUG.ENABLED", True), ("instance",), 1024),
    ],
)
def test_auto_counts_enlarged_masks(pairs: tuple, tasks: tuple, side: int) -> None:
    cfg = config("TEST.TILES.SIZE", "auto", "TEST.TILES.MEMORY", 1024, *pairs)
    assert with_views(cfg, Masks(), lambda _: tasks).settings.size == side


@pytest.mark.parametrize(
    ("pairs", "message"),
    [
        (("TEST.TILES.SIZE", "auto"), "SIZE is 'auto' and MEMORY 0"),
        (("TEST.TILES.MEMORY", -1), "MEMORY is -1"),
    ],
)
def test_budgets_that_make_no_sense(pairs: tuple, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        check_views(config(*pairs), ("semantic",))


@pytest.mark.parametrize("value", ["largest", 0.5, True])
def test_sizes_of_another_type(value: object) -> None:
    with pytest.raises(ValueError, match=r"TEST\.TILES\.SIZE is"):
        config("TEST.TILES.SIZE", value)


def test_exported_files_have_no_memory_that_can_be_counted() -> None:
    model = Layers(800)
    model.exported = object()
    cfg = config("TEST.TILES.SIZE", "auto", "TEST.TILES.MEMORY", 1024)
    with pytest.raises(ValueError, match="for an exported file set a number"):
        with_views(cfg, model, lambda _: ("semantic",))
