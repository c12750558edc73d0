"""Pictures of panoptic, semantic, instance and referring segmentation: small ones are traced, large
ones painted.

H, W the image's size in pixels.
"""

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
from detectron2.data import Metadata
from detectron2.structures import Instances

from .drawing import SegmentVisualizer
from .id_codes import IdCodes
from .painting import (
    LARGEST_TRACED,
    Text,
    paint_map,
    paint_mask,
    reduced_segment,
    reduction,
    write_texts,
)
from .parts import mask_part
from .segments import (
    Color,
    Segment,
    absent_expressions,
    class_color,
    class_name,
    instance_colors,
    instance_labels,
    instance_segments,
    iterate_instances,
    map_segments,
    palette_color,
    panoptic_looks,
    panoptic_segments,
    rank_order,
    referring_segments,
    semantic_segments,
    shorten,
)


def draw_prediction(
    image: np.ndarray,
    prediction: dict,
    metadata: Metadata,
    *,
    scale: float = 1.0,
    show_ids: bool = False,
) -> np.ndarray:
    """Paint a prediction over its picture; the objects of one that ``track_prediction`` gave keep
    their colours from frame to frame.

    Args:
        image: (H, W, 3) uint8 RGB.
        prediction: on the CPU, with one of the keys "panoptic_seg" (ids, segments_info), "sem_seg"
            ((H, W) classes, negative for none), "instances" (with masks, or else with boxes) and
            "referring" (see ``referring_segments``; what is not found is listed in a corner).
        metadata: names and colours of the classes.
        scale: of the picture to the image.
        show_ids: write the ids of tracked objects before their names.

    Returns:
        (scale * H, scale * W, 3) uint8 RGB. Above 2^22 pixels segments are painted, not traced, in
        time that grows with the pixels of the picture and of its masks.
    """
    instances = prediction.get("instances")
    if instances is not None and not instances.has("pred_masks"):
        return _boxes(image, instances, metadata, scale, show_ids)
    notes = None
    if instances is None and "referring" in prediction:
        notes = [f"{shorten(text)}: not found" for text in absent_expressions(prediction)]
    if scale**2 * image[..., 0].size > LARGEST_TRACED:
        painted = _Painting(image, metadata, show_ids).of(prediction, notes)
        size = (int(image.shape[1] * scale + 1e-2), int(image.shape[0] * scale + 1e-2))
        return painted if scale == 1 else cv2.resize(painted, size)
    visualizer = SegmentVisualizer(image, metadata, scale=scale)
    visualizer.draw_segments(_segments(prediction, metadata, show_ids), notes)
    return visualizer.output.get_image()


def _boxes(
    image: np.ndarray,
    instances: Instances,
    metadata: Metadata,
    scale: float,
    show_ids: bool,
) -> np.ndarray:
    visualizer = SegmentVisualizer(image, metadata, scale=scale)
    colors = instance_colors(instances) or [palette_color(i) for i in range(len(instances))]
    visualizer.overlay_instances(
        boxes=instances.pred_boxes,
        labels=instance_labels(instances, metadata, show_ids=show_ids),
        keypoints=instances.pred_keypoints if instances.has("pred_keypoints") else None,
        assigned_colors=colors,
    )
    return visualizer.output.get_image()


def _segments(prediction: dict, metadata: Metadata, show_ids: bool) -> list[Segment]:
    if "instances" in prediction:
        return instance_segments(prediction["instances"], metadata, show_ids=show_ids)
    if "referring" in prediction:
        return referring_segments(prediction["referring"])
    if "panoptic_seg" in prediction:
        return panoptic_segments(*prediction["panoptic_seg"], metadata, show_ids=show_ids)
    return semantic_segments(prediction["sem_seg"], metadata)


