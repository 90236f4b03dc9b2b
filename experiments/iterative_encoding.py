"""What does a sender gain by thinking longer? Rate–distortion and time, from one shot to thousands of steps.

Every search of `lic_jax.encoding` starts from the same analysis, and its streams are decoded by the same decoder; what
is compared are real files.

    python experiments/iterative_encoding.py PHOTOGRAPHS
    python experiments/iterative_encoding.py PHOTOGRAPHS --published published_rd.csv
    python experiments/iterative_encoding.py PHOTOGRAPHS --count 4 --crop 256 --rates 0 2 4 6 --sga 50 200

writes results/iterative_encoding.csv, a row a search and rate, and results/iterative_encoding.png, the BD-rate of every
search against one shot over the seconds that an image takes. With published points the picture has the gain of SGA on
the published two-layer model beside (Yang & Mandt, ICCV 2023; 3,000 steps). What is measured lies in
runs/iterative_encoding, a file an image and search: killed, the same command goes on from there.
"""

import csv
import dataclasses
import io
import itertools
import math
import time
from pathlib import Path
from typing import NamedTuple

import matplotlib.pyplot as plt
import numpy as np
import tyro
from command import run
from drawing import Label, light_grid, save_picture, write_labels
from tqdm import tqdm

from lic_jax import zoo
from lic_jax.codec import Codec, load
from lic_jax.errors import LicError
from lic_jax.evaluation.codec import write_csv
from lic_jax.evaluation.metrics import mean_squared_error, psnr
from lic_jax.evaluation.rate_distortion import bd_rate
from lic_jax.files import make_folder, read_bytes
from lic_jax.images import RGB, image_paths, read_image

ONE_SHOT = "one shot"
PUBLISHED = "shallow-ntc two-layer synthesis"
PUBLISHED_SGA = "shallow-ntc two-layer synthesis + SGA"
PUBLISHED_SET = "kodak"


@dataclasses.dataclass(frozen=True)
class Settings:
    """What to measure and where to write.

    Attributes:
      images: a folder of photographs.
      model: a shipped model's name or a file.
      count: how many of the photographs, spread evenly over the folder; all if 0.
      crop: side of the central square that is coded; the whole photograph if 0.
      rates: at least four, for a BD-rate; by default the fitted ones.
      rounding, refinement, sga: the iterations of each search.
      published: a CSV of published rate–distortion points.
      folder: where measurements are kept.
      out: the folder of the CSV and the picture.
    """

    images: tyro.conf.Positional[Path]
    model: str = zoo.DEFAULT
    count: int = 0
    crop: int = 0
    rates: tuple[float, ...] = ()
    rounding: tuple[int, ...] = (1, 3)
    refinement: tuple[int, ...] = (10, 30)
    sga: tuple[int, ...] = (50, 200, 500, 1000, 3000)
    published: Path | None = None
    folder: Path = Path("runs/iterative_encoding")
    out: Path = Path("results")

    def searches(self) -> list["Search"]:
        """One shot first, then from the shortest of each kind to the longest."""
        names = ("rounding", "refinement", "sga")
        return [Search(ONE_SHOT, 0), *(Search(name, steps) for name in names for steps in getattr(self, name))]


class Search(NamedTuple):
    """A method and how many iterations it has."""

    method: str
    iterations: int


class Measurement(NamedTuple):
    """One image after one search at one rate; `objective` is bpp + λ·MSE, the time all of encoding."""

    rate: float
    bpp: float
    psnr_db: float
    objective: float
    encode_s: float


class Row(NamedTuple):
    """A row of iterative_encoding.csv: means over the images. `bd_rate_percent` is the search's, against one shot."""

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
    return {paths[index].stem: _cropped(read_image(paths[index]), paths[index], settings.crop) for index in chosen}


def _cropped(image: RGB, path: Path, side: int) -> RGB:
    if side == 0:
        return image
    if min(image.shape[:2]) < side:
        raise LicError(f"{path} is smaller than a crop of {side} pixels; lower --crop")
    top, left = (image.shape[0] - side) // 2, (image.shape[1] - side) // 2
    return np.ascontiguousarray(image[top : top + side, left : left + side])


def measured(settings: Settings, codec: Codec, name: str, image: RGB, search: Search, rates) -> list[Measurement]:
    """An image's measurements, from their file if they were made before."""
    fingerprint = codec.bundle.fingerprint.hex()
    what = f"{name}_{settings.crop}_{search.method.replace(' ', '_')}_{search.iterations}_{fingerprint}"
    path = settings.folder / f"{what}.csv"
    known = {row.rate: row for row in _read(path)}
    for rate in rates:
        if rate not in known:
            known[rate] = measure(codec, image, search, rate)
            write_csv(path, list(known.values()))
    return [known[rate] for rate in rates]


def _read(path: Path) -> list[Measurement]:
    if not path.exists():
        return []
    with path.open(newline="") as file:
        return [Measurement(*map(float, row.values())) for row in csv.DictReader(file)]


def measure(codec: Codec, image: RGB, search: Search, rate: float) -> Measurement:
    """Compresses and decompresses an image."""
    start = time.perf_counter()
    if search.method == ONE_SHOT:
        data = codec.compress(image, rate)
    else:
        data = codec.compress(image, rate, iterations=search.iterations, method=search.method)
    seconds = time.perf_counter() - start
    decoded = codec.decompress(data)
    bpp = 8 * len(data) / (image.shape[0] * image.shape[1])
    rd_lambda = codec.bundle.rd_lambda_at(codec.bundle.rate_units(rate))
    objective = bpp + rd_lambda * mean_squared_error(decoded, image)
    return Measurement(rate, bpp, psnr(decoded, image), objective, seconds)


