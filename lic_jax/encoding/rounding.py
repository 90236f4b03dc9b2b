"""Rate–distortion optimized rounding: each latent keeps its level or takes a neighbouring one, all in one pass.

What a change δ of a quantized latent costs is its symbol's bits more, and λ times what it adds to the squared error,

    ΔD = g δ + G_c δ²

where g is the gradient of the error at the present solution, which one pass back through the synthesis gives for all
latents, and G_c the local gain ‖∂x̂/∂ŷ‖² of the latent's channel: how much squared error a unit of it makes. Exact for
one latent and a linear synthesis; that many change at once is left out of account. (The choice between levels by
Lagrangian cost is classical: Ramchandran & Vetterli 1994; the "RDOQ" of HEVC's encoders.)
"""

import jax
import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Float, Int

from lic_jax.encoding.objective import (
    ImageBatch,
    Latents,
    OperatingPoint,
    code_length,
    decode,
    predict,
    squared_error,
)
from lic_jax.model import CodecModel


def gradient_and_gains(
    model: CodecModel, variables: dict, images: ImageBatch, latent: Float[Array, "batch h w latent"]
) -> tuple[Float[Array, "batch h w latent"], Float[Array, "batch 1 1 latent"]]:
    """The gradient of the squared error in ŷ, and ‖∂x̂/∂ŷ‖² of a latent of each channel, on the average of each image.

    Both by one pass forward: for random signs ε, (Jᵀε)² has the diagonal of JᵀJ as its mean (Hutchinson 1989; Bekas,
    Kokiopoulou & Saad 2007), and a channel has hundreds of latents to average over.
    """
    decoded, pull_back = jax.vjp(lambda latent: decode(model, variables, images, latent), latent)
    (gradient,) = pull_back(jax.grad(lambda decoded: jnp.sum(squared_error(images, decoded)))(decoded))
    signs = jax.random.rademacher(jax.random.key(0), decoded.shape[1:], decoded.dtype)
    (projection,) = pull_back(jnp.broadcast_to(signs, decoded.shape))
    total = lambda array: jnp.sum(images.cut(array), axis=(1, 2), keepdims=True)
    return gradient, total(projection**2) / total(jnp.ones_like(latent[..., :1]))


def cheaper_latent(
    model: CodecModel, variables: dict, images: ImageBatch, point: OperatingPoint, latents: Latents
) -> Float[Array, "batch h w latent"]:
    """One pass of choices between each latent's level and the two beside it.

    Args:
      latents: ŷ and ẑ; hyper latents stay.

    Returns:
      ŷ after the choices.
    """
    mean, index = predict(model, variables, images, latents.hyper_latent)
    symbols = point.latent.nearest(latents.latent - mean, index)
    present, bits = point.latent.level(symbols, index), code_length(point.latent, index, symbols)
    gradient, gains = gradient_and_gains(model, variables, images, mean + present)

    def cost_of(candidate: Int[Array, "batch h w latent"]) -> Float[Array, "batch h w latent"]:
        change = point.latent.level(candidate, index) - present
        more_error = gradient * change + gains * change**2
        return code_length(point.latent, index, candidate) - bits + point.bits_per_error * more_error

    below, above = jnp.maximum(symbols - 1, 0), jnp.minimum(symbols + 1, len(point.latent.levels) - 1)
    cost_below, cost_above = cost_of(below), cost_of(above)
    neighbour = jnp.where(cost_below < cost_above, below, above)
    chosen = jnp.where(jnp.minimum(cost_below, cost_above) < 0, neighbour, symbols)
    return mean + point.latent.level(chosen, index)


@struct.dataclass
class RoundingState:
    """ŷ and ẑ so far."""

    latents: Latents


def begin(images: ImageBatch) -> RoundingState:
    """From what encoding in one shot makes of the images."""
    return RoundingState(images.one_shot)


def update(
    model: CodecModel,
    variables: dict,
    images: ImageBatch,
    point: OperatingPoint,
    state: RoundingState,
    progress: Float[Array, ""],
    steps: Int[Array, ""],
) -> RoundingState:
    """A pass of choices; further passes correct what changed at once and should not have."""
    del progress, steps
    latent = cheaper_latent(model, variables, images, point, state.latents)
    return RoundingState(state.latents._replace(latent=latent))
