"""Differentiable stand-ins for quantization in training, because a staircase has no gradient.

Two tasks need one. To train an *anchor*, whose quantizer is uniform, a `StandIn` gives the values that the rate and
the synthesis see. To *fit quantizers* to a frozen anchor, a `SoftDecision` makes the decisions between levels soft
and gives the values and their bits. Both are functions that an objective takes as an argument.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray, ScalarLike

from lic_jax.gradients import lower_bound
from lic_jax.quantization.bins import soft_bins
from lic_jax.quantization.fixed_point import EdgeKind
from lic_jax.quantization.noise import additive_noise, straight_through_round
from lic_jax.quantization.rows import QuantizerOfRows
from lic_jax.quantization.stanh import STanH
from lic_jax.quantization.windowed import soft_windowed

MASS_MIN = 1e-9
"""The lower bound of every likelihood."""

_WINDOW = 8
"""Thresholds whose tanh is computed for each value: all unsaturated ones if β · spacing is 3 or more."""

StandIn = Callable[[PRNGKeyArray, Array, Array | float], tuple[Array, Array]]
"""(key, values, step) → (values that the rate is estimated for, values that the synthesis sees)."""


def bits(mass: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """Computes −log₂ of a probability, bounded at 1e-9 (with a gradient that still pulls it up from there)."""
    return -jnp.log2(lower_bound(mass, MASS_MIN))


def mixed(
    key: PRNGKeyArray, values: Float[Array, "*shape"], step: Float[Array, "*broadcast"] | float
) -> tuple[Float[Array, "*shape"], Float[Array, "*shape"]]:
    """Adds noise for the rate, and rounds with straight-through gradients for the synthesis (Minnen & Singh 2020)."""
    return additive_noise(key, values, step), straight_through_round(values, step)


def noise(
    key: PRNGKeyArray, values: Float[Array, "*shape"], step: Float[Array, "*broadcast"] | float
) -> tuple[Float[Array, "*shape"], Float[Array, "*shape"]]:
    """Adds the same noise for rate and synthesis (Ballé et al. 2017)."""
    noisy = additive_noise(key, values, step)
    return noisy, noisy


class Softened(NamedTuple):
    """Values after soft decisions.

    Attributes:
      values: the values that the synthesis sees.
      bits: the bits of each value.
      gap: the mean distance |soft − hard|, for annealing schedules.
    """

    values: Float[Array, "*shape"]
    bits: Float[Array, "*shape"]
    gap: Float[Array, ""]


Mass = Callable[[Array, Array], Array]
"""(lower, upper) → the prior probability of the interval."""

SoftDecision = Callable[[QuantizerOfRows, Array, ScalarLike, Mass, EdgeKind], Softened]
"""(quantizer, values, inverse temperature β, mass, kind of bin edges) → `Softened`."""


def expected(
    quantizer: QuantizerOfRows,
    values: Float[Array, "*shape"],
    inverse_temperature: ScalarLike,
    mass: Mass,
    edges: EdgeKind,
) -> Softened:
    """Averages level and code length over the two symbols beside each value's nearest threshold.

    For β → ∞ these are the codec's own. The value is s_β, the soft staircase; the bits, unlike those of `staircase`,
    are the mean of code lengths that a codec can really write.
    """
    index, weight = quantizer.soft(values, inverse_temperature)
    low_level, high_level = quantizer.level(index), quantizer.level(index + 1)
    low, middle, high = (quantizer.edge(index + offset, edges) for offset in range(3))
    cost = (1 - weight) * bits(mass(low, middle)) + weight * bits(mass(middle, high))
    distance = jnp.abs(weight - jnp.round(weight)) * jnp.diff(quantizer.quantizer.levels)[index]
    return Softened(low_level + weight * (high_level - low_level), cost, jnp.mean(distance))


def staircase(
    quantizer: QuantizerOfRows,
    values: Float[Array, "*shape"],
    inverse_temperature: ScalarLike,
    mass: Mass,
    edges: EdgeKind,
) -> Softened:
    """Relaxes as in the paper: the soft staircase's value v, and the mass of the bin around v (Presta et al. 2025).

    The bin is `bins.soft_bins`; for a uniform quantizer it is additive noise's. The kind of edges is ignored. For
    STanH, v is the sum of tanh over the nearest thresholds, because the others are saturated.
    """
    del edges
    own = quantizer.quantizer
    index, weight = quantizer.soft(values, inverse_temperature)
    low, high = own.levels[index], own.levels[index + 1]
    low_outward, high_outward = quantizer.level(index) - low, quantizer.level(index + 1) - high
    outward = low_outward + weight * (high_outward - low_outward)
    soft = low + weight * (high - low)
    if isinstance(own, STanH):
        soft = soft_windowed(own, quantizer.inward(values), inverse_temperature, _WINDOW)
    symbols = quantizer.symbols(values)
    lower, upper = soft_bins(own, soft, symbols)
    gap = jnp.mean(jnp.abs(soft - own.levels[symbols]))
    return Softened(soft + outward, bits(mass(lower, upper)), gap)
