"""Where should a refit begin?

The same fit, from five starts:

- *uniform*: the uniform quantizer whose step is right for λ at high rate, as in `lic refit`.
- *neighbour*: the quantizers fitted to 2λ, unchanged.
- *neighbour, scaled*: the same, all their lengths times √2.
- *one for all*: a fit to one λ in the middle of all changed its uniform start; each λ's start is changed alike.
- *Lloyd–Max*: the entropy-constrained optimum for a Laplacian source, in closed form but for two scalar equations
  (Sullivan 1996, "Efficient scalar quantization of exponential and Laplacian random variables"): uniform cells, a wider
  one about zero, levels towards zero. The Laplacian is the one with the residuals' mean excess over half a step.

    python -m experiments.questions.initialization PHOTOGRAPHS

writes results/initialization.csv, a row a start and λ, judged on crops held out before and after the fit, and
results/initialization.png. Rates are estimated from the priors.
"""

import dataclasses
import math
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import tyro
from jaxtyping import Float

from experiments.lab.anchors import Anchor, FitSettings, load_anchor
from experiments.lab.command_line import run
from experiments.lab.fits import Start, fit, judge
from experiments.lab.pictures import Label, light_grid, save_picture, write_labels
from experiments.lab.provenance import Answer, Output
from lic_jax.quantization import stanh
from lic_jax.quantization.stanh import STanH
from lic_jax.training.refit import carried_over, middle_of, start_quantizers, start_steps
from lic_jax.training.refit_objective import Quantizers

STYLES = {
    "uniform": ("-", "black"),
    "neighbour": (":", "0.6"),
    "neighbour, scaled": ("--", "0.4"),
    "one for all": ("--", "tab:orange"),
    "Lloyd–Max": ("-", "tab:blue"),
}


@dataclasses.dataclass(frozen=True)
class Settings(FitSettings, Output):
    """The settings of this question, beside those that all fits share.

    Attributes:
      images: see `FitSettings`.
      lambdas: the trade-offs, increasing.
      short_steps: of a second, short fit from each start, where starts matter most.
    """

    images: tyro.conf.Positional[Path | None] = None
    lambdas: tuple[float, ...] = (0.00125, 0.005, 0.02, 0.08)
    short_steps: int = 15

    def __post_init__(self):
        super().__post_init__()
        self.refit_settings(lambdas=self.lambdas, steps=self.short_steps)


class StartPoint(NamedTuple):
    """A row of initialization.csv: objectives are bpp + λ·MSE with hard decisions on crops held out, estimated.

    `start_objective` is before the fit, `short_objective` after a short one, the rest after the whole one.
    """

    start: str
    rd_lambda: float
    start_objective: float
    short_objective: float
    objective: float
    estimated_bpp: float
    psnr_db: float


class LaplacianOptimum(NamedTuple):
    """The entropy-constrained quantizer of a Laplacian source.

    Positive thresholds are t, t + s, t + 2s, …, the level of each cell above is its lower threshold + offset, the level
    about zero is 0; the negative side mirrors that.
    """

    step: float
    threshold: float
    offset: float


def laplacian_optimum(rate: float, weight: float) -> LaplacianOptimum:
    """The minimum of entropy in bits + weight · squared error, for the density rate/2 · exp(−rate · |v|).

    A cell's level is its centroid, δ above its lower threshold: δ = 1/rate − s/(exp(rate·s) − 1). A threshold is where
    both neighbours cost the same: s/2 − δ = rate/(2 · weight · ln 2) between two cells of the tail, whose code lengths
    differ by rate·s/ln 2; and t = c/2 + (ℓ₁ − ℓ₀)/(2 · weight · c) with c = t + δ beside the cell about zero.
    """
    offset_of = lambda step: 1 / rate - step / math.expm1(rate * step)
    tilt = rate / (2 * weight * math.log(2))
    step = _root(lambda step: step / 2 - offset_of(step) - tilt, 1e-6 / rate, 2 * (tilt + 2 / rate))
    offset = offset_of(step)

    def imbalance(threshold: float) -> float:
        level = threshold + offset
        zero_mass = -math.expm1(-rate * threshold)
        first_mass = -math.expm1(-rate * step) * math.exp(-rate * threshold) / 2
        return threshold - level / 2 - math.log2(zero_mass / first_mass) / (2 * weight * level)

    return LaplacianOptimum(step, _root(imbalance, step / 2, step + 4 * tilt + 10 / rate), offset)


def _root(function, low: float, high: float) -> float:
    """Where an increasing function is zero, by halving; near an end if it is not zero between them."""
    for _ in range(80):
        middle = (low + high) / 2
        low, high = (middle, high) if function(middle) < 0 else (low, middle)
    return (low + high) / 2


