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
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Int, UInt8
from tqdm import tqdm

from lic_jax import zoo
from lic_jax.config import ModelConfig
from lic_jax.errors import LicError
from lic_jax.model import CodecModel, model_of, to_network_domain
from lic_jax.quantization import annealing, stanh
from lic_jax.quantization.fixed_point import FixedPointQuantizer, to_fixed_point
from lic_jax.quantization.fixed_rows import FixedPointRows, to_fixed_rows
from lic_jax.quantization.rows import no_widening, offsets
from lic_jax.training import data
from lic_jax.training.klt import PATCH, optimal_step
from lic_jax.training.objective import RateDistortion, psnr
from lic_jax.training.quantizer_objective import Quantizers, hard_objective, soft_objective
from lic_jax.training.settings import LAMBDAS, RefitSettings
from lic_jax.transforms.integer import to_integers
from lic_jax.zoo.bundle import in_stored_precision, save_bundle
from lic_jax.zoo.weights import load_weights

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


@functools.partial(jax.jit, static_argnums=0)
def _encode(model: CodecModel, params: dict, pixels: Array) -> tuple[Array, Array, Array]:
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
        return update_encoded(state, *_encode(model, params, pixels))

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
    """Runs a refit over `settings.steps` batches of one shape, with a progress bar; `start` as in `refit`."""
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


def in_fixed_point(
    quantizers: Quantizers,
) -> tuple[tuple[FixedPointQuantizer, ...] | tuple[FixedPointRows, ...], tuple[FixedPointQuantizer, ...]]:
    """A stack of K fitted pairs as the integers that a codec uses: (of the latent, of the hyper latent)."""
    latent, hyper_latent = (
        tuple(
            to_fixed_point(spacings, thresholds, quantizers.bin_edges)
            for spacings, thresholds in zip(np.asarray(stack.spacings), np.asarray(stack.thresholds), strict=True)
        )
        for stack in (quantizers.latent, quantizers.hyper_latent)
    )
    if quantizers.widening is None:
        return latent, hyper_latent
    of_rows = jax.vmap(offsets)(quantizers.latent, quantizers.widening)
    return tuple(map(to_fixed_rows, latent, *map(np.asarray, of_rows))), hyper_latent


class RateDistortionCurve(NamedTuple):
    """K fitted pairs of quantizers and what they reach on the images they were fitted to (rates estimated)."""

    lambdas: tuple[float, ...]
    quantizers: Quantizers
    bpp: Float[np.ndarray, " K"]
    psnr_db: Float[np.ndarray, " K"]


def fit_rate_distortion_curve(
    model: CodecModel,
    params: dict,
    images: UInt8[np.ndarray, "count height width 3"],
    lambdas: Sequence[float] = LAMBDAS,
    *,
    anchor_lambda: float = 0.01,
    batch_size: int = 8,
    settings: RefitSettings | None = None,
    seed: int = 0,
) -> RateDistortionCurve:
    """Fits one pair of quantizers for each λ against frozen weights, all in one program.

    Args:
      model, params: the anchor; its weights do not change.
      images: photographs or crops of one size, sides a multiple of 64.
      lambdas: the trade-offs, increasing.
      anchor_lambda: the λ that the anchor was trained for.
      batch_size: images a step, drawn at random.
      settings: everything else about the fit (its `lambdas` are ignored); the defaults if None.
      seed: of the drawing.

    Returns:
      The stacked quantizers and their estimated rate and PSNR over all images, hard decisions.
    """
    settings = dataclasses.replace(settings or RefitSettings(), lambdas=tuple(lambdas))
    rng = np.random.default_rng(seed)
    draws = (images[rng.integers(len(images), size=batch_size)] for _ in itertools.count())
    quantizers = fit_quantizers(model, params, draws, settings, anchor_lambda, seed)
    bpp, mse = evaluate_quantizers(model, params, quantizers, images, settings.lambdas, batch_size)
    return RateDistortionCurve(settings.lambdas, quantizers, bpp, np.asarray(psnr(mse)))


