"""The context prior's networks as Flax modules, for training, and on the grid for coding.

Activations and weights lie on the grid of `entropy.priors.grid` in training, too; gradients pass the rounding
unchanged.
"""

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float

from lic_jax.entropy.priors import context_exact, grid
from lic_jax.entropy.priors.context_plan import WINDOW, Step
from lic_jax.gradients import straight_through
from lic_jax.transforms.description import Layers, TransposedConv
from lic_jax.transforms.hyper_transforms import transposed_layers
from lic_jax.transforms.layers import TransposedConvolution
from lic_jax.transforms.module import reported

_LAYOUT = ("NHWC", "HWIO", "NHWC")
_SMALL = nn.initializers.variance_scaling(0.1, "fan_in", "truncated_normal")


def stepped(step: Callable, values: Array) -> Array:
    """Returns the values of a step function, with the gradient of its argument."""
    return straight_through(values, step(values))


def _rounded(is_exact: bool, on_grid: Callable[[dict], dict], tree: dict) -> dict:
    """Returns weights on the grid; those of an exact model are there and stay as they are."""
    return tree if is_exact else jax.tree.map(straight_through, tree, on_grid(jax.lax.stop_gradient(tree)))


class HyperSynthesis(nn.Module):
    """A hyper synthesis: ẑ → its last hidden layer, the features, and (μ, s) before any context, side by side.

    Attributes:
      layers: its description.
      is_exact: whether its weights are on the grid.
    """

    layers: Layers
    is_exact: bool

    @nn.compact
    def __call__(
        self, hyper_latent: Float[Array, "batch rows columns hyper"]
    ) -> tuple[Float[Array, "batch h w features"], Float[Array, "batch h w out"]]:
        first, *others = transposed_layers(self.layers)
        features = grid.signed(jnp, hyper_latent, stepped)
        outputs = self._layer(first, context_exact.SIGNED)(features)
        for layer in others:
            features = reported(self, grid.rectified(jnp, outputs, stepped))
            outputs = self._layer(layer, context_exact.RECTIFIED)(features)
        return features, grid.fine(jnp, outputs, stepped)

    def _layer(self, layer: TransposedConv, largest: int) -> TransposedConvolution:
        on_grid = partial(context_exact.layer_on_grid, jnp, largest=largest)
        weights = partial(_rounded, self.is_exact, on_grid)
        return TransposedConvolution(layer.features, layer.kernel_size, layer.stride, weights, name=layer.name)


class Stage(nn.Module):
    """The network of one stage: features, and the latents known so far in a window of 3×3 → changes of (μ, s).

    Attributes:
      step: the stage.
      width: its hidden units.
      is_exact: whether its weights are on the grid.
      kernel_size: the window; it marks this as a layer whose output is cut at an image's borders.
    """

    step: Step
    width: int
    is_exact: bool
    kernel_size: int = WINDOW

    @nn.compact
    def __call__(
        self, features: Float[Array, "batch h w features"], latent: Float[Array, "batch h w latent"]
    ) -> Float[Array, "batch h w out"]:
        step = self.step
        known = grid.signed(jnp, latent[..., : step.known_low], stepped)
        magnitudes = grid.rectified(jnp, jnp.abs(latent[..., : step.known]), stepped)
        near = jnp.concatenate([known, magnitudes], axis=-1)
        weights = self._weights(features.shape[-1], near.shape[-1])
        hidden = _product(features, weights["features"]) + weights["bias"] + _convolution(near, weights["near"])
        hidden = reported(self, grid.rectified(jnp, hidden, stepped))
        out = _product(hidden, weights["out"]) + weights["out_bias"]
        if step.is_linear:
            out = out.at[..., : step.channels].add(_convolution(known, weights["linear"]))
        return grid.fine(jnp, out, stepped)

    def _weights(self, features: int, near: int) -> dict[str, Array]:
        step, zeros, window = self.step, nn.initializers.zeros, (self.kernel_size, self.kernel_size)
        drawn = {
            "features": self.param("features", nn.initializers.he_normal(), (features, self.width)),
            "bias": self.param("bias", zeros, (self.width,)),
            "near": self.param("near", _SMALL, (*window, near, self.width)),
            "out": self.param("out", zeros, (self.width, step.outputs)),
            "out_bias": self.param("out_bias", zeros, (step.outputs,)),
        }
        if step.is_linear:
            drawn["linear"] = self.param("linear", zeros, (*window, step.known_low, step.channels))
        return _rounded(self.is_exact, partial(context_exact.stage_on_grid, jnp, step), drawn)


class Context(nn.Module):
    """The networks of the stages after the first; called with one of them. They begin by changing nothing.

    Attributes:
      width: the hidden units of each.
      is_exact: whether their weights are on the grid.
    """

    width: int
    is_exact: bool

    @nn.compact
    def __call__(
        self, step: Step, features: Float[Array, "batch h w features"], latent: Float[Array, "batch h w latent"]
    ) -> Float[Array, "batch h w out"]:
        return Stage(step, self.width, self.is_exact, name=step.name)(features, latent)


def _product(inputs: Array, kernel: Array) -> Array:
    return jnp.matmul(inputs, kernel, precision=jax.lax.Precision.HIGHEST)


def _convolution(inputs: Array, kernel: Array) -> Array:
    return jax.lax.conv_general_dilated(
        inputs, kernel, (1, 1), "SAME", dimension_numbers=_LAYOUT, precision=jax.lax.Precision.HIGHEST
    )
