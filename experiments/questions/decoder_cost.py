"""What does a costlier decoder buy? Rate–distortion against decoding FLOPs per pixel, over the whole family.

Every synthesis is trained equally (`experiments.lab.trainings`) beside the same analysis and hyperprior. The shallow
ones have their published kernels and widths; the deep ones are narrowed to multiples of the two-layer's cost, so that
two processor cores can train them. Two things favour the shallow ones here: they begin as the inverse KLT where the
deep ones begin at random, and the training is short. Published models, trained to the end, may stand beside ours.

    python -m experiments.questions.decoder_cost PHOTOGRAPHS
    python -m experiments.questions.decoder_cost PHOTOGRAPHS --published published_rd.csv

writes results/decoder_cost.csv, a row a codec and rate, and results/decoder_cost.png. Each codec is judged by its best
bpp + λ·MSE at the λ of the training, against that of JPEG on the same photographs: ours against Pillow's 4:4:4 on
photographs held out of the folder, all of them real files; published ones against the JPEG of their own table, on
Kodak. The two groups compare in order of magnitude, not in percent. The CSV also has BD-rates, where they are defined.

FLOPs are those of decoding, synthesis and hyper synthesis, multiply and add counted apart; the CSV also has those of
the synthesis by itself. All published codecs are counted with the hyper synthesis of the published shallow ones; ELIC
decodes with a context model besides, which is one reason of its gain and is not counted.
"""

import dataclasses
import math
from pathlib import Path
from typing import NamedTuple

import matplotlib.pyplot as plt
import tyro

from experiments.lab.command_line import run
from experiments.lab.curves import bd_rate_of, cost_against
from experiments.lab.measurements import jpeg_points, measured_models
from experiments.lab.pictures import Label, light_grid, plain_log_ticks, save_picture, write_labels
from experiments.lab.provenance import Answer, Output
from experiments.lab.published import published_curves
from experiments.lab.trainings import EqualTraining, model_name, narrowed, synthesis_flops
from lic_jax.config import ModelConfig
from lic_jax.evaluation.complexity import complexity, decoding
from lic_jax.registry import SYNTHESES
from lic_jax.transforms.description import is_shallow

_PUBLISHED_LATENT = {"latent_channels": 320, "hyper_channels": 320, "block_transform": False}
PUBLISHED = {
    "shallow-ntc JPEG-like synthesis": ModelConfig(**_PUBLISHED_LATENT, synthesis="jpeg_like", synthesis_channels=()),
    "shallow-ntc two-layer synthesis": ModelConfig(
        **_PUBLISHED_LATENT, synthesis="two_layer_residual", synthesis_channels=12
    ),
    "mbt2018-mean (CompressAI)": ModelConfig(**_PUBLISHED_LATENT, synthesis="gdn", synthesis_channels=(192,) * 3),
    "ELIC 2022": ModelConfig(**_PUBLISHED_LATENT, synthesis="elic", synthesis_channels=(192,) * 3),
}
"""Published codecs whose synthesis is one of ours (costs as in Yang & Mandt, ICCV 2023, table 1)."""

PUBLISHED_REFERENCE = "JPEG"


@dataclasses.dataclass(frozen=True)
class Settings(Output):
    """The settings of this question.

    Attributes:
      images: a folder of photographs; some of them are held out and measured.
      published: a CSV of published rate–distortion points to draw beside ours.
      deep: deep syntheses and their cost in multiples of the two-layer's.
      training: the settings that all models share.
    """

    images: tyro.conf.Positional[Path]
    published: Path | None = None
    deep: tuple[tuple[str, float], ...] = (("cnn", 1), ("cnn", 4), ("gdn", 4), ("elic", 4))
    training: tyro.conf.OmitArgPrefixes[EqualTraining] = EqualTraining()

    def models(self) -> list[ModelConfig]:
        """The family, shallow ones first."""
        shallow = [
            self.training.model("jpeg_like"),
            self.training.model("two_layer_residual", 12),
            self.training.model("two_layer", 24),
        ]
        cost = synthesis_flops(shallow[-1])
        return [*shallow, *(narrowed(self.training.model(name, (1, 1, 1)), times * cost) for name, times in self.deep)]


class CostPoint(NamedTuple):
    """A row of decoder_cost.csv. `rate` is λ, or JPEG's quality.

    `cost_percent` is the best bpp + λ·MSE of the codec's points against the best of JPEG's, and `bd_rate_percent` the
    BD-rate of its curve, NaN where it has no quality in common with JPEG's.
    """

    codec: str
    kind: str
    rate: str
    bpp: float
    psnr_db: float
    synthesis_flops: float
    decoding_flops: float
    cost_percent: float
    bd_rate_percent: float


