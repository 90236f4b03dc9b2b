"""What is worth training, and how? Short trainings of equal time, each with one change.

    python -m experiments.questions.training_trials PHOTOGRAPHS
    python -m experiments.questions.training_trials PHOTOGRAPHS --only "two_layer_residual" "noise" --seconds 600

All begin with the KLT start and have the same number of processor seconds, a quarter of them for the prior alone; how
many steps that is was measured before each, compilation left out. They are judged on photographs held out, as large as
the squares in their middle: estimated rates with uniform quantizers at four λ. Writes results/training_trials.csv, a
row a trial, and results/training_trials.png, the BD-rate of each against the first. Trials are
kept in runs/training_trials, a file a trial: killed, the same command goes on behind the last whole trial.
"""

import dataclasses
from pathlib import Path
from typing import NamedTuple

import matplotlib.pyplot as plt
import numpy as np
import tyro
from tqdm import tqdm

from experiments.lab.command_line import run
from experiments.lab.curves import bd_rate_of
from experiments.lab.kept import Origin, find_or_make, kept_path
from experiments.lab.pictures import light_grid, save_picture
from experiments.lab.provenance import Answer, Output
from experiments.lab.trials import Images, Trial, judged, load_images, trained
from lic_jax.config import HYPER_STRIDE, ModelConfig
from lic_jax.distortion.base import mse_of_psnr
from lic_jax.errors import LicError, unknown_name
from lic_jax.evaluation.complexity import complexity, decoding
from lic_jax.io.tables import read_csv, write_csv
from lic_jax.training.settings import AnchorSettings, check_counts

DECISIVE = ("seconds", "prior_share", "lambdas", "measured", "held_out")
"""The settings that a trial's result depends on."""


@dataclasses.dataclass(frozen=True)
class Settings(Output):
    """The settings of this question.

    Attributes:
      images: a folder of photographs; some of them are held out.
      only: names of trials; the first of all, which the others are compared with, is always among them. All if empty.
      seconds: processor seconds of each training.
      prior_share: the part of them that the prior has alone.
      lambdas: the trade-offs that trials are judged at.
      measured: side of the squares that they are judged on.
      held_out: the fraction of the photographs that is not trained on.
      folder: where trainings are kept.
    """

    images: tyro.conf.Positional[Path]
    only: tuple[str, ...] = ()
    seconds: float = 150.0
    prior_share: float = 0.25
    lambdas: tuple[float, ...] = (0.00125, 0.005, 0.01, 0.02, 0.08)
    measured: int = 320
    held_out: float = 0.05
    folder: Path = Path("runs/training_trials")

    def __post_init__(self):
        check_counts(self, HYPER_STRIDE, "measured")
        if self.measured % HYPER_STRIDE:
            raise LicError(f"squares of {self.measured} pixels are not whole blocks; give a multiple of {HYPER_STRIDE}")
        if not (self.seconds > 0 and 0 <= self.prior_share < 1):
            raise LicError(
                f"{self.seconds:g} seconds, {self.prior_share:g} of them for the prior, leave none; give more"
            )
        for name in self.only:
            if name not in TRIALS:
                raise unknown_name("trial", name, list(TRIALS))


BASE = ModelConfig(analysis_channels=(32, 48, 64), latent_channels=192, hyper_channels=48)


def _trial(question: str, averaging: float = 0.0, has_prior_stage: bool = True, **changes) -> Trial:
    """The first trial with these changes of the model or of the training."""
    model_changes = {name: changes.pop(name) for name in list(changes) if name in ModelConfig.__dataclass_fields__}
    plain = {"crop_size": 256, "batch_size": 2, "learning_rate": 1e-3, "decay_fraction": 0.6, "hyperprior_steps": 0}
    settings = AnchorSettings(model=dataclasses.replace(BASE, **model_changes), **{**plain, **changes})
    return Trial(question, settings, averaging, has_prior_stage)


TRIALS = {
    "as it is": _trial("two_layer, 24 hidden, 192 channels"),
    "two_layer_residual": _trial("synthesis", synthesis="two_layer_residual", synthesis_channels=12),
    "jpeg_like": _trial("synthesis", synthesis="jpeg_like", synthesis_channels=()),
    "12 hidden": _trial("hidden channels", synthesis_channels=12),
    "48 hidden": _trial("hidden channels", synthesis_channels=48),
    "single layer": _trial("hyper synthesis", hyper_synthesis="jpeg_like"),
    "128 channels": _trial("latent channels", latent_channels=128),
    "320 channels": _trial("latent channels", latent_channels=320),
    "128 pixels, 8": _trial("crops", crop_size=128, batch_size=8),
    "128 pixels, 2": _trial("crops", crop_size=128, batch_size=2),
    "256 pixels, 8": _trial("crops", batch_size=8),
    "3e-4": _trial("learning rate", learning_rate=3e-4),
    "3e-3": _trial("learning rate", learning_rate=3e-3),
    "noise alone": _trial("relaxation", relaxation="noise"),
    "one λ": _trial("range of steps", step_range=1.0),
    "up to 4×": _trial("range of steps", step_range=4.0),
    "averaged, falling": _trial("weights", averaging=0.99),
    "averaged, constant": _trial("weights", averaging=0.99, decay_fraction=0.0),
    "all at once": _trial("prior alone first", has_prior_stage=False),
    "another seed": _trial("noise", seed=1),
}


