"""Refitting: K quantizers for K values of λ against one frozen anchor, in one go.

Only the quantizers of y and z change. Their parameters are stacked on a leading axis and fitted together; the analysis
does not depend on them and runs once per batch.
"""

import dataclasses
import functools
import itertools
import math
import operator
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Int
from tqdm import tqdm

from lic_jax.config import ModelConfig
from lic_jax.model import CodecModel, to_network_domain
from lic_jax.quantization import annealing, stanh
from lic_jax.quantization.rows import no_widening
from lic_jax.training.anchor_objective import RateDistortion, psnr
from lic_jax.training.klt import PATCH, optimal_step
from lic_jax.training.refit_objective import Quantizers, soft_objective
from lic_jax.training.settings import RefitSettings

_FINAL_GROWTH = 10.0
"""The schedules of the step alone end at this multiple of the initial β."""

SCHEDULES = {
    "constant": lambda settings: annealing.constant(settings.inverse_temperature),
    "linear": lambda settings: annealing.linear(
        settings.inverse_temperature, _FINAL_GROWTH * settings.inverse_temperature, settings.steps
    ),
    "exponential": lambda settings: annealing.exponential(
        settings.inverse_temperature, _FINAL_GROWTH * settings.inverse_temperature, settings.steps
    ),
    "gap": lambda settings: annealing.gap_driven(settings.gap_rate, settings.inverse_temperature),
    "stochastic_gap": lambda settings: annealing.stochastic_gap(settings.gap_rate, settings.inverse_temperature),
}


def start_steps(lambdas: Sequence[float], anchor_lambda: float) -> Float[np.ndarray, " K"]:
    """The uniform step for each λ: at high rate λ·step² is the same at every optimum."""
    return np.sqrt(anchor_lambda / np.asarray(lambdas))


def start_quantizers(config: ModelConfig, settings: RefitSettings, anchor_lambda: float) -> Quantizers:
    """A stack of K quantizers: of the latent, uniform with the step of each λ; of the hyper latent, with step 1.

    The latent's reach the largest residual of 8-bit images: a block's mean over its whole range, predicted wrongly.
    Where there is no hyper latent, its quantizers are the smallest that exist.
    """
    reach = math.sqrt(3 * PATCH**2) / optimal_step(anchor_lambda)
    steps = start_steps(settings.lambdas, anchor_lambda)
    latent = [stanh.uniform_with_tails(settings.latent_components, float(step), reach) for step in steps]
    hyper_components = settings.hyper_components if config.has_hyper_latent else 1
    hyper_latent = [stanh.uniform(hyper_components)] * len(settings.lambdas)
    stack = lambda quantizers: jax.tree.map(lambda *leaves: jnp.stack(leaves), *quantizers)
    widening = None
    if settings.row_knots:
        widening = no_widening(config.latent_tables, settings.row_knots, (len(settings.lambdas),))
    return Quantizers(stack(latent), stack(hyper_latent), widening, settings.bin_edges)


def middle_of(lambdas: Sequence[float]) -> float:
    """The λ in the middle of all: their geometric mean."""
    return math.exp(np.mean(np.log(lambdas)))


def carried_over(fitted: Quantizers, start: Quantizers, others: Quantizers) -> Quantizers:
    """Other starts, changed as a fit changed its own: each spacing and threshold by the same factor, the rows alike.

    What a fit learns, the shape of dead zones and levels over the rows, hardly differs from rate to rate
    (`experiments/initialization.py`).

    Args:
      fitted: one pair.
      start: what it was fitted from.
      others: a stack of any number of pairs, of as many components.
    """

    def changed(name: str) -> Array:
        before, after = getattr(start.latent, name), getattr(fitted.latent, name)
        return getattr(others.latent, name) * jnp.where(before == 0, 1, after / jnp.where(before == 0, 1, before))

    latent = stanh.from_values(changed("spacings"), changed("thresholds"))
    repeat = lambda leaf: jnp.repeat(leaf, len(latent.thresholds), axis=0)
    return others.replace(
        latent=latent,
        hyper_latent=jax.tree.map(repeat, fitted.hyper_latent),
        widening=jax.tree.map(repeat, fitted.widening),
    )


