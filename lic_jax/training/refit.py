"""Refitting: K quantizers for K values of λ against one frozen anchor, in one program.

Only the quantizers of y and z change. Their parameters are stacked on a leading axis and fitted together under vmap;
the analysis does not depend on them and runs once per batch.
"""

import dataclasses
import functools
import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import struct
from jaxtyping import Array, Float, Int, UInt8
from tqdm import tqdm

from lic_jax import zoo
from lic_jax.config import ModelConfig
from lic_jax.entropy.bins import bin_edges, hard_bins
from lic_jax.errors import LicError
from lic_jax.model import CodecModel, model_of, to_network_domain
from lic_jax.quantization import annealing, stanh
from lic_jax.quantization.fixed_point import FixedPointQuantizer, to_fixed_point
from lic_jax.quantization.stanh import STanH
from lic_jax.training import data
from lic_jax.training.klt import PATCH, optimal_step
from lic_jax.training.objective import RateDistortion, bits, mean_squared_error, psnr
from lic_jax.training.settings import LAMBDAS, RefitSettings
from lic_jax.transforms.integer import to_integers
from lic_jax.zoo.bundle import in_stored_precision, save_bundle
from lic_jax.zoo.weights import load_weights


@struct.dataclass
class Quantizers:
    """The two quantizers of a rate: of the latent (its residual y − μ) and of the hyper latent."""

    latent: STanH
    hyper_latent: STanH


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
    return Quantizers(stack(latent), stack(hyper_latent))


def _soft_symbols(
    quantizer: STanH, values: Float[Array, "*shape"], inverse_temperature: Float[Array, ""]
) -> tuple[Int[Array, "*shape"], Float[Array, "*shape"]]:
    """The threshold nearest to each value and, by its tanh, how far beyond it the value is: (i, p in [0, 1]).

    A value is symbol i with weight 1 − p and symbol i + 1 with weight p. All other tanh are saturated at the inverse
    temperatures of a refit, so the mean of the two levels is s_β.
    """
    thresholds = quantizer.thresholds
    above = jnp.clip(stanh.symbols(quantizer, jax.lax.stop_gradient(values)), 1, quantizer.components - 1)
    nearer_below = values - thresholds[above - 1] < thresholds[above] - values
    nearest = jnp.where(nearer_below, above - 1, above)
    return nearest, (1 + jnp.tanh(inverse_temperature * (values - thresholds[nearest]))) / 2


def _expected(table: Float[Array, " n"], index: Int[Array, "*shape"], weight: Float[Array, "*shape"]) -> Array:
    """The mean of entries i and i + 1 of a table, the second with this weight."""
    return table[index] + weight * (table[index + 1] - table[index])


def _expected_bits(mass_between, edges: Float[Array, " T+2"], index, weight) -> Array:
    """The mean code length of symbols i and i + 1."""
    low, middle, high = edges[index], edges[index + 1], edges[index + 2]
    return (1 - weight) * bits(mass_between(low, middle)) + weight * bits(mass_between(middle, high))


def soft_objective(
    model: CodecModel,
    params: dict,
    quantizers: Quantizers,
    image: Float[Array, "batch height width 3"],
    latent: Float[Array, "batch h w latent"],
    hyper_latent: Float[Array, "batch h/4 w/4 hyper"],
    rd_lambda: Float[Array, ""],
    inverse_temperature: Float[Array, ""],
) -> tuple[RateDistortion, Float[Array, ""]]:
    """The objective of one pair of quantizers with soft decisions, and the latent's mean |s_β(v) − hard(v)|.

    For β → ∞ it is the codec's own objective.
    """
    variables = {"params": params}
    hyper_index, hyper_weight = _soft_symbols(quantizers.hyper_latent, hyper_latent, inverse_temperature)
    soft_hyper = _expected(quantizers.hyper_latent.levels, hyper_index, hyper_weight)
    hyper_bits = _expected_bits(
        lambda low, high: model.apply(variables, low, high, method="hyper_mass"),
        bin_edges(quantizers.hyper_latent),
        hyper_index,
        hyper_weight,
    )
    mean, table_index = model.apply(variables, soft_hyper, method="predict")
    index, weight = _soft_symbols(quantizers.latent, latent - mean, inverse_temperature)
    soft_residual = _expected(quantizers.latent.levels, index, weight)
    latent_bits = _expected_bits(
        lambda low, high: model.apply(variables, low, high, table_index, method="latent_mass"),
        bin_edges(quantizers.latent),
        index,
        weight,
    )
    decoded = model.apply(variables, mean + soft_residual, method="decode")
    gap = jnp.mean(jnp.abs(weight - jnp.round(weight)) * quantizers.latent.spacings[index])
    return _rate_distortion(image, decoded, hyper_bits, latent_bits, rd_lambda), gap


def hard_objective(
    model: CodecModel,
    params: dict,
    quantizers: Quantizers,
    image: Float[Array, "batch height width 3"],
    latent: Float[Array, "batch h w latent"],
    hyper_latent: Float[Array, "batch h/4 w/4 hyper"],
    rd_lambda: Float[Array, ""],
) -> RateDistortion:
    """The objective with the decisions that a codec takes; rates are estimated from the priors."""
    variables = {"params": params}
    hyper_symbols = stanh.symbols(quantizers.hyper_latent, hyper_latent)
    hyper_bins = hard_bins(bin_edges(quantizers.hyper_latent), hyper_symbols)
    hyper_mass = model.apply(variables, *hyper_bins, method="hyper_mass")
    hard_hyper = stanh.dequantize(quantizers.hyper_latent, hyper_symbols)
    mean, table_index = model.apply(variables, hard_hyper, method="predict")
    symbols = stanh.symbols(quantizers.latent, latent - mean)
    bins = hard_bins(bin_edges(quantizers.latent), symbols)
    mass = model.apply(variables, *bins, table_index, method="latent_mass")
    decoded = model.apply(variables, mean + stanh.dequantize(quantizers.latent, symbols), method="decode")
    return _rate_distortion(image, decoded, bits(hyper_mass), bits(mass), rd_lambda)


