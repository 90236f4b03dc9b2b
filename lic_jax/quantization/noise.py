"""The uniform quantizer's stand-ins for training: additive noise and straight-through rounding.

`step` is the distance between levels; it broadcasts against the values, so every image of a batch may have its own.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from lic_jax.gradients import straight_through

NOISE = "rbg"
"""The generator of noise. On a CPU, JAX's default (threefry) compiles longer than the rest of a training step."""


def additive_noise(
    key: PRNGKeyArray, values: Float[Array, "*shape"], step: Float[Array, "*broadcast"] | float = 1.0
) -> Float[Array, "*shape"]:
    """Returns values + U(−step/2, step/2), the continuous relaxation of rounding (Ballé et al. 2017, section 3)."""
    return values + step * jax.random.uniform(key, values.shape, values.dtype, -0.5, 0.5)


def straight_through_round(
    values: Float[Array, "*shape"], step: Float[Array, "*broadcast"] | float = 1.0
) -> Float[Array, "*shape"]:
    """Rounds to the nearest multiple of `step`, with the gradient of the identity."""
    return straight_through(values, step * jnp.round(values / step))
