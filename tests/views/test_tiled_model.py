"""Pictures in tiles against the same pictures whole, with a model that is exact on both."""

import numpy as np
import pytest
import torch
from detectron2.structures import Boxes, Instances
from torch import nn

from d2seg.views.settings import TileSettings
from d2seg.views.tiled_model import TiledModel
from d2seg.views.tiles import mask_size, tiles_of
from families.color_segmentor import NUM_CLASSES, NUM_THINGS, ColorModel, scene

TILES = TileSettings(size=96, overlap=32)


def tiled(model: nn.Module, **settings) -> TiledModel:
    return TiledModel(model, TILES, **settings).eval()


def example(height: int = 150, width: int = 210, seed: int = 0) -> dict:
    return {"image": scene(height, width, seed), "height": height, "width": width}


def objects(found: Instances) -> set[tuple[int, bytes]]:
    masks = np.asarray(found.pred_masks)
    return {
        (category, mask.tobytes())
        for category, mask in zip(found.pred_classes.tolist(), masks, strict=True)
    }


def segments(result: tuple[torch.Tensor, list[dict]]) -> set[tuple]:
    ids, infos = result
    assert sorted(set(ids.unique().tolist()) - {0}) == sorted(info["id"] for info in infos)
    return {
        (info["category_id"], info["isthing"], (ids == info["id"]).numpy().tobytes())
        for info in infos
    }


@pytest.mark.parametrize("seed", range(2))
def test_every_object_comes_once_and_whole(seed: int) -> None:
    picture, model = example(seed=seed), ColorModel()
    (whole,) = model([picture])
    model.sizes.clear()
    (found,) = tiled(model)([picture])
    assert set(model.sizes) == {(96, 96)}
    assert len(model.sizes) == 2 * 3  # all tasks from one pass over the tiles
    assert len(whole["instances"]) > 20
    assert len(found["instances"]) == len(whole["instances"])
    assert objects(found["instances"]) == objects(whole["instances"])
    assert segments(found["panoptic_seg"]) == segments(whole["panoptic_seg"])
    assert torch.equal(found["sem_seg"].argmax(0), whole["sem_seg"].argmax(0))
    assert torch.allclose(found["sem_seg"], whole["sem_seg"], atol=1e-6)


def test_boxes_are_around_the_masks() -> None:
    picture = example()
    (found,) = tiled(ColorModel())([picture])
    (whole,) = ColorModel()([picture])
    order = [x["instances"].pred_boxes.tensor.tolist() for x in (found, whole)]
    assert sorted(order[0]) == sorted(order[1])


@pytest.mark.parametrize(("radius", "limit"), [(9, 150), (13, 10_000)])
@pytest.mark.parametrize("seed", range(3))
def test_objects_that_are_misread_at_a_cut_come_once(radius: int, limit: int, seed: int) -> None:
    """A tile that sees a part of an object calls it something else: a small part, or any, of an
    object that reaches further than the tile's margin."""
    picture = example(seed=seed) | {"image": scene(150, 210, seed, radius)}
    model = ColorModel(misread=limit)
    (whole,) = model([picture])  # whose edges touch no object
    (found,) = tiled(model)([picture])
    assert len(found["instances"]) == len(whole["instances"])
    assert objects(found["instances"]) == objects(whole["instances"])
    assert segments(found["panoptic_seg"]) == segments(whole["panoptic_seg"])


def test_an_object_over_many_tiles_is_one() -> None:
    picture = example()
    picture["image"][:, 20:140, 20:200] = 0
    picture["image"][:, 30:130, 30:190] = 101
    (whole,), (found,) = ColorModel()([picture]), tiled(ColorModel())([picture])
    assert objects(found["instances"]) == objects(whole["instances"])
    assert segments(found["panoptic_seg"]) == segments(whole["panoptic_seg"])


def test_one_tile_is_the_model_itself() -> None:
    model = ColorModel()
    picture = {"image": scene(96, 90, 0), "height": 96, "width": 90, "file_name": "a.png"}

    class Same(nn.Module):
        def forward(self, batch: list[dict]) -> list[dict]:
            assert batch[0] is picture
            return self.results

    same = Same()
    same.results = model([picture])
    assert tiled(same)([picture])[0] is same.results[0]


