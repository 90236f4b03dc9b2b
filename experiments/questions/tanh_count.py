"""How many steps does a staircase need?

Quantizers of T components are fitted to the frozen anchor, for T from 4 to the 254 that ship, several seeds each, and
judged on crops held out. T is the latent's; the hyper latent keeps its own. A quantizer of few components cannot reach
the largest latents, whose error is then seen; one of many costs bytes, which a model stores for every rate.

All begin as `lic refit` does: uniform, with the step that λ asks for, and tails stretched towards the largest latents
as far as T components go. A short fit ends near its start, so quantizers of few components are judged with these tails.

    python -m experiments.questions.tanh_count PHOTOGRAPHS

writes results/tanh_count.csv, a row a count, λ and seed; results/tanh_count_staircases.csv, the first seed's fitted
quantizers of the latent; and results/tanh_count.png. Rates are estimated from the priors. Bytes are of both quantizers
of one rate, as a model's file holds them and deflated. notebooks/tanh_components.ipynb shows more of it.
"""

import dataclasses
import zlib
from pathlib import Path
from typing import NamedTuple

import matplotlib.pyplot as plt
import numpy as np
import tyro
from matplotlib.figure import Figure

from experiments.lab.anchors import Anchor, FitSettings, load_anchor
from experiments.lab.command_line import run
from experiments.lab.fits import Judged, Start, fit, judge
from experiments.lab.pictures import SHOWN_ROW, Label, light_grid, save_picture, write_labels
from experiments.lab.provenance import Answer, Output
from lic_jax.errors import LicError
from lic_jax.quantization import stanh
from lic_jax.quantization.fixed_point import UNIT, FixedPointQuantizer, to_fixed_point
from lic_jax.quantization.fixed_rows import FixedPointRows
from lic_jax.training.deployment import in_fixed_point
from lic_jax.training.refit import start_quantizers
from lic_jax.training.refit_objective import Quantizers
from lic_jax.training.settings import check_counts
from lic_jax.zoo.quantizer_arrays import stack


@dataclasses.dataclass(frozen=True)
class Settings(FitSettings, Output):
    """The settings of this question, beside those that all fits share.

    Attributes:
      images: see `FitSettings`.
      counts: T of the latent's quantizer, even and increasing; the others are compared with the last one.
      lambdas: the trade-offs, increasing.
      seeds: how many fits of each, which differ in the crops that they draw.
    """

    images: tyro.conf.Positional[Path | None] = None
    counts: tuple[int, ...] = (4, 8, 16, 30, 60, 120, 254)
    lambdas: tuple[float, ...] = (0.0025, 0.02)
    seeds: int = 3

    def __post_init__(self):
        super().__post_init__()
        if not self.counts or min(self.counts) < 2 or any(count % 2 for count in self.counts):
            raise LicError(f"counts {self.counts} are not all even and 2 or more; change them")
        check_counts(self, 1, "seeds")


class CountPoint(NamedTuple):
    """A row of tanh_count.csv: one count, λ and seed."""

    components: int
    rd_lambda: float
    seed: int
    estimated_bpp: float
    psnr_db: float
    objective: float
    uniform_objective: float
    stored_bytes: int
    deflated_bytes: int


class Step(NamedTuple):
    """A row of tanh_count_staircases.csv: one component of a fitted quantizer of the latent, or of its start."""

    components: int
    rd_lambda: float
    fitted: int
    threshold: float
    spacing: float


def start_of(settings: Settings, anchor: Anchor, components: int) -> Quantizers:
    """Uniform quantizers with T components."""
    own = settings.refit_settings(lambdas=settings.lambdas, latent_components=components)
    return start_quantizers(anchor.bundle.config, own, anchor.bundle.rd_lambda)


def fit_count(settings: Settings, anchor: Anchor, components: int, seed: int = 0) -> Quantizers:
    """Fitted quantizers with T components."""
    most = max(settings.counts)
    start = start_of(settings, anchor, components)
    start = start.replace(latent=stanh.padded(start.latent, most))
    own = settings.refit_settings(lambdas=settings.lambdas, latent_components=most)
    padded_start = Start(start, ["uniform, padded", components])
    quantizers = fit(settings, anchor, own, f"tanh_count_{components}_{seed}", seed, padded_start).quantizers
    return quantizers.replace(latent=stanh.trimmed(quantizers.latent, components))


def judge_count(settings: Settings, anchor: Anchor, quantizers: Quantizers) -> Judged:
    """Measures quantizers on the crops held out."""
    quantizers = quantizers.replace(latent=stanh.padded(quantizers.latent, max(settings.counts)))
    return judge(anchor, quantizers, settings.lambdas)


