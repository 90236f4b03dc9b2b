"""Do quantizers that were fitted to photographs serve other images, or is it worth fitting them anew?

The anchor, trained on photographs, stays. Its quantizers are fitted to photographs and, one kind after the other, to
that kind: medical, astronomy, text and texture, as scikit-image ships them (the left half of each image is fitted to,
the right half compressed), and the photographs themselves with noise, blurred, or damaged by JPEG (some fitted to,
others compressed). Damage is part of the image here: a codec has to keep it.

    python -m experiments.questions.domains PHOTOGRAPHS

writes results/domains.csv, a row a kind, quantizers and λ, and results/domains.png. Rates are real streams.
"""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import matplotlib.pyplot as plt
import numpy as np
import tyro
from PIL import Image, ImageFilter

from experiments.lab.anchors import Anchor, FitSettings, crops_of, encoded, load_anchor, photographs_of
from experiments.lab.command_line import run
from experiments.lab.curves import bd_rate_of, real_curve
from experiments.lab.fits import fit
from experiments.lab.models import refitted
from experiments.lab.pictures import light_grid, save_picture
from experiments.lab.provenance import Answer, Output
from experiments.lab.samples import sample_image
from lic_jax.codec.codec import Codec
from lic_jax.evaluation.classical import CLASSICAL, decode, jpeg, measure
from lic_jax.evaluation.rate_distortion import Point
from lic_jax.io.images import RGB

KINDS = {
    "medical": ("retina.jpg", "ihc.png", "cell.png"),
    "astronomy": ("hubble_deep_field.jpg", "moon.png"),
    "text": ("page.png", "text.png"),
    "texture": ("brick.png", "grass.png", "gravel.png"),
}
"""Files inside the scikit-image package, by their subject."""

PHOTOGRAPHS = "photographs"

LARGEST_SIDE = 512
"""The largest side of an image that is compressed; larger images keep their upper left."""


def noisy(image: RGB, deviation: float = 10.0) -> RGB:
    """With independent Gaussian noise in every sample; the same image gets the same noise."""
    noise = np.random.default_rng(image.size).normal(scale=deviation, size=image.shape)
    return np.clip(np.rint(image + noise), 0, 255).astype(np.uint8)


def blurred(image: RGB, radius: float = 2.0) -> RGB:
    """Through a Gaussian filter of this standard deviation in pixels."""
    return np.asarray(Image.fromarray(image).filter(ImageFilter.GaussianBlur(radius)))


def jpeg_damaged(image: RGB, quality: int = 25) -> RGB:
    """Compressed and decompressed by JPEG."""
    return decode(jpeg(image, quality))


DAMAGES: dict[str, Callable[[RGB], RGB]] = {"noisy": noisy, "blurred": blurred, "after JPEG": jpeg_damaged}


@dataclasses.dataclass(frozen=True)
class Settings(FitSettings, Output):
    """The settings of this question, beside those that all fits share.

    Attributes:
      images: see `FitSettings`.
      measured: how many photographs are compressed, plain and with each damage.
      lambdas: the trade-offs, increasing; a BD-rate needs four.
    """

    images: tyro.conf.Positional[Path | None] = None
    measured: int = 4
    lambdas: tuple[float, ...] = (0.00125, 0.005, 0.02, 0.08)

    def __post_init__(self):
        super().__post_init__()
        self.check_curve(self.lambdas)


class DomainPoint(NamedTuple):
    """A row of domains.csv. Both BD-rates are of the whole curve.

    `gain_percent` is against the quantizers fitted to photographs, `against_jpeg_percent` against JPEG 4:4:4.
    """

    domain: str
    quantizers: str
    rd_lambda: float
    bpp: float
    psnr_db: float
    objective: float
    gain_percent: float
    against_jpeg_percent: float


class Domain(NamedTuple):
    """Images of a kind by name."""

    to_fit: dict[str, RGB]
    to_compress: dict[str, RGB]


