"""Networks whose sums are exact in float32, because every number is a whole multiple of a power of two.

Activations are multiples of 1/16. The weights of an output are multiples of a power of two of its own, at most 255 of
them, and are chosen so that the sum of all |weight · activation| stays below 2²⁴ of the products' units. Then float32
holds every partial sum exactly: in any order, fused or not, on every machine (docs/design.md, rule 1). Nothing has to
be rescaled: a network is trained with activations and weights on the grid (`on_grid`).
No framework is imported here: the array module is an argument.
"""

from collections.abc import Callable, Sequence

import numpy as np

from lic_jax.errors import LicError

UNIT = 1 / 16
"""The distance between activations."""

ACTIVATION_MAX = 255
"""The largest rectified activation, in units."""

SIGNED_MAX = 2047
"""The largest magnitude of a signed input, in units: ±128."""

_FINE_UNIT, _FINE_MAX = 2.0**-10, 2.0**12
_COARSE_UNIT = 1 / 8
_WEIGHT_MAX = 255
_SUM_LIMIT = 1 << 24
_FINEST = 24
"""A weight's unit is 2⁻²⁴ or more, so that half precision stores it exactly."""


def without_gradient(step: Callable, values):
    """Applies a step function without a gradient, for a receiver."""
    return step(values)


def rectified(xp, values, quantize: Callable = without_gradient):
    """Rounds values to the grid between 0 and 255/16: the activation of a hidden layer.

    Args:
      xp: numpy or jax.numpy.
      values: any float32 array.
      quantize: (a step function, values) → the step function's values; training passes one with gradients.
    """
    return quantize(lambda inner: _nearest(xp, inner), xp.clip(values, 0, np.float32(ACTIVATION_MAX * UNIT)))


def signed(xp, values, quantize: Callable = without_gradient):
    """Rounds values to the grid between ±2047/16: an input that has a sign."""
    most = np.float32(SIGNED_MAX * UNIT)
    return quantize(lambda inner: _nearest(xp, inner), xp.clip(values, -most, most))


def fine(xp, values, quantize: Callable = without_gradient):
    """Rounds outputs to multiples of 2⁻¹⁰ between ±4096: float32 holds a sum of two of them exactly."""
    most = np.float32(_FINE_MAX)
    return quantize(lambda inner: _nearest(xp, inner, _FINE_UNIT), xp.clip(values, -most, most))


def coarse(xp, values, quantize: Callable = without_gradient):
    """Rounds means to multiples of 1/8; small ones become zero, so that most latents do, and a synthesis skips them."""
    return quantize(lambda inner: _nearest(xp, inner, _COARSE_UNIT), values)


def _nearest(xp, values, unit: float = UNIT):
    return xp.floor(values * np.float32(1 / unit) + np.float32(0.5)) * np.float32(unit)


def on_grid(xp, bias, kernels: Sequence, largest: Sequence[int]) -> tuple:
    """Rounds the weights of a layer: to the finest grid, one for each output, on which all sums are exact.

    Args:
      xp: numpy, for a receiver's weights; or jax.numpy, for training, where an output whose weights just fit may get
        a grid of half as many steps.
      bias: [out].
      kernels: [..., out] each, for inputs that are added up.
      largest: the largest magnitude of each kernel's inputs, in units.

    Returns:
      The bias and the kernels, float32.
    """
    wide = np.float64 if xp is np else np.float32
    bias, *kernels = (xp.asarray(array, wide) for array in (bias, *kernels))
    flat = [xp.abs(kernel).reshape(-1, kernel.shape[-1]) for kernel in kernels]
    most_weight = xp.maximum(xp.max(xp.concatenate(flat), axis=0), 1e-12)
    sums = sum(kernel.sum(axis=0) * most for kernel, most in zip(flat, largest, strict=True))
    sums = sums + xp.abs(bias) / UNIT + 1e-12
    room = _SUM_LIMIT - 1 - sum(len(kernel) * most for kernel, most in zip(flat, largest, strict=True))
    exponent = xp.floor(xp.minimum(xp.log2(_WEIGHT_MAX / most_weight), xp.log2(room / sums)))
    scale = xp.ldexp(wide(1), xp.minimum(exponent, _FINEST).astype(np.int32))
    rounded = [xp.rint(kernel * scale) / scale for kernel in kernels]
    own_bias = xp.rint(bias * scale / UNIT) * UNIT / scale
    return tuple(array.astype(np.float32) for array in (own_bias, *rounded))


def check(name: str, bias: np.ndarray, kernels: Sequence[np.ndarray], largest: Sequence[int]) -> None:
    """Raises LicError unless the sums of a layer are exact.

    Args:
      name: the layer's name, for the error.
      bias, kernels, largest: as in `on_grid`.
    """
    flat = [np.asarray(kernel, np.float64).reshape(-1, kernel.shape[-1]) for kernel in kernels]
    fits = False
    if all(np.all(np.isfinite(array)) for array in (bias, *flat)):
        own_bias = np.asarray(bias, np.float64)[None] / UNIT
        unit = np.min([_coarsest_unit(np.abs(array)).min(axis=0) for array in (own_bias, *flat)], axis=0)
        sums = sum(np.abs(kernel).sum(axis=0) * most for kernel, most in zip(flat, largest, strict=True))
        whole = all(np.array_equal(np.rint(array / unit) * unit, array) for array in (own_bias, *flat))
        fits = whole and bool(np.all((sums + np.abs(own_bias[0])) / unit < _SUM_LIMIT))
    if not fits:
        raise LicError(f"{name} breaks the bounds of exact sums; copy the weights file again")


def _coarsest_unit(values: np.ndarray) -> np.ndarray:
    """Returns the largest power of two from the finest to 1 of which each value, 0 or more, is a whole multiple."""
    finest = np.rint(np.minimum(values, 2.0**30) * 2.0**_FINEST).astype(np.int64)
    lowest_bit = np.where(finest == 0, 1 << _FINEST, finest & -finest)
    return np.minimum(lowest_bit * 2.0**-_FINEST, 1.0)
