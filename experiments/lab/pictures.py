"""Parts that all pictures share: a light grid, names beside the marks, one way to a file."""

from pathlib import Path
from typing import NamedTuple

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullLocator

SHOWN_ROW = 20
"""The row of the scale table whose staircase is drawn if rows differ; its scale is 1.3 steps."""

_SIZE = 9
_HEIGHT = 1.25 * _SIZE
_WIDTH = 0.56 * _SIZE
"""The height of a line and the width of a letter in points, roughly."""

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


def counted(count: int, noun: str) -> str:
    """A number with its noun, in the plural unless it is one."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def light_grid(axes: Axes) -> None:
    """Draws a faint grid in place of a box."""
    axes.grid(color="0.93")
    axes.spines[["top", "right"]].set_visible(False)


def plain_log_ticks(axis: Axis) -> None:
    """Labels 1, 2 and 5 of each decade with plain numbers.

    By default the powers on a short logarithmic axis overlap.
    """
    axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter("{x:,g}")


def save_picture(figure: Figure, path: Path) -> None:
    """Writes a picture, cropped to its contents, and closes it."""
    figure.savefig(path, dpi=150, bbox_inches="tight")
    plt.close(figure)
