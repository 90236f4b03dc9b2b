"""The conditional prior of the latent: a zero-mean Gaussian of y − μ whose scale comes from a table of 64 values.

Ballé et al. 2018, section 3.2, with the scale table of tensorflow-compression: scales are log-spaced, so an entropy
coder needs 64 tables, one for each scale index, instead of one for each latent.
"""

import math

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from lic_jax.entropy.scale_table import LOG_SCALE_STEP, SCALE_COUNT, SCALE_MIN
from lic_jax.gradients import lower_bound


def compand(latent: Float[Array, "*batch latent"]) -> Float[Array, "*batch companded"]:
    """Computes an input of the hyper analysis: log(1 + |y|) for the spread and tanh(y/4) for the sign, side by side.

    Latents span three decades, and their spread says more than their value. From these a hyper analysis learns sooner.
    """
    return jnp.concatenate([jnp.log1p(jnp.abs(latent)), jnp.tanh(latent / 4)], axis=-1)


def index_of_log_scale(log_scale: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """Computes the real-valued scale index in [0, 63] of a scale's natural logarithm."""
    return inside_table((log_scale - math.log(SCALE_MIN)) / LOG_SCALE_STEP)


def index_of_log_index(log_index: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """Computes the scale index from the output of a published hyper synthesis: its exp, clipped to [0, 63]."""
    return inside_table(jnp.exp(log_index))


def inside_table(index: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """Clips a scale index to [0, 63], with a gradient that still pulls it back from outside."""
    return -lower_bound(-lower_bound(index, 0.0), -(SCALE_COUNT - 1.0))


def scale_of_index(index: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """Computes the scale of an index: 0.11 · exp(index · ln(256/0.11)/63)."""
    return SCALE_MIN * jnp.exp(index * LOG_SCALE_STEP)


@jax.custom_jvp
def gaussian_mass(
    lower: Float[Array, "*shape"], upper: Float[Array, "*shape"], scale: Float[Array, "*#shape"]
) -> Float[Array, "*shape"]:
    """Computes P(lower < v ≤ upper) for v ~ N(0, scale²), each interval mirrored into the tail that keeps precision.

    The derivative is written out, because it needs only the density at the two ends.
    """
    mirrored = lower + upper > 0
    low = jnp.where(mirrored, -upper, lower) / scale
    high = jnp.where(mirrored, -lower, upper) / scale
    return jax.scipy.special.ndtr(high) - jax.scipy.special.ndtr(low)


@gaussian_mass.defjvp
def _gaussian_mass_derivative(primals, tangents):
    lower, upper, scale = primals
    lower_tangent, upper_tangent, scale_tangent = tangents
    low, high = lower / scale, upper / scale
    low_density, high_density = _standard_density(low), _standard_density(high)
    ends = high_density * upper_tangent - low_density * lower_tangent
    spread = (high * high_density - low * low_density) * scale_tangent
    return gaussian_mass(lower, upper, scale), (ends - spread) / scale


def _standard_density(values: Array) -> Array:
    return jnp.exp(-(values**2) / 2) / math.sqrt(2 * math.pi)
