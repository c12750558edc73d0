"""Plots inside a page: lines as SVG, matrices as PNG, drawn by matplotlib."""

import io
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from .thumbnails import data_uri

if TYPE_CHECKING:
    from matplotlib.figure import Figure

INK = "#1b1f24"
# Distinguished by brightness too, and each at least 3 to 1 against white (WCAG 2.1, 1.4.11)
LINE_COLORS = ("#0b57a4", "#b3420b", "#2c7a3f", "#7b3f98", "#8a6d00", "#b0246b", "#4d5b66")
_FONT_SIZE = 9
_MAX_NAMES = 40  # of classes beside a matrix
_MAX_POINTS = 400  # of a line
_MAX_LETTERS = 32  # of a name; long ones would take the place of the plot


def line_chart(
    lines: Mapping[str, tuple[Sequence[float], Sequence[float]]],
    x_label: str,
    y_label: str,
    *,
    log_y: bool = False,
    diagonal: bool = False,
) -> str:
    """An SVG of lines.

    Args:
        lines: x and y by name; of a longer line than the plot can show, every n-th point is taken.
        diagonal: draw y = x, too.
    """
    figure = _figure((6.4, 3.0))
    axes = figure.add_subplot()
    if diagonal:
        axes.plot([0, 1], [0, 1], color="#8b949e", linestyle="--", linewidth=1)
    for i, (name, (x, y)) in enumerate(lines.items()):
        step = max(1, len(x) // _MAX_POINTS)
        is_short = len(x) <= 12
        axes.plot(
            np.asarray(x)[::step],
            np.asarray(y)[::step],
            label=_short(name),
            color=LINE_COLORS[i % len(LINE_COLORS)],
            linestyle=("-", "--", ":")[i // len(LINE_COLORS) % 3],
            linewidth=1.5,
            marker="o" if is_short else None,
            markersize=3.5,
        )
    if log_y:
        axes.set_yscale("log")
    axes.set_xlabel(x_label, parse_math=False)
    axes.set_ylabel(y_label, parse_math=False)
    axes.grid(color="#d8dee4", linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)
    if len(lines) > 1:
        legend = figure.legend(loc="outside right upper", fontsize=8, frameon=False)
        for text in legend.get_texts():
            text.set_parse_math(False)
    return _svg(figure)


def heat_map(
    matrix: np.ndarray, names: Sequence[str], x_label: str, y_label: str, title: str
) -> str:
    """A data URI of a PNG of (K, K) shares in [0, 1], as percent; rows run along y, and NaN is
    left blank."""
    import matplotlib

    num = len(names)
    side = float(np.clip(0.34 * num + 1.6, 3.4, 9.0))
    figure = _figure((side + 0.9, side))
    axes = figure.add_subplot()
    colors = matplotlib.colormaps["Blues"].with_extremes(bad="#f0f0f0")
    percent = np.ma.masked_invalid(100 * matrix)
    shown = axes.imshow(percent, cmap=colors, vmin=0, vmax=100, aspect="equal")
    step = max(1, -(-num // _MAX_NAMES))
    ticks = list(range(0, num, step))
    axes.set_xticks(
        ticks, [_short(names[i]) for i in ticks], rotation=90, fontsize=8, parse_math=False
    )
    axes.set_yticks(ticks, [_short(names[i]) for i in ticks], fontsize=8, parse_math=False)
    axes.set_xlabel(x_label)
    axes.set_ylabel(y_label)
    axes.set_title(title, fontsize=10)
    if num <= 20:
        for row, column in zip(*np.nonzero(np.nan_to_num(matrix) >= 0.005), strict=True):
            value = matrix[row, column]
            color = "white" if value > 0.55 else INK
            text = f"{100 * value:.0f}"
            axes.text(column, row, text, ha="center", va="center", fontsize=7, color=color)
    figure.colorbar(shown, ax=axes, fraction=0.046, pad=0.03)
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=110, transparent=False)
    return data_uri(file.getvalue(), "image/png")


def _short(name: str) -> str:
    return name if len(name) <= _MAX_LETTERS else f"{name[: _MAX_LETTERS - 1]}\u2026"


def _figure(inches: tuple[float, float]) -> "Figure":
    # here: half a second of every program's start
    from matplotlib import rc_context
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    with rc_context({"font.size": _FONT_SIZE}):
        figure = Figure(figsize=inches, layout="constrained")
        FigureCanvasAgg(figure)
    return figure


def _svg(figure: "Figure") -> str:
    """Without what only a file of its own has, and sized by the page."""
    from matplotlib import rc_context

    file = io.StringIO()
    # text as text: it is searched and read aloud; ids that differ between the plots of a page
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": None, "font.family": "sans-serif"}):
        figure.savefig(file, format="svg", transparent=True, metadata={"Date": None})
    content = file.getvalue()
    content = content[content.index("<svg") :]
    content = re.sub(r"<metadata>.*?</metadata>", "", content, flags=re.DOTALL)
    # DejaVu Sans is matplotlib's, and rarely a reader's
    return content.replace("'DejaVu Sans'", "system-ui").replace("<svg ", '<svg class="plot" ', 1)
