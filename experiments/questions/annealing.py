"""How fast should a soft staircase turn hard?

Quantizers are fitted to the frozen anchor with every schedule of the inverse temperature β: `constant`, `linear` and
`exponential` in the step, `gap` (β ← β + a · gap) and `stochastic_gap` (β drawn below a growing limit, the paper's).
All see the same crops in the same order. Too soft, and the fit minimizes an objective that
no codec has; too hard, and thresholds get no gradient.

    python -m experiments.questions.annealing PHOTOGRAPHS

writes results/annealing.csv, a row a schedule and step, results/annealing_end.csv, a row a schedule and λ with the
objective on crops held out, and results/annealing.png. Rates are estimated from the priors.
"""

import dataclasses
from pathlib import Path
from typing import NamedTuple

import matplotlib.pyplot as plt
import numpy as np
import tyro
from matplotlib.ticker import MaxNLocator

from experiments.lab.anchors import Anchor, FitSettings, load_anchor
from experiments.lab.command_line import run
from experiments.lab.fits import Fit, fit, judge, smooth, smoothing_window
from experiments.lab.pictures import Label, light_grid, save_picture, write_labels
from experiments.lab.provenance import Answer, Output
from lic_jax.errors import LicError, unknown_name
from lic_jax.registry import SCHEDULES
from lic_jax.training.refit import start_quantizers

STYLES = {
    "constant": ("-", "0.65"),
    "linear": ("--", "0.45"),
    "exponential": (":", "0.25"),
    "gap": ("-", "tab:blue"),
    "stochastic_gap": ("-", "tab:orange"),
}


@dataclasses.dataclass(frozen=True)
class Settings(FitSettings, Output):
    """The settings of this question, beside those that all fits share.

    Attributes:
      images: see `FitSettings`.
      schedules: the others are compared with the first one.
      inverse_temperatures: where β begins, in units of 1/step; the first is also drawn step by step.
      lambdas: the trade-offs, increasing.
    """

    images: tyro.conf.Positional[Path | None] = None
    schedules: tuple[str, ...] = ("gap", "constant", "linear", "exponential", "stochastic_gap")
    inverse_temperatures: tuple[float, ...] = (10.0,)
    lambdas: tuple[float, ...] = (0.00125, 0.005, 0.02, 0.08)

    def __post_init__(self):
        super().__post_init__()
        for schedule in self.schedules:
            if schedule not in SCHEDULES:
                raise unknown_name("annealing schedule", schedule, SCHEDULES)
        if not self.schedules or not self.inverse_temperatures:
            raise LicError("no schedule or no inverse temperature is given; give one or more of each")


class StepPoint(NamedTuple):
    """A row of annealing.csv: one step; the loss is the mean over λ of bpp + λ·MSE, soft and estimated."""

    schedule: str
    inverse_temperature: float
    step: int
    beta: float
    gap: float
    estimated_loss: float


class EndPoint(NamedTuple):
    """A row of annealing_end.csv: hard decisions on crops held out; the gain is against the uniform quantizer."""

    schedule: str
    inverse_temperature: float
    rd_lambda: float
    estimated_bpp: float
    psnr_db: float
    objective: float
    gain_percent: float


def fits_of(settings: Settings, anchor: Anchor) -> dict[tuple[str, float], Fit]:
    """By schedule and first β."""
    fits = {}
    for beta in settings.inverse_temperatures:
        for schedule in settings.schedules:
            own = settings.refit_settings(lambdas=settings.lambdas, schedule=schedule, inverse_temperature=beta)
            fits[schedule, beta] = fit(settings, anchor, own, f"annealing_{schedule}_{beta:g}")
    return fits


def end_points(settings: Settings, anchor: Anchor, fits: dict[tuple[str, float], Fit]) -> list[EndPoint]:
    """Judges each fit on the crops held out."""
    own = settings.refit_settings(lambdas=settings.lambdas)
    start = start_quantizers(anchor.bundle.config, own, anchor.bundle.rd_lambda)
    uniform = judge(anchor, start, settings.lambdas).objective
    points = []
    for (schedule, beta), fitted in fits.items():
        judged = judge(anchor, fitted.quantizers, settings.lambdas)
        gains = 100 * (judged.objective / uniform - 1)
        points += [
            EndPoint(schedule, beta, *map(float, row)) for row in zip(settings.lambdas, *judged, gains, strict=True)
        ]
    return points


