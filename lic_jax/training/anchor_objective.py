"""The training objectives of an anchor: bpp + λ · distortion with a uniform quantizer of a random step per image.

The prior alone is trained for bpp, on latents of a frozen analysis.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray, UInt8

from lic_jax.config import LATENT_STRIDE
from lic_jax.distortion.base import Distortion, RateDistortion, to_network_domain
from lic_jax.distortion.mse import mse
from lic_jax.model import CodecModel
from lic_jax.quantization.relaxation import StandIn, bits, mixed


def anchor_objective(
    model: CodecModel,
    params: dict,
    pixels: UInt8[Array, "batch height width 3"],
    key: PRNGKeyArray,
    rd_lambda: float,
    step_range: float = 1.0,
    relaxation: StandIn = mixed,
    middle_step: float = 1.0,
    distortion: Distortion = mse,
) -> RateDistortion:
    """Computes the training objective of an anchor, averaged over the batch.

    Args:
      model, params: the anchor.
      pixels: crops.
      key: the random key of noise and steps.
      rd_lambda: λ at quantization step 1.
      step_range: every image draws its step s log-uniformly from [1/step_range, step_range] and is weighed with
        λ/s², the λ for which s is optimal at high rate. So the transforms learn to serve a range of rates, as refitted
        quantizers need. 1 trains at λ alone.
      relaxation: the stand-in for rounding (`quantization.relaxation`).
      middle_step: a factor on all steps.
      distortion: the distortion that λ weighs.
    """
    rate_key, step_key = jax.random.split(key)
    image = to_network_domain(pixels)
    step = random_steps(step_key, len(image), step_range, middle_step)
    latent, hyper_latent = model.apply({"params": params}, image, method="encode")
    quantized, bpp, hyper_bpp = _rate(model, params, latent, hyper_latent, rate_key, step, relaxation)
    decoded = model.apply({"params": params}, quantized, method="decode")
    distance = distortion(decoded, image)
    objective = bpp + rd_lambda / step[:, 0, 0, 0] ** 2 * distance
    terms = (objective, bpp, hyper_bpp, distance, mse(decoded, image))
    return RateDistortion(*(jnp.mean(term) for term in terms))


def prior_objective(
    model: CodecModel,
    params: dict,
    latent: Float[Array, "batch h w latent"],
    key: PRNGKeyArray,
    step_range: float = 1.0,
    relaxation: StandIn = mixed,
) -> RateDistortion:
    """Computes bpp alone, averaged over the batch: what a prior is trained for on latents of a frozen analysis.

    Args:
      latent: y of crops.
      model, params, key, step_range, relaxation: as in `anchor_objective`.

    Returns:
      The rate; distortion and mean squared error are undefined (NaN).
    """
    rate_key, step_key = jax.random.split(key)
    step = random_steps(step_key, len(latent), step_range)
    hyper_latent = model.apply({"params": params}, latent, method="hyper_encode")
    _, bpp, hyper_bpp = _rate(model, params, latent, hyper_latent, rate_key, step, relaxation)
    undefined = jnp.float32(jnp.nan)
    return RateDistortion(jnp.mean(bpp), jnp.mean(bpp), jnp.mean(hyper_bpp), undefined, undefined)


def random_steps(
    key: PRNGKeyArray, count: int, step_range: float, middle_step: float = 1.0
) -> Float[Array, "batch 1 1 1"]:
    """Draws a quantization step for each image, log-uniform in [1/step_range, step_range] times the middle one."""
    log_step = jnp.log(step_range) * jax.random.uniform(key, (count,), minval=-1.0, maxval=1.0)
    return middle_step * jnp.exp(log_step)[:, None, None, None]


def _rate(
    model: CodecModel,
    params: dict,
    latent: Array,
    hyper_latent: Array,
    key: PRNGKeyArray,
    step: Array,
    relaxation: StandIn,
) -> tuple[Array, Array, Array]:
    """Computes ŷ, and each image's bpp in all and of its hyper latent."""
    noise_key, hyper_noise_key = jax.random.split(key)
    variables = {"params": params}
    noisy_hyper, quantized_hyper = relaxation(hyper_noise_key, hyper_latent, 1.0)
    hyper_mass = model.apply(variables, noisy_hyper - 0.5, noisy_hyper + 0.5, method="hyper_mass")

    quantize = lambda mean, _: relaxation(noise_key, latent - mean, step)[1]
    quantized, mean, index = model.apply(variables, quantized_hyper, quantize, method="predict")
    noisy_residual, _ = relaxation(noise_key, latent - mean, step)
    lower, upper = noisy_residual - step / 2, noisy_residual + step / 2
    mass = model.apply(variables, lower, upper, index, method="latent_mass")
    pixels_per_image = latent.shape[1] * latent.shape[2] * LATENT_STRIDE**2
    hyper_bpp = jnp.sum(bits(hyper_mass), axis=(1, 2, 3)) / pixels_per_image
    return quantized, hyper_bpp + jnp.sum(bits(mass), axis=(1, 2, 3)) / pixels_per_image, hyper_bpp
