"""What does one model for all rates cost against a model for each?

Four ways to a curve, all from the same anchor, with the same crops in the same order:

- *plain*: the anchor and a uniform quantizer whose step is scaled for each λ. Nothing is fitted.
- *refitted*: the anchor and quantizers fitted for `--steps` steps. One model, as it ships.
- *separate*: for each λ a model of its own, all of whose weights were trained for as many steps with that λ and its
  uniform step. (But for a hyper synthesis in integers, which stays: gradients pass it, yet it cannot learn.)
- *separate, refitted*: quantizers fitted to each of those besides; twice the steps.

The penalty is the BD-rate of *refitted* against *separate*. The anchor had learned for hours at one λ (with steps that
varied about it), and few steps of a separate training do not part it far from there: the default shows the price on
the first stretch of that way, at equal effort, and not the end of seven whole trainings. `--steps` goes on.

    python -m experiments.questions.variable_rate_penalty PHOTOGRAPHS
    python -m experiments.questions.variable_rate_penalty PHOTOGRAPHS --steps 300 --test KODAK

writes results/variable_rate_penalty.csv, a row a way and λ, and results/variable_rate_penalty.png. Rates are real
streams of photographs held out, or of another folder.
"""

import dataclasses
import functools
import itertools
import math
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import optax
import tyro
from tqdm import tqdm

from experiments.lab.anchors import Anchor, FitSettings, load_anchor, photographs_of
from experiments.lab.command_line import run
from experiments.lab.curves import CurvePoint, real_curve
from experiments.lab.fits import batch_indices, fit
from experiments.lab.kept import Origin, find_or_make, kept_path, pixels_digest
from experiments.lab.models import refitted, save_refitted
from experiments.lab.pictures import Label, light_grid, save_picture, write_labels
from experiments.lab.provenance import Answer, Output
from lic_jax.codec.codec import Codec
from lic_jax.evaluation.rate_distortion import bd_rate
from lic_jax.io.images import RGB, image_paths, read_image
from lic_jax.model import CodecModel
from lic_jax.training.anchor import training_stages
from lic_jax.training.anchor_objective import anchor_objective
from lic_jax.training.refit import start_quantizers
from lic_jax.training.settings import AnchorSettings
from lic_jax.zoo.bundle import Bundle

STYLES = {
    "plain": ("v:", "0.6"),
    "refitted": ("o-", "tab:blue"),
    "separate": ("s--", "black"),
    "separate, refitted": ("^--", "0.45"),
}


@dataclasses.dataclass(frozen=True)
class Settings(FitSettings, Output):
    """The settings of this question, beside those that all fits share.

    Attributes:
      images: see `FitSettings`.
      lambdas: the trade-offs, increasing; a BD-rate needs four.
      learning_rate: of the separate trainings, Adam's.
      test: a folder whose photographs are all compressed; without one `measured` of those held out are.
    """

    images: tyro.conf.Positional[Path | None] = None
    lambdas: tuple[float, ...] = (0.00125, 0.005, 0.02, 0.08)
    learning_rate: float = 2e-4
    test: Path | None = None

    def __post_init__(self):
        super().__post_init__()
        self.check_curve(self.lambdas)


class PenaltyPoint(NamedTuple):
    """A row of variable_rate_penalty.csv; `bd_rate_percent` is the whole curve's, against the separate models."""

    way: str
    steps: int
    rd_lambda: float
    bpp: float
    psnr_db: float
    objective: float
    bd_rate_percent: float


@functools.partial(jax.jit, static_argnums=(0, 1))
def _train(model: CodecModel, optimizer, params: dict, trainable: dict, state, pixels, key, rd_lambda, step):
    """One step of a training at a fixed quantization step: (trainable, optimizer's state, objective)."""

    def objective(trainable):
        return anchor_objective(model, {**params, **trainable}, pixels, key, rd_lambda, middle_step=step).objective

    value, gradients = jax.value_and_grad(objective)(trainable)
    updates, state = optimizer.update(gradients, state, trainable)
    return optax.apply_updates(trainable, updates), state, value


