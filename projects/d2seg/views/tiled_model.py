"""A model in tiles: pictures that are larger than a tile are cut into tiles that overlap, and the
tiles' results are put together.

K classes, N detections, (h, w) the model's input, (H, W) the result.
"""

from collections.abc import Sequence
from typing import Any

import torch
from detectron2.structures import Boxes, Instances
from torch import Tensor, nn

from ..layers.resampling import resize
from ..per_pixel.segmentor import PerPixelSegmentor
from ..per_pixel.windows import WindowSettings, predict
from .asking import queries_asked_for, scores_asked_for, windows_asked_for
from .joining import Detection, join_detections
from .mask_crops import Crop, MaskCrops, PackedCrop, nearest_positions
from .panoptic_map import PanopticMap
from .query_scores import QueryScores
from .settings import TileSettings
from .tiles import Tile, mask_size, tiles_of
from .viewed_model import ViewedModel

Example = dict[str, Any]


class TiledModel(nn.Module):
    """Takes and gives what its model does.

    Semantic scores are averaged where tiles overlap, by the code of the per-pixel sliding window.
    For instances see ``joining.py``, for panoptic segments ``panoptic_map.py``. A picture of at
    most a tile goes to the model as it is.
    """

    def __init__(
        self,
        model: nn.Module,
        settings: TileSettings,
        *,
        semantic_output: str = "scores",
        needs_masks: bool = True,
    ) -> None:
        """
        Args:
            model: with detectron2's interface, in eval mode.
            semantic_output: "scores" (K, H, W) or "labels" (H, W) int32.
            needs_masks: whether anything but semantic results is wanted.
        """
        super().__init__()
        self.model = model
        self.settings = settings
        self.semantic_output = semantic_output
        self.needs_masks = needs_masks

    @torch.no_grad()
    def forward(self, batched_inputs: list[Example]) -> list[dict[str, Any]]:
        """As the model's at inference. ``pred_masks`` is a tensor (N, H, W), or
        :class:`MaskCrops` where that would have more than 2^28 numbers.

        Raises:
            ValueError: the model gives semantic labels where scores are needed.
        """
        return [self._result(example) for example in batched_inputs]

    def _result(self, example: Example) -> dict[str, Any]:
        size = tuple(example["image"].shape[-2:])
        settings = self._settings_for(size)
        if max(size) <= settings.size:
            return self.model([example])[0]
        if isinstance(self.model, PerPixelSegmentor):
            with windows_asked_for(self.model, settings, size):
                return self.model([example])[0]
        output_size = (example.get("height", size[0]), example.get("width", size[1]))
        with scores_asked_for(self.model), queries_asked_for(self.model, "semantic"):
            return _Picture(self, settings, example["image"], output_size).result()

    def _settings_for(self, size: tuple[int, int]) -> TileSettings:
        """Tiles in pixels of a picture of which the model may see views of other sizes."""
        settings = self.settings
        if not isinstance(self.model, ViewedModel):
            return settings
        factor = self.model.largest_factor(size)
        side = max(1, int(settings.size / factor))
        return TileSettings(side, min(int(settings.overlap / factor), side - 1))


