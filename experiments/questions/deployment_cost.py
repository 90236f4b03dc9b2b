"""What do seven rates cost to make, to store and to ship?

Two ways: seven models, each trained for its rate; or one model, trained once, with quantizers fitted for each rate.

- *Bytes* are those of the arrays in the shipped file.
- *Operations* are counted from the layers, multiply and add apart, and stand for energy. A training step is three
  passes, one forward, one backward for values and one for weights; a step of a refit is one pass of the analyses, and
  for each rate two of the syntheses, whose weights learn nothing.
- *Processor seconds* are measured on a few steps, over all cores, and multiplied by the steps: they include what
  operations leave out, the quantizers and priors above all.

    python -m experiments.questions.deployment_cost PHOTOGRAPHS

writes results/deployment_cost.csv, a row a quantity, and results/deployment_cost.png.
"""

import dataclasses
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import tyro

from experiments.lab.anchors import Anchor, FitSettings, load_anchor
from experiments.lab.command_line import run
from experiments.lab.pictures import save_picture
from experiments.lab.provenance import Answer, Output
from lic_jax.config import ModelConfig
from lic_jax.evaluation.complexity import complexity, decoding
from lic_jax.model import initialize
from lic_jax.training.anchor import begin_stage, training_stages, training_step
from lic_jax.training.refit import refit
from lic_jax.training.settings import LAMBDAS, AnchorSettings, check_counts
from lic_jax.zoo import shipped
from lic_jax.zoo.bundle import receiver_parts
from lic_jax.zoo.weights import flatten, load_weights


@dataclasses.dataclass(frozen=True)
class Settings(FitSettings, Output):
    """The settings of this question, beside those that all fits share.

    Attributes:
      images: see `FitSettings`.
      lambdas: the rates.
      training_steps: of a model; by default the shipped one's, but for those of its prior alone, which cost little.
      refit_steps: of the quantizers.
      batch_size: crops a step, of both.
      timed_steps: how many of each are timed.
    """

    images: tyro.conf.Positional[Path | None] = None
    batch_size: int = 8
    lambdas: tuple[float, ...] = LAMBDAS
    training_steps: int = 23500
    refit_steps: int = 450
    timed_steps: int = 3

    def __post_init__(self):
        super().__post_init__()
        self.refit_settings(lambdas=self.lambdas, steps=self.refit_steps)
        check_counts(self, 1, "training_steps", "timed_steps")


class Quantity(NamedTuple):
    """A row of deployment_cost.csv."""

    quantity: str
    unit: str
    models: float
    anchor_with_refits: float
    ratio: float


def array_bytes(settings: Settings) -> tuple[int, int, float]:
    """Bytes of the shipped file's arrays: (all weights, the receiver's, both quantizers of one rate)."""
    tree, _ = load_weights(shipped.path_of(settings.model))
    bytes_of = lambda part: sum(leaf.nbytes for leaf in flatten(part).values())
    rates = len(tree["quantizers"]["latent"]["spacings"])
    weights = {name: bytes_of(part) for name, part in tree["params"].items()}
    parts = receiver_parts(shipped.config_of(settings.model))
    receiver = sum(size for name, size in weights.items() if name in parts)
    return sum(weights.values()), receiver, bytes_of(tree["quantizers"]) / rates


def trained_config(anchor: Anchor) -> ModelConfig:
    """The model as it was trained: with the hidden channels that were left out when it came to integers."""
    return dataclasses.replace(anchor.bundle.config, hyper_arithmetic="float", hyper_synthesis_channels=())


def operations(settings: Settings, anchor: Anchor) -> tuple[float, float]:
    """Of one training and of one refit of all rates."""
    costs = complexity(anchor.bundle.config)
    behind = decoding(costs).flops
    before = sum(cost.flops for cost in costs.values()) - behind
    a_training_step = 3 * sum(cost.flops for cost in complexity(trained_config(anchor)).values())
    a_refit_step = before + 2 * len(settings.lambdas) * behind
    pixels = settings.batch_size * settings.crop_size**2
    return a_training_step * pixels * settings.training_steps, a_refit_step * pixels * settings.refit_steps


