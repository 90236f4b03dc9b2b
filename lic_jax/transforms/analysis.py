"""Analysis transforms: image → latent, stride 16. The sender runs them, so they may be large.

Each may stand beside a linear block transform whose output is added to its own: the KLT start's (DESIGN.md section 7).
With the last convolution at zero, training then starts from the best linear codec.
"""

from collections.abc import Sequence

from flax import linen as nn
from jaxtyping import Array, Float

from lic_jax.transforms.gdn import GDN1
from lic_jax.transforms.layers import Convolution
from lic_jax.transforms.residual import Attention, ResidualGroup


class LinearAnalysis(nn.Module):
    """A block transform: one 16×16 convolution with stride 16. Initialized to the KLT it is the classical codec."""

    latent_channels: int

    @nn.compact
    def __call__(self, image: Float[Array, "batch height width 3"]) -> Float[Array, "batch h w latent"]:
        return Convolution(self.latent_channels, 16, 16, name="linear")(image)


class _DeepAnalysis(nn.Module):
    """What the deep analyses share: their settings, and the block transform beside them.

    Attributes:
      latent_channels: C.
      hidden_channels: outputs of the first three convolutions.
      kernel_size: of all four.
      block_transform: whether a linear block transform is added.
    """

    latent_channels: int
    hidden_channels: Sequence[int]
    kernel_size: int = 5
    block_transform: bool = False

    def _convolution(self, index: int) -> Convolution:
        channels = (*self.hidden_channels, self.latent_channels)[index]
        return Convolution(channels, self.kernel_size, 2, name=f"convolution_{index}")

    def _beside_blocks(self, latent: Array, image: Array) -> Array:
        if not self.block_transform:
            return latent
        return latent + Convolution(self.latent_channels, 16, 16, name="linear")(image)


class CNNAnalysis(_DeepAnalysis):
    """Four convolutions with stride 2 and LeakyReLU(0.2) between them (Yang & Mandt, ICCV 2023, section 4.1)."""

    hidden_channels: Sequence[int] = (256, 256, 256)

    @nn.compact
    def __call__(self, image: Float[Array, "batch height width 3"]) -> Float[Array, "batch h w latent"]:
        hidden = image
        for index in range(3):
            hidden = nn.leaky_relu(self._convolution(index)(hidden), 0.2)
        return self._beside_blocks(self._convolution(3)(hidden), image)


class GDNAnalysis(_DeepAnalysis):
    """Four convolutions with stride 2 and GDN between them (Ballé et al. 2018; Minnen et al. 2018).

    GDN in its simplified form, which is tensorflow-compression's default and so what the published models have.
    """

    hidden_channels: Sequence[int] = (192, 192, 192)

    @nn.compact
    def __call__(self, image: Float[Array, "batch height width 3"]) -> Float[Array, "batch h w latent"]:
        hidden = image
        for index in range(3):
            hidden = GDN1(name=f"gdn_{index}")(self._convolution(index)(hidden))
        return self._beside_blocks(self._convolution(3)(hidden), image)


class ELICAnalysis(_DeepAnalysis):
    """Four convolutions with stride 2, residual blocks after each but the last, and attention twice.

    He et al., "ELIC" (CVPR 2022), figure 4.
    """

    hidden_channels: Sequence[int] = (192, 192, 192)

    @nn.compact
    def __call__(self, image: Float[Array, "batch height width 3"]) -> Float[Array, "batch h w latent"]:
        hidden = image
        for index in range(2):
            hidden = ResidualGroup(name=f"residual_{index}")(self._convolution(index)(hidden))
        hidden = Attention(name="attention_0")(hidden)
        hidden = ResidualGroup(name="residual_2")(self._convolution(2)(hidden))
        latent = Attention(name="attention_1")(self._convolution(3)(hidden))
        return self._beside_blocks(latent, image)