class _Picture:
    """One picture on its way through the tiles, once for all tasks."""

    def __init__(
        self,
        owner: TiledModel,
        settings: TileSettings,
        image: Tensor,
        output_size: tuple[int, int],
    ) -> None:
        self.owner = owner
        self.settings = settings
        self.image = image
        self.size = tuple(image.shape[-2:])
        self.output_size = output_size
        self.tiles = list(tiles_of(self.size, settings))
        # instances and segments are made in this size and put together in it
        self.mask_size = mask_size(self.size, output_size) if owner.needs_masks else self.size
        self.mask_tiles = [tile.resized(self.mask_size) for tile in self.tiles]
        self.detections: list[Detection] = []
        self.panoptic: PanopticMap | None = None
        self.devices: dict[str, torch.device] = {}  # of each kind of result
        self.has_masks = False
        # of the first tile, which is run to see the tasks
        self._scores: Tensor | QueryScores | None = None
        self._num_done = 0

    def result(self) -> dict[str, Any]:
        self._scores = self._run()
        found: dict[str, Any] = {}
        if self._scores is not None:
            found["sem_seg"] = self._semantic()
        else:
            while self._num_done < len(self.tiles):
                self._run()
        if "panoptic_seg" in self.devices:
            found["panoptic_seg"] = self._panoptic(self.devices["panoptic_seg"])
        if "instances" in self.devices:
            found["instances"] = self._instances(self.devices["instances"])
        return found

    def _run(self) -> Tensor | QueryScores | None:
        """The next tile, of whose result the semantic scores (K, h, w) are returned, if any."""
        tile, mask_tile = self.tiles[self._num_done], self.mask_tiles[self._num_done]
        top, left, bottom, right = tile.area
        example = {"image": self.image[:, top:bottom, left:right], "picture_size": self.size}
        example["height"], example["width"] = mask_tile.shape
        (output,) = self.owner.model([example])
        if "instances" in output:
            self.devices["instances"] = output["instances"].pred_classes.device
            self._collect(output["instances"], mask_tile, self._num_done)
        if "panoptic_seg" in output:
            self.devices["panoptic_seg"] = output["panoptic_seg"][0].device
            self.panoptic = self.panoptic or PanopticMap(self.mask_size, self.mask_tiles)
            self.panoptic.add(mask_tile, *output["panoptic_seg"])
        self._num_done += 1
        scores = _scores_of(output)
        is_resized = isinstance(scores, Tensor) and mask_tile.shape != tile.shape
        return resize(scores, tile.shape) if is_resized else scores

    def _semantic(self) -> Tensor:
        side = self.settings.size
        stride = side - self.settings.overlap
        tile_size = tuple(min(side, length) for length in self.size)
        return predict(
            self.image,
            self.output_size,
            normalise=lambda image: image,
            logits_of=self._next_scores,
            settings=WindowSettings(
                mode="slide",
                crop_size=tile_size,
                stride=tuple(min(stride, length) for length in tile_size),
                max_windows=1,
                output=self.owner.semantic_output,
            ),
            divisibility=1,
        )

    def _panoptic(self, device: torch.device) -> tuple[Tensor, list[dict[str, Any]]]:
        ids, segments = self.panoptic.result()
        if self.output_size != self.mask_size:
            rows, columns = map(nearest_positions, self.mask_size, self.output_size)
            resized = ids.new_empty(self.output_size)
            left: set[int] = set()
            for source, target in zip(rows.split(256), resized.split(256), strict=True):
                target.copy_(ids[source][:, columns])
                left.update(target.unique().tolist())
            ids = resized
            segments = [segment for segment in segments if segment["id"] in left]
        return ids.to(device), segments

    def _next_scores(self, windows: Tensor) -> Sequence[Tensor | QueryScores]:
        """(1, C, h, w) -> one of (K, h, w); windows come in the order of the tiles."""
        scores, self._scores = self._scores, None
        return [self._run() if scores is None else scores]

    def _collect(self, found: Instances, tile: Tile, number: int) -> None:
        found = found.to("cpu")
        top, left = tile.area[:2]
        self.has_masks = self.has_masks or found.has("pred_masks")
        boxes = found.pred_boxes.tensor.float().tolist()
        for place, (box, score, category) in enumerate(
            zip(boxes, found.scores.tolist(), found.pred_classes.tolist(), strict=True)
        ):
            if found.has("pred_masks"):
                crop = Crop(found.pred_masks[place] > 0, 0, 0).trimmed()
            else:
                crop = _filled(box, tile.shape)
            if not crop.mask.numel():
                continue
            crop = PackedCrop(crop.moved(top, left))
            moved = [box[0] + left, box[1] + top, box[2] + left, box[3] + top]
            self.detections.append(Detection(crop, moved, score, category, frozenset([number])))

    def _instances(self, device: torch.device) -> Instances:
        found = join_detections(self.detections, self.mask_tiles)
        result = Instances(self.output_size)
        boxes = Boxes(torch.tensor([one.box for one in found]).reshape(-1, 4))
        if self.has_masks:
            crops = [one.crop for one in found]
            if self.output_size != self.mask_size:
                crops = [
                    PackedCrop(crop.unpacked().resized(self.mask_size, self.output_size))
                    for crop in crops
                ]
            result.pred_masks = MaskCrops(crops, self.output_size).compact()
        if self.output_size != self.mask_size:
            down, across = (
                target / source
                for target, source in zip(self.output_size, self.mask_size, strict=True)
            )
            boxes.scale(across, down)
        result.pred_boxes = boxes
        result.scores = torch.tensor([one.score for one in found])
        result.pred_classes = torch.tensor([one.category for one in found], dtype=torch.int64)
        return result.to(device)


def _scores_of(output: dict[str, Any]) -> Tensor | QueryScores | None:
    """(K, h, w) of a tile, or none where the model does not give semantic results."""
    if "queries" in output:
        return QueryScores(output["queries"])
    scores = output.get("sem_seg")
    if scores is not None and (scores.dim() != 3 or not scores.is_floating_point()):
        raise ValueError(
            "TEST.TILES: the model gives semantic labels of "
            f"{tuple(scores.shape)}, which tiles cannot average; let it give scores (K, H, W)"
        )
    return scores


def _filled(box: list[float], size: tuple[int, int]) -> Crop:
    """A mask of the pixels of a box, one at least, within a tile of ``size`` (H, W), for detectors
    without masks."""
    left, top, right, bottom = (round(side) for side in box)
    height, width = size
    left, top = min(max(left, 0), width - 1), min(max(top, 0), height - 1)
    right, bottom = min(max(right, left + 1), width), min(max(bottom, top + 1), height)
    return Crop(torch.ones(bottom - top, right - left).bool(), top, left)
