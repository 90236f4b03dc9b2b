"""What does a sender gain by thinking longer? Rate–distortion and time, from one shot to thousands of steps.

Every search of `lic_jax.encoding` starts from the same analysis, and its streams are decoded by the same decoder; real
files are compared.

    python -m experiments.questions.iterative_encoding PHOTOGRAPHS
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
import math
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import matplotlib.pyplot as plt
import numpy as np
import tyro
from jaxtyping import Float
from matplotlib.axes import Axes
from tqdm import tqdm

from experiments.lab.command_line import run
from experiments.lab.kept import Origin, files_digest, find_or_make, kept_path, pixels_digest
from experiments.lab.pictures import counted, light_grid, plain_log_ticks, save_picture
from experiments.lab.provenance import Answer, Output
from experiments.lab.published import published_curves
from lic_jax.codec.codec import Codec, load
from lic_jax.errors import LicError
from lic_jax.evaluation.metrics import mean_squared_error, psnr
from lic_jax.evaluation.rate_distortion import bd_rate
from lic_jax.io.images import RGB, image_paths, read_image
from lic_jax.io.tables import read_csv, write_csv
from lic_jax.training.deployment import in_fixed_point
from lic_jax.training.refit import start_quantizers
from lic_jax.training.settings import RefitSettings
from lic_jax.zoo import shipped
from lic_jax.zoo.bundle import Bundle

ONE_SHOT = "one shot"
PUBLISHED = "shallow-ntc two-layer synthesis"
PUBLISHED_SGA = "shallow-ntc two-layer synthesis + SGA"

TIMED = 30
"""Searches of at most this many iterations are timed whole."""


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

    def searches(self) -> list["Search"]:
        """One shot first, then from the shortest of each kind to the longest."""
        names = ("rounding", "refinement", "sga")
        return [Search(ONE_SHOT, 0), *(Search(name, steps) for name in names for steps in getattr(self, name))]


Curve = Float[np.ndarray, "points 2"]
"""bpp and PSNR in dB of each point."""


class Search(NamedTuple):
    """A method and how many iterations it has."""

    method: str
    iterations: int


class Measurement(NamedTuple):
    """One image after one search at one rate; `objective` is bpp + λ·MSE."""

    rate: float
    bpp: float
    psnr_db: float
    objective: float


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


def photographs(settings: Settings) -> dict[str, RGB]:
    """The photographs by name, cropped.

    Raises:
      LicError: no such folder, or a photograph that is smaller than its crop.
    """
    paths = image_paths(settings.images)
    chosen = np.linspace(0, len(paths) - 1, min(settings.count or len(paths), len(paths))).round().astype(int)
    return {paths[index].name: _cropped(read_image(paths[index]), paths[index], settings.crop) for index in chosen}


def _cropped(image: RGB, path: Path, side: int) -> RGB:
    if side == 0:
        return image
    if min(image.shape[:2]) < side:
        raise LicError(f"{path} is smaller than a crop of {side} pixels; lower --crop")
    top, left = (image.shape[0] - side) // 2, (image.shape[1] - side) // 2
    return np.ascontiguousarray(image[top : top + side, left : left + side])


def with_uniform_quantizers(bundle: Bundle) -> Bundle:
    """A model with uniform quantizers, each with the step that is best at high rate for its λ."""
    settings = RefitSettings(lambdas=bundle.lambdas, row_knots=0)
    latent, hyper_latent = in_fixed_point(start_quantizers(bundle.config, settings, bundle.rd_lambda))
    return dataclasses.replace(bundle, latent_quantizers=latent, hyper_quantizers=hyper_latent, fingerprint=b"unif")


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


def measure(codec: Codec, image: RGB, search: Search, rate: float) -> Measurement:
    """Compresses and decompresses an image."""
    data = compress(codec, image, search, rate)
    decoded = codec.decompress(data)
    bpp = 8 * len(data) / (image.shape[0] * image.shape[1])
    rd_lambda = codec.bundle.rd_lambda_at(codec.bundle.rate_units(rate))
    objective = bpp + rd_lambda * mean_squared_error(decoded, image)
    return Measurement(rate, bpp, psnr(decoded, image), objective)


def compress(codec: Codec, image: RGB, search: Search, rate: float) -> bytes:
    """The image's stream."""
    if search.method == ONE_SHOT:
        return codec.compress(image, rate)
    return codec.compress(image, rate, iterations=search.iterations, method=search.method)


def seconds_of(codec: Codec, image: RGB, method: str, counts: Sequence[int], rate: float) -> dict[Search, float]:
    """Times the whole encoding of an image, warm, for each number of a method's iterations.

    Iterations take equally long, so the time of more than `TIMED` of them is extrapolated from `TIMED` and twice as
    many: nobody waits for thousands, and all times are measured in one go.
    """

    def timed(iterations: int) -> float:
        times = []
        for _ in range(3):
            start = time.perf_counter()
            compress(codec, image, Search(method, iterations), rate)
            times.append(time.perf_counter() - start)
        return float(np.median(times))

    compress(codec, image, Search(method, min((*counts, 1))), rate)
    seconds = {count: timed(count) for count in counts if count <= TIMED}
    longer = [count for count in counts if count > TIMED]
    if longer:
        few, more = timed(TIMED), timed(2 * TIMED)
        seconds |= {count: few + (count - TIMED) * (more - few) / TIMED for count in longer}
    return {Search(method, count): seconds[count] for count in counts}


def rows_of(curves: dict[Search, list[list[Measurement]]], seconds: dict[Search, float]) -> list[Row]:
    """Means over the images of each search, [image][rate], its seconds and its BD-rate."""
    means = {search: np.mean(np.array(images), axis=0) for search, images in curves.items()}
    reference = means[Search(ONE_SHOT, 0)]
    rows = []
    for search, curve in means.items():
        gain = 0.0 if search.method == ONE_SHOT else _bd_rate(curve[:, 1:3], reference[:, 1:3])
        rows += [Row(*search, *point, seconds[search], gain) for point in curve.tolist()]
    return rows


