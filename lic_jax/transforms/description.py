"""Descriptions of transforms as data: tuples of layers, applied one after the other.

One description has many uses: Flax builds a module from it (`transforms.module`), NumPy runs it
(`transforms.receiver`), the loader checks weights against it, complexity is counted from it, and published models are
matched to it.

    (TransposedConv("layer_0", 24, 13, 8), Norm("inverse_gdn", inverse=True), TransposedConv("layer_1", 3, 5, 2))

No framework is imported here.
"""

import dataclasses
from collections.abc import Iterator
from fractions import Fraction
from typing import NamedTuple, TypeAlias

from lic_jax.transforms.phases import first_tap


@dataclasses.dataclass(frozen=True)
class Conv:
    """A biased, SAME-padded convolution; "conv5s2 N" in the papers is `Conv(name, N, 5, 2)`."""

    name: str
    features: int
    kernel_size: int
    stride: int = 1


@dataclasses.dataclass(frozen=True)
class TransposedConv:
    """A biased, SAME-padded transposed convolution ("convT" in the papers)."""

    name: str
    features: int
    kernel_size: int
    stride: int = 1


PEDESTAL, BETA_FLOOR = 2.0**-36, 1e-6
"""A normalization stores roots: r stands for max(r, bound)² − PEDESTAL, with β no less than BETA_FLOOR and Γ than 0."""


@dataclasses.dataclass(frozen=True)
class Norm:
    """Simplified GDN, x / (β + Γ|x|), or its inverse, x · (β + Γ|x|)."""

    name: str
    inverse: bool = False


GAIN_FLOOR = 2.0**-8
"""The least factor of a gain, so that it keeps the sign."""


@dataclasses.dataclass(frozen=True)
class Gain:
    """A gain, x · max(β + Γ|x|, GAIN_FLOOR), with Γ of either sign; it starts as the identity.

    An inverse GDN can only expand, and its roots stop learning at zero. A gain may compress, too, and its β and Γ are
    stored as they are.
    """

    name: str


@dataclasses.dataclass(frozen=True)
class ReLU:
    """max(x, slope · x); a slope above 0 makes it leaky."""

    slope: float = 0.0


@dataclasses.dataclass(frozen=True)
class Scope:
    """Layers whose parameters lie below a common name."""

    name: str
    layers: "Layers"


@dataclasses.dataclass(frozen=True)
class Sum:
    """The sum of branches that all see the same input; a branch without layers is the input itself."""

    branches: tuple["Layers", ...]


@dataclasses.dataclass(frozen=True)
class Gate:
    """x + trunk(x) · sigmoid(branch(x))."""

    trunk: "Layers"
    branch: "Layers"


Layer: TypeAlias = Conv | TransposedConv | Norm | Gain | ReLU | Scope | Sum | Gate
Layers: TypeAlias = tuple[Layer, ...]


class Use(NamedTuple):
    """One layer with weights, where the signal meets it.

    Attributes:
      path: the names that lead to its parameters.
      layer: the layer.
      in_channels, out_channels: the channels of its input and output.
      in_scale, out_scale: positions of its input and output along an axis, per position of the transform's input.
    """

    path: tuple[str, ...]
    layer: Conv | TransposedConv | Norm | Gain
    in_channels: int
    out_channels: int
    in_scale: Fraction
    out_scale: Fraction

    @property
    def parameter_shapes(self) -> dict[str, tuple[int, ...]]:
        """The shapes of its parameters by name, in the order in which published models store them."""
        if isinstance(self.layer, Norm):
            return {"beta_root": (self.in_channels,), "gamma_root": (self.in_channels, self.in_channels)}
        if isinstance(self.layer, Gain):
            return {"beta": (self.in_channels,), "gamma": (self.in_channels, self.in_channels)}
        size = self.layer.kernel_size
        channels = (self.in_channels, self.out_channels)
        if isinstance(self.layer, TransposedConv):
            channels = channels[::-1]
        return {"kernel": (size, size, *channels), "bias": (self.out_channels,)}


def uses(layers: Layers, in_channels: int) -> list[Use]:
    """Lists the layers with weights, in the order in which the signal meets them."""
    found: list[Use] = []
    _walk(layers, (), in_channels, Fraction(1), found)
    return found


def _walk(
    layers: Layers, path: tuple[str, ...], channels: int, scale: Fraction, found: list[Use]
) -> tuple[int, Fraction]:
    """Appends the layers' uses; returns the channels and the scale behind the last one."""
    for layer in layers:
        if isinstance(layer, Scope):
            channels, scale = _walk(layer.layers, (*path, layer.name), channels, scale, found)
        elif isinstance(layer, Sum | Gate):
            branches = layer.branches if isinstance(layer, Sum) else (layer.trunk, layer.branch)
            ends = [_walk(branch, path, channels, scale, found) for branch in branches]
            channels, scale = ends[0]
        elif isinstance(layer, Conv | TransposedConv | Norm | Gain):
            features = channels if isinstance(layer, Norm | Gain) else layer.features
            after = scale
            if isinstance(layer, Conv):
                after = scale / layer.stride
            elif isinstance(layer, TransposedConv):
                after = scale * layer.stride
            found.append(Use((*path, layer.name), layer, channels, features, scale, after))
            channels, scale = features, after
    return channels, scale


def parameter_shapes(layers: Layers, in_channels: int) -> dict[str, tuple[int, ...]]:
    """Returns the shapes of all parameters, by names joined with slashes."""
    return {
        "/".join((*use.path, name)): shape
        for use in uses(layers, in_channels)
        for name, shape in use.parameter_shapes.items()
    }


def kernel_sizes(layers: Layers) -> tuple[int, ...]:
    """Returns the kernel sizes along the main path, first layer first; the main path takes a sum's first branch."""
    return tuple(layer.kernel_size for layer in _main_path(layers))


def _main_path(layers: Layers) -> Iterator[Conv | TransposedConv]:
    for layer in layers:
        if isinstance(layer, Conv | TransposedConv):
            yield layer
        elif isinstance(layer, Sum):
            yield from _main_path(layer.branches[0])


def is_shallow(layers: object) -> bool:
    """Returns whether a receiver can run a transform in NumPy: transposed convolutions (two at most), norms, sums.

    A deep synthesis would take NumPy minutes, and a Flax module does not run in NumPy: both need JAX.
    """
    return isinstance(layers, tuple) and _runs_in_numpy(layers) and len(kernel_sizes(layers)) <= 2


def _runs_in_numpy(layers: Layers) -> bool:
    return all(
        isinstance(layer, TransposedConv | Gain)
        or (isinstance(layer, Norm) and layer.inverse)
        or (isinstance(layer, Sum) and all(map(_runs_in_numpy, layer.branches)))
        for layer in layers
    )


def halo(layers: Layers) -> int:
    """Returns how many rows of a shallow transform's input an output depends on, on either side of its own."""
    return _reach(layers, 0)


def _reach(layers: Layers, reach: int) -> int:
    """Converts a reach in rows of the output to rows of the input."""
    for layer in reversed(layers):
        if isinstance(layer, Sum):
            reach = max(_reach(branch, reach) for branch in layer.branches)
        elif isinstance(layer, TransposedConv):
            before = first_tap(layer.kernel_size, layer.stride)
            after = max(layer.kernel_size - 1 - before, layer.stride - 1 + before)
            reach = (reach + after) // layer.stride
    return reach