def processor_seconds(settings: Settings, anchor: Anchor) -> tuple[float, float]:
    """Of one training and of one refit of all rates, from a few steps of each."""
    pixels = jnp.asarray(np.resize(anchor.to_fit.pixels, (settings.batch_size, *anchor.to_fit.pixels.shape[1:])))
    bundle = anchor.bundle
    config = trained_config(anchor)
    training = AnchorSettings(config, hyperprior_steps=0, steps=settings.training_steps)
    stage = training_stages(training)[1]
    train = jax.jit(lambda state, pixels: training_step(training, stage, state, pixels)[0])
    untrained = initialize(config, jax.random.key(0))["hyper_synthesis"]
    rng = np.random.default_rng(settings.seed)
    random = jax.tree.map(lambda leaf: 0.01 * rng.normal(size=leaf.shape).astype(np.float32), untrained)
    state = begin_stage(stage, jax.tree.map(jnp.asarray, {**bundle.params, "hyper_synthesis": random}))
    training_step_s = _seconds_a_step(train, state, pixels, settings.timed_steps)
    fit = settings.refit_settings(lambdas=settings.lambdas, steps=settings.refit_steps)
    process = refit(anchor.model, bundle.params, fit, bundle.rd_lambda)
    step = jax.jit(lambda state, pixels: process.update(state, pixels)[0])
    refit_step_s = _seconds_a_step(step, process.init(), pixels, settings.timed_steps)
    return training_step_s * settings.training_steps, refit_step_s * settings.refit_steps


def _seconds_a_step(step: Callable, state, pixels, count: int) -> float:
    state = jax.block_until_ready(step(state, pixels))  # compiles
    start = time.process_time()
    for _ in range(count):
        state = jax.block_until_ready(step(state, pixels))
    return (time.process_time() - start) / count


def quantities(settings: Settings, anchor: Anchor) -> list[Quantity]:
    """The table."""
    rates = len(settings.lambdas)
    weights, receiver, quantizers = array_bytes(settings)
    (training, fitting), (train_s, fit_s) = operations(settings, anchor), processor_seconds(settings, anchor)
    rows = (
        ("stored by a sender", "MB", rates * weights / 1e6, (weights + rates * quantizers) / 1e6),
        ("stored by a receiver", "MB", rates * receiver / 1e6, (receiver + rates * quantizers) / 1e6),
        ("shipped to receivers for one rate more", "kB", receiver / 1e3, quantizers / 1e3),
        ("operations to make all rates", "PFLOP", rates * training / 1e15, (training + fitting) / 1e15),
        ("operations for one rate more", "PFLOP", training / 1e15, fitting / rates / 1e15),
        ("processor hours to make all rates", "h", rates * train_s / 3600, (train_s + fit_s) / 3600),
        ("processor hours for one rate more", "h", train_s / 3600, fit_s / rates / 3600),
    )
    return [Quantity(name, unit, models, ours, models / ours) for name, unit, models, ours in rows]


def draw(rows: list[Quantity], rates: int, path: Path) -> None:
    """A pair of bars a quantity; each pair is drawn against its own longer bar."""
    figure, axes = plt.subplots(figsize=(9.2, 0.72 * len(rows) + 0.8))
    for place, row in enumerate(reversed(rows)):
        longest = max(row.models, row.anchor_with_refits)
        for offset, value, color, name in (
            (0.2, row.models, "0.7", f"{rates} models"),
            (-0.2, row.anchor_with_refits, "tab:blue", "one model, fitted quantizers"),
        ):
            axes.barh(place + offset, value / longest, 0.36, color=color)
            number = f"{value:,.0f}" if value >= 100 else f"{value:.2g}"
            text = f"{number} {row.unit}" + (f"   {name}" if place == len(rows) - 1 else "")
            axes.annotate(text, (value / longest, place + offset), (5, 0), textcoords="offset points", va="center",
                          fontsize=9)  # fmt: skip
        axes.annotate(f"{row.ratio:,.0f}×" if row.ratio >= 10 else f"{row.ratio:.1f}×", (1.62, place), va="center",
                      ha="right", fontsize=11, annotation_clip=False)  # fmt: skip
    axes.set_yticks(range(len(rows)), [row.quantity for row in reversed(rows)])
    axes.tick_params(axis="y", length=0)
    axes.set(xlim=(0, 1.62), xticks=[])
    axes.set_title(f"{rates} rates: what a model for each costs, and one model with fitted quantizers", fontsize=10)
    axes.spines[["top", "right", "bottom"]].set_visible(False)
    save_picture(figure, path)


def main(settings: Settings) -> None:
    answer = Answer(settings, "deployment_cost.csv", "deployment_cost.png")
    rows = quantities(settings, load_anchor(settings))
    rates = len(settings.lambdas)
    answer.write("deployment_cost.csv", rows)
    draw(rows, rates, answer.path("deployment_cost.png"))
    print(f"{'':40} {f'{rates} models':>14}  {'one, refitted':>14}")
    for row in rows:
        print(
            f"{row.quantity:40} {row.models:8,.4g} {row.unit:5}  {row.anchor_with_refits:8,.4g} {row.unit:5}"
            f"  {row.ratio:8,.1f} times less"
        )
    print(answer)


if __name__ == "__main__":
    run(main, Settings, __doc__)
