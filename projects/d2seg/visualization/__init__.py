"""Pictures of results, and reading and writing of pictures and videos."""

from .drawing import ColorTracker, SegmentVisualizer
from .predictions import draw_prediction
from .segments import (
    Segment,
    instance_segments,
    panoptic_segments,
    referring_segments,
    semantic_segments,
)

__all__ = [
    "ColorTracker",
    "Segment",
    "SegmentVisualizer",
    "draw_prediction",
    "instance_segments",
    "panoptic_segments",
    "referring_segments",
    "semantic_segments",
]