def separate_model(settings: Settings, anchor: Anchor, rd_lambda: float) -> Path:
    """The file of a model trained for one λ, with its uniform quantizer; it is trained if it is not there.

    The model keeps the anchor's units: its step is sqrt(λ of the anchor / λ), as that of the plain way.
    """
    names = ("steps", "batch_size", "learning_rate", "seed")
    decisive = [rd_lambda, {name: getattr(settings, name) for name in names}]
    origin = Origin(anchor.weights, decisive, pixels_digest({"crops": anchor.to_fit.pixels}))
    uniform = start_quantizers(
        anchor.bundle.config, settings.refit_settings(lambdas=(rd_lambda,)), anchor.bundle.rd_lambda
    )
    return find_or_make(
        kept_path(settings.folder, f"separate_{rd_lambda:g}", origin, ".safetensors"),
        lambda: trained(settings, anchor, rd_lambda),
        lambda path, bundle: save_refitted(path, bundle, uniform, (rd_lambda,)),
        lambda path: path,
    )


def trained(settings: Settings, anchor: Anchor, rd_lambda: float) -> Bundle:
    """The anchor after a training of its weights for one λ."""
    bundle = anchor.bundle
    anchor_settings = AnchorSettings(
        dataclasses.replace(bundle.config, hyper_arithmetic="float"),
        hyperprior_steps=0,
        steps=settings.steps,
        learning_rate=settings.learning_rate,
        decay_fraction=0.5,
    )
    optimizer = _optimizer(anchor_settings)
    trainable = {part: tree for part, tree in bundle.params.items() if part != "hyper_synthesis"}
    trainable, state = jax.tree.map(jnp.asarray, trainable), optimizer.init(trainable)
    step = math.sqrt(bundle.rd_lambda / rd_lambda)
    batches = batch_indices(len(anchor.to_fit.pixels), settings.batch_size, seed=0)
    progress = tqdm(itertools.islice(batches, settings.steps), f"separate λ {rd_lambda:g}", settings.steps, unit="step")
    for count, index in enumerate(progress):
        key = jax.random.fold_in(jax.random.key(settings.seed), count)
        trainable, state, value = _train(
            anchor.model, optimizer, bundle.params, trainable, state, anchor.to_fit.pixels[index], key,
            bundle.rd_lambda, step,
        )  # fmt: skip
        progress.set_postfix_str(f"loss {float(value):.3f}", refresh=False)
    return dataclasses.replace(bundle, params={**bundle.params, **jax.tree.map(np.asarray, trainable)})


@functools.cache
def _optimizer(settings: AnchorSettings) -> optax.GradientTransformation:
    """That of a training's last stage: one object, so that all models share a program."""
    return training_stages(settings)[1].optimizer


def photographs_to_compress(settings: Settings) -> dict[str, RGB]:
    """By name."""
    if settings.test is not None:
        return {path.name: read_image(path) for path in image_paths(settings.test)}
    _, held_out = photographs_of(settings)
    return dict(list(held_out.items())[: settings.measured])