@functools.partial(jax.jit, static_argnums=0)
def encode(model: CodecModel, params: dict, pixels: Array) -> tuple[Array, Array, Array]:
    """Pixels → the image in the network's domain, y and z."""
    image = to_network_domain(pixels)
    return image, *model.apply({"params": params}, image, method="encode")


_DECIDED = 1e6
"""A β at which nothing is soft."""


@functools.partial(jax.jit, static_argnums=(0, 1, 2))
def _gradient(
    model: CodecModel,
    hyper_quantizer: str,
    symmetric: bool,
    params: dict,
    beta: Float[Array, ""],
    batch: tuple[Array, Array, Array],
    pair: Quantizers,
    rd_lambda: Float[Array, ""],
    step: Float[Array, ""],
) -> tuple[Quantizers, tuple[RateDistortion, Float[Array, ""]]]:
    """The gradient of one pair, its soft objective and its gap in steps.

    Compiled apart from schedule and optimizer: one program serves all fits to batches of one shape.
    """
    hyper_beta = _DECIDED if hyper_quantizer == "kept" else None

    def objective(pair: Quantizers):
        if symmetric:
            pair = pair.replace(latent=stanh.symmetric(pair.latent))
        if hyper_quantizer == "kept":
            pair = pair.replace(hyper_latent=jax.lax.stop_gradient(pair.hyper_latent))
        result, gap = soft_objective(model, params, pair, *batch, rd_lambda, beta / step, hyper_beta)
        return result.objective, (result, gap / step)

    return jax.grad(objective, has_aux=True)(pair)


def _gradients(of_pair: Callable, *stacks) -> tuple[Quantizers, tuple[RateDistortion, Float[Array, ""]]]:
    """`_gradient` of each of K stacked pairs.

    A CPU takes them one by one, by the program of one, and is quicker so: what it works on stays in its caches.
    """
    if jax.default_backend() != "cpu":
        return jax.vmap(of_pair)(*stacks)
    (_, lambdas, _) = stacks
    each = [of_pair(*jax.tree.map(operator.itemgetter(index), stacks)) for index in range(len(lambdas))]
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *each)


class RefitState(NamedTuple):
    """A refit at one moment: K quantizer pairs on a leading axis, and what fits them."""

    step: Int[Array, ""]
    quantizers: Quantizers
    optimizer_state: optax.OptState
    beta: annealing.State
    gap: Float[Array, ""]


class Refit(NamedTuple):
    """A refit as pure functions, like an optax transformation; `update_encoded` is `update` after the analysis."""

    init: Callable[[], RefitState]
    update: Callable[[RefitState, Array], tuple[RefitState, RateDistortion]]
    update_encoded: Callable[[RefitState, Array, Array, Array], tuple[RefitState, RateDistortion]]


