"""Hyper transforms: the side information that tells the receiver the mean and scale of every latent."""

from collections.abc import Callable

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float

from lic_jax.entropy.priors.integers import through_integer_layers
from lic_jax.quantization.noise import straight_through
from lic_jax.transforms.layers import Convolution, IntegerTransposedConvolution, TransposedConvolution


def compand(latent: Float[Array, "*batch latent"]) -> Float[Array, "*batch 2*latent"]:
    """log(1 + |y|) for the spread and tanh(y/4) for the sign, side by side.

    Latents span three decades, and their spread says more than their value: so fed, a hyper analysis learns sooner.
    """
    return jnp.concatenate([jnp.log1p(jnp.abs(latent)), jnp.tanh(latent / 4)], axis=-1)


class HyperAnalysis(nn.Module):
    """conv3s1, ReLU · conv5s2, ReLU · conv5s2 (Minnen et al. 2018)."""

    channels: int

    @nn.compact
    def __call__(self, inputs: Float[Array, "batch h w in"]) -> Float[Array, "batch h/4 w/4 channels"]:
        hidden = nn.relu(Convolution(self.channels, 3, 1, name="convolution_0")(inputs))
        hidden = nn.relu(Convolution(self.channels, 5, 2, name="convolution_1")(hidden))
        return Convolution(self.channels, 5, 2, name="convolution_2")(hidden)


class HyperSynthesis(nn.Module):
    """Transposed convolutions with ReLU between them → mean and scale output.

    Standard: convT5s2 N · convT5s2 1.5 N · convT3s1 2C (Minnen et al. 2018); JPEG-like: one convT6s4 2C (Yang & Mandt
    2023). Made of plain layers alone, so that it can be computed in exact integers.

    Attributes:
      layers: (kernel size, stride, output channels) of each.
    """

    layers: tuple[tuple[int, int, int], ...]

    @nn.compact
    def __call__(
        self, hyper_latent: Float[Array, "batch h/4 w/4 channels"]
    ) -> tuple[Float[Array, "batch h w latent"], Float[Array, "batch h w latent"]]:
        hidden = hyper_latent
        for index, (kernel_size, stride, features) in enumerate(self.layers):
            hidden = hidden if index == 0 else nn.relu(hidden)
            hidden = TransposedConvolution(features, kernel_size, stride, name=f"layer_{index}")(hidden)
        mean, scale_output = jnp.split(hidden, 2, axis=-1)
        return mean, scale_output


class IntegerHyperSynthesis(nn.Module):
    """Either hyper synthesis in exact integers, made from trained weights by `transforms.integer.to_integers`.

    Gradients pass its floors unchanged, so quantizers can be fitted through it.

    Attributes:
      layers: (kernel size, stride, output channels) of each transposed convolution.
      scale_output: what the trained weights put out for the scale, as in `ModelConfig`.
    """

    layers: tuple[tuple[int, int, int], ...]
    scale_output: str

    @nn.compact
    def __call__(
        self, hyper_latent: Float[Array, "batch h/4 w/4 channels"]
    ) -> tuple[Float[Array, "batch h w latent"], Float[Array, "batch h w latent"]]:
        input_scale = self.param("input_scale", nn.initializers.ones, (hyper_latent.shape[-1],))
        layers = [
            IntegerTransposedConvolution(features, kernel_size, stride, name=f"layer_{index}")
            for index, (kernel_size, stride, features) in enumerate(self.layers)
        ]
        return through_integer_layers(jnp, input_scale, layers, self.scale_output, hyper_latent, _straight_through)


def _straight_through(step: Callable, smooth: Callable, values: Array) -> Array:
    return straight_through(smooth(values), step(values))