def curves_of(settings: Settings, anchor: Anchor) -> dict[str, tuple[int, list[CurvePoint]]]:
    """By way: the steps taken and the curve."""
    photographs = photographs_to_compress(settings)
    lambdas = settings.lambdas
    fit_settings = settings.refit_settings(lambdas=lambdas)
    uniform = start_quantizers(anchor.bundle.config, fit_settings, anchor.bundle.rd_lambda)
    fitted = fit(settings, anchor, fit_settings, "photographs").quantizers
    ways = {"plain": (0, uniform), "refitted": (settings.steps, fitted)}
    curves = {}
    for way, (steps, quantizers) in ways.items():
        codec = Codec(refitted(anchor.bundle, quantizers, lambdas))
        curves[way] = steps, real_curve(codec, photographs, way)
    separate, both = [], []
    for rd_lambda in lambdas:
        own = load_anchor(settings, separate_model(settings, anchor, rd_lambda))
        one = settings.refit_settings(lambdas=(rd_lambda,))
        uniform = start_quantizers(own.bundle.config, one, own.bundle.rd_lambda)
        fitted = fit(settings, own, one, f"penalty_separate_{rd_lambda:g}").quantizers
        for points, quantizers, name in ((separate, uniform, "separate"), (both, fitted, "separate_refitted")):
            codec = Codec(refitted(own.bundle, quantizers, (rd_lambda,)))
            points += real_curve(codec, photographs, f"{name} λ {rd_lambda:g}")
    return {**curves, "separate": (settings.steps, separate), "separate, refitted": (2 * settings.steps, both)}


def rows_of(curves: dict[str, tuple[int, list[CurvePoint]]]) -> list[PenaltyPoint]:
    """The CSV's rows."""
    columns = lambda curve: [[getattr(point, name) for point in curve] for name in ("bpp", "psnr_db")]
    reference = columns(curves["separate"][1])
    return [
        PenaltyPoint(way, steps, *point, bd_rate(*columns(curve), *reference))
        for way, (steps, curve) in curves.items()
        for point in curve
    ]


def draw(rows: list[PenaltyPoint], path: Path) -> None:
    """The curves, and how far each way's objective is from the separate models'."""
    figure, (rate_axes, objective_axes) = plt.subplots(1, 2, figsize=(12, 4.4), gridspec_kw={"wspace": 0.25})
    reference = [row.objective for row in rows if row.way == "separate"]
    labels = []
    for way, (style, color) in STYLES.items():
        curve = [row for row in rows if row.way == way]
        rate_axes.plot([row.bpp for row in curve], [row.psnr_db for row in curve], style, color=color, markersize=5)
        excess = [100 * (row.objective / other - 1) for row, other in zip(curve, reference, strict=True)]
        objective_axes.plot([row.rd_lambda for row in curve], excess, style, color=color, markersize=5)
        text = f"{way}: BD-rate {curve[0].bd_rate_percent:+.1f} %" if way != "separate" else "separate models"
        labels.append(Label(curve[-1].rd_lambda, excess[-1], text, color))
    rate_axes.set(xlabel="rate in bits per pixel (file sizes)", ylabel="PSNR in dB")
    rate_axes.set_title("The curves", fontsize=10)
    objective_axes.set(xlabel="λ", ylabel="bpp + λ·MSE above the separate models', in %", xscale="log")
    lambdas = [row.rd_lambda for row in curve]
    objective_axes.set_xticks(lambdas, [f"{rd_lambda:g}" for rd_lambda in lambdas])
    objective_axes.minorticks_off()
    steps = next(row.steps for row in rows if row.way == "separate")
    objective_axes.set_title(f"What each λ pays for sharing a model ({steps} steps from the anchor)", fontsize=10)
    for axes in (rate_axes, objective_axes):
        light_grid(axes)
    write_labels(objective_axes, labels)
    save_picture(figure, path)


def main(settings: Settings) -> None:
    answer = Answer(settings, "variable_rate_penalty.csv", "variable_rate_penalty.png")
    rows = rows_of(curves_of(settings, load_anchor(settings)))
    answer.write("variable_rate_penalty.csv", rows)
    draw(rows, answer.path("variable_rate_penalty.png"))
    print("way                 steps  BD-rate % against separate models  objective by λ")
    for way in STYLES:
        own = [row for row in rows if row.way == way]
        objectives = "  ".join(f"{row.objective:.4f}" for row in own)
        print(f"{way:18}  {own[0].steps:5}  {own[0].bd_rate_percent:+33.2f}  {objectives}")
    print(answer)


if __name__ == "__main__":
    run(main, Settings, __doc__)