@pytest.mark.parametrize("size", [(300, 420), (300, 210)])
def test_results_have_the_size_that_is_asked_for(size: tuple[int, int]) -> None:
    picture = example() | {"height": size[0], "width": size[1]}
    (whole,), (found,) = ColorModel()([picture]), tiled(ColorModel())([picture])
    assert found["instances"].image_size == size
    assert len(found["instances"]) == len(whole["instances"])
    assert objects(found["instances"]) == objects(whole["instances"])
    assert segments(found["panoptic_seg"]) == segments(whole["panoptic_seg"])
    assert found["sem_seg"].shape == (NUM_CLASSES, *size)


def test_masks_are_made_in_the_size_that_is_asked_for() -> None:
    """Not enlarged, which would leave steps at their edges."""

    class Lines(ColorModel):
        def things(self, classes: np.ndarray) -> tuple[list[np.ndarray], list[int]]:
            mask = np.zeros(classes.shape, bool)
            mask[::2] = True
            return [mask], [0]

    picture = example() | {"height": 300, "width": 420}
    (found,) = tiled(Lines())([picture])
    lines = torch.zeros(300, 420, dtype=torch.bool)
    lines[::2] = True
    assert torch.equal(found["instances"].pred_masks, lines[None])


@pytest.mark.parametrize("size", [(211, 333), (97, 160), (450, 640), (1500, 333), (2, 3)])
def test_sizes_that_do_not_fit_the_tiles(size: tuple[int, int]) -> None:
    picture = example() | {"height": size[0], "width": size[1]}
    (whole,), (found,) = ColorModel()([picture]), tiled(ColorModel())([picture])
    assert found["instances"].image_size == size
    assert found["panoptic_seg"][0].shape == found["sem_seg"].shape[1:] == size
    if min(size) < 10:
        return  # nothing is left of most objects
    assert len(found["instances"]) == len(whole["instances"])
    expected = whole["instances"].pred_masks.flatten(1).float()
    masks = found["instances"].pred_masks.flatten(1).float()
    shared = expected @ masks.T
    ious = shared / (expected.sum(1)[:, None] + masks.sum(1) - shared)
    assert ious.amax(1).min() > 0.7  # an object of 9 pixels, half a pixel away
    assert ious.amax(1).mean() > 0.9


@pytest.mark.parametrize(
    ("size", "output_size", "expected"),
    [
        ((100, 200), (100, 200), (100, 200)),
        ((100, 200), (50, 150), (100, 200)),  # where small objects are still there
        ((100, 200), (150, 300), (150, 300)),
        ((100, 200), (1000, 390), (200, 390)),
    ],
)
def test_the_size_of_masks(size: tuple, output_size: tuple, expected: tuple) -> None:
    assert mask_size(size, output_size) == expected


def test_what_ends_before_the_edge_of_a_tile_is_cut() -> None:
    """By half a pixel of the model's input, as regressed boxes do, in masks of twice the size."""
    _, tile, *_ = tiles_of((96, 210), TILES)
    twice = tile.resized((192, 420))
    top, left, bottom, right = twice.area
    assert (top, left, bottom, right) == tuple(2 * side for side in tile.area)
    assert tile.shows((30, tile.area[1] + 1, 60, 120))
    assert twice.shows((60, left + 2, 120, 240))
    for offset in (0, 1):
        assert not twice.shows((60, left + offset, 120, 240))
        assert not twice.shows((60, left + 40, 120, right - offset))


@pytest.mark.parametrize(("needs_masks", "side"), [(False, 96), (True, 192)])
def test_scores_alone_are_made_in_the_size_of_the_tile(needs_masks: bool, side: int) -> None:
    class Scores(ColorModel):
        def result(self, example: dict) -> dict:
            self.asked = [*getattr(self, "asked", []), (example["height"], example["width"])]
            return {"sem_seg": super().result(example)["sem_seg"]}

    picture, model = example() | {"height": 300, "width": 420}, Scores()
    (found,) = tiled(model, needs_masks=needs_masks)([picture])
    (whole,) = ColorModel()([picture])
    assert model.asked == [(side, side)] * 6
    assert torch.equal(found["sem_seg"].argmax(0), whole["sem_seg"].argmax(0))


