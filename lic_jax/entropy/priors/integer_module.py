"""The integer hyper synthesis as Flax modules; a refit of quantizers passes its gradients through them."""

from collections.abc import Callable

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float

from lic_jax.entropy.priors.integers import integer_layer, through_integer_layers
from lic_jax.gradients import straight_through
from lic_jax.transforms.description import Layers
from lic_jax.transforms.hyper_transforms import transposed_layers


class IntegerTransposedConvolution(nn.Module):
    """A transposed convolution of integers, exact on every machine; its weights come from `integers.to_integers`."""

    features: int
    kernel_size: int
    stride: int

    @nn.compact
    def __call__(
        self, inputs: Float[Array, "batch rows columns in"]
    ) -> Float[Array, "batch rows_out columns_out features"]:
        shape = (self.kernel_size, self.kernel_size, self.features, inputs.shape[-1])
        params = {
            "kernel": self.param("kernel", nn.initializers.zeros, shape),
            "bias": self.param("bias", nn.initializers.zeros, (self.features,)),
            "scale": self.param("scale", nn.initializers.ones, (self.features,)),
        }
        return integer_layer(jnp, params, self.stride)(inputs)


class IntegerHyperSynthesis(nn.Module):
    """A hyper synthesis in exact integers, made from trained weights by `integers.to_integers`.

    Gradients pass its floors unchanged, so quantizers can be fitted through it.

    Attributes:
      layers: the description of the hyper synthesis.
      scale_output: the form of the scale in the trained weights' output, as in `ModelConfig`.
    """

    layers: Layers
    scale_output: str

    @nn.compact
    def __call__(
        self, hyper_latent: Float[Array, "batch rows columns hyper"]
    ) -> tuple[Float[Array, "batch h w latent"], Float[Array, "batch h w latent"]]:
        input_scale = self.param("input_scale", nn.initializers.ones, (hyper_latent.shape[-1],))
        layers = [
            IntegerTransposedConvolution(layer.features, layer.kernel_size, layer.stride, name=layer.name)
            for layer in transposed_layers(self.layers)
        ]
        return through_integer_layers(jnp, input_scale, layers, self.scale_output, hyper_latent, _straight_through)


def _straight_through(step: Callable, smooth: Callable, values: Array) -> Array:
    return straight_through(smooth(values), step(values))