def refit(
    model: CodecModel,
    params: dict,
    settings: RefitSettings,
    anchor_lambda: float,
    seed: int = 0,
    start: Quantizers | None = None,
) -> Refit:
    """How K quantizers are fitted to a frozen anchor.

    Args:
      model, params: the anchor.
      settings: what to fit.
      anchor_lambda: the λ for which step 1 is right; it decides where the quantizers start.
      seed: of the stochastic annealing.
      start: a stack of K pairs to begin with, of any number of components; uniform ones if None. Of hyper quantizers
        that are kept all have the first; a symmetric fit begins with what is symmetric of them.

    Returns:
      `init()` and `update(state, pixels)`, which takes a batch uint8 [batch, height, width, 3] and gives the next state
      and the K soft objectives. The analysis runs once an update, and not at all in `update_encoded(state, image,
      latent, hyper_latent)`, for who fits often to the same crops. Both can be called as they are: what is expensive
      of them is compiled once for all fits to batches of one shape, whatever else of the settings differs.
    """
    lambdas = jnp.asarray(settings.lambdas)
    steps = jnp.asarray(start_steps(settings.lambdas, anchor_lambda), jnp.float32)
    optimizer = optax.adam(optax.cosine_decay_schedule(settings.learning_rate, settings.steps))
    schedule = SCHEDULES[settings.schedule](settings)

    def init() -> RefitState:
        quantizers = start_quantizers(model.config, settings, anchor_lambda) if start is None else start
        if settings.symmetric:
            quantizers = quantizers.replace(latent=stanh.symmetric(quantizers.latent))
        if settings.hyper_quantizer == "kept":
            first = jax.tree.map(lambda stack: jnp.broadcast_to(stack[:1], stack.shape), quantizers.hyper_latent)
            quantizers = quantizers.replace(hyper_latent=first)
        return RefitState(
            jnp.zeros((), jnp.int32), quantizers, optimizer.init(quantizers), schedule.init(), jnp.zeros(())
        )

    def update(state: RefitState, pixels: Array) -> tuple[RefitState, RateDistortion]:
        return update_encoded(state, *encode(model, params, pixels))

    def update_encoded(state: RefitState, *batch: Array) -> tuple[RefitState, RateDistortion]:
        beta, next_beta = anneal(state)
        of_pair = functools.partial(_gradient, model, settings.hyper_quantizer, settings.symmetric, params, beta, batch)
        gradients, (results, gaps) = _gradients(of_pair, state.quantizers, lambdas, steps)
        return descend(state, gradients, next_beta, jnp.mean(gaps)), results

    @jax.jit
    def anneal(state: RefitState) -> tuple[Array, annealing.State]:
        key = jax.random.fold_in(jax.random.key(seed), state.step)
        return schedule.update(state.beta, state.step, state.gap, key)

    @jax.jit
    def descend(state: RefitState, gradients: Quantizers, next_beta: annealing.State, gap: Array) -> RefitState:
        updates, optimizer_state = optimizer.update(gradients, state.optimizer_state)
        quantizers = optax.apply_updates(state.quantizers, updates)
        if settings.symmetric:
            quantizers = quantizers.replace(latent=stanh.symmetric(quantizers.latent))
        return RefitState(state.step + 1, quantizers, optimizer_state, next_beta, gap)

    return Refit(init, update, update_encoded)


def fit_quantizers(
    model: CodecModel,
    params: dict,
    batches: Iterator[Array],
    settings: RefitSettings,
    anchor_lambda: float,
    seed: int = 0,
    description: str = "refit",
    start: Quantizers | None = None,
) -> Quantizers:
    """Runs a refit over `settings.steps` batches of one shape, with a progress bar; `start` as in `refit`.

    Where there is none, a fit to one λ comes first, if the settings have shared steps, over batches of its own.
    """
    if settings.shared_steps and start is None:
        middle = (middle_of(settings.lambdas),)
        one = dataclasses.replace(settings, lambdas=middle, steps=settings.shared_steps, shared_steps=0)
        start_of_one = start_quantizers(model.config, one, anchor_lambda)
        fitted = fit_quantizers(
            model, params, batches, one, anchor_lambda, seed, f"{description}, one for all", start_of_one
        )
        start = carried_over(fitted, start_of_one, start_quantizers(model.config, settings, anchor_lambda))
    process = refit(model, params, settings, anchor_lambda, seed, start)
    state = process.init()
    progress = tqdm(itertools.islice(batches, settings.steps), total=settings.steps, desc=description, unit="step")
    for pixels in progress:
        state, results = process.update(state, pixels)
        bpp, quality = np.asarray(results.bpp), np.asarray(psnr(results.mse))
        progress.set_postfix_str(
            f"bpp {bpp[0]:.2f}–{bpp[-1]:.2f} psnr {quality[0]:.1f}–{quality[-1]:.1f} "
            f"loss {float(jnp.mean(results.objective)):.3f}",
            refresh=False,
        )
    return state.quantizers