def _bd_rate(curve: Curve, reference: Curve) -> float:
    """In percent; NaN where it is not defined."""
    try:
        return bd_rate(*curve.T, *reference.T)
    except LicError as error:
        tqdm.write(f"no BD-rate: {error}")
        return math.nan


def published_pair(path: Path) -> tuple[Curve, Curve]:
    """The curves of the published two-layer model, and of the same with SGA.

    Raises:
      LicError: not a table that has both.
    """
    curves = published_curves(path, (PUBLISHED, PUBLISHED_SGA))
    return tuple(np.array([(point.bpp, point.psnr_db) for point in curve]) for curve in curves.values())


NAMES = {"sga": "SGA"}

STYLES = {ONE_SHOT: ("s", "0.35"), "rounding": ("^", "0.35"), "refinement": ("D", "0.35"), "sga": ("o", "tab:blue")}


def draw(rows: list[Row], path: Path, published: tuple[Curve, Curve] | None, caption: str) -> None:
    """The gain over the time, and the curves."""
    figure, (gain_axes, curve_axes) = plt.subplots(1, 2, figsize=(12.4, 4.8), gridspec_kw={"wspace": 0.2})
    _draw_gains(gain_axes, rows, published)
    _draw_curves(curve_axes, rows, published)
    gain_axes.set_title(caption, fontsize=10)
    save_picture(figure, path)


def _draw_gains(axes: Axes, rows: list[Row], published: tuple[Curve, Curve] | None) -> None:
    """BD-rate against the seconds an image takes, a line a method."""
    for method, own in itertools.groupby(rows, key=lambda row: row.method):
        marker, color = STYLES[method]
        own = list(own)
        points = {row.iterations: row.bd_rate_percent for row in own}
        seconds = list({row.iterations: row.encode_s for row in own}.values())
        axes.plot(seconds, list(points.values()), marker=marker, color=color, linewidth=1.6)
        for x, (steps, gain) in zip(seconds, points.items(), strict=True):
            text = method if method == ONE_SHOT else f"{NAMES.get(method, method)}, {steps:,}"
            side = 1 if method == "sga" else -1  # the two rows of labels keep out of each other's way
            axes.annotate(
                text, (x, gain), (4 * side, 4 * side), textcoords="offset points", rotation=30, rotation_mode="anchor",
                ha="left" if side > 0 else "right", va="bottom" if side > 0 else "top", fontsize=8, color=color,
            )  # fmt: skip
    if published is not None:
        gain = _bd_rate(published[1], published[0])
        axes.axhline(gain, color="tab:orange", linestyle=":")
        axes.annotate(
            "published, 3,000 steps of SGA", (0, gain), (4, 4), textcoords="offset points",
            xycoords=("axes fraction", "data"), fontsize=8, color="tab:orange",
        )  # fmt: skip
    axes.set(xscale="log", xlabel="seconds to encode an image", ylabel="BD-rate against one shot in %")
    plain_log_ticks(axes.xaxis)
    axes.margins(x=0.2, y=0.12)
    light_grid(axes)


def _draw_curves(axes: Axes, rows: list[Row], published: tuple[Curve, Curve] | None) -> None:
    """One shot and the longest search; the published model with and without SGA."""
    *_, last = rows
    longest = f"{NAMES.get(last.method, last.method)}, {last.iterations:,}"
    curves = {ONE_SHOT: (ONE_SHOT, 0, "s--"), longest: (*last[:2], "o-")}
    for label, (method, iterations, style) in curves.items():
        own = [(row.bpp, row.psnr_db) for row in rows if (row.method, row.iterations) == (method, iterations)]
        axes.plot(*zip(*own, strict=True), style, color=STYLES[method][1], label=f"ours, {label}")
    for curve, (style, label) in zip(published or (), (("--", "two-layer"), ("-", "two-layer + SGA")), strict=False):
        axes.plot(*curve.T, style, color="tab:orange", label=f"published {label}, all of Kodak")
    axes.set(xlabel="bpp (files)", ylabel="PSNR in dB")
    axes.legend(frameon=False, fontsize=8, loc="lower right")
    light_grid(axes)


def main(settings: Settings) -> None:
    answer = Answer(settings, "iterative_encoding.csv", "iterative_encoding.png")
    published = None if settings.published is None else published_pair(settings.published)
    codec = load(settings.model)
    if settings.uniform:
        codec = Codec(with_uniform_quantizers(codec.bundle))
    rates = settings.rates or tuple(float(rate) for rate in range(codec.bundle.highest_rate + 1))
    images = photographs(settings)
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
    draw(
        rows,
        answer.path("iterative_encoding.png"),
        published,
        f"{subject}: real files at {counted(len(rates), 'rate')}",
    )
    print("search               BD-rate %  objective %  seconds an image")
    one_shot = [row for row in rows if row.method == ONE_SHOT]
    for search in curves:
        own = [row for row in rows if (row.method, row.iterations) == search]
        objective = np.mean([a.objective / b.objective - 1 for a, b in zip(own, one_shot, strict=True)])
        name = f"{search.method} {search.iterations or ''}"
        print(f"{name:20} {own[0].bd_rate_percent:+9.2f}  {100 * objective:+11.2f}  {seconds[search]:16.2f}")
    if published is not None:
        print(f"published, SGA on the two-layer model: {_bd_rate(published[1], published[0]):+.2f} %")
    print(answer)


if __name__ == "__main__":
    run(main, Settings, __doc__)
