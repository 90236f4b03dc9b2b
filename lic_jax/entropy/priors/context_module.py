"""The context prior's networks as Flax modules, for training, and on the grid for coding.

Activations lie on the grid of `entropy.priors.grid` in training, too; gradients pass the rounding unchanged.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float

from lic_jax.entropy.priors import grid
from lic_jax.entropy.priors.context_plan import WINDOW, Step
from lic_jax.gradients import straight_through
from lic_jax.transforms.description import Layers
from lic_jax.transforms.hyper_transforms import transposed_layers
from lic_jax.transforms.layers import TransposedConvolution

_LAYOUT = ("NHWC", "HWIO", "NHWC")
_SMALL = nn.initializers.variance_scaling(0.1, "fan_in", "truncated_normal")


def _straight_through(step: Callable, values: Array) -> Array:
    return straight_through(values, step(values))


class HyperSynthesis(nn.Module):
    """A hyper synthesis: ẑ → its last hidden layer, the features, and (μ, s) before any context, side by side.

    Attributes:
      layers: its description.
    """

    layers: Layers

    @nn.compact
    def __call__(
        self, hyper_latent: Float[Array, "batch rows columns hyper"]
    ) -> tuple[Float[Array, "batch h w features"], Float[Array, "batch h w out"]]:
        make = lambda layer: TransposedConvolution(layer.features, layer.kernel_size, layer.stride, name=layer.name)
        *hidden_layers, last = transposed_layers(self.layers)
        features = grid.signed(jnp, hyper_latent, _straight_through)
        for layer in hidden_layers:
            features = grid.rectified(jnp, make(layer)(features), _straight_through)
        return features, grid.fine(jnp, make(last)(features), _straight_through)


class Stage(nn.Module):
    """The network of one stage: features, and the latents known so far in a window of 3×3 → changes of (μ, s).

    Attributes:
      step: the stage.
      width: its hidden units.
      kernel_size: the window; it marks this as a layer whose output is cut at an image's borders.
    """

    step: Step
    width: int
    kernel_size: int = WINDOW

    @nn.compact
    def __call__(
        self, features: Float[Array, "batch h w features"], latent: Float[Array, "batch h w latent"]
    ) -> Float[Array, "batch h w out"]:
        step, window = self.step, (self.kernel_size, self.kernel_size)
        kernel = self.param("features", nn.initializers.he_normal(), (features.shape[-1], self.width))
        hidden = _product(features, kernel) + self.param("bias", nn.initializers.zeros, (self.width,))
        known = grid.signed(jnp, latent[..., : step.known_low], _straight_through)
        magnitudes = grid.rectified(jnp, jnp.abs(latent[..., : step.known]), _straight_through)
        inputs = jnp.concatenate([known, magnitudes], axis=-1)
        kernel = self.param("near", _SMALL, (*window, inputs.shape[-1], self.width))
        hidden = grid.rectified(jnp, hidden + _convolution(inputs, kernel), _straight_through)
        out = _product(hidden, self.param("out", nn.initializers.zeros, (self.width, 2 * step.channels)))
        out += self.param("out_bias", nn.initializers.zeros, (2 * step.channels,))
        if step.is_linear:
            kernel = self.param("linear", nn.initializers.zeros, (*window, step.known_low, step.channels))
            out = out.at[..., : step.channels].add(_convolution(known, kernel))
        return grid.fine(jnp, out, _straight_through)


class Context(nn.Module):
    """The networks of the stages after the first; called with one of them. They begin by changing nothing.

    Attributes:
      width: the hidden units of each.
    """

    width: int

    @nn.compact
    def __call__(
        self, step: Step, features: Float[Array, "batch h w features"], latent: Float[Array, "batch h w latent"]
    ) -> Float[Array, "batch h w out"]:
        return Stage(step, self.width, name=step.name)(features, latent)


def _product(inputs: Array, kernel: Array) -> Array:
    return jnp.matmul(inputs, kernel, precision=jax.lax.Precision.HIGHEST)


def _convolution(inputs: Array, kernel: Array) -> Array:
    return jax.lax.conv_general_dilated(
        inputs, kernel, (1, 1), "SAME", dimension_numbers=_LAYOUT, precision=jax.lax.Precision.HIGHEST
    )