def published_rows(path: Path, rd_lambda: float) -> list[CostPoint]:
    """The published codecs whose cost is known, against the same table's JPEG.

    Raises:
      LicError: not a table of them.
    """
    curves = published_curves(path, (PUBLISHED_REFERENCE, *PUBLISHED))
    reference = curves[PUBLISHED_REFERENCE]
    rows = []
    for codec, config in PUBLISHED.items():
        gains = cost_against(curves[codec], reference, rd_lambda), bd_rate_of(curves[codec], reference)
        costs = synthesis_flops(config), decoding(complexity(config)).flops
        rows += [CostPoint(codec, "published", "", p.bpp, p.psnr_db, *costs, *gains) for p in curves[codec]]
    return rows


LABELS = {
    "shallow-ntc JPEG-like synthesis": "JPEG-like",
    "shallow-ntc two-layer synthesis": "two-layer residual",
    "mbt2018-mean (CompressAI)": "gdn (mean-scale hyperprior)",
    "ELIC 2022": "elic, beside a context model",
    "jpeg_like": "JPEG-like",
    "two_layer": "two-layer",
    "two_layer_residual": "two-layer residual",
}


def _label(codec: str) -> str:
    if codec in LABELS:
        return LABELS[codec]
    synthesis, *width = codec.split("_k")[0].split("_n")
    return LABELS.get(synthesis, synthesis) + "".join(f", width {number}" for number in width)


def _is_shallow(codec: str) -> bool:
    synthesis = PUBLISHED[codec].synthesis if codec in PUBLISHED else codec.split("_k")[0].split("_n")[0]
    return is_shallow(SYNTHESES[synthesis](ModelConfig(synthesis_channels=(24, 24, 24))))


def draw(rows: list[CostPoint], path: Path, rd_lambda: float, caption: str) -> None:
    """The objective against FLOPs per pixel, a dot a codec."""
    figure, axes = plt.subplots(figsize=(8.4, 5.2))
    dots = {row.codec: row for row in rows if row.kind != "reference"}
    labels = []
    for codec, row in dots.items():
        color = "tab:blue" if row.kind == "measured" else "0.35"
        face = color if row.kind == "measured" else "white"
        marker = "o" if _is_shallow(codec) else "s"
        axes.plot(
            row.decoding_flops, row.cost_percent, marker, color=color, markerfacecolor=face, markersize=7, zorder=3
        )
        labels.append(Label(row.decoding_flops, row.cost_percent, _label(codec), color))
    axes.axhline(0, color="0.6", linestyle=":")
    axes.annotate(
        "JPEG", (1, 0), (-4, 3), xycoords=("axes fraction", "data"), textcoords="offset points", color="0.5", ha="right"
    )
    costs = [row.decoding_flops for row in dots.values()]
    axes.set(xscale="log", xlabel="decoding, FLOPs per pixel (multiply and add counted apart)")
    if costs:
        axes.set_xlim(min(costs) / 1.5, max(costs) * 9)
    plain_log_ticks(axes.xaxis)
    write_labels(axes, labels)
    axes.set(ylabel=f"bpp + {rd_lambda:g}·MSE, against JPEG's in %")
    axes.set_title(caption, fontsize=9)
    light_grid(axes)
    save_picture(figure, path)


def main(settings: Settings) -> None:
    answer = Answer(settings, "decoder_cost.csv", "decoder_cost.png")
    published = [] if settings.published is None else published_rows(settings.published, settings.training.rd_lambda)
    models = settings.models()
    curves = measured_models(settings.training, models, settings.images)
    jpeg = jpeg_points(settings.training, settings.images)
    rows = []
    for config in models:
        curve = curves[model_name(config)]
        gains = cost_against(curve, jpeg, settings.training.rd_lambda), bd_rate_of(curve, jpeg)
        for p in curve:
            costs = p.synthesis_flops, p.decoding_flops
            rows.append(CostPoint(p.model, "measured", f"{p.rd_lambda:g}", p.bpp, p.psnr_db, *costs, *gains))
    rows += [CostPoint(p.codec, "reference", str(p.quality), p.bpp, p.psnr_db, math.nan, math.nan, 0, 0) for p in jpeg]
    rows += published
    answer.write("decoder_cost.csv", rows)
    caption = "Circles: shallow; squares: deep. Filled: ours, one short equal training, held-out photographs"
    caption += "\nHollow: published, trained to the end, Kodak" if published else ""
    draw(rows, answer.path("decoder_cost.png"), settings.training.rd_lambda, caption)
    print("codec                              FLOPs per pixel  bpp + λ·MSE against JPEG %  BD-rate %")
    for codec in dict.fromkeys(row.codec for row in rows if row.kind != "reference"):
        row = next(row for row in rows if row.codec == codec)
        print(f"{codec:33}  {row.decoding_flops:16,.0f}  {row.cost_percent:+26.1f}  {row.bd_rate_percent:+9.1f}")
    print(answer)


if __name__ == "__main__":
    run(main, Settings, __doc__)
