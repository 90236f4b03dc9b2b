"""STanH: a quantizer made of learnable tanh steps (Presta et al., TIP 2025, arXiv 2410.00557).

    soft:   s_β(v) = Σ_i (w_i/2) · tanh(β (v − b_i))
    levels: c_0 = −½ Σ w,  c_k = c_{k−1} + w_k              (T components make T + 1 levels)
    hard:   symbol k(v) = #{i : v > b_i},  value c_{k(v)}    (the limit β → ∞)

A quantizer is a pytree of arrays. Every function here is pure and works under jit, vmap and grad. A stack of K
quantizers on a leading axis is K quantizers under vmap.
"""

from typing import cast

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from jax.core import Tracer
from jaxtyping import Array, Float, Integer, ScalarLike
from scipy.optimize import brentq

from lic_jax.errors import LicError

SMALLEST = 2.0**-12
"""The smallest spacing and gap between thresholds: the unit in which fitted quantizers are stored."""


_STEEPEST = 10.0
"""The largest ratio of a stretched gap to the one before it."""

FAR = 1500.0
"""A value beyond every latent, but within the reach of stored quantizers."""


def _positive(free: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    return SMALLEST + jax.nn.softplus(free)


def _free(positive: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """Inverts `_positive`."""
    values = jnp.maximum(positive - SMALLEST, 1e-30)
    return values + jnp.log(-jnp.expm1(-values))


@struct.dataclass
class STanH:
    """The parameters of one quantizer, free to be any real numbers.

    Spacings and the gaps between thresholds are 2⁻¹² plus the softplus of the parameters. So spacings stay positive and
    thresholds increasing, whatever an optimizer does.

    Attributes:
      free_spacings: the parameters of the spacings w.
      free_gaps: the parameters of the gaps b_{i+1} − b_i.
      middle: the threshold b_i in the middle, i = (T − 1) // 2.
    """

    free_spacings: Float[Array, "*stack T"]
    free_gaps: Float[Array, "*stack gaps"]
    middle: Float[Array, "*stack"]

    @property
    def components(self) -> int:
        """T, the number of tanh steps; there is one level more."""
        return self.free_spacings.shape[-1]

    @property
    @jax.jit
    def spacings(self) -> Float[Array, "*stack T"]:
        """w > 0: the distances between neighbouring levels."""
        return _positive(self.free_spacings)

    @property
    @jax.jit
    def thresholds(self) -> Float[Array, "*stack T"]:
        """b, increasing: where the symbol changes."""
        middle = (self.components - 1) // 2
        gaps = _positive(self.free_gaps)
        above = jnp.cumsum(gaps[..., middle:], axis=-1)
        below = jnp.cumsum(gaps[..., :middle][..., ::-1], axis=-1)[..., ::-1]
        offsets = jnp.concatenate([-below, jnp.zeros_like(self.middle)[..., None], above], axis=-1)
        return self.middle[..., None] + offsets

    @property
    @jax.jit
    def levels(self) -> Float[Array, "*stack levels"]:
        """c_0 … c_T, the quantizer's output values."""
        return levels_of(self.spacings)

    @classmethod
    def start(cls, components: int, step: float, reach: float) -> "STanH":
        """Makes `uniform_with_tails`: uniform as far as ±`reach`, or with its outer quarter stretched to there."""
        return uniform_with_tails(components, step, reach)

    def upper_weight(
        self, values: Float[Array, "*shape"], index: Integer[Array, "*shape"], inverse_temperature: ScalarLike
    ) -> Float[Array, "*shape"]:
        """Returns (1 + tanh(β (v − b_i)))/2; all other tanh are saturated at the inverse temperatures of a refit."""
        return (1 + jnp.tanh(inverse_temperature * (values - self.thresholds[index]))) / 2

    def symmetric(self) -> "STanH":
        """Returns the quantizer that treats ±v alike (`symmetric`)."""
        return symmetric(self)


def levels_of(spacings: Float[Array, "*stack T"]) -> Float[Array, "*stack levels"]:
    """Computes the levels c_k of spacings w: increasing, with both ends equally far from zero.

    They are summed from the middle outward, so that a spacing that no value has met has no gradient. Sums from an end
    would leave it a gradient of rounding errors, which Adam would follow.
    """
    middle = spacings.shape[-1] // 2
    above = jnp.cumsum(spacings[..., middle:], axis=-1)
    below = jnp.cumsum(spacings[..., :middle][..., ::-1], axis=-1)[..., ::-1]
    off_centre = (jnp.sum(spacings[..., :middle], axis=-1) - jnp.sum(spacings[..., middle:], axis=-1))[..., None] / 2
    return jnp.concatenate([off_centre - below, off_centre, off_centre + above], axis=-1)


def from_values(
    spacings: Float[Array | np.ndarray, "*stack T"], thresholds: Float[Array | np.ndarray, "*stack T"]
) -> STanH:
    """Makes the quantizer with these spacings and thresholds; spacings and gaps between thresholds are at least 2⁻¹².

    Raises:
      LicError: a spacing or a gap is smaller (checked outside of jit only).
    """
    spacings, thresholds = jnp.asarray(spacings), jnp.asarray(thresholds)
    for name, values, distances in (
        ("spacings", spacings, np.asarray),
        ("differences of thresholds", thresholds, np.diff),
    ):
        if not isinstance(values, Tracer) and not np.all(distances(values) >= SMALLEST * 0.999):
            least = np.min(distances(values))
            raise LicError(f"the {name} of a quantizer go down to {least:g}; give 2⁻¹² or more")
    return _from_values(spacings, thresholds)


@jax.jit
def _from_values(spacings: Float[Array, "*stack T"], thresholds: Float[Array, "*stack T"]) -> STanH:
    middle = (spacings.shape[-1] - 1) // 2
    return STanH(_free(spacings), _free(jnp.diff(thresholds, axis=-1)), thresholds[..., middle])


def uniform(components: int, step: ScalarLike = 1.0) -> STanH:
    """Makes the uniform quantizer with T + 1 levels, symmetric about zero: w = step, b_i = step · (i − (T + 1)/2).

    T even puts a level at zero (rounding); T odd puts a threshold there.
    """
    if components < 1:
        raise LicError(f"a quantizer of {components} components has no step; use 1 or more")
    index = jnp.arange(1, components + 1, dtype=jnp.float32)
    return from_values(jnp.full(components, step, jnp.float32), step * (index - (components + 1) / 2))


def uniform_with_tails(components: int, step: float, reach: float) -> STanH:
    """Makes a uniform quantizer, its outer quarter stretched by a constant ratio so that thresholds reach ±`reach`.

    With a fine step and few components, a uniform quantizer ends before the largest latents do, and a saturated latent
    is a visible error. With a coarse step, components that would lie beyond ±`reach` are put far away (`padded`), so
    that one T serves coarse and fine steps.
    """
    half = (components - 1) / 2
    if half * step >= reach:
        beyond = int(half - reach / step)
        return padded(uniform(components - 2 * beyond, step), components)
    tail = np.arange(1, int(half) // 4 + 1)
    missing = lambda ratio: step * (half - len(tail) + np.sum(ratio**tail)) - reach
    root = brentq(missing, 1.0, _STEEPEST) if len(tail) and missing(_STEEPEST) > 0 else _STEEPEST
    stretch = cast(float, root) ** tail  # brentq's is a tuple only where more is asked for
    gaps = step * np.concatenate([stretch[::-1], np.ones(components - 1 - 2 * len(tail)), stretch])
    thresholds = np.concatenate([[0.0], np.cumsum(gaps)])
    thresholds -= (thresholds[0] + thresholds[-1]) / 2
    around = np.pad(gaps, 1, mode="edge")
    return from_values((around[1:] + around[:-1]) / 2, thresholds)


@jax.jit
def symmetric(quantizer: STanH) -> STanH:
    """Makes the quantizer that treats ±v alike: averages both sides, and puts the middle at zero.

    Both ends are equally far from zero (c_0 = −½ Σ w, c_T = ½ Σ w). So without this, the middle level, which most
    values have, moves with every spacing.
    """
    mirrored = lambda values: (values + values[..., ::-1]) / 2
    gaps = mirrored(quantizer.free_gaps)
    middle = (quantizer.components - 1) // 2
    below = -_positive(gaps[..., middle]) / 2 if quantizer.components % 2 == 0 else jnp.zeros_like(quantizer.middle)
    return STanH(mirrored(quantizer.free_spacings), gaps, below)


def padded(quantizer: STanH, components: int) -> STanH:
    """Adds components beyond all latents to a staircase, so that quantizers of several T fit in one stack.

    Both sides get the same number, with the smallest spacings, so that no level in between moves by more than 2⁻¹² for
    each.

    Args:
      quantizer: one quantizer or a stack.
      components: the wanted number; the difference is even.

    Raises:
      LicError: the quantizer has more components, or the difference is odd.
    """
    added, odd = divmod(components - quantizer.components, 2)
    if added < 0 or odd:
        raise LicError(
            f"a quantizer of {quantizer.components} components cannot be padded to {components}; "
            "give as many or more, and an even difference"
        )
    if not added:
        return quantizer
    beyond = FAR + jnp.arange(added)
    smallest = jnp.full(added, SMALLEST)
    spacings = _beside(smallest, quantizer.spacings, smallest)
    return from_values(spacings, _beside(-beyond[::-1], quantizer.thresholds, beyond))


def trimmed(quantizer: STanH, components: int) -> STanH:
    """Inverts `padded`."""
    added = (quantizer.components - components) // 2
    own = slice(added, added + components)
    return from_values(quantizer.spacings[..., own], quantizer.thresholds[..., own])


def _beside(low: Array, values: Array, high: Array) -> Array:
    """Joins the three along the last axis; the outer two are the same for a whole stack."""
    parts = (jnp.broadcast_to(part, (*values.shape[:-1], part.shape[-1])) for part in (low, values, high))
    return jnp.concatenate(list(parts), axis=-1)


def soft(quantizer: STanH, values: Float[Array, "*shape"], inverse_temperature: ScalarLike) -> Float[Array, "*shape"]:
    """Applies the differentiable quantizer s_β: a sum of hyperbolic tangents, all T of them for every value.

    `windowed.soft_windowed` is the same function for many components.

    Args:
      quantizer: one quantizer (not a stack).
      values: latents minus their mean, in units of the anchor's quantization step.
      inverse_temperature: β > 0; s_β → `hard` for β → ∞.

    Returns:
      Values between the lowest and the highest level.
    """
    steps = jnp.tanh(inverse_temperature * (values[..., None] - quantizer.thresholds))
    return jnp.sum(quantizer.spacings / 2 * steps, axis=-1)
