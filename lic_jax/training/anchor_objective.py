"""The rate–distortion objective L = bpp + λ · MSE, MSE on the 0–255 scale, mean over pixels and channels."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray, UInt8

from lic_jax.model import CodecModel, to_network_domain
from lic_jax.quantization.noise import additive_noise, straight_through_round
from lic_jax.training.settings import Relaxation
from lic_jax.transforms.gdn import lower_bound

MASS_MIN = 1e-9
"""The lower bound of every likelihood."""


class RateDistortion(NamedTuple):
    """What a batch costs: means over its images. Rates are estimates from the priors, not bytes."""

    objective: Float[Array, ""]
    bpp: Float[Array, ""]
    hyper_bpp: Float[Array, ""]
    mse: Float[Array, ""]


def bits(mass: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """−log₂ of a probability, bounded at 1e-9 (with a gradient that still pulls it up from there)."""
    return -jnp.log2(lower_bound(mass, MASS_MIN))


def mean_squared_error(
    image: Float[Array, "batch height width 3"], reference: Float[Array, "batch height width 3"]
) -> Float[Array, " batch"]:
    """Per image, on the 0–255 scale; both arguments in the network's domain."""
    return 255.0**2 * jnp.mean((image - reference) ** 2, axis=(1, 2, 3))


def psnr(mse: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """Peak signal-to-noise ratio in dB of a mean squared error on the 0–255 scale."""
    return 10 * jnp.log10(255.0**2 / mse)


def anchor_objective(
    model: CodecModel,
    params: dict,
    pixels: UInt8[Array, "batch height width 3"],
    key: PRNGKeyArray,
    rd_lambda: float,
    step_range: float = 1.0,
    relaxation: Relaxation = "mixed",
    middle_step: float = 1.0,
) -> RateDistortion:
    """The training objective of an anchor with a uniform quantizer.

    Args:
      rd_lambda: λ at quantization step 1.
      step_range: every image draws its step s log-uniformly from [1/step_range, step_range] and is weighed with
        λ/s², the λ for which s is optimal at high rate. The transforms then serve a range of rates, not one, which
        is what refitting their quantizers asks of them. 1 trains at λ alone.
      relaxation: the rate always sees additive noise; the synthesis sees rounded values with straight-through gradients
        ("mixed", Minnen & Singh 2020) or the same noise.
      middle_step: what all steps are multiplied by.
    """
    noise_key, hyper_noise_key, step_key = jax.random.split(key, 3)
    image = to_network_domain(pixels)
    batch, height, width, _ = image.shape
    log_step = jnp.log(step_range) * jax.random.uniform(step_key, (batch,), minval=-1.0, maxval=1.0)
    step = middle_step * jnp.exp(log_step)[:, None, None, None]

    variables = {"params": params}
    latent, hyper_latent = model.apply(variables, image, method="encode")
    noisy_hyper = additive_noise(hyper_noise_key, hyper_latent)
    hyper_mass = model.apply(variables, noisy_hyper - 0.5, noisy_hyper + 0.5, method="hyper_mass")
    quantized_hyper = straight_through_round(hyper_latent) if relaxation == "mixed" else noisy_hyper

    mean, index = model.apply(variables, quantized_hyper, method="predict")
    residual = latent - mean
    noisy_residual = additive_noise(noise_key, residual, step)
    lower, upper = noisy_residual - step / 2, noisy_residual + step / 2
    mass = model.apply(variables, lower, upper, index, method="latent_mass")
    quantized = straight_through_round(residual, step) if relaxation == "mixed" else noisy_residual
    decoded = model.apply(variables, mean + quantized, method="decode")

    pixels_per_image = height * width
    hyper_bpp = jnp.sum(bits(hyper_mass), axis=(1, 2, 3)) / pixels_per_image
    bpp = hyper_bpp + jnp.sum(bits(mass), axis=(1, 2, 3)) / pixels_per_image
    mse = mean_squared_error(decoded, image)
    objective = bpp + rd_lambda / step[:, 0, 0, 0] ** 2 * mse
    return RateDistortion(*(jnp.mean(term) for term in (objective, bpp, hyper_bpp, mse)))
