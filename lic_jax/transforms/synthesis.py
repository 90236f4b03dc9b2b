"""Synthesis transforms: latent → image. The receiver runs them, so they are shallow (Yang & Mandt, ICCV 2023)."""

from flax import linen as nn
from jaxtyping import Array, Float

from lic_jax.transforms.gdn import InverseGDN1
from lic_jax.transforms.layers import TransposedConvolution


class JPEGLikeSynthesis(nn.Module):
    """One transposed convolution, kernel 18, stride 16: like JPEG's inverse transform, with blocks that overlap."""

    @nn.compact
    def __call__(self, latent: Float[Array, "batch h w latent"]) -> Float[Array, "batch height width 3"]:
        return TransposedConvolution(3, 18, 16, name="layer_0")(latent)


class TwoLayerSynthesis(nn.Module):
    """convT13s8 to `hidden_channels` · iGDN1 · convT5s2 to the image."""

    hidden_channels: int = 24

    @nn.compact
    def __call__(self, latent: Float[Array, "batch h w latent"]) -> Float[Array, "batch height width 3"]:
        hidden = TransposedConvolution(self.hidden_channels, 13, 8, name="layer_0")(latent)
        return TransposedConvolution(3, 5, 2, name="layer_1")(InverseGDN1(name="inverse_gdn")(hidden))
