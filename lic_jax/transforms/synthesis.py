"""Synthesis transforms: latent → image.

The receiver runs them, so ours are shallow (Yang & Mandt, ICCV 2023). The deep ones mirror the analyses: they are the
baselines that the shallow ones are measured against.
"""

from collections.abc import Sequence

from flax import linen as nn
from jaxtyping import Array, Float

from lic_jax.transforms.gdn import InverseGDN1
from lic_jax.transforms.layers import TransposedConvolution
from lic_jax.transforms.residual import Attention, ResidualGroup


class JPEGLikeSynthesis(nn.Module):
    """One transposed convolution, stride 16: like JPEG's inverse transform, with blocks that overlap."""

    kernel_size: int = 18

    @nn.compact
    def __call__(self, latent: Float[Array, "batch h w latent"]) -> Float[Array, "batch height width 3"]:
        return TransposedConvolution(3, self.kernel_size, 16, name="layer_0")(latent)


class TwoLayerSynthesis(nn.Module):
    """convT13s8 to `hidden_channels` · iGDN1 · convT5s2 to the image."""

    hidden_channels: int = 24
    kernel_sizes: tuple[int, int] = (13, 5)

    @nn.compact
    def __call__(self, latent: Float[Array, "batch h w latent"]) -> Float[Array, "batch height width 3"]:
        first, last = self.kernel_sizes
        hidden = TransposedConvolution(self.hidden_channels, first, 8, name="layer_0")(latent)
        return TransposedConvolution(3, last, 2, name="layer_1")(InverseGDN1(name="inverse_gdn")(hidden))


class TwoLayerResidualSynthesis(nn.Module):
    """u = iGDN1(convT13s8 y) + convT13s8' y · convT5s2 u to the image: a linear path beside the normalized one."""

    hidden_channels: int = 12
    kernel_sizes: tuple[int, int] = (13, 5)

    @nn.compact
    def __call__(self, latent: Float[Array, "batch h w latent"]) -> Float[Array, "batch height width 3"]:
        first, last = self.kernel_sizes
        hidden = TransposedConvolution(self.hidden_channels, first, 8, name="layer_0")(latent)
        hidden = InverseGDN1(name="inverse_gdn")(hidden)
        hidden = hidden + TransposedConvolution(self.hidden_channels, first, 8, name="residual")(latent)
        return TransposedConvolution(3, last, 2, name="layer_1")(hidden)


class _DeepSynthesis(nn.Module):
    """What the deep syntheses share.

    Attributes:
      hidden_channels: outputs of the first three transposed convolutions.
      kernel_size: of all four.
    """

    hidden_channels: Sequence[int]
    kernel_size: int = 5

    def _layer(self, index: int) -> TransposedConvolution:
        channels = (*self.hidden_channels, 3)[index]
        return TransposedConvolution(channels, self.kernel_size, 2, name=f"layer_{index}")


class CNNSynthesis(_DeepSynthesis):
    """The mirror of `CNNAnalysis`: four transposed convolutions with LeakyReLU(0.2) between them."""

    hidden_channels: Sequence[int] = (256, 256, 256)

    @nn.compact
    def __call__(self, latent: Float[Array, "batch h w latent"]) -> Float[Array, "batch height width 3"]:
        hidden = latent
        for index in range(3):
            hidden = nn.leaky_relu(self._layer(index)(hidden), 0.2)
        return self._layer(3)(hidden)


class GDNSynthesis(_DeepSynthesis):
    """The mirror of `GDNAnalysis`: four transposed convolutions with inverse GDN between them."""

    hidden_channels: Sequence[int] = (192, 192, 192)

    @nn.compact
    def __call__(self, latent: Float[Array, "batch h w latent"]) -> Float[Array, "batch height width 3"]:
        hidden = latent
        for index in range(3):
            hidden = InverseGDN1(name=f"inverse_gdn_{index}")(self._layer(index)(hidden))
        return self._layer(3)(hidden)


class ELICSynthesis(_DeepSynthesis):
    """The mirror of `ELICAnalysis`."""

    hidden_channels: Sequence[int] = (192, 192, 192)

    @nn.compact
    def __call__(self, latent: Float[Array, "batch h w latent"]) -> Float[Array, "batch height width 3"]:
        hidden = self._layer(0)(Attention(name="attention_0")(latent))
        hidden = self._layer(1)(ResidualGroup(name="residual_0")(hidden))
        hidden = ResidualGroup(name="residual_1")(Attention(name="attention_1")(hidden))
        hidden = ResidualGroup(name="residual_2")(self._layer(2)(hidden))
        return self._layer(3)(hidden)
