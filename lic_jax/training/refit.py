"""Refitting: fits K quantizers for K values of λ to one frozen anchor (the trained model), all at once.

Only the quantizers of y and z change. Their parameters are stacked on a leading axis and fitted together. The analysis
does not depend on them and runs once per batch.
"""

import dataclasses
import functools
import itertools
import math
import operator
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.core import Tracer
from jaxtyping import Array, Float, Int
from tqdm import tqdm

from lic_jax.config import ModelConfig
from lic_jax.distortion.base import Distortion, RateDistortion, psnr, to_network_domain
from lic_jax.entropy.priors.base import prior_of
from lic_jax.model import CodecModel
from lic_jax.quantization import annealing, stanh
from lic_jax.quantization.contract import check_quantizer
from lic_jax.quantization.relaxation import SoftDecision
from lic_jax.quantization.rows import no_widening
from lic_jax.registry import DISTORTIONS, QUANTIZERS, SCHEDULES, SOFT_DECISIONS
from lic_jax.training.klt import PATCH, optimal_step
from lic_jax.training.optimization import first_state, updated
from lic_jax.training.refit_objective import Quantizers, soft_objective
from lic_jax.training.settings import RefitSettings

_DECIDED = 1e6
"""A β so large that soft decisions equal hard ones."""


def start_steps(lambdas: Sequence[float], anchor_lambda: float) -> Float[np.ndarray, " K"]:
    """Returns the uniform step for each λ: at high rate, λ·step² is the same at every optimum."""
    return np.sqrt(anchor_lambda / np.asarray(lambdas))


def start_quantizers(config: ModelConfig, settings: RefitSettings, anchor_lambda: float) -> Quantizers:
    """Makes K stacked pairs: the latent's of the settings' kind, with the step of each λ; the hyper latent's uniform.

    The latent's reach the largest residual of 8-bit images: a block's mean over its whole range, predicted wrongly.
    Without a hyper latent, its quantizers are the smallest that exist.

    Raises:
      LicError: the settings' quantizer breaks its contract (`quantization.contract`).
    """
    reach = math.sqrt(3 * PATCH**2) / optimal_step(anchor_lambda)
    kind = QUANTIZERS[settings.quantizer]
    check_quantizer(settings.quantizer, kind)
    steps = start_steps(settings.lambdas, anchor_lambda)
    latent = [kind.start(settings.latent_components, float(step), reach) for step in steps]
    hyper_components = settings.hyper_components if config.has_hyper_latent else 1
    hyper_latent = [stanh.uniform(hyper_components)] * len(settings.lambdas)
    stack = lambda quantizers: jax.tree.map(lambda *leaves: jnp.stack(leaves), *quantizers)
    widening = None
    if settings.row_knots:
        widening = no_widening(prior_of(config).table_count, settings.row_knots, (len(settings.lambdas),))
    return Quantizers(stack(latent), stack(hyper_latent), widening, settings.bin_edges)


def middle_of(lambdas: Sequence[float]) -> float:
    """Returns the λ in the middle of all: their geometric mean."""
    return math.exp(np.mean(np.log(lambdas)))


def carried_over(fitted: Quantizers, start: Quantizers, others: Quantizers) -> Quantizers:
    """Transfers a fit to other starts: scales their spacings and thresholds by the same factors, and keeps its rows.

    A fit learns the shape of dead zones and levels over the rows, which hardly differs from rate to rate
    (`experiments/questions/initialization.py`). Parameters of quantizers other than STanH change by as much.

    Args:
      fitted: one pair.
      start: the pair that the fit began with.
      others: a stack of any number of pairs with the same number of components.
    """
    match others.latent, fitted.latent, start.latent:
        case (stanh.STanH() as other, stanh.STanH() as after, stanh.STanH() as before):
            latent = _scaled(other, after, before)
        case latents:
            change = lambda other, after, before: other + (after - before)
            latent = jax.tree.map(change, *latents)
    repeat = lambda leaf: jnp.repeat(leaf, len(others.latent.thresholds), axis=0)
    return dataclasses.replace(
        others,
        latent=latent,
        hyper_latent=jax.tree.map(repeat, fitted.hyper_latent),
        widening=jax.tree.map(repeat, fitted.widening),
    )


def _scaled(others: stanh.STanH, fitted: stanh.STanH, start: stanh.STanH) -> stanh.STanH:
    """Scales the spacings, and the gaps between thresholds, of `others` by the factors of a fit.

    The jump from the last threshold that latents reach to those far away stays as it is.
    """
    middle = (others.components - 1) // 2
    gaps, before, after = (jnp.diff(quantizer.thresholds, axis=-1) for quantizer in (others, start, fitted))
    gaps = gaps * jnp.where((gaps > stanh.FAR / 2) | (before > stanh.FAR / 2), 1, after / before)
    is_zero = start.middle == 0
    factor = jnp.where(is_zero, 1, fitted.middle / jnp.where(is_zero, 1, start.middle))
    centre = (others.thresholds[..., middle] * factor)[..., None]
    above = centre + jnp.cumsum(gaps[..., middle:], axis=-1)
    below = centre - jnp.cumsum(gaps[..., :middle][..., ::-1], axis=-1)[..., ::-1]
    thresholds = jnp.concatenate([below, centre, above], axis=-1)
    spacings = jnp.maximum(others.spacings * (fitted.spacings / start.spacings), stanh.SMALLEST)
    return stanh.from_values(spacings, thresholds)