def _rate_distortion(image, decoded, hyper_bits, latent_bits, rd_lambda) -> RateDistortion:
    pixels = image.shape[1] * image.shape[2]
    hyper_bpp = jnp.mean(jnp.sum(hyper_bits, axis=(1, 2, 3))) / pixels
    bpp = hyper_bpp + jnp.mean(jnp.sum(latent_bits, axis=(1, 2, 3))) / pixels
    mse = jnp.mean(mean_squared_error(decoded, image))
    return RateDistortion(bpp + rd_lambda * mse, bpp, hyper_bpp, mse)


@functools.partial(jax.jit, static_argnums=0)
def _gradients(model: CodecModel, params: dict, quantizers: Quantizers, lambdas, steps, beta, *batch):
    """The gradients of K stacked pairs, their soft objectives and the mean gap in steps.

    Compiled apart from schedule and optimizer: one program serves all fits of one shape.
    """

    def total(quantizers):
        results, gaps = jax.vmap(
            lambda pair, rd_lambda, step: soft_objective(model, params, pair, *batch, rd_lambda, beta / step)
        )(quantizers, lambdas, steps)
        return jnp.sum(results.objective), (results, jnp.mean(gaps / steps))

    return jax.grad(total, has_aux=True)(quantizers)


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
      start: a stack of K pairs to begin with, of any number of components; uniform ones if None.

    Returns:
      `init()` and `update(state, pixels)`, which takes a batch uint8 [batch, height, width, 3] and gives the next state
      and the K soft objectives. The analysis runs once an update, and not at all in `update_encoded(state, image,
      latent, hyper_latent)`, for who fits often to the same crops: called as it is, not under jit, it compiles its
      expensive part once for all fits of one shape.
    """
    lambdas = jnp.asarray(settings.lambdas)
    steps = jnp.asarray(start_steps(settings.lambdas, anchor_lambda), jnp.float32)
    optimizer = optax.adam(optax.cosine_decay_schedule(settings.learning_rate, settings.steps))
    schedule = SCHEDULES[settings.schedule](settings)

    def init() -> RefitState:
        quantizers = start_quantizers(model.config, settings, anchor_lambda) if start is None else start
        return RefitState(
            jnp.zeros((), jnp.int32), quantizers, optimizer.init(quantizers), schedule.init(), jnp.zeros(())
        )

    def update(state: RefitState, pixels: Array) -> tuple[RefitState, RateDistortion]:
        image = to_network_domain(pixels)
        latent, hyper_latent = model.apply({"params": params}, image, method="encode")
        return update_encoded(state, image, latent, hyper_latent)

    def update_encoded(
        state: RefitState, image: Array, latent: Array, hyper_latent: Array
    ) -> tuple[RefitState, RateDistortion]:
        key = jax.random.fold_in(jax.random.key(seed), state.step)
        beta, next_beta = schedule.update(state.beta, state.step, state.gap, key)

        gradients, (results, gap) = _gradients(
            model, params, state.quantizers, lambdas, steps, beta, image, latent, hyper_latent
        )
        updates, optimizer_state = optimizer.update(gradients, state.optimizer_state)
        quantizers = optax.apply_updates(state.quantizers, updates)
        return RefitState(state.step + 1, quantizers, optimizer_state, next_beta, gap), results

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
    update = jax.jit(process.update, donate_argnums=0)
    state = process.init()
    progress = tqdm(itertools.islice(batches, settings.steps), total=settings.steps, desc=description, unit="step")
    for pixels in progress:
        state, results = update(state, pixels)
        bpp, quality = np.asarray(results.bpp), np.asarray(psnr(results.mse))
        progress.set_postfix_str(
            f"bpp {bpp[0]:.2f}–{bpp[-1]:.2f} psnr {quality[0]:.1f}–{quality[-1]:.1f} "
            f"loss {float(jnp.mean(results.objective)):.3f}",
            refresh=False,
        )
    return state.quantizers


def in_fixed_point(quantizers: Quantizers) -> tuple[tuple[FixedPointQuantizer, ...], tuple[FixedPointQuantizer, ...]]:
    """A stack of K fitted pairs as the integers that a codec uses: (of the latent, of the hyper latent)."""
    return tuple(
        tuple(map(to_fixed_point, np.asarray(stack.spacings), np.asarray(stack.thresholds)))
        for stack in (quantizers.latent, quantizers.hyper_latent)
    )


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
    encode = jax.jit(lambda pixels: model.apply({"params": params}, to_network_domain(pixels), method="encode"))
    batches = np.array_split(crops, -(-len(crops) // batch_size))
    hyper_latents = np.concatenate([np.rint(np.asarray(encode(batch)[1])) for batch in batches])
    config, integers = to_integers(params["hyper_synthesis"], config, hyper_latents)
    return config, {**params, "hyper_synthesis": integers}


@functools.partial(jax.jit, static_argnums=0)
def _measure(model: CodecModel, params: dict, quantizers: Quantizers, lambdas: Array, pixels: Array):
    """K (bpp, mean squared error) of one batch with hard decisions."""
    image = to_network_domain(pixels)
    latent, hyper_latent = model.apply({"params": params}, image, method="encode")
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
