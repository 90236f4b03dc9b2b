"""The layers with weights as Flax modules, and the order in which a model calls them."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float

from lic_jax.entropy.priors.integers import integer_layer
from lic_jax.transforms.convolution import convolution, transposed_convolution
from lic_jax.transforms.gdn import Normalization


class Convolution(nn.Module):
    """A biased, SAME-padded convolution; "conv5s2 N" in the tables of the papers is `Convolution(N, 5, 2)`."""

    features: int
    kernel_size: int
    stride: int

    @nn.compact
    def __call__(
        self, inputs: Float[Array, "batch height width in"]
    ) -> Float[Array, "batch height/stride width/stride features"]:
        shape = (self.kernel_size, self.kernel_size, inputs.shape[-1], self.features)
        kernel = self.param("kernel", nn.initializers.lecun_normal(), shape)
        bias = self.param("bias", nn.initializers.zeros, (self.features,))
        return convolution(inputs, kernel, self.stride) + bias


class TransposedConvolution(nn.Module):
    """A biased, SAME-padded transposed convolution ("convT" in the tables of the papers)."""

    features: int
    kernel_size: int
    stride: int

    @nn.compact
    def __call__(
        self, inputs: Float[Array, "batch height width in"]
    ) -> Float[Array, "batch height*stride width*stride features"]:
        shape = (self.kernel_size, self.kernel_size, self.features, inputs.shape[-1])
        initializer = nn.initializers.variance_scaling(
            self.stride**2, "fan_in", "truncated_normal", in_axis=(0, 1, 3), out_axis=2
        )
        kernel = self.param("kernel", initializer, shape)
        bias = self.param("bias", nn.initializers.zeros, (self.features,))
        return transposed_convolution(inputs, kernel, self.stride) + bias


class IntegerTransposedConvolution(nn.Module):
    """A transposed convolution of integers, exact on every machine; its parameters come from `transforms.integer`."""

    features: int
    kernel_size: int
    stride: int

    @nn.compact
    def __call__(
        self, inputs: Float[Array, "batch height width in"]
    ) -> Float[Array, "batch height*stride width*stride features"]:
        shape = (self.kernel_size, self.kernel_size, self.features, inputs.shape[-1])
        params = {
            "kernel": self.param("kernel", nn.initializers.zeros, shape),
            "bias": self.param("bias", nn.initializers.zeros, (self.features,)),
            "scale": self.param("scale", nn.initializers.ones, (self.features,)),
        }
        return integer_layer(jnp, params, self.stride)(inputs)


class LayerCall(NamedTuple):
    """One call of a layer with weights: where its parameters are, and the shapes that go in and come out."""

    path: tuple[str, ...]
    layer: nn.Module
    input_shape: tuple[int, ...]
    output_shape: tuple[int, ...]


def layer_calls(function: Callable, *arguments) -> list[LayerCall]:
    """The convolutions and normalizations that a function of Flax modules calls, in order; nothing is computed.

    Args:
      function: calls modules' `init` or `apply`.
      arguments: arrays, or their shapes and dtypes.
    """
    calls = []

    def record(call, positional, keywords, context):
        output = call(*positional, **keywords)
        is_layer = isinstance(context.module, Convolution | TransposedConvolution | Normalization)
        if is_layer and context.method_name == "__call__":
            calls.append(LayerCall(context.module.path, context.module, positional[0].shape, output.shape))
        return output

    with nn.intercept_methods(record):
        jax.eval_shape(function, *arguments)
    return calls