@functools.partial(jax.jit, static_argnums=0)
def encode(model: CodecModel, params: dict, pixels: Array | np.ndarray) -> tuple[Array, Array, Array]:
    """Computes the image in the network's domain, y and z from pixels."""
    image = to_network_domain(pixels)
    return image, *model.apply({"params": params}, image, method="encode")


class Loss(NamedTuple):
    """The settings that a refit's gradient depends on; each combination has its own compiled program.

    Attributes:
      model: the anchor.
      keeps_hyper_quantizer: whether the hyper latent's quantizer stays unchanged.
      symmetric: whether the latent's quantizer treats ±v alike.
      relaxation, distortion: arguments of `refit_objective.soft_objective`.
    """

    model: CodecModel
    keeps_hyper_quantizer: bool
    symmetric: bool
    relaxation: SoftDecision
    distortion: Distortion


@functools.partial(jax.jit, static_argnums=0)
def _gradient(
    loss: Loss,
    params: dict,
    beta: Float[Array, ""],
    batch: tuple[Array, Array, Array],
    pair: Quantizers,
    rd_lambda: Float[Array, ""],
    step: Float[Array, ""],
) -> tuple[Quantizers, tuple[RateDistortion, Float[Array, ""]]]:
    """Computes the gradient of one pair, its soft objective and its gap in quantization steps.

    It is compiled apart from schedule and optimizer, so one program serves all fits to batches of one shape.
    """
    hyper_beta = _DECIDED if loss.keeps_hyper_quantizer else None

    def objective(pair: Quantizers):
        if loss.symmetric:
            pair = dataclasses.replace(pair, latent=pair.latent.symmetric())
        if loss.keeps_hyper_quantizer:
            pair = dataclasses.replace(pair, hyper_latent=jax.lax.stop_gradient(pair.hyper_latent))
        betas = beta / step, hyper_beta
        result, gap = soft_objective(
            loss.model, params, pair, *batch, rd_lambda, *betas, loss.relaxation, loss.distortion
        )
        return result.objective, (result, gap / step)

    return jax.grad(objective, has_aux=True)(pair)


def _gradients(gradient: Callable, *stacks) -> tuple[Quantizers, tuple[RateDistortion, Float[Array, " K"]]]:
    """Computes `_gradient` of each of K stacked pairs.

    On a CPU, the program of one pair runs K times. That is faster, because the caches hold one pair's work. Inside
    another program (a `lax.scan`, say) the pairs are one batch.
    """
    is_traced = any(isinstance(leaf, Tracer) for leaf in jax.tree.leaves(stacks))
    if is_traced or jax.default_backend() != "cpu":
        return jax.vmap(gradient)(*stacks)
    (_, lambdas, _) = stacks
    each = [gradient(*jax.tree.map(operator.itemgetter(index), stacks)) for index in range(len(lambdas))]
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *each)


class RefitState(NamedTuple):
    """A refit at one moment: K quantizer pairs on a leading axis, and what fits them.

    Attributes:
      step: how many were taken.
      quantizers: the stack of pairs.
      optimizer_state: of their optimizer.
      annealing_state: of the schedule; not always its next β.
      beta: the inverse temperature that the last step used, in units of 1/step of the uniform quantizer; 0 before all.
      gap: mean |soft − hard| of the last step's batch, in steps of the uniform quantizer; 0 before all.
    """

    step: Int[Array, ""]
    quantizers: Quantizers
    optimizer_state: optax.OptState
    annealing_state: annealing.State
    beta: Float[Array, ""]
    gap: Float[Array, ""]


class Refit(NamedTuple):
    """A refit as pure functions, like an optax transformation; `update_encoded` is `update` after the analysis."""

    init: Callable[[], RefitState]
    update: Callable[[RefitState, Array | np.ndarray], tuple[RefitState, RateDistortion]]
    update_encoded: Callable[[RefitState, Array, Array, Array], tuple[RefitState, RateDistortion]]