def as_stanh(optimum: LaplacianOptimum, components: int, reach: float) -> STanH:
    """The optimum with T components, an even number; its outer cells widen as `uniform_with_tails`' do."""
    uniform = stanh.uniform_with_tails(components, optimum.step, reach)
    sides = jnp.where(jnp.arange(components) < components // 2, -1.0, 1.0)
    thresholds = uniform.thresholds + sides * (optimum.threshold - optimum.step / 2)
    beside_zero = jnp.abs(jnp.arange(components) - (components - 1) / 2) < 1
    return stanh.from_values(jnp.where(beside_zero, optimum.threshold + optimum.offset, uniform.spacings), thresholds)


def residuals_of(anchor: Anchor) -> Float[np.ndarray, " latents"]:
    """y − μ of the crops to fit to, the hyper latent rounded."""
    variables = {"params": anchor.bundle.params}
    predict = jax.jit(lambda hyper_latent: anchor.model.apply(variables, jnp.round(hyper_latent), method="predict")[0])
    batches = np.array_split(np.arange(len(anchor.to_fit.pixels)), -(-len(anchor.to_fit.pixels) // 16))
    means = [np.asarray(predict(anchor.to_fit.hyper_latent[index])) for index in batches]
    return (anchor.to_fit.latent - np.concatenate(means)).ravel()


def lloyd_max(settings: Settings, anchor: Anchor, uniform: Quantizers) -> Quantizers:
    """The latent's quantizers in closed form; the hyper latent's stay uniform.

    At high rate the best step s of a squared error with this weight is s² = 6/(weight · ln 2): so the weight of a
    latent's error in bits is 6/(s² ln 2), with s the uniform step for λ.
    """
    magnitudes = np.abs(residuals_of(anchor))
    reach = float(jnp.max(jnp.abs(uniform.latent.thresholds)))
    found = []
    for step in start_steps(settings.lambdas, anchor.bundle.rd_lambda):
        excess = float(np.mean(magnitudes[magnitudes > step / 2] - step / 2))
        optimum = laplacian_optimum(1 / excess, 6 / (step**2 * math.log(2)))
        found.append(as_stanh(optimum, uniform.latent.components, reach))
    return uniform.replace(latent=jax.tree.map(lambda *leaves: jnp.stack(leaves), *found))


def scaled(quantizers: Quantizers, factor: float) -> Quantizers:
    """The latent's quantizers with all lengths times a factor; the rows' fractions stay."""
    latent = quantizers.latent
    return quantizers.replace(latent=stanh.from_values(latent.spacings * factor, latent.thresholds * factor))


def starts_of(settings: Settings, anchor: Anchor) -> dict[str, Start]:
    """The quantizers that fits begin with, by name."""
    own = settings.refit_settings(lambdas=settings.lambdas)
    uniform = start_quantizers(anchor.bundle.config, own, anchor.bundle.rd_lambda)
    doubled = settings.refit_settings(lambdas=tuple(2 * rd_lambda for rd_lambda in settings.lambdas))
    neighbour = fit(settings, anchor, doubled, "initialization_neighbour").quantizers
    middle = settings.refit_settings(lambdas=(middle_of(settings.lambdas),))
    start_of_one = start_quantizers(anchor.bundle.config, middle, anchor.bundle.rd_lambda)
    one = fit(settings, anchor, middle, "initialization_one").quantizers
    from_neighbour = dataclasses.asdict(doubled)
    return {
        "uniform": Start(uniform, "uniform"),
        "neighbour": Start(neighbour, from_neighbour),
        "neighbour, scaled": Start(scaled(neighbour, math.sqrt(2)), ["scaled", from_neighbour]),
        "one for all": Start(carried_over(one, start_of_one, uniform), ["one for all", dataclasses.asdict(middle)]),
        "Lloyd–Max": Start(lloyd_max(settings, anchor, uniform), "Lloyd–Max"),
    }


def draw(rows: list[StartPoint], steps: tuple[int, int], path: Path) -> None:
    """Draws each start's objective before, after a short and after a whole fit, a panel a λ."""
    lambdas = list(dict.fromkeys(row.rd_lambda for row in rows))
    figure, all_axes = plt.subplots(1, len(lambdas), figsize=(4 * len(lambdas), 4.2), gridspec_kw={"wspace": 1.0})
    for axes, rd_lambda in zip(np.atleast_1d(all_axes), lambdas, strict=True):
        own = [row for row in rows if row.rd_lambda == rd_lambda]
        reference = own[0].start_objective
        labels = []
        for row in own:
            style, color = STYLES[row.start]
            values = [
                100 * (value / reference - 1) for value in (row.start_objective, row.short_objective, row.objective)
            ]
            axes.plot(range(3), values, style, marker="o", color=color, markersize=4)
            labels.append(Label(2, values[-1], row.start, color))
        axes.set_xticks(range(3), ["before", *(f"{count} steps" for count in steps)])
        axes.axhline(0, color="0.8", linewidth=1)
        axes.set_title(f"λ = {rd_lambda:g}", fontsize=10)
        light_grid(axes)
        write_labels(axes, labels)
    np.atleast_1d(all_axes)[0].set(ylabel="hard bpp + λ·MSE against the unfitted uniform, in %")
    save_picture(figure, path)


def main(settings: Settings) -> None:
    answer = Answer(settings, "initialization.csv", "initialization.png")
    anchor = load_anchor(settings)
    rows = []
    for name, start in starts_of(settings, anchor).items():
        file = f"initialization_{name.replace(', ', '_').replace(' ', '_')}"
        objectives = [judge(anchor, start.quantizers, settings.lambdas).objective]
        for steps in (settings.short_steps, settings.steps):
            own = settings.refit_settings(lambdas=settings.lambdas, steps=steps)
            judged = judge(anchor, fit(settings, anchor, own, file, start=start).quantizers, settings.lambdas)
            objectives.append(judged.objective)
        columns = zip(settings.lambdas, *objectives, judged.bpp, judged.psnr_db, strict=True)
        rows += [StartPoint(name, *map(float, column)) for column in columns]
    answer.write("initialization.csv", rows)
    draw(rows, (settings.short_steps, settings.steps), answer.path("initialization.png"))
    print(f"start              objective by λ: before → after {settings.short_steps} → after {settings.steps} steps")
    for name in STYLES:
        text = "  ".join(
            f"{row.start_objective:.3f} → {row.short_objective:.3f} → {row.objective:.3f}"
            for row in rows
            if row.start == name
        )
        print(f"{name:17}  {text}")
    print(answer)


if __name__ == "__main__":
    run(main, Settings, __doc__)