def in_integers(
    config: ModelConfig, params: dict, crops: UInt8[np.ndarray, "count height width 3"], batch_size: int = 8
) -> tuple[ModelConfig, dict]:
    """An anchor with its hyper synthesis in exact integers, calibrated on crops."""
    model = model_of(config)
    batches = np.array_split(crops, -(-len(crops) // batch_size))
    hyper_latents = np.concatenate([np.rint(np.asarray(_encode(model, params, batch)[2])) for batch in batches])
    config, integers = to_integers(params["hyper_synthesis"], config, hyper_latents)
    return config, {**params, "hyper_synthesis": integers}


@functools.partial(jax.jit, static_argnums=0)
def _measure(model: CodecModel, params: dict, quantizers: Quantizers, lambdas: Array, pixels: Array):
    """K (bpp, mean squared error) of one batch with hard decisions."""
    image, latent, hyper_latent = _encode(model, params, pixels)
    results = jax.vmap(
        lambda pair, rd_lambda: hard_objective(model, params, pair, image, latent, hyper_latent, rd_lambda)
    )(quantizers, lambdas)
    return results.bpp, results.mse


def evaluate_quantizers(
    model: CodecModel, params: dict, quantizers: Quantizers, images, lambdas: Sequence[float], batch_size: int
) -> tuple[Float[np.ndarray, " K"], Float[np.ndarray, " K"]]:
    """Mean estimated bpp and mean squared error (0–255) of K stacked pairs over images of one size, hard decisions."""
    batches = np.array_split(images, -(-len(images) // batch_size))
    weights = [len(batch) for batch in batches]
    measured = [_measure(model, params, quantizers, jnp.asarray(lambdas), batch) for batch in batches]
    bpp, mse = (np.average([np.asarray(batch[term]) for batch in measured], axis=0, weights=weights) for term in (0, 1))
    return bpp, mse


def refit_anchor(
    settings: RefitSettings, anchor: Path, images: Path, out: Path, held_out_fraction: float = 0.05
) -> str:
    """Fits quantizers to an anchor's weights on a folder of photographs and writes the codec's model.

    Args:
      anchor: weights written by a training, rounded to stored precision first; or a codec's model, whose own quantizers
        are left aside.
      images: the folder that the anchor was trained on, or another.
      out: the file to write.
      held_out_fraction: of the photographs, kept to report on; the same ones that the training kept.

    Returns:
      A table of estimated rate and PSNR on the photographs held out, and of the gain over uniform quantizers.

    Raises:
      LicError: the anchor or the folder cannot be used.
    """
    tree, metadata = load_weights(zoo.path_of(anchor))
    if "config" not in metadata or "rd_lambda" not in metadata:
        raise LicError(f"{anchor} does not say what it was trained for; give weights written by `lic train`")
    config = ModelConfig.from_json(metadata["config"])
    try:
        anchor_lambda = float(metadata["rd_lambda"])
    except ValueError as error:
        raise LicError(f"{anchor} is damaged (its λ is {metadata['rd_lambda']!r}); copy it again") from error
    params = in_stored_precision(tree.get("params", tree))
    photographs, held_out = data.load_folder(images, held_out_fraction, settings.crop_size)
    if not config.is_exact:
        config, params = in_integers(
            config, params, data.fixed_crops(photographs, settings.crop_size, 512, settings.seed)
        )
    model = model_of(config)
    batches = data.crop_batches(photographs, settings.crop_size, settings.batch_size, settings.seed)
    quantizers = fit_quantizers(model, params, batches, settings, anchor_lambda, settings.seed)
    save_bundle(out, config, params, anchor_lambda, settings.lambdas, *in_fixed_point(quantizers))

    crops = data.fixed_crops(held_out, settings.crop_size, max(32, len(held_out)), settings.seed)
    measured = [
        evaluate_quantizers(model, params, candidates, crops, settings.lambdas, settings.batch_size)
        for candidates in (start_quantizers(config, settings, anchor_lambda), quantizers)
    ]
    return f"{len(crops)} crops held out, rates estimated:\n{_comparison(settings.lambdas, *measured)}"


def _comparison(lambdas: Sequence[float], start: tuple, fitted: tuple) -> str:
    """A table of (bpp, mean squared error) of fitted quantizers and what they gain over those they started as."""
    start_objective, objective = (bpp + np.asarray(lambdas) * mse for bpp, mse in (start, fitted))
    gain = 100 * (objective / start_objective - 1)
    lines = ["rate         λ     bpp  PSNR dB  objective  against uniform"]
    for rate, (rd_lambda, bpp, mse) in enumerate(zip(lambdas, *fitted, strict=True)):
        quality = float(psnr(mse))
        lines.append(
            f"{rate:4}  {rd_lambda:8g}  {bpp:6.3f}  {quality:7.2f}  {objective[rate]:9.4f}  {gain[rate]:+14.1f}%"
        )
    return "\n".join(lines)