def domains_of(settings: Settings) -> dict[str, Domain]:
    """The photographs, then the other kinds."""
    to_fit, held_out = photographs_of(settings)
    photographs = Domain(to_fit, dict(list(held_out.items())[: settings.measured]))
    domains = {PHOTOGRAPHS: photographs}
    for kind, names in KINDS.items():
        images = {name: sample_image(name) for name in names}
        middles = {name: image.shape[1] // 2 for name, image in images.items()}
        domains[kind] = Domain(
            {name: image[:, : middles[name]] for name, image in images.items()},
            {name: image[:LARGEST_SIDE, middles[name] :][:, :LARGEST_SIDE] for name, image in images.items()},
        )
    for kind, damage in DAMAGES.items():
        domains[kind] = Domain(*({name: damage(image) for name, image in part.items()} for part in photographs))
    return domains


def codec_for(settings: Settings, anchor: Anchor, kind: str, to_fit: dict[str, RGB]) -> Codec:
    """The anchor with quantizers fitted to some images."""
    crops = crops_of(to_fit, settings.crop_size, settings.crops, settings.seed)
    anchor = anchor._replace(to_fit=encoded(anchor.model, anchor.bundle.params, crops))
    name = kind.replace(" ", "_")
    fitted = fit(settings, anchor, settings.refit_settings(lambdas=settings.lambdas), name).quantizers
    return Codec(refitted(anchor.bundle, fitted, settings.lambdas))


def points_of(settings: Settings, anchor: Anchor, domains: dict[str, Domain]) -> list[DomainPoint]:
    """All rows: each kind with the photographs' quantizers, and with its own."""
    photographs_codec = codec_for(settings, anchor, PHOTOGRAPHS, domains[PHOTOGRAPHS].to_fit)
    rows = []
    for kind, domain in domains.items():
        codecs = {PHOTOGRAPHS: photographs_codec}
        if kind != PHOTOGRAPHS:
            codecs["own"] = codec_for(settings, anchor, kind, domain.to_fit)
        reference = jpeg_curve(domain.to_compress)
        curves = {name: real_curve(codec, domain.to_compress, f"{kind}, {name}") for name, codec in codecs.items()}
        for name, curve in curves.items():
            rates = bd_rate_of(curve, curves[PHOTOGRAPHS]), bd_rate_of(curve, reference)
            rows += [DomainPoint(kind, name, *point, *rates) for point in curve]
    return rows


def jpeg_curve(images: dict[str, RGB]) -> list[Point]:
    """JPEG's means over the images, real files."""
    codec = CLASSICAL["jpeg"]
    measured = [[measure(codec, image, quality) for image in images.values()] for quality in codec.qualities]
    return [Point(*np.mean(points, axis=0)) for points in measured]


def draw(rows: list[DomainPoint], path: Path) -> None:
    """Both BD-rates by kind."""
    figure, (jpeg_axes, gain_axes) = plt.subplots(1, 2, figsize=(11.4, 4.4), sharey=True, gridspec_kw={"wspace": 0.08})
    kinds = list(dict.fromkeys(row.domain for row in rows))
    for place, kind in enumerate(reversed(kinds)):
        for quantizers, face in ((PHOTOGRAPHS, "white"), ("own", "tab:blue")):
            own = [row for row in rows if (row.domain, row.quantizers) == (kind, quantizers)]
            if own:
                jpeg_axes.plot(own[0].against_jpeg_percent, place, "o", color="tab:blue", markerfacecolor=face)
            if own and quantizers == "own":
                gain = own[0].gain_percent
                gain_axes.barh(place, gain, 0.5, color="tab:blue")
                side = -1 if gain < 0 else 1
                gain_axes.annotate(f"{gain:+.1f} %", (gain, place), (5 * side, 0), textcoords="offset points",
                                 va="center", ha="right" if gain < 0 else "left", fontsize=9)  # fmt: skip
    for axes in (jpeg_axes, gain_axes):
        axes.axvline(0, color="0.6", linewidth=1)
        light_grid(axes)
        axes.set_axisbelow(True)
        axes.margins(x=0.2)
    jpeg_axes.set_yticks(range(len(kinds)), reversed(kinds))
    jpeg_axes.set(xlabel="BD-rate against JPEG 4:4:4 in % (real files)")
    jpeg_axes.set_title("Quantizers of photographs (hollow) and the kind's own (filled)", fontsize=10)
    gain_axes.set(xlabel="BD-rate of its own quantizers against those of photographs, in %")
    gain_axes.set_title("What fitting the quantizers alone to a kind gains", fontsize=10)
    save_picture(figure, path)


def main(settings: Settings) -> None:
    answer = Answer(settings, "domains.csv", "domains.png")
    rows = points_of(settings, load_anchor(settings), domains_of(settings))
    answer.write("domains.csv", rows)
    draw(rows, answer.path("domains.png"))
    print("kind          BD-rate % against JPEG: photographs' quantizers, its own   gain of its own")
    for kind in dict.fromkeys(row.domain for row in rows):
        first, *_, last = (row for row in rows if row.domain == kind)
        against_jpeg = f"{first.against_jpeg_percent:+44.1f}  {last.against_jpeg_percent:+8.1f}"
        print(f"{kind:12}  {against_jpeg}  {last.gain_percent:+15.2f}")
    print(answer)


if __name__ == "__main__":
    run(main, Settings, __doc__)