def bytes_of(quantizers: Quantizers) -> list[tuple[int, int]]:
    """For each rate of a stack, the bytes of both quantizers: (as a file stores them, deflated)."""
    sizes = []
    for latent, hyper_latent in zip(*in_fixed_point(quantizers), strict=True):
        arrays = {f"hyper_{name}": array for name, array in stack([hyper_latent]).items()} | stack([latent])
        differences = np.concatenate([np.diff(array[0], prepend=0) for array in arrays.values()])
        stored = differences.astype(np.int32).tobytes()
        sizes.append((len(stored), len(zlib.compress(stored, 9))))
    return sizes


def points_of(settings: Settings, anchor: Anchor, components: int) -> list[CountPoint]:
    """All rows of a count."""
    uniform = judge_count(settings, anchor, start_of(settings, anchor, components))
    points = []
    for seed in range(settings.seeds):
        quantizers = fit_count(settings, anchor, components, seed)
        judged = judge_count(settings, anchor, quantizers)
        columns = zip(settings.lambdas, *judged, uniform.objective, bytes_of(quantizers), strict=True)
        points += [
            CountPoint(components, rd_lambda, seed, *map(float, (bpp, psnr_db, objective, start)), *sizes)
            for rd_lambda, bpp, psnr_db, objective, start, sizes in columns
        ]
    return points


def steps_of(settings: Settings, anchor: Anchor, components: int) -> list[Step]:
    """The staircases of a count: for every λ the start and the first seed's fit; of the rows, `SHOWN_ROW`'s."""
    start, fitted = start_of(settings, anchor, components), fit_count(settings, anchor, components)
    steps = []
    for is_fitted, pairs in enumerate((start, fitted)):
        for rd_lambda, quantizer in zip(settings.lambdas, in_fixed_point(pairs)[0], strict=True):
            shown = quantizer.at_row(SHOWN_ROW) if isinstance(quantizer, FixedPointRows) else quantizer
            numbers = zip((shown.thresholds * UNIT).tolist(), (shown.spacings * UNIT).tolist(), strict=True)
            steps += [Step(components, rd_lambda, is_fitted, *component) for component in numbers]
    return steps


def staircase(steps: list[Step], components: int, rd_lambda: float, fitted: int = 1) -> FixedPointQuantizer:
    """One quantizer out of the table."""
    own = [step for step in steps if step[:3] == (components, rd_lambda, fitted)]
    return to_fixed_point([step.spacing for step in own], [step.threshold for step in own])


def plot_counts(points: list[CountPoint]) -> Figure:
    """The objective over the count, against the largest count's, and the bytes; the band is of all seeds."""
    figure, (objective_axes, bytes_axes) = plt.subplots(1, 2, figsize=(12.5, 4.2), gridspec_kw={"wspace": 0.75})
    counts = sorted({point.components for point in points})
    lambdas = sorted({point.rd_lambda for point in points})
    labels = []
    for rd_lambda, grey in zip(lambdas, np.linspace(0, 0.5, len(lambdas)), strict=True):
        for column, style, name in (("uniform_objective", ":", "not fitted"), ("objective", "o-", "fitted")):
            own = [[p for p in points if (p.components, p.rd_lambda) == (count, rd_lambda)] for count in counts]
            values = np.array([[getattr(point, column) for point in row] for row in own])
            excess = 100 * (values / np.mean([point.objective for point in own[-1]]) - 1)
            objective_axes.fill_between(
                counts, excess.min(axis=1), excess.max(axis=1), color=str(grey), alpha=0.25, lw=0
            )
            objective_axes.plot(counts, excess.mean(axis=1), style, color=str(grey))
            labels.append(Label(counts[-1], excess[-1].mean(), f"λ = {rd_lambda:g}, {name}", str(grey)))
    objective_axes.set_yscale("symlog", linthresh=1)
    objective_axes.set(ylabel=f"bpp + λ·MSE above that of T = {counts[-1]}, fitted, in %")
    objective_axes.set_title("What few steps lose", fontsize=10)
    sizes = [next(point for point in points if point.components == count) for count in counts]
    byte_labels = []
    for column, style, color, name in (
        ("stored_bytes", "o-", "black", "as stored"),
        ("deflated_bytes", "s--", "0.45", "deflated"),
    ):
        values = [getattr(point, column) for point in sizes]
        bytes_axes.plot(counts, values, style, color=color)
        byte_labels.append(Label(counts[-1], values[-1], name, color))
    bytes_axes.set(ylabel="bytes of the two quantizers of one rate", ylim=(0, None))
    bytes_axes.set_title("What many steps cost", fontsize=10)
    for axes, names in ((objective_axes, labels), (bytes_axes, byte_labels)):
        axes.set_xscale("log", base=2)
        axes.set_xticks(counts, [str(count) for count in counts])
        axes.minorticks_off()
        axes.set(xlabel="T, components of the latent's quantizer")
        light_grid(axes)
        write_labels(axes, names)
    return figure