@pytest.mark.parametrize("size", [(80, 150), (160, 300)])
@pytest.mark.parametrize("box", [(149.6, 3, 150, 30), (3, 79.7, 30, 80), (-0.4, 3, 0, 30)])
def test_boxes_thinner_than_a_pixel_at_the_edge(size: tuple, box: tuple) -> None:
    class Thin(nn.Module):
        def forward(self, batch: list[dict]) -> list[dict]:
            (picture,) = batch
            found = Instances((picture["height"], picture["width"]))
            scale = torch.tensor([picture["width"] / 150, picture["height"] / 80] * 2)
            found.pred_boxes = Boxes(torch.tensor([box]) * scale)
            found.scores, found.pred_classes = torch.ones(1), torch.zeros(1).long()
            return [{"instances": found}]

    picture = {"image": torch.zeros(3, 80, 150).byte(), "height": size[0], "width": size[1]}
    (found,) = TiledModel(Thin(), TileSettings(120, 40))([picture])
    assert len(found["instances"]) >= 1


def test_labels_where_these_are_asked_for() -> None:
    picture = example()
    (found,) = tiled(ColorModel(), semantic_output="labels")([picture])
    (whole,) = ColorModel()([picture])
    assert found["sem_seg"].dtype == torch.int32
    assert torch.equal(found["sem_seg"].long(), whole["sem_seg"].argmax(0))


def test_detectors_without_masks() -> None:
    picture = example()
    (found,) = tiled(ColorModel(boxes_only=True))([picture])
    (whole,) = ColorModel()([picture])
    assert not found["instances"].has("pred_masks")
    boxes = [x["instances"].pred_boxes.tensor.tolist() for x in (found, whole)]
    assert sorted(boxes[0]) == sorted(boxes[1])


def test_a_picture_without_things() -> None:
    picture = {"image": torch.zeros(3, 200, 100, dtype=torch.uint8)}
    (found,) = tiled(ColorModel())([picture])
    assert len(found["instances"]) == 0
    assert found["instances"].pred_masks.shape == (0, 200, 100)
    ids, (info,) = found["panoptic_seg"]
    assert info["category_id"] == NUM_THINGS
    assert (ids == info["id"]).all()


def test_large_results_are_crops_one_mask_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    picture = example()
    (plain,) = tiled(ColorModel())([picture])
    monkeypatch.setattr("d2seg.views.mask_crops.LARGEST_TENSOR", 1000)
    (found,) = tiled(ColorModel())([picture])
    masks, tensor = found["instances"].pred_masks, plain["instances"].pred_masks
    assert not isinstance(masks, torch.Tensor)
    assert len(masks) == len(tensor)
    assert all(torch.equal(one, other) for one, other in zip(masks, tensor, strict=True))
    few = found["instances"][found["instances"].scores > 0.7]
    expected = plain["instances"][plain["instances"].scores > 0.7]
    assert 0 < len(few) < len(masks)
    assert torch.equal(few.to("cpu").pred_masks.tensor, expected.pred_masks)
    assert torch.equal(masks[3:5].tensor, tensor[3:5])
    assert torch.equal(masks[[2, 0]].tensor, tensor[[2, 0]])
    assert torch.equal(masks[-1], tensor[-1])


def test_labels_of_a_foreign_model_are_refused() -> None:
    class Labels(nn.Module):
        def forward(self, batch: list[dict]) -> list[dict]:
            return [{"sem_seg": torch.zeros(batch[0]["image"].shape[1:], dtype=torch.int64)}]

    with pytest.raises(ValueError, match="gives semantic labels of"):
        tiled(Labels())([example()])


@pytest.mark.parametrize(
    ("size", "overlap", "message"),
    [
        (64, 64, "OVERLAP is 64 and SIZE 64"),
        (64, 100, "OVERLAP is 100 and SIZE 64"),
        (64, -1, "OVERLAP is -1"),
        (0, 0, "OVERLAP is 0 and SIZE 0"),
        (-5, 0, "SIZE is -5"),
        (64.5, 0, "SIZE is 64.5"),
        ("auto", 0, "SIZE is 'auto'"),
        (True, 0, "SIZE is True"),
    ],
)
def test_tiles_that_make_no_sense(size: object, overlap: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        TileSettings(size, overlap)


def test_a_tile_below_the_stride() -> None:
    with pytest.raises(ValueError, match="takes tiles of 128 pixels and more"):
        TILES.check_divisibility(128)
    TILES.check_divisibility(96)
