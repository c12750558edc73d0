"""Pictures of panoptic, semantic and instance segmentation on detectron2's ``Visualizer``.

What this adds to its drawing: smooth contours with holes left open, instances of one class that
differ in colour, the same colours in every run, and labels that sit inside their segments without
covering each other. H, W the image's size in pixels.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pycocotools.mask as mask_util
from detectron2.data import Metadata
from detectron2.structures import Instances
from detectron2.utils.video_visualizer import VideoVisualizer, _DetectedInstance
from detectron2.utils.visualizer import Visualizer
from matplotlib.patches import PathPatch

from .geometry import Rectangle, outline, widest_place
from .segments import (
    Color,
    Segment,
    instance_categories,
    instance_labels,
    instance_segments,
    palette_color,
    panoptic_segments,
    semantic_segments,
)

_ALPHA = 0.5  # opacity of a segment
_EDGE = (1.0, 1.0, 1.0, 0.85)
_FONT_SHARE = 0.015  # of a large segment's label: points per pixel of the picture's mean side
_SMALLEST_FONT = 9.0  # points, where the picture is small
_SMALLEST_LABELLED = 4e-4  # share of the image's area below which a segment goes without a label
_FRAMES_REMEMBERED = 8  # how long an object out of sight keeps its colour


class SegmentVisualizer(Visualizer):
    """detectron2's ``Visualizer`` with a method for segments."""

    def draw_segments(self, segments: Sequence[Segment]) -> None:
        """Paint the segments, the largest below, then their labels over all of them."""
        by_area = sorted(segments, key=lambda segment: int(segment.mask.sum()))
        for segment in reversed(by_area):
            self._paint(segment)
        # Small segments have little choice of place for their label; so they choose first.
        taken: list[Rectangle] = []
        for segment in by_area:
            if segment.label and segment.mask.mean() >= _SMALLEST_LABELLED:
                self._write_label(segment, taken)

    def _paint(self, segment: Segment) -> None:
        path = outline(segment.mask, max(2, round(self.output.scale)))
        if path is None:
            return
        patch = PathPatch(
            path,
            facecolor=(*segment.color, _ALPHA),
            edgecolor=_EDGE,
            linewidth=max(0.5, 0.4 * self.output.scale),
            joinstyle="round",
        )
        self.output.ax.add_patch(patch)

    def _write_label(self, segment: Segment, taken: list[Rectangle]) -> None:
        """Where the segment is widest and no label is yet; nowhere, if there is no such place."""
        size = self._font_size(segment.mask)
        # in pixels of the image: a point is 1/72 inch, a letter about 0.62 of its height wide
        line = size * self.output.dpi / 72
        width, height = 0.62 * line * len(segment.label) + 2, 1.35 * line
        place = widest_place(segment.mask, width, height, taken)
        if place is None:
            return
        x, y = place
        taken.append((x - width / 2, y - height / 2, x + width / 2, y + height / 2))
        color = tuple(0.7 + 0.3 * channel for channel in segment.color)  # legible on black
        self.draw_text(segment.label, (x, y - 0.6 * line), color=color, font_size=size)

    def _font_size(self, mask: np.ndarray) -> float:
        """Points at scale 1; more for a larger segment."""
        side = np.sqrt(mask.size) * self.output.scale
        growth = np.clip(0.5 + 2 * np.sqrt(mask.mean()), 0.6, 1.0)
        return max(_FONT_SHARE * side * growth, _SMALLEST_FONT) / self.output.scale


class ColorTracker(VideoVisualizer):
    """Gives the objects of a video the colours that they had in the frame before, by
    ``VideoVisualizer``'s rule: same class, and an overlap above 0.5 (masks) or 0.6 (boxes)."""

    def recolor(self, segments: Sequence[Segment]) -> list[Segment]:
        """The segments of the next frame; those of things in their objects' colours."""
        found = [
            _DetectedInstance(s.category_id, None, _rle(s.mask), None, _FRAMES_REMEMBERED)
            for s in segments
            if s.is_thing
        ]
        colors = iter(self._assign_colors(found) if found else ())
        return [replace(s, color=tuple(next(colors))) if s.is_thing else s for s in segments]

    def box_colors(self, instances: Instances) -> list[Color]:
        """Colours of the next frame's instances, by their boxes."""
        boxes = instances.pred_boxes.tensor.numpy()
        found = [
            _DetectedInstance(category, box, None, None, _FRAMES_REMEMBERED)
            for category, box in zip(instance_categories(instances), boxes, strict=True)
        ]
        return [tuple(color) for color in self._assign_colors(found)] if found else []


def draw_prediction(
    image: np.ndarray,
    prediction: dict,
    metadata: Metadata,
    *,
    scale: float = 1.0,
    tracker: ColorTracker | None = None,
) -> np.ndarray:
    """
    Args:
        image: (H, W, 3) uint8 RGB.
        prediction: on the CPU, with one of the keys "panoptic_seg" (ids, segments_info), "sem_seg"
            ((H, W) classes, negative for none) and "instances" (with masks, or else with boxes).
        metadata: names and colours of the classes.
        scale: of the picture to the image.
        tracker: that of the video, for one of its frames; None for a single picture.

    Returns:
        (scale * H, scale * W, 3) uint8 RGB.
    """
    visualizer = SegmentVisualizer(image, metadata, scale=scale)
    instances = prediction.get("instances")
    if instances is not None and not instances.has("pred_masks"):
        colors = [palette_color(i) for i in range(len(instances))]
        visualizer.overlay_instances(
            boxes=instances.pred_boxes,
            labels=instance_labels(instances, metadata),
            keypoints=instances.pred_keypoints if instances.has("pred_keypoints") else None,
            assigned_colors=tracker.box_colors(instances) if tracker else colors,
        )
        return visualizer.output.get_image()
    if instances is not None:
        segments = instance_segments(instances, metadata)
    elif "panoptic_seg" in prediction:
        segments = panoptic_segments(*prediction["panoptic_seg"], metadata)
    else:
        segments = semantic_segments(prediction["sem_seg"], metadata)
    visualizer.draw_segments(tracker.recolor(segments) if tracker else segments)
    return visualizer.output.get_image()


def _rle(mask: np.ndarray) -> dict:
    return mask_util.encode(np.asfortranarray(mask, dtype=np.uint8))