def draw(fits: dict[tuple[str, float], Fit], ends: list[EndPoint], path: Path) -> None:
    """β, gap and loss over the steps, and the end's gain at every λ; of the first β."""
    figure, all_axes = plt.subplots(2, 2, figsize=(13, 7.6), gridspec_kw={"wspace": 0.55, "hspace": 0.32})
    beta_axes, gap_axes, loss_axes, end_axes = all_axes.ravel()
    first = next(iter(fits))[1]
    labels = {axes: [] for axes in (beta_axes, gap_axes, loss_axes, end_axes)}
    own = {schedule: fitted for (schedule, beta), fitted in fits.items() if beta == first}
    reference = smooth(next(iter(own.values())).objective.mean(axis=1))
    window = smoothing_window(len(next(iter(own.values())).beta))
    for schedule, fitted in own.items():
        style, color = STYLES[schedule]
        name = schedule.replace("_", " ")
        loss = smooth(fitted.objective.mean(axis=1))
        curves = {beta_axes: fitted.beta, gap_axes: smooth(fitted.gap), loss_axes: 100 * (loss / reference - 1)}
        for axes, values in curves.items():
            steps = np.arange(len(fitted.beta) - len(values), len(fitted.beta))
            drawn_at_random = axes is beta_axes and schedule == "stochastic_gap"
            marker = "." if drawn_at_random or len(values) == 1 else ""
            line = "none" if drawn_at_random else style
            axes.plot(steps, values, linestyle=line, marker=marker, color=color, linewidth=1.6)
            labels[axes].append(Label(steps[-1], values[-1], name, color))
        gains = [point for point in ends if (point.schedule, point.inverse_temperature) == (schedule, first)]
        values = [point.gain_percent for point in gains]
        end_axes.plot([point.rd_lambda for point in gains], values, style, marker="o", color=color, markersize=4)
        labels[end_axes].append(Label(gains[-1].rd_lambda, values[-1], name, color))
    lambdas = [point.rd_lambda for point in gains]
    for axes in (beta_axes, gap_axes, loss_axes):
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    beta_axes.set(xlabel="step", ylabel="β, 1/step", yscale="log")
    gap_axes.set(xlabel="step", ylabel="mean |soft − hard| in steps", yscale="log")
    loss_axes.set(xlabel="step", ylabel=f"soft loss against that of {next(iter(own)).replace('_', ' ')}, in %")
    end_axes.set(xlabel="λ", ylabel="hard bpp + λ·MSE against uniform, in %", xscale="log")
    end_axes.set_xticks(lambdas, [f"{rd_lambda:g}" for rd_lambda in lambdas])
    end_axes.minorticks_off()
    smoothed = f", means over {window} steps" if window > 1 else ""
    titles = (
        "The inverse temperature",
        "The gap",
        f"The loss that is minimized{smoothed}",
        "The end: crops held out, hard decisions",
    )
    for axes, title in zip(labels, titles, strict=True):
        axes.set_title(title, fontsize=10)
        light_grid(axes)
        write_labels(axes, labels[axes])
    save_picture(figure, path)


def main(settings: Settings) -> None:
    answer = Answer(settings, "annealing.csv", "annealing_end.csv", "annealing.png")
    anchor = load_anchor(settings)
    fits = fits_of(settings, anchor)
    ends = end_points(settings, anchor, fits)
    steps = [
        StepPoint(schedule, beta_0, step, float(beta), float(gap), float(np.mean(objective)))
        for (schedule, beta_0), fitted in fits.items()
        for step, (beta, gap, objective) in enumerate(zip(fitted.beta, fitted.gap, fitted.objective, strict=True))
    ]
    answer.write("annealing.csv", steps)
    answer.write("annealing_end.csv", ends)
    draw(fits, ends, answer.path("annealing.png"))
    print("schedule        β from     to  last gap  objective against uniform in % by λ")
    for (schedule, beta), fitted in fits.items():
        gains = [p.gain_percent for p in ends if (p.schedule, p.inverse_temperature) == (schedule, beta)]
        text = "  ".join(f"{gain:+.2f}" for gain in gains)
        print(f"{schedule:14}  {beta:6g}  {fitted.beta[-1]:5.1f}  {np.mean(fitted.gap[-10:]):8.4f}  {text}")
    print(answer)


if __name__ == "__main__":
    run(main, Settings, __doc__)