def plot_rate_and_distortion(points: list[CountPoint]) -> Figure:
    """Where each count ends in the plane of rate and PSNR: the curve that a count can reach."""
    figure, axes = plt.subplots(figsize=(6.4, 4.2))
    counts = sorted({point.components for point in points})
    labels = []
    for count, grey in zip(counts, np.linspace(0.75, 0, len(counts)), strict=True):
        lambdas = sorted({point.rd_lambda for point in points})
        means = np.array(
            [
                np.mean([p[3:5] for p in points if (p.components, p.rd_lambda) == (count, rd_lambda)], axis=0)
                for rd_lambda in lambdas
            ]
        )
        axes.plot(*means.T, "o-", color=str(grey))
        labels.append(Label(*means[-1], f"T = {count}", str(grey)))
    axes.set(xlabel="estimated rate in bits per pixel", ylabel="PSNR in dB")
    axes.margins(x=0.12)
    light_grid(axes)
    write_labels(axes, labels)
    return figure


def plot_staircases(steps: list[Step], rd_lambda: float, reach: float = 12.0) -> Figure:
    """The fitted staircase of each count, over the one it began as."""
    counts = list(dict.fromkeys(step.components for step in steps))
    figure, all_axes = plt.subplots(
        2, -(-len(counts) // 2), figsize=(10, 6.4), sharex=True, sharey=True, squeeze=False, layout="constrained"
    )
    values = np.linspace(-reach, reach, 1501)
    for axes, count in zip(all_axes.ravel(), counts, strict=False):
        for fitted, style, color in ((0, "-", "0.75"), (1, "-", "tab:blue")):
            quantizer = staircase(steps, count, rd_lambda, fitted)
            axes.plot(values, quantizer.levels_of(quantizer.symbols(values)), style, color=color)
        axes.set_title(f"T = {count}", fontsize=10)
        light_grid(axes)
    for axes in all_axes.ravel()[len(counts) :]:
        axes.set_axis_off()
    figure.supxlabel("latent − mean, steps of the anchor")
    figure.supylabel("level")
    figure.suptitle(f"λ = {rd_lambda:g}: before the fit (grey) and after (blue)", fontsize=11)
    return figure


def plot_inverse_temperatures(quantizer: FixedPointQuantizer, betas: tuple[float, ...], reach: float = 4.0) -> Figure:
    """Draws the soft staircase for each β over the hard one; the area between them is the gap."""
    figure, all_axes = plt.subplots(
        1, len(betas), figsize=(2.6 * len(betas), 3), sharex=True, sharey=True, squeeze=False, layout="constrained"
    )
    values = np.linspace(-reach, reach, 801)
    hard = quantizer.levels_of(quantizer.symbols(values))
    relaxed = stanh.from_values(quantizer.spacings * UNIT, quantizer.thresholds * UNIT)
    for axes, beta in zip(all_axes.ravel(), betas, strict=True):
        soft = np.asarray(stanh.soft(relaxed, values, beta))
        axes.fill_between(values, hard, soft, color="tab:orange", alpha=0.35, linewidth=0)
        axes.plot(values, hard, color="0.6", linewidth=1)
        axes.plot(values, soft, color="black", linewidth=1.4)
        axes.set_title(f"β = {beta:g}: gap {float(np.mean(np.abs(soft - hard))):.3f}", fontsize=10)
        light_grid(axes)
    figure.supxlabel("latent − mean, steps of the anchor", fontsize=10)
    all_axes[0, 0].set(ylabel="level")
    return figure


def main(settings: Settings) -> None:
    answer = Answer(settings, "tanh_count.csv", "tanh_count_staircases.csv", "tanh_count.png")
    anchor = load_anchor(settings)
    points = [point for count in settings.counts for point in points_of(settings, anchor, count)]
    answer.write("tanh_count.csv", points)
    steps = [step for count in settings.counts for step in steps_of(settings, anchor, count)]
    answer.write("tanh_count_staircases.csv", steps)
    save_picture(plot_counts(points), answer.path("tanh_count.png"))
    print("components       λ  estimated bpp  PSNR dB  objective (least, most of the seeds)  unfitted  bytes")
    for components, rd_lambda in dict.fromkeys((point.components, point.rd_lambda) for point in points):
        own = [point for point in points if (point.components, point.rd_lambda) == (components, rd_lambda)]
        bpp, psnr_db, objective = np.mean([point[3:6] for point in own], axis=0)
        spread = f"({min(p.objective for p in own):.4f}, {max(p.objective for p in own):.4f})"
        print(
            f"{components:10}  {rd_lambda:6g}  {bpp:13.3f}  {psnr_db:7.2f}  {objective:9.4f} {spread:26}"
            f"  {own[0].uniform_objective:8.4f}  {own[0].stored_bytes:5}"
        )
    print(answer)


if __name__ == "__main__":
    run(main, Settings, __doc__)
