"""Pictures of results, and reading and writing of pictures and videos."""

from .drawing import SegmentVisualizer
from .predictions import draw_prediction
from .segments import (
    Segment,
    instance_segments,
    panoptic_segments,
    referring_segments,
    semantic_segments,
)
from .tracking import ObjectTracker, track_prediction

__all__ = [
    "ObjectTracker",
    "Segment",
    "SegmentVisualizer",
    "draw_prediction",
    "instance_segments",
    "panoptic_segments",
    "referring_segments",
    "semantic_segments",
    "track_prediction",
]
