"""Your own transforms, in both forms.

`two_paths` is a description: layers that exist, put together anew. NumPy decodes it, complexity counts it, the loader
checks it. `Residue` is a Flax module that no description covers: JAX trains it, codes and decodes with it.
"""

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float

from lic_jax import registry
from lic_jax.config import ModelConfig, widths
from lic_jax.transforms.description import Layers, Norm, Sum, TransposedConv
from lic_jax.transforms.layers import TransposedConvolution


def two_paths(config: ModelConfig) -> Layers:
    """A synthesis: the JPEG-like path beside the two-layer one, added in the image."""
    (width,) = widths(config, "synthesis_channels", 1)
    hidden = (
        *(TransposedConv("layer_0", width, 13, 8), Norm("inverse_gdn", inverse=True)),
        TransposedConv("layer_1", 3, 5, 2),
    )
    return (Sum((hidden, (TransposedConv("blocks", 3, 18, 16),))),)


class Residue(nn.Module):
    """A synthesis: blocks of 16 × 16 pixels, and a sine of another such path for what is periodic."""

    @nn.compact
    def __call__(self, latent: Float[Array, "batch h w latent"]) -> Float[Array, "batch height width 3"]:
        blocks = TransposedConvolution(3, 18, 16, name="blocks")(latent)
        waves = TransposedConvolution(3, 18, 16, name="waves")(latent)
        return blocks + 0.1 * jnp.sin(waves)


registry.SYNTHESES.register("two_paths", two_paths)
registry.SYNTHESES.register("residue", lambda config: Residue())
