"""The layers with weights, as Flax modules."""

from collections.abc import Callable

from flax import linen as nn
from jaxtyping import Array, Float

from lic_jax.transforms.convolution import convolution, transposed_convolution


class Convolution(nn.Module):
    """A biased, SAME-padded convolution; "conv5s2 N" in the tables of the papers is `Convolution(N, 5, 2)`."""

    features: int
    kernel_size: int
    stride: int

    @nn.compact
    def __call__(
        self, inputs: Float[Array, "batch height width in"]
    ) -> Float[Array, "batch height_out width_out features"]:
        shape = (self.kernel_size, self.kernel_size, inputs.shape[-1], self.features)
        kernel = self.param("kernel", nn.initializers.lecun_normal(), shape)
        bias = self.param("bias", nn.initializers.zeros, (self.features,))
        return convolution(inputs, kernel, self.stride) + bias


class TransposedConvolution(nn.Module):
    """A biased, SAME-padded transposed convolution ("convT" in the tables of the papers).

    Attributes:
      features, kernel_size, stride: its shape.
      weights: {kernel, bias} → those that it computes with, for weights that are rounded in training.
    """

    features: int
    kernel_size: int
    stride: int
    weights: Callable[[dict], dict] | None = None

    @nn.compact
    def __call__(
        self, inputs: Float[Array, "batch height width in"]
    ) -> Float[Array, "batch height_out width_out features"]:
        shape = (self.kernel_size, self.kernel_size, self.features, inputs.shape[-1])
        initializer = nn.initializers.variance_scaling(
            self.stride**2, "fan_in", "truncated_normal", in_axis=(0, 1, 3), out_axis=2
        )
        tree = {
            "kernel": self.param("kernel", initializer, shape),
            "bias": self.param("bias", nn.initializers.zeros, (self.features,)),
        }
        tree = self.weights(tree) if self.weights else tree
        return transposed_convolution(inputs, tree["kernel"], self.stride) + tree["bias"]
