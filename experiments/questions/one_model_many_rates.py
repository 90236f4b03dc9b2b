"""One photograph, one frozen model: its curve over all rates, and streams of the sizes asked for.

    python -m experiments.questions.one_model_many_rates
    python -m experiments.questions.one_model_many_rates --photograph photo.png --max-bytes 20000 40000 80000

Only the quantizers differ from stream to stream. The notebook of the same name tells it with pictures.
"""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure

from experiments.lab.command_line import run
from experiments.lab.pictures import SHOWN_ROW, save_picture
from experiments.lab.provenance import Answer, Output
from experiments.lab.samples import sample_image
from lic_jax.codec.codec import Codec, load
from lic_jax.evaluation.measurement import MeasuredRow, measure_image
from lic_jax.evaluation.metrics import psnr
from lic_jax.io import container
from lic_jax.io.images import RGB, read_image
from lic_jax.quantization.fixed_point import RATE_UNITS
from lic_jax.zoo import shipped
from lic_jax.zoo.bundle import Bundle


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings(Output):
    """The settings of this question.

    Attributes:
      photograph: an image; a part of scikit-image's coffee cup if none is given.
      model: a shipped model's name or a file.
      max_bytes: the sizes asked for.
      points: of the curve, over all rates.
      out: the folder for curve.csv, streams.csv, curve.png and pictures.png.
    """

    photograph: Path | None = None
    model: str = shipped.DEFAULT
    max_bytes: tuple[int, ...] = (2000, 4000, 8000)
    points: int = 25
    out: Path = Path("runs/one_model_many_rates")


class FilledStream(NamedTuple):
    """A size asked for, and the stream that fills it."""

    max_bytes: int
    bytes: int
    rate: float
    psnr_db: float


def sample_photograph() -> RGB:
    """256×256 pixels with a cup, a spoon and the grain of a table."""
    return sample_image("coffee.png")[60:316, 150:406]


def curve_of(codec: Codec, image: RGB, points: int) -> list[MeasuredRow]:
    """The photograph's size and quality at `points` rates, from the lowest to the highest."""
    codec.decompress(codec.compress(image))  # compiles
    return measure_image(codec, "photograph", image, np.linspace(0, codec.bundle.highest_rate, points))


def fill(codec: Codec, image: RGB, max_bytes: int) -> tuple[FilledStream, RGB]:
    """The largest stream that fits, and the image that its receiver sees."""
    data = codec.compress(image, max_bytes=max_bytes)
    decoded = codec.decompress(data)
    rate = container.unpack(data).rate_units / RATE_UNITS
    return FilledStream(max_bytes, len(data), rate, psnr(decoded, image)), decoded


def table_of(streams: Sequence[FilledStream]) -> str:
    """The streams as text."""
    lines = [f"{'asked for':>9}  {'bytes':>9}  {'rate':>6}  {'PSNR dB':>7}"]
    lines += [f"{size:9,}  {found:9,}  {rate:6.3f}  {quality:7.2f}" for size, found, rate, quality in streams]
    return "\n".join(lines)


def plot_staircases(bundle: Bundle, rates: tuple[float, ...], reach: float = 6.0) -> Figure:
    """The quantizer of the latent at some rates, interpolated ones among them; of the rows, `SHOWN_ROW`'s."""
    figure, axes = plt.subplots(figsize=(6, 4), layout="constrained")
    values = np.linspace(-reach, reach, 2001)
    for rate, shade in zip(rates, np.linspace(0.75, 0, len(rates)), strict=True):
        quantizer = bundle.quantizers_at(bundle.rate_units(rate))[0].at_row(SHOWN_ROW)
        axes.plot(values, quantizer.levels_of(quantizer.symbols(values)), color=str(shade), label=f"rate {rate:g}")
    axes.set(xlabel="latent − mean, steps of the anchor", ylabel="level", title="What changes from rate to rate")
    axes.legend(frameon=False)
    return figure


def plot_curve(rows: Sequence[MeasuredRow], streams: Sequence[FilledStream], image: RGB) -> Figure:
    """The curve, with the sizes asked for as lines and the streams found as dots."""
    figure, axes = plt.subplots(figsize=(6, 4), layout="constrained")
    kilobytes = image.shape[0] * image.shape[1] / 8000
    axes.plot([row.bpp * kilobytes for row in rows], [row.psnr_db for row in rows], ".-", color="0.6")
    for stream in streams:
        axes.axvline(stream.max_bytes / 1000, color="0.85", zorder=0)
        axes.plot(stream.bytes / 1000, stream.psnr_db, "o", color="black")
        axes.annotate(
            f"rate {stream.rate:.2f}", (stream.bytes / 1000, stream.psnr_db), (6, -12), textcoords="offset points"
        )
    axes.set(xlabel="file size, kB", ylabel="PSNR, dB", title="One model, one photograph, all rates")
    return figure


def plot_pictures(image: RGB, decoded: Sequence[RGB], streams: Sequence[FilledStream]) -> Figure:
    """The photograph beside the images that receivers of the streams see."""
    figure, all_axes = plt.subplots(1, 1 + len(decoded), figsize=(3 * (1 + len(decoded)), 3.4), layout="constrained")
    titles = ["original"] + [f"{stream.bytes:,} of {stream.max_bytes:,} bytes" for stream in streams]
    for axes, picture, title in zip(all_axes, [image, *decoded], titles, strict=True):
        axes.imshow(picture)
        axes.set_title(title)
        axes.axis("off")
    return figure


def main(settings: Settings) -> None:
    answer = Answer(settings, "curve.csv", "streams.csv", "curve.png", "pictures.png")
    image = sample_photograph() if settings.photograph is None else read_image(settings.photograph)
    codec = load(settings.model)
    rows = curve_of(codec, image, settings.points)
    streams, decoded = zip(*(fill(codec, image, size) for size in settings.max_bytes), strict=True)
    answer.write("curve.csv", rows)
    answer.write("streams.csv", streams)
    save_picture(plot_curve(rows, streams, image), answer.path("curve.png"))
    save_picture(plot_pictures(image, decoded, streams), answer.path("pictures.png"))
    print(table_of(streams))
    print(answer)


if __name__ == "__main__":
    run(main, Settings, __doc__)