def rows_of(curves: dict[Search, list[list[Measurement]]]) -> list[Row]:
    """Means over the images of each search, [image][rate], and its BD-rate."""
    means = {search: np.mean(np.array(of_search), axis=0) for search, of_search in curves.items()}
    reference = means[Search(ONE_SHOT, 0)]
    rows = []
    for search, curve in means.items():
        gain = 0.0 if search.method == ONE_SHOT else _bd_rate(curve[:, 1:3], reference[:, 1:3])
        rows += [Row(*search, *point, gain) for point in curve.tolist()]
    return rows


def _bd_rate(curve: np.ndarray, reference: np.ndarray) -> float:
    """In percent, of [point, (bpp, PSNR)]; NaN where it is not defined."""
    try:
        return bd_rate(*curve.T, *reference.T)
    except LicError as error:
        tqdm.write(f"no BD-rate: {error}")
        return math.nan


def published_gain(path: Path) -> float:
    """The BD-rate in percent of SGA on the published two-layer model, against the same without.

    Raises:
      LicError: not a table that has both.
    """
    try:
        table = list(csv.DictReader(io.StringIO(read_bytes(path).decode())))
        plain, searched = (
            [
                (float(row["bpp"]), float(row["psnr_db"]))
                for row in table
                if row["codec"] == codec and row["dataset"] == PUBLISHED_SET
            ]
            for codec in (PUBLISHED, PUBLISHED_SGA)
        )
    except (KeyError, TypeError, ValueError) as error:
        raise LicError(f"{path} is no table of dataset, codec, bpp, psnr_db ({error!r}); give another") from error
    if not plain or not searched:
        raise LicError(f"{path} lacks {PUBLISHED!r} with and without SGA on {PUBLISHED_SET}; give another")
    return bd_rate(*zip(*searched, strict=True), *zip(*plain, strict=True))


STYLES = {ONE_SHOT: ("s", "0.35"), "rounding": ("^", "0.35"), "refinement": ("D", "0.35"), "sga": ("o", "tab:blue")}


def draw(rows: list[Row], path: Path, published: float | None, caption: str) -> None:
    """BD-rate against the seconds an image takes, a line a method."""
    figure, axes = plt.subplots(figsize=(7.6, 4.6))
    labels = []
    for method, of_method in itertools.groupby(rows, key=lambda row: row.method):
        marker, color = STYLES[method]
        own = list(of_method)
        points = {row.iterations: row.bd_rate_percent for row in own}
        seconds = [np.mean([row.encode_s for row in own if row.iterations == steps]) for steps in points]
        axes.plot(seconds, list(points.values()), marker=marker, color=color, linewidth=1.6)
        for x, (steps, gain) in zip(seconds, points.items(), strict=True):
            text = method if method == ONE_SHOT else f"{method.upper() if method == 'sga' else method}, {steps:,}"
            labels.append(Label(x, gain, text, color))
    if published is not None:
        axes.axhline(published, color="0.6", linestyle=":")
        axes.annotate(
            "published: SGA on the two-layer model, Kodak", (0, published), (4, 4), textcoords="offset points",
            xycoords=("axes fraction", "data"), fontsize=8, color="0.45",
        )  # fmt: skip
    axes.set(xscale="log", xlabel="seconds to encode an image", ylabel="BD-rate against one shot in %")
    axes.set_title(caption, fontsize=9)
    axes.margins(x=0.25, y=0.12)
    light_grid(axes)
    write_labels(axes, labels)
    save_picture(figure, path)


def main(settings: Settings) -> None:
    make_folder(settings.folder)
    make_folder(settings.out)
    published = None if settings.published is None else published_gain(settings.published)
    codec = load(settings.model)
    rates = settings.rates or tuple(float(rate) for rate in range(codec.bundle.highest_rate + 1))
    images = photographs(settings)
    sizes_seen = set()
    curves: dict[Search, list[list[Measurement]]] = {}
    for search in tqdm(settings.searches(), desc="searches"):
        curves[search] = []
        for name, image in tqdm(images.items(), desc=f"{search.method} {search.iterations}", unit="image", leave=False):
            if (search.method, image.shape) not in sizes_seen:
                sizes_seen.add((search.method, image.shape))
                measure(codec, image, search._replace(iterations=min(search.iterations, 1)), rates[0])
            curves[search].append(measured(settings, codec, name, image, search, rates))
    rows = rows_of(curves)
    write_csv(settings.out / "iterative_encoding.csv", rows)
    what = f"{len(images)} photographs" + (f", crops of {settings.crop} pixels" if settings.crop else "")
    draw(rows, settings.out / "iterative_encoding.png", published, f"{what}: real files at {len(rates)} rates")
    print("search               BD-rate %  objective %  seconds an image")
    one_shot = [row for row in rows if row.method == ONE_SHOT]
    for search in curves:
        own = [row for row in rows if (row.method, row.iterations) == search]
        objective = np.mean([a.objective / b.objective - 1 for a, b in zip(own, one_shot, strict=True)])
        seconds = np.mean([row.encode_s for row in own])
        name = f"{search.method} {search.iterations or ''}"
        print(f"{name:20} {own[0].bd_rate_percent:+9.2f}  {100 * objective:+11.2f}  {seconds:16.2f}")
    if published is not None:
        print(f"published, SGA on the two-layer model: {published:+.2f} %")
    print(f"{settings.out / 'iterative_encoding.csv'} and {settings.out / 'iterative_encoding.png'} written")


if __name__ == "__main__":
    run(main, Settings, __doc__)