class Row(NamedTuple):
    """A row of training_trials.csv.

    `bpp`, `psnr_db` and `objective`, bpp + λ · MSE of these means, are those at the λ that all are trained for;
    `seconds` are processor seconds of the steps; the first step of each stage includes its compilation.
    """

    trial: str
    question: str
    prior_steps: int
    steps: int
    seconds: float
    decoding_flops: float
    bpp: float
    psnr_db: float
    objective: float
    bd_rate_percent: float


class Point(NamedTuple):
    """A row of a trial's file: its steps and seconds, and its estimates at one λ."""

    prior_steps: int
    steps: int
    seconds: float
    bpp: float
    psnr_db: float


def measured(settings: Settings, trial: Trial, images: Images) -> list[Point]:
    """A trial at each λ, from its file if it was trained before."""

    def points() -> list[Point]:
        ended = trained(trial, images, settings.seconds, settings.prior_share)
        taken = ended.settings.hyperprior_steps, ended.settings.steps, ended.seconds
        return [Point(*taken, *point) for point in judged(ended, images, settings.lambdas)]

    decisive = {name: getattr(settings, name) for name in DECISIVE}
    origin = Origin("", [dataclasses.asdict(trial), decisive], images.digest)
    path = kept_path(settings.folder, trial.question, origin, ".csv")
    return find_or_make(path, points, write_csv, lambda path: read_csv(path, Point))


def rows_of(settings: Settings, trials: dict[str, list[Point]]) -> list[Row]:
    """The CSV's rows."""
    first = next(iter(trials.values()))
    rows = []
    for name, curve in trials.items():
        trial = TRIALS[name]
        rd_lambda = trial.settings.rd_lambda
        own = curve[int(np.argmin(np.abs(np.subtract(settings.lambdas, rd_lambda))))]
        objective = own.bpp + rd_lambda * mse_of_psnr(own.psnr_db)
        flops = decoding(complexity(trial.settings.model)).flops
        taken, point = own[:3], own[3:]
        rows.append(Row(name, trial.question, *taken, flops, *point, objective, bd_rate_of(curve, first)))
    return rows


def draw(rows: list[Row], path: Path) -> None:
    """Each trial's BD-rate against the first, by question."""
    figure, axes = plt.subplots(figsize=(7.6, 0.32 * len(rows) + 1.2))
    places = range(len(rows))
    questions = list(dict.fromkeys(row.question for row in rows))
    colors = [f"C{questions.index(row.question) % 10}" for row in rows]
    axes.barh(places, [row.bd_rate_percent for row in rows], color=colors, height=0.6)
    for place, row in zip(places, rows, strict=True):
        side = 3 if row.bd_rate_percent >= 0 else -3
        axes.annotate(
            f"{row.bd_rate_percent:+.1f}", (row.bd_rate_percent, place), (side, 0), textcoords="offset points",
            ha="left" if side > 0 else "right", va="center", fontsize=8,
        )  # fmt: skip
    axes.set_yticks(places, [f"{row.question}: {row.trial}" for row in rows], fontsize=8)
    axes.invert_yaxis()
    axes.axvline(0, color="0.6", linewidth=1)
    axes.margins(x=0.14, y=0.02)
    axes.set_axisbelow(True)
    axes.set(xlabel="BD-rate in %, against the first; less is better")
    axes.set_title(f"Trainings of about {rows[0].seconds:.0f} processor seconds, each with one change", fontsize=10)
    light_grid(axes)
    save_picture(figure, path)


def main(settings: Settings) -> None:
    answer = Answer(settings, "training_trials.csv", "training_trials.png")
    images = load_images(settings.images, settings.held_out, settings.measured)
    first = next(iter(TRIALS))
    names = [name for name in TRIALS if not settings.only or name in (first, *settings.only)]
    trials = {}
    for name in tqdm(names, desc="trials"):
        trials[name] = measured(settings, TRIALS[name], images)
    rows = rows_of(settings, trials)
    answer.write("training_trials.csv", rows)
    draw(rows, answer.path("training_trials.png"))
    print("trial                 prior steps    all  FLOPs    bpp  PSNR dB  objective  BD-rate %")
    for row in rows:
        print(
            f"{row.trial:20}  {row.prior_steps:11}  {row.steps:5}  {row.decoding_flops:5.0f}  {row.bpp:.3f}  "
            f"{row.psnr_db:7.2f}  {row.objective:9.3f}  {row.bd_rate_percent:+9.1f}"
        )
    print(answer)


if __name__ == "__main__":
    run(main, Settings, __doc__)
