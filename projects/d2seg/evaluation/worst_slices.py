"""A picture of the slices on which a model is worst: image, truth and prediction side by side."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from .surface_metrics import dice

_OPACITY = 0.6  # of the labels over the image
_INCHES = 2.4  # side of one picture


@dataclass(frozen=True)
class SliceScore:
    """A slice with the mean Dice of the organs in its truth or prediction; all arrays (H, W)."""

    name: str
    dice: float
    num_wrong: int  # pixels
    image: np.ndarray
    truth: np.ndarray
    prediction: np.ndarray


def slice_scores(
    file: str,
    image: np.ndarray,
    truth: np.ndarray,
    prediction: np.ndarray,
    num_classes: int,
    limit: int,
) -> list[SliceScore]:
    """The ``limit`` worst slices of a volume (D, H, W) that show an organ."""
    found = []
    for index in range(len(truth)):
        labels = truth[index], prediction[index]
        dices = [dice(*(part == organ for part in labels)) for organ in range(1, num_classes)]
        defined = [value for value in dices if np.isfinite(value)]
        if defined:
            num_wrong = int(np.count_nonzero(labels[0] != labels[1]))
            name = f"{Path(file).name}, slice {index}"
            found.append(
                SliceScore(name, float(np.mean(defined)), num_wrong, image[index], *labels)
            )
    return worst(found, limit)


def worst(scores: Iterable[SliceScore], limit: int) -> list[SliceScore]:
    """Those of lowest Dice; of equal ones, those with more wrong pixels."""
    return sorted(scores, key=lambda score: (score.dice, -score.num_wrong))[:limit]


def draw_worst_slices(
    scores: Sequence[SliceScore],
    classes: Sequence[str],
    colors: Sequence[Sequence[int]],
    path: Path,
) -> None:
    """Write a PNG of a row per slice; class 0 is left clear."""
    # here: half a second of every program's start
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.colors import ListedColormap
    from matplotlib.figure import Figure
    from matplotlib.patches import Patch

    palette = ListedColormap(np.array(colors) / 255)
    figure = Figure(figsize=(3 * _INCHES, len(scores) * (_INCHES + 0.3) + 0.6), layout="compressed")
    FigureCanvasAgg(figure)
    rows = figure.subplots(len(scores), 3, squeeze=False)
    for axes, score in zip(rows, scores, strict=True):
        panels = {"": None, "truth": score.truth, "prediction": score.prediction}
        for ax, (title, labels) in zip(axes, panels.items(), strict=True):
            ax.imshow(score.image, cmap="gray")
            if labels is not None:
                hidden = (labels == 0) | (labels >= len(classes))
                masked = np.ma.masked_array(labels, hidden)
                limits = {"vmin": -0.5, "vmax": len(classes) - 0.5}
                ax.imshow(masked, cmap=palette, alpha=_OPACITY, interpolation="nearest", **limits)
            ax.set_title(
                title or f"{score.name}\nDice {100 * score.dice:.1f}", fontsize=8, parse_math=False
            )
            ax.axis("off")
    handles = [
        Patch(color=np.array(color) / 255, label=name)
        for name, color in list(zip(classes, colors, strict=True))[1:]
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=4, fontsize=8)
    figure.savefig(path, dpi=100)
