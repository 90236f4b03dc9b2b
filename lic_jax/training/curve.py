"""Fits a rate–distortion curve: quantizers for several λ, and the rate and quality that they reach."""

import dataclasses
import functools
import itertools
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, UInt8

from lic_jax.distortion.base import psnr
from lic_jax.errors import LicError
from lic_jax.model import CodecModel
from lic_jax.training.refit import encode, fit_quantizers
from lic_jax.training.refit_objective import Quantizers, hard_objective
from lic_jax.training.settings import LAMBDAS, RefitSettings


class RateDistortionCurve(NamedTuple):
    """K fitted pairs of quantizers, and their estimated rate and PSNR on images held out from the fit."""

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
    held_out: UInt8[np.ndarray, "held_out height width 3"] | None = None,
    anchor_lambda: float = 0.01,
    batch_size: int = 8,
    settings: RefitSettings | None = None,
    seed: int = 0,
    **arguments,
) -> RateDistortionCurve:
    """Fits one pair of quantizers for each λ against frozen weights, and measures them on images held out.

    Args:
      model, params: the anchor; its weights do not change.
      images: photographs or crops of one size, sides a multiple of 64.
      lambdas: the trade-offs; they do not decrease.
      held_out: images to measure on; if None, every fifth of `images`, which the fit then leaves out.
      anchor_lambda: the λ that the anchor was trained for.
      batch_size: images a step, drawn at random.
      settings: everything else about the fit (its `lambdas` are ignored); the defaults if None.
      seed: the seed of the drawing.
      arguments: optimizer, relaxation or distortion of `refit`.

    Returns:
      The stacked quantizers, and their estimated rate and PSNR over the images held out, with hard decisions.

    Raises:
      LicError: there are too few images to hold one out.
    """
    settings = dataclasses.replace(settings or RefitSettings(), lambdas=tuple(lambdas))
    if held_out is None:
        if len(images) < 2:
            raise LicError(f"images holds {len(images)}, too few to hold one out; give 2 or more, or held_out")
        is_held_out = np.arange(len(images)) % 5 == min(4, len(images) - 1)
        images, held_out = images[~is_held_out], images[is_held_out]
    rng = np.random.default_rng(seed)
    draws = (images[rng.integers(len(images), size=batch_size)] for _ in itertools.count())
    quantizers = fit_quantizers(model, params, draws, settings, anchor_lambda, seed, **arguments)
    bpp, mse = evaluate_quantizers(model, params, quantizers, held_out, settings.lambdas, batch_size)
    return RateDistortionCurve(settings.lambdas, quantizers, bpp, psnr(mse))


@functools.partial(jax.jit, static_argnums=0)
def _measure(model: CodecModel, params: dict, quantizers: Quantizers, lambdas: Array, pixels: Array):
    """Measures K (bpp, mean squared error) on one batch with hard decisions."""
    image, latent, hyper_latent = encode(model, params, pixels)
    results = jax.vmap(
        lambda pair, rd_lambda: hard_objective(model, params, pair, image, latent, hyper_latent, rd_lambda)
    )(quantizers, lambdas)
    return results.bpp, results.mse


def evaluate_quantizers(
    model: CodecModel, params: dict, quantizers: Quantizers, images, lambdas: Sequence[float], batch_size: int
) -> tuple[Float[np.ndarray, " K"], Float[np.ndarray, " K"]]:
    """Measures mean estimated bpp and mean squared error (0–255) of K stacked pairs on images of one size."""
    batches = np.array_split(images, -(-len(images) // batch_size))
    weights = [len(batch) for batch in batches]
    measured = [_measure(model, params, quantizers, jnp.asarray(lambdas), batch) for batch in batches]
    bpp, mse = (np.average([np.asarray(batch[term]) for batch in measured], axis=0, weights=weights) for term in (0, 1))
    return bpp, mse