def refit(
    model: CodecModel,
    params: dict,
    settings: RefitSettings,
    anchor_lambda: float,
    seed: int = 0,
    start: Quantizers | None = None,
    *,
    optimizer: optax.GradientTransformation | None = None,
    relaxation: SoftDecision | None = None,
    distortion: Distortion | None = None,
) -> Refit:
    """Makes the functions that fit K quantizers to a frozen anchor.

    A whole fit can be one program: `jax.lax.scan(process.update, process.init(), batches)`. A grid of T × λ × seeds is
    one stack: repeat λ, and pad the quantizers to the largest T (`stanh.padded`).

    Args:
      model, params: the anchor.
      settings: the settings of the fit.
      anchor_lambda: the λ for which step 1 is right; it decides where the quantizers start.
      seed: the seed of the stochastic annealing.
      start: a stack of K pairs to begin with, of any number of components; uniform ones if None. Hyper quantizers that
        are kept all become the first one; a symmetric fit begins with the symmetric part.
      optimizer: the optimizer of the stack of pairs; if None, Adam with a rate that falls along a cosine.
      relaxation, distortion: replace those that the settings name.

    Returns:
      `init()` and `update(state, pixels)`, which takes a batch uint8 [batch, height, width, 3] and returns the next
      state and the K soft objectives. The analysis runs once an update. `update_encoded(state, image, latent,
      hyper_latent)` skips it, for repeated fits to the same crops. Neither needs `jax.jit`: the expensive part is
      compiled once for all fits to batches of one shape, whatever the other settings.
    """
    lambdas = jnp.asarray(settings.lambdas)
    steps = jnp.asarray(start_steps(settings.lambdas, anchor_lambda), jnp.float32)
    optimizer = optimizer or optax.adam(optax.cosine_decay_schedule(settings.learning_rate, settings.steps))
    schedule = SCHEDULES[settings.schedule](settings.inverse_temperatures)
    keeps = settings.hyper_quantizer == "kept"
    loss = Loss(
        model,
        keeps,
        settings.symmetric,
        relaxation or SOFT_DECISIONS[settings.relaxation],
        distortion or DISTORTIONS[settings.distortion],
    )

    def init() -> RefitState:
        quantizers = start_quantizers(model.config, settings, anchor_lambda) if start is None else start
        if settings.symmetric:
            quantizers = dataclasses.replace(quantizers, latent=quantizers.latent.symmetric())
        if keeps:
            first = jax.tree.map(lambda stack: jnp.broadcast_to(stack[:1], stack.shape), quantizers.hyper_latent)
            quantizers = dataclasses.replace(quantizers, hyper_latent=first)
        step, (beta, gap) = jnp.zeros((), jnp.int32), jnp.zeros(2)
        return RefitState(step, quantizers, first_state(optimizer, quantizers), schedule.init(), beta, gap)

    def update(state: RefitState, pixels: Array | np.ndarray) -> tuple[RefitState, RateDistortion]:
        return update_encoded(state, *encode(model, params, pixels))

    def update_encoded(state: RefitState, *batch: Array) -> tuple[RefitState, RateDistortion]:
        beta, annealing_state = anneal(state)
        gradient = functools.partial(_gradient, loss, params, beta, batch)
        gradients, (results, gaps) = _gradients(gradient, state.quantizers, lambdas, steps)
        state = descend(state, gradients)
        return state._replace(annealing_state=annealing_state, beta=beta, gap=jnp.mean(gaps)), results

    @jax.jit
    def anneal(state: RefitState) -> tuple[Array, annealing.State]:
        key = jax.random.fold_in(jax.random.key(seed), state.step)
        beta, annealing_state = schedule.update(state.annealing_state, state.step, state.gap, key)
        return jnp.asarray(beta, jnp.float32), annealing_state

    @jax.jit
    def descend(state: RefitState, gradients: Quantizers) -> RefitState:
        quantizers, optimizer_state = updated(optimizer, gradients, state.optimizer_state, state.quantizers)
        if settings.symmetric:
            quantizers = dataclasses.replace(quantizers, latent=quantizers.latent.symmetric())
        return state._replace(step=state.step + 1, quantizers=quantizers, optimizer_state=optimizer_state)

    return Refit(init, update, update_encoded)


def fit_quantizers(
    model: CodecModel,
    params: dict,
    batches: Iterable[Array | np.ndarray],
    settings: RefitSettings,
    anchor_lambda: float,
    seed: int = 0,
    description: str = "refit",
    start: Quantizers | None = None,
    **arguments,
) -> Quantizers:
    """Runs a refit over `settings.steps` batches, with a progress bar.

    Without a start, settings with shared steps first fit one λ, on batches of its own.

    Args:
      model, params: the anchor.
      batches: any iterable of uint8 crops [batch, height, width, 3] of one shape, sides a multiple of 64.
      settings, anchor_lambda, seed, start: as in `refit`.
      description: the text beside the progress bar.
      arguments: optimizer, relaxation or distortion of `refit`.
    """
    batches = iter(batches)
    if settings.shared_steps and start is None:
        middle = (middle_of(settings.lambdas),)
        one = dataclasses.replace(settings, lambdas=middle, steps=settings.shared_steps, shared_steps=0)
        start_of_one = start_quantizers(model.config, one, anchor_lambda)
        fitted = fit_quantizers(
            model, params, batches, one, anchor_lambda, seed, f"{description}, shared", start_of_one, **arguments
        )
        start = carried_over(fitted, start_of_one, start_quantizers(model.config, settings, anchor_lambda))
    process = refit(model, params, settings, anchor_lambda, seed, start, **arguments)
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
