"""Functions of thresholds and levels, for every fitted quantizer (`quantization.base.FittedQuantizer`)."""

from collections.abc import Callable

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from lic_jax.quantization.base import FittedQuantizer
from lic_jax.quantization.counting import count_below
from lic_jax.quantization.fixed_point import FixedPointQuantizer, to_fixed_point


def components_of(quantizer: FittedQuantizer) -> int:
    """Returns T, the number of thresholds; there is one level more."""
    return quantizer.thresholds.shape[-1]


def symbols(quantizer: FittedQuantizer, values: Float[Array, "*shape"]) -> Int[Array, "*shape"]:
    """Returns k(v) = #{i : v > b_i}, in [0, T]: the integers that are coded."""
    return count_below(quantizer.thresholds, values)


def nearer_beside(
    threshold: Callable[[Array], Array], components: int, symbols: Int[Array, "*shape"], values: Float[Array, "*shape"]
) -> Int[Array, "*shape"]:
    """Returns the index of the nearer of the two thresholds beside each value; midway, of the upper one."""
    if components == 1:
        return jnp.zeros_like(symbols)
    above = jnp.clip(symbols, 1, components - 1)
    return jnp.where(values - threshold(above - 1) < threshold(above) - values, above - 1, above)


def in_fixed_point(quantizers: FittedQuantizer, bin_edges: str) -> tuple[FixedPointQuantizer, ...]:
    """Converts a stack of K staircases to integers."""
    pairs = zip(np.asarray(quantizers.levels), np.asarray(quantizers.thresholds), strict=True)
    return tuple(
        to_fixed_point(np.diff(levels), thresholds, bin_edges, centre_of(levels)) for levels, thresholds in pairs
    )


def centre_of(levels: Float[np.ndarray, " levels"]) -> float:
    """Returns the point halfway between the outermost levels: 0 for STanH, whose ends are equally far from zero."""
    return float(np.float64(levels[0]) + np.float64(levels[-1])) / 2
