"""Segments, their labels, and the colours of a video's objects, on detectron2's ``Visualizer``.

What this adds to its drawing: smooth contours with holes left open, instances of one class that
differ in colour, the same colours in every run, and labels that sit inside their segments without
covering each other. H, W the image's size in pixels.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from detectron2.utils.visualizer import VisImage, Visualizer
from matplotlib.patches import PathPatch

from .geometry import Rectangle, outlines, widest_place
from .segments import Color, Segment

_ALPHA = 0.5  # opacity of a segment
_EDGE = (1.0, 1.0, 1.0, 0.85)
_FONT_SHARE = 0.015  # of a large segment's label: points per pixel of the picture's mean side
_SMALLEST_FONT = 9.0  # points, where the picture is small
_LETTER, _LINE_SPACING = 0.62, 1.35  # width of a letter and distance of lines, in font heights
_SMALLEST_LABELLED = 4e-4  # share of the image's area below which a segment goes without a label
_NOTE_COLOR = (1.0, 1.0, 1.0)


class SegmentVisualizer(Visualizer):
    """detectron2's ``Visualizer`` with a method for segments."""

    def draw_segments(
        self, segments: Sequence[Segment], notes: Sequence[str] | None = None
    ) -> None:
        """Paint the segments, the largest below, then their labels over all of them.

        Args:
            notes: lines for the lower left corner. Labels that find no place in their segment stand
                there too, in its colour; without notes (None) they are left out.
        """
        by_area = sorted(segments, key=lambda segment: np.count_nonzero(segment.mask))
        for segment in reversed(by_area):
            self._paint(segment)
        # Small segments have little choice of place for their label; so they choose first.
        lines = [(note, _NOTE_COLOR) for note in notes or ()]
        taken = [self._corner(lines)] if lines else []
        for segment in by_area:
            is_large = self._share(segment) >= _SMALLEST_LABELLED
            if segment.label and not (is_large and self._write_label(segment, taken)):
                lines.append((segment.label, _legible(segment.color)))
        if notes is not None:
            self._write_notes(lines)

    def draw_text(self, text: str, *args: Any, **kwargs: Any) -> VisImage:
        """Draw as the parent does; a pair of dollar signs is no formula."""
        return super().draw_text(text.replace("$", r"\$"), *args, **kwargs)

    def _paint(self, segment: Segment) -> None:
        factor = max(2, round(self.output.scale))
        for path in outlines(segment.mask, factor, segment.corner, self._size()):
            patch = PathPatch(
                path,
                facecolor=(*segment.color, _ALPHA),
                edgecolor=_EDGE,
                linewidth=max(0.5, 0.4 * self.output.scale),
                joinstyle="round",
            )
            # not add_patch, which looks at each vertex for limits that the picture has set
            self.output.ax.add_artist(patch)

    def _size(self) -> tuple[int, int]:
        """(height, width) of the image."""
        return self.output.height, self.output.width

    def _share(self, segment: Segment) -> float:
        """Of the image's area."""
        return np.count_nonzero(segment.mask) / (self.output.height * self.output.width)

    def _write_label(self, segment: Segment, taken: list[Rectangle]) -> bool:
        """Label the widest place without a label; return False if there is none."""
        size = self._font_size(self._share(segment))
        line = self._line(size)
        width, height = _LETTER * line * len(segment.label) + 2, _LINE_SPACING * line
        place = widest_place(segment.mask, width, height, taken, segment.corner, self._size())
        if place is None:
            return False
        x, y = place
        taken.append((x - width / 2, y - height / 2, x + width / 2, y + height / 2))
        color = _legible(segment.color)
        self.draw_text(segment.label, (x, y - 0.6 * line), color=color, font_size=size)
        return True

    def _write_notes(self, lines: Sequence[tuple[str, Color]]) -> None:
        """Each in a line of its own, the last at the bottom."""
        size = self._font_size(0.0)
        line = self._line(size)
        top = self.output.height - _LINE_SPACING * line * len(lines)
        for number, (text, color) in enumerate(lines):
            place = (0.5 * line, top + (_LINE_SPACING * number - 0.1) * line)
            self.draw_text(text, place, color=color, font_size=size, horizontal_alignment="left")

    def _corner(self, lines: Sequence[tuple[str, Color]]) -> Rectangle:
        """What the notes cover."""
        line = self._line(self._font_size(0.0))
        width = line * (_LETTER * max(len(text) for text, _ in lines) + 1)
        height = self.output.height
        return 0.0, height - _LINE_SPACING * line * len(lines) - 0.5 * line, width, float(height)

    def _font_size(self, share: float) -> float:
        """Points at scale 1; more for a segment with a larger share of the picture."""
        side = np.sqrt(self.output.width * self.output.height) * self.output.scale
        growth = np.clip(0.5 + 2 * np.sqrt(share), 0.6, 1.0)
        return max(_FONT_SHARE * side * growth, _SMALLEST_FONT) / self.output.scale

    def _line(self, font_size: float) -> float:
        """Height of a line in pixels of the image; a point is 1/72 inch."""
        return font_size * self.output.dpi / 72


def _legible(color: Color) -> Color:
    """Lighten a colour until it is legible on black."""
    red, green, blue = (0.7 + 0.3 * channel for channel in color)
    return red, green, blue
