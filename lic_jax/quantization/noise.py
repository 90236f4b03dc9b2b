"""The uniform quantizer's stand-ins for training: additive noise and straight-through rounding.

`step` is the distance between levels; it broadcasts against the values, so every image of a batch may have its own.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

NOISE = "rbg"
"""The generator of noise. On a CPU, JAX's own (threefry) takes longer to compile than the rest of a training's step."""


def additive_noise(
    key: PRNGKeyArray, values: Float[Array, "*shape"], step: Float[Array, "*broadcast"] | float = 1.0
) -> Float[Array, "*shape"]:
    """values + U(−step/2, step/2): the continuous relaxation of rounding (Ballé et al. 2017, section 3)."""
    return values + step * jax.random.uniform(key, values.shape, values.dtype, -0.5, 0.5)


@jax.custom_jvp
def straight_through(values: Float[Array, "*shape"], hard: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """Exactly `hard`, with the gradient of `values` (Bengio et al. 2013; Theis et al. 2017)."""
    return hard


@straight_through.defjvp
def _straight_through_derivative(primals, tangents):
    return straight_through(*primals), tangents[0]


def straight_through_round(
    values: Float[Array, "*shape"], step: Float[Array, "*broadcast"] | float = 1.0
) -> Float[Array, "*shape"]:
    """The nearest multiple of `step`, with the gradient of the identity."""
    return straight_through(values, step * jnp.round(values / step))
