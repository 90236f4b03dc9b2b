"""Which photographs does one model serve better than another? Their BD-rate, image by image, over the rate.

    lic evaluate PHOTOGRAPHS --model first.safetensors --csv first.csv
    lic evaluate PHOTOGRAPHS --model second.safetensors --csv second.csv
    python -m experiments.tools.image_by_image first.csv second.csv

writes results/image_by_image.csv, a row a photograph, and results/image_by_image.png. The BD-rate of mean curves weighs
every bit the same, so busy photographs decide it; the mean of BD-rates weighs every photograph the same. Where the two
differ, look at this picture.
"""

import dataclasses
from collections import defaultdict
from pathlib import Path
from typing import NamedTuple

import matplotlib.pyplot as plt
import numpy as np
import tyro

from experiments.lab.command_line import run
from experiments.lab.pictures import light_grid, plain_log_ticks, save_picture
from experiments.lab.provenance import Answer, Output
from lic_jax.errors import LicError
from lic_jax.evaluation.measurement import MEAN
from lic_jax.evaluation.rate_distortion import bd_rate
from lic_jax.io.tables import read_csv


@dataclasses.dataclass(frozen=True)
class Settings(Output):
    """The settings of this question.

    Attributes:
      first: the reference's table, written by `lic evaluate`.
      second: the other model's, on the same photographs.
    """

    first: tyro.conf.Positional[Path]
    second: tyro.conf.Positional[Path]


class Measured(NamedTuple):
    """A photograph at one rate, as `lic evaluate` measured it."""

    image: str
    bpp: float
    psnr_db: float


class ImageRow(NamedTuple):
    """A photograph: the reference's bpp, averaged over its rates, and the second model's BD-rate against it."""

    image: str
    bpp: float
    bd_rate_percent: float


def curves_of(path: Path) -> dict[str, tuple[list[float], list[float]]]:
    """Rates and PSNRs of each image, by name.

    Raises:
      LicError: not a table that `lic evaluate` or `evaluate_anchor` wrote.
    """
    curves: dict = defaultdict(lambda: ([], []))
    for row in read_csv(path, Measured):
        curves[row.image][0].append(row.bpp)
        curves[row.image][1].append(row.psnr_db)
    return dict(curves)


def draw(rows: list[ImageRow], path: Path) -> None:
    """The BD-rate over the rate, a dot a photograph."""
    figure, axes = plt.subplots(figsize=(7, 4.2))
    axes.axhline(0, color="0.6", linestyle=":")
    axes.plot([row.bpp for row in rows], [row.bd_rate_percent for row in rows], "o", color="tab:blue", markersize=4)
    axes.set(xscale="log", xlabel="bpp of the first, mean over its rates", ylabel="BD-rate of the second, %")
    axes.set_title("Below the line the second model needs fewer bits for the same PSNR; a dot a photograph", fontsize=9)
    plain_log_ticks(axes.xaxis)
    light_grid(axes)
    save_picture(figure, path)


def main(settings: Settings) -> None:
    answer = Answer(settings, "image_by_image.csv", "image_by_image.png")
    first, second = curves_of(settings.first), curves_of(settings.second)
    if first.keys() != second.keys() or MEAN not in first:
        raise LicError(f"{settings.first} and {settings.second} are not of the same photographs; measure them again")
    rows = [
        ImageRow(image, float(np.mean(first[image][0])), bd_rate(*second[image], *first[image]))
        for image in first
        if image != MEAN
    ]
    answer.write("image_by_image.csv", rows)
    draw(rows, answer.path("image_by_image.png"))
    print(
        f"{len(rows)} photographs; BD-rate of the mean curves {bd_rate(*second[MEAN], *first[MEAN]):+.2f} %, ", end=""
    )
    print(f"mean of the BD-rates {np.mean([row.bd_rate_percent for row in rows]):+.2f} %; by thirds of the rate:")
    for third in np.array_split(sorted(rows, key=lambda row: row.bpp), 3):
        bpp, gains = (np.array([float(row[column]) for row in third]) for column in (1, 2))
        print(f"  {bpp.min():.2f} to {bpp.max():.2f} bpp: {gains.mean():+.2f} %")
    print(answer)


if __name__ == "__main__":
    run(main, Settings, __doc__)
