"""Analysis transforms: image → latent, stride 16. The sender runs them, so they may be large."""

from collections.abc import Sequence

from flax import linen as nn
from jaxtyping import Array, Float

from lic_jax.transforms.layers import Convolution


class LinearAnalysis(nn.Module):
    """A block transform: one 16×16 convolution with stride 16. Initialized to the KLT it is the classical codec."""

    latent_channels: int

    @nn.compact
    def __call__(self, image: Float[Array, "batch height width 3"]) -> Float[Array, "batch h w latent"]:
        return Convolution(self.latent_channels, 16, 16, name="linear")(image)


class CNNAnalysis(nn.Module):
    """Four 5×5 convolutions with stride 2 and LeakyReLU(0.2) between them, beside a linear block transform.

    The convolutions are the analysis of Yang & Mandt (ICCV 2023), section 4.1. The block transform is the KLT start's
    (DESIGN.md section 7): with the last convolution at zero, training starts from the best linear codec.
    """

    latent_channels: int
    hidden_channels: Sequence[int] = (256, 256, 256)

    @nn.compact
    def __call__(self, image: Float[Array, "batch height width 3"]) -> Float[Array, "batch h w latent"]:
        hidden = image
        for index, channels in enumerate(self.hidden_channels):
            hidden = nn.leaky_relu(Convolution(channels, 5, 2, name=f"convolution_{index}")(hidden), 0.2)
        nonlinear = Convolution(self.latent_channels, 5, 2, name=f"convolution_{len(self.hidden_channels)}")(hidden)
        return nonlinear + Convolution(self.latent_channels, 16, 16, name="linear")(image)
