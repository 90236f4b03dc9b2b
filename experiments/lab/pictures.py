"""What the pictures of all experiments have in common: a light grid, names beside the marks, one way to a file."""

from pathlib import Path
from typing import NamedTuple

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

SHOWN_ROW = 20
"""The scale index, of a scale of 1.3 steps, whose staircase is drawn where rows differ."""

_SIZE = 9
_HEIGHT = 1.25 * _SIZE
_WIDTH = 0.56 * _SIZE
"""Points that a line and a letter take, about."""

_GAP = 8


class Label(NamedTuple):
    """A name and the mark, in the units of the axes, to whose right it stands."""

    x: float
    y: float
    text: str
    color: str


def write_labels(axes: Axes, labels: list[Label]) -> None:
    """Writes each label to the right of its mark, from the highest down; call it when all marks are drawn."""
    axes.autoscale_view()  # which otherwise waits for the picture to be written
    points_per_pixel = 72 / axes.figure.dpi
    taken: list[tuple[float, float, float]] = []
    marks = [(*(axes.transData.transform((label.x, label.y)) * points_per_pixel), label) for label in labels]
    for x, y, label in sorted(marks, key=lambda mark: -mark[1]):
        left, right, height = x + _GAP, x + _GAP + _WIDTH * len(label.text), y
        for other_left, other_right, other_height in taken:
            if left < other_right and other_left < right and abs(height - other_height) < _HEIGHT:
                height = other_height - _HEIGHT
        taken.append((left, right, height))
        axes.annotate(
            label.text,
            (label.x, label.y),
            (_GAP, height - y),
            textcoords="offset points",
            va="center",
            fontsize=_SIZE,
            color=label.color,
            bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.5},
        )


def light_grid(axes: Axes, which: str = "major") -> None:
    """A grid that stays behind what it measures, in place of a box."""
    axes.grid(color="0.93", which=which)
    axes.spines[["top", "right"]].set_visible(False)


def save_picture(figure: Figure, path: Path) -> None:
    """Writes a picture, as large as what is on it, and forgets it."""
    figure.savefig(path, dpi=150, bbox_inches="tight")
    plt.close(figure)
