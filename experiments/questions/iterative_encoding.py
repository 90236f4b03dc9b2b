"""What does a sender gain by thinking longer? Rate–distortion and time, from one shot to thousands of steps.

Every search of `lic_jax.encoding` starts from the same analysis, and its streams are decoded by the same decoder; real
files are compared.

    python -m experiments.questions.iterative_encoding PHOTOGRAPHS --published published_rd.csv
    python -m experiments.questions.iterative_encoding PHOTOGRAPHS --count 4 --crop 256 --rates 0 2 4 6 --sga 50 200

writes results/iterative_encoding.csv, a row a search and rate, and results/iterative_encoding.png: the BD-rate of every
search against one shot over the seconds that an image takes, and the curves. With published points the picture has
those of the published two-layer model with and without SGA beside (Yang & Mandt, ICCV 2023; all of Kodak, 3,000
steps). Measurements are kept in runs/iterative_encoding, a file for each image, search and rate: killed, the same
command goes on from there.
"""

import dataclasses
import itertools
from pathlib import Path
from typing import NamedTuple

import matplotlib.pyplot as plt
import numpy as np
import tyro
from matplotlib.axes import Axes
from tqdm import tqdm

from experiments.lab.command_line import run
from experiments.lab.curves import bd_rate_of
from experiments.lab.kept import Origin, files_digest, find_or_make, kept_path, pixels_digest
from experiments.lab.photographs import read_photographs
from experiments.lab.pictures import counted, light_grid, plain_log_ticks, save_picture
from experiments.lab.provenance import Answer, Output
from experiments.lab.published import PublishedPoint, published_curves
from experiments.lab.searches import ONE_SHOT, Measurement, Search, measure, seconds_of, with_uniform_quantizers
from lic_jax.codec.codec import Codec, load
from lic_jax.io.images import RGB
from lic_jax.io.tables import read_csv, write_csv
from lic_jax.zoo import shipped

PUBLISHED = {
    "shallow-ntc two-layer synthesis": ("--", "two-layer"),
    "shallow-ntc two-layer synthesis + SGA": ("-", "two-layer + SGA"),
}
"""The codecs in the table of published points: the line and the name of each in the picture."""

Published = list[list[PublishedPoint]]
"""The curves of these codecs; empty without a table."""

STYLES = {ONE_SHOT: ("s", "0.35"), "rounding": ("^", "0.35"), "refinement": ("D", "0.35"), "sga": ("o", "tab:blue")}


@dataclasses.dataclass(frozen=True)
class Settings(Output):
    """The settings of this question.

    Attributes:
      images: a folder of photographs.
      model: a shipped model's name or a file.
      count: how many of the photographs, spread evenly over the folder; all if 0.
      crop: side of the central square that is coded; the whole photograph if 0.
      rates: at least four, for a BD-rate; by default the fitted ones.
      rounding, refinement, sga: the iterations of each search.
      uniform: replaces the fitted quantizers by uniform ones with the step of each rate's λ, to see what searches gain
        over plain rounding.
      published: a CSV of published rate–distortion points.
      folder: where measurements are kept.
    """

    images: tyro.conf.Positional[Path]
    model: str = shipped.DEFAULT
    count: int = 0
    crop: int = 0
    rates: tuple[float, ...] = ()
    rounding: tuple[int, ...] = (1, 3)
    refinement: tuple[int, ...] = (10, 30)
    sga: tuple[int, ...] = (50, 200, 500, 1000, 3000)
    uniform: bool = False
    published: Path | None = None
    folder: Path = Path("runs/iterative_encoding")

    def searches(self) -> list[Search]:
        """One shot first, then from the shortest of each kind to the longest."""
        names = ("rounding", "refinement", "sga")
        return [Search(ONE_SHOT, 0), *(Search(name, steps) for name in names for steps in getattr(self, name))]


class Row(NamedTuple):
    """A row of iterative_encoding.csv: means over the images.

    `encode_s` is `seconds_of` the search, `bd_rate_percent` the whole curve's against one shot.
    """

    method: str
    iterations: int
    rate: float
    bpp: float
    psnr_db: float
    objective: float
    encode_s: float
    bd_rate_percent: float


def measured(settings: Settings, codec: Codec, name: str, image: RGB, search: Search, rate: float) -> Measurement:
    """An image's measurement at a rate, from its file if it was made before."""
    weights = files_digest([shipped.path_of(settings.model)])
    origin = Origin(weights, [search, rate, settings.uniform], pixels_digest({name: image}))
    path = kept_path(settings.folder / "_".join(map(str, search)).replace(" ", "_"), f"{name}_{rate:g}", origin, ".csv")
    return find_or_make(
        path,
        lambda: measure(codec, image, search, rate),
        lambda path, measurement: write_csv(path, [measurement]),
        lambda path: read_csv(path, Measurement)[0],
    )


def rows_of(curves: dict[Search, list[list[Measurement]]], seconds: dict[Search, float]) -> list[Row]:
    """Means over the images of each search, [image][rate], its seconds and its BD-rate."""
    means = {
        search: [Measurement(*point) for point in np.mean(np.array(images), axis=0).tolist()]
        for search, images in curves.items()
    }
    reference = means[Search(ONE_SHOT, 0)]
    rows = []
    for search, curve in means.items():
        gain = 0.0 if search.method == ONE_SHOT else bd_rate_of(curve, reference)
        rows += [Row(*search, *point, seconds[search], gain) for point in curve]
    return rows