class _Painting:
    """A large picture in the making: each kind of result gives its segments on the reduced picture,
    where labels are placed, and is painted in full."""

    def __init__(self, image: np.ndarray, metadata: Metadata, show_ids: bool) -> None:
        self._metadata = metadata
        self._show_ids = show_ids
        self._step = reduction(*image.shape[:2])
        self._reduced = image[:: self._step, :: self._step]
        self._canvas = image.copy()

    def of(self, prediction: dict, notes: Sequence[str] | None) -> np.ndarray:
        """(H, W, 3) uint8."""
        if "instances" in prediction:
            segments = self._instances(prediction["instances"])
        elif "referring" in prediction:
            segments = self._referring(prediction["referring"])
        elif "panoptic_seg" in prediction:
            segments = self._panoptic(*prediction["panoptic_seg"])
        else:
            segments = self._semantic(prediction["sem_seg"].cpu().numpy())
        labels = _LabelPlaces(self._reduced, self._metadata, self._step)
        labels.draw_segments(segments, notes)
        write_texts(self._canvas, labels.texts)
        return self._canvas

    def _instances(self, instances: Instances) -> list[Segment]:
        masks, order = instances.pred_masks, rank_order(instances)
        found = iterate_instances(instances, self._metadata, show_ids=self._show_ids)
        segments = [reduced_segment(each, self._step) for each in found]
        for rank in _largest_first(segments):
            paint_mask(self._canvas, *mask_part(masks, order[rank]), segments[rank].color)
        return segments

    def _referring(self, found: Instances) -> list[Segment]:
        whole = referring_segments(found)
        segments = [reduced_segment(each, self._step) for each in whole]
        for place in _largest_first(segments):
            paint_mask(self._canvas, whole[place].mask, whole[place].corner, whole[place].color)
        return segments

    def _panoptic(self, ids: Any, segments_info: list[dict]) -> list[Segment]:
        infos = list({info["id"]: info for info in segments_info}.values())
        codes = IdCodes([info["id"] for info in infos])
        looks = panoptic_looks(infos, self._metadata, show_ids=self._show_ids)
        kinds = [(info["category_id"], bool(info["isthing"])) for info in infos]
        return self._map(ids.cpu().numpy(), codes, looks, kinds)

    def _semantic(self, labels: np.ndarray) -> list[Segment]:
        number = max(0, int(labels.max(initial=-1)) + 1)
        looks = [
            (class_color(self._metadata, "stuff", i), class_name(self._metadata, "stuff", i))
            for i in range(number)
        ]
        kinds = [(i, False) for i in range(number)]
        return self._map(labels, IdCodes(range(number)), looks, kinds)

    def _map(
        self,
        ids: np.ndarray,
        codes: IdCodes,
        looks: Sequence[tuple[Color, str]],
        kinds: Sequence[tuple[int, bool]],
    ) -> list[Segment]:
        few = codes.of(ids[:: self._step, :: self._step])
        segments = map_segments(few, looks, kinds)
        colors = np.array([(0.0, 0.0, 0.0), *(segment.color for segment in segments)])
        paint_map(self._canvas, ids, codes, colors)
        return segments


def _largest_first(segments: Sequence[Segment]) -> list[int]:
    areas = [np.count_nonzero(segment.mask) for segment in segments]
    return sorted(range(len(segments)), key=lambda place: -areas[place])


class _LabelPlaces(SegmentVisualizer):
    """Finds places on a reduced picture and notes what is to be written, in the full one's pixels;
    draws nothing."""

    def __init__(self, reduced: np.ndarray, metadata: Metadata, step: int) -> None:
        super().__init__(reduced, metadata)
        self.texts: list[Text] = []
        self._step = step

    def _paint(self, segment: Segment) -> None:
        pass

    def draw_text(
        self,
        text: str,
        position: tuple[float, float],
        *,
        color: Color,
        font_size: float,
        horizontal_alignment: str = "center",
    ) -> None:
        place = (position[0] * self._step, position[1] * self._step)
        height = self._line(font_size) * self._step
        self.texts.append(Text(text, place, color, height, horizontal_alignment == "left"))
