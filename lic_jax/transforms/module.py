"""Builds Flax modules from descriptions of transforms."""

import jax
from flax import linen as nn
from jaxtyping import Array, Float

from lic_jax.transforms.description import Conv, Gain, Gate, Layers, Norm, ReLU, Scope, Sum, TransposedConv
from lic_jax.transforms.gdn import GDN1, InverseGDN1, SignedGain
from lic_jax.transforms.layers import Convolution, TransposedConvolution


def reported(module: nn.Module, values: Float[Array, "*batch units"]) -> Float[Array, "*batch units"]:
    """Returns activations as they are; who asks for the collection "activity" learns the largest of each unit."""
    module.sow("activity", "largest", values.max(axis=tuple(range(values.ndim - 1))))
    return values


class Transform(nn.Module):
    """Runs the layers of a description, one after the other; parameters have the description's names.

    Attributes:
      layers: a description.
    """

    layers: Layers

    @nn.compact
    def __call__(self, inputs: Float[Array, "batch rows columns in"]) -> Float[Array, "batch rows_out columns_out out"]:
        return self._run(self.layers, inputs)

    def _run(self, layers: Layers, values: Array) -> Array:
        for layer in layers:
            values = self._apply(layer, values)
        return values

    def _apply(self, layer, values: Array) -> Array:
        match layer:
            case Conv(name, features, kernel_size, stride):
                return Convolution(features, kernel_size, stride, name=name)(values)
            case TransposedConv(name, features, kernel_size, stride):
                return TransposedConvolution(features, kernel_size, stride, name=name)(values)
            case Norm(name, inverse):
                return (InverseGDN1 if inverse else GDN1)(name=name)(values)
            case Gain(name):
                return SignedGain(name=name)(values)
            case ReLU(slope) if slope:
                return nn.leaky_relu(values, slope)
            case ReLU():
                return reported(self, nn.relu(values))
            case Scope(name, layers):
                return Transform(layers, name=name)(values)
            case Sum(branches):
                first, *others = (self._run(branch, values) for branch in branches)
                return sum(others, start=first)
            case Gate(trunk, branch):
                # The trunk runs first, because published weights are stored in this order.
                through = self._run(trunk, values)
                return values + through * jax.nn.sigmoid(self._run(branch, values))
        raise TypeError(f"{layer!r} is not a layer")


def as_module(transform: Layers | nn.Module) -> nn.Module:
    """Returns a transform as a Flax module: built from its description, or the module itself."""
    return transform if isinstance(transform, nn.Module) else Transform(transform)