def draw(rows: list[Row], path: Path, published: Published, caption: str) -> None:
    """The gain over the time, and the curves."""
    figure, (gain_axes, curve_axes) = plt.subplots(1, 2, figsize=(12.4, 4.8), gridspec_kw={"wspace": 0.2})
    _draw_gains(gain_axes, rows, published)
    _draw_curves(curve_axes, rows, published)
    gain_axes.set_title(caption, fontsize=10)
    save_picture(figure, path)


def _label(method: str, iterations: int) -> str:
    return method if method == ONE_SHOT else f"{method.replace('sga', 'SGA')}, {iterations:,}"


def _draw_gains(axes: Axes, rows: list[Row], published: Published) -> None:
    """BD-rate against the seconds an image takes, a line a method."""
    for method, own in itertools.groupby(rows, key=lambda row: row.method):
        marker, color = STYLES[method]
        own = list(own)
        points = {row.iterations: row.bd_rate_percent for row in own}
        seconds = list({row.iterations: row.encode_s for row in own}.values())
        axes.plot(seconds, list(points.values()), marker=marker, color=color, linewidth=1.6)
        for x, (steps, gain) in zip(seconds, points.items(), strict=True):
            side = 1 if method == "sga" else -1  # the two rows of labels keep out of each other's way
            axes.annotate(
                _label(method, steps), (x, gain), (4 * side, 4 * side), textcoords="offset points", fontsize=8,
                color=color, ha="left" if side > 0 else "right", va="bottom" if side > 0 else "top", rotation=30,
                rotation_mode="anchor",
            )  # fmt: skip
    if published:
        gain = bd_rate_of(*reversed(published))
        axes.axhline(gain, color="tab:orange", linestyle=":")
        axes.annotate(
            "published, 3,000 steps of SGA", (0, gain), (4, 4), textcoords="offset points",
            xycoords=("axes fraction", "data"), fontsize=8, color="tab:orange",
        )  # fmt: skip
    axes.set(xscale="log", xlabel="seconds to encode an image", ylabel="BD-rate against one shot in %")
    plain_log_ticks(axes.xaxis)
    axes.margins(x=0.2, y=0.12)
    light_grid(axes)


def _draw_curves(axes: Axes, rows: list[Row], published: Published) -> None:
    """One shot and the longest search; the published model with and without SGA."""
    *_, last = rows
    for method, iterations, style in ((ONE_SHOT, 0, "s--"), (*last[:2], "o-")):
        own = [(row.bpp, row.psnr_db) for row in rows if (row.method, row.iterations) == (method, iterations)]
        axes.plot(*zip(*own, strict=True), style, color=STYLES[method][1], label=f"ours, {_label(method, iterations)}")
    for curve, (style, label) in zip(published, PUBLISHED.values(), strict=False):
        points = [(point.bpp, point.psnr_db) for point in curve]
        axes.plot(*zip(*points, strict=True), style, color="tab:orange", label=f"published {label}, all of Kodak")
    axes.set(xlabel="bpp (files)", ylabel="PSNR in dB")
    axes.legend(frameon=False, fontsize=8, loc="lower right")
    light_grid(axes)


def main(settings: Settings) -> None:
    answer = Answer(settings, "iterative_encoding.csv", "iterative_encoding.png")
    published = list(published_curves(settings.published, PUBLISHED).values()) if settings.published else []
    codec = load(settings.model)
    if settings.uniform:
        codec = Codec(with_uniform_quantizers(codec.bundle))
    rates = settings.rates or tuple(float(rate) for rate in range(codec.bundle.highest_rate + 1))
    images = read_photographs(settings.images, settings.count, settings.crop)
    curves: dict[Search, list[list[Measurement]]] = {}
    for search in tqdm(settings.searches(), desc="searches"):
        curves[search] = []
        for name, image in tqdm(images.items(), desc=f"{search.method} {search.iterations}", unit="image", leave=False):
            curves[search].append([measured(settings, codec, name, image, search, rate) for rate in rates])
    first, middle = next(iter(images.values())), rates[len(rates) // 2]
    seconds: dict[Search, float] = {}
    for method, own in itertools.groupby(tqdm(curves, desc="times"), key=lambda search: search.method):
        seconds |= seconds_of(codec, first, method, [search.iterations for search in own], middle)
    rows = rows_of(curves, seconds)
    answer.write("iterative_encoding.csv", rows)
    subject = counted(len(images), "photograph") + (f", crops of {settings.crop} pixels" if settings.crop else "")
    caption = f"{subject}: real files at {counted(len(rates), 'rate')}"
    draw(rows, answer.path("iterative_encoding.png"), published, caption)
    print("search               BD-rate %  objective %  seconds an image")
    one_shot = [row for row in rows if row.method == ONE_SHOT]
    for search in curves:
        own = [row for row in rows if (row.method, row.iterations) == search]
        objective = np.mean([a.objective / b.objective - 1 for a, b in zip(own, one_shot, strict=True)])
        name = f"{search.method} {search.iterations or ''}"
        print(f"{name:20} {own[0].bd_rate_percent:+9.2f}  {100 * objective:+11.2f}  {seconds[search]:16.2f}")
    if published:
        print(f"published, SGA on the two-layer model: {bd_rate_of(*reversed(published)):+.2f} %")
    print(answer)


if __name__ == "__main__":
    run(main, Settings, __doc__)
