"""The training objective of an anchor: bpp + λ · distortion with a uniform quantizer of a random step per image."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, PRNGKeyArray, UInt8

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
    noise_key, hyper_noise_key, step_key = jax.random.split(key, 3)
    image = to_network_domain(pixels)
    batch, height, width, _ = image.shape
    log_step = jnp.log(step_range) * jax.random.uniform(step_key, (batch,), minval=-1.0, maxval=1.0)
    step = middle_step * jnp.exp(log_step)[:, None, None, None]

    variables = {"params": params}
    latent, hyper_latent = model.apply(variables, image, method="encode")
    noisy_hyper, quantized_hyper = relaxation(hyper_noise_key, hyper_latent, 1.0)
    hyper_mass = model.apply(variables, noisy_hyper - 0.5, noisy_hyper + 0.5, method="hyper_mass")

    quantize = lambda mean, _: relaxation(noise_key, latent - mean, step)[1]
    quantized, mean, index = model.apply(variables, quantized_hyper, quantize, method="predict")
    noisy_residual, _ = relaxation(noise_key, latent - mean, step)
    lower, upper = noisy_residual - step / 2, noisy_residual + step / 2
    mass = model.apply(variables, lower, upper, index, method="latent_mass")
    decoded = model.apply(variables, quantized, method="decode")

    pixels_per_image = height * width
    hyper_bpp = jnp.sum(bits(hyper_mass), axis=(1, 2, 3)) / pixels_per_image
    bpp = hyper_bpp + jnp.sum(bits(mass), axis=(1, 2, 3)) / pixels_per_image
    distance = distortion(decoded, image)
    objective = bpp + rd_lambda / step[:, 0, 0, 0] ** 2 * distance
    terms = (objective, bpp, hyper_bpp, distance, mse(decoded, image))
    return RateDistortion(*(jnp.mean(term) for term in terms))
