"""Your own distortion, in five lines: errors in luma count more than errors in chroma."""

import jax.numpy as jnp
from jaxtyping import Array, Float

from lic_jax import registry

LUMA, CHROMA_WEIGHT = jnp.array([0.299, 0.587, 0.114]), 0.2


def luma_error(
    image: Float[Array, "batch height width 3"], reference: Float[Array, "batch height width 3"]
) -> Float[Array, " batch"]:
    """Squared error on the 0–255 scale: of luma, and a fifth of what is left beside it."""
    error = 255 * (image - reference)
    luma = jnp.sum(LUMA * error, axis=-1, keepdims=True)
    return jnp.mean(luma**2 + CHROMA_WEIGHT * (error - luma) ** 2, axis=(1, 2, 3))


registry.DISTORTIONS.register("luma", luma_error)
