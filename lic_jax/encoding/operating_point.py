"""A rate as a search sees it: the levels that latents may take, the bits of their symbols, and λ.

Bits are read off the integer coding tables.
"""

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from jaxtyping import Array, Float, Int, Real

from lic_jax.distortion.base import Distortion
from lic_jax.distortion.mse import mse
from lic_jax.entropy.tables import information
from lic_jax.gradients import straight_through
from lic_jax.quantization.base import IntegerQuantizer
from lic_jax.quantization.gumbel import level_below
from lic_jax.quantization.rows import moved_inward


@struct.dataclass
class Staircase:
    """A quantizer at a rate, with the bits of its symbols.

    It has no thresholds: a search counts the bits of each level and may choose any.

    Attributes:
      levels: in quantization steps of the anchor (the trained model); the narrowest row's where rows differ.
      code_lengths: the bits of each symbol, one row a coding table.
      reconstructions: how far each row moves its levels away from the middle one (`quantization.rows`), if it does.
    """

    levels: Float[Array, " levels"]
    code_lengths: Float[Array, "tables levels"]
    reconstructions: Float[Array, " tables"] | None = None

    @classmethod
    def of(cls, quantizer: IntegerQuantizer, tables: Int[np.ndarray, "tables levels"]) -> "Staircase":
        """Makes a staircase from a codec's quantizer and the integer tables that code its symbols."""
        levels, reconstructions = quantizer.outward()
        if reconstructions is not None:
            reconstructions = jnp.asarray(reconstructions)
        return cls(jnp.asarray(levels), jnp.asarray(information(tables), jnp.float32), reconstructions)

    def level(self, symbols: Int[Array | np.ndarray, "*shape"], index: Array | np.ndarray) -> Float[Array, "*shape"]:
        """Returns the level of each symbol in the row of its index, a whole number of any type."""
        if self.reconstructions is None:
            return self.levels[symbols]
        sides = jnp.sign(2 * symbols + 1 - len(self.levels))
        return self.levels[symbols] + sides * self.reconstructions[_row(index)]

    def below(self, values: Float[Array | np.ndarray, "*shape"], index: Array | np.ndarray) -> Int[Array, "*shape"]:
        """Returns the symbol of the lower of the two levels beside each value (beyond the ends, the outermost two)."""
        if self.reconstructions is None:
            return level_below(self.levels, values)
        middle = len(self.levels) // 2
        moved = moved_inward(values, self.levels[middle], self.reconstructions[_row(index)])
        below = level_below(self.levels, moved)
        is_low = values < self.levels[middle]  # many values move exactly to the middle level, which loses their side
        return jnp.where(is_low, jnp.minimum(below, middle - 1), jnp.maximum(below, middle))

    def nearest(self, values: Float[Array | np.ndarray, "*shape"], index: Array | np.ndarray) -> Int[Array, "*shape"]:
        """Returns the symbol of the level nearest to each value, wherever the thresholds are."""
        below = self.below(values, index)
        return below + (self.level(below + 1, index) - values < values - self.level(below, index))

    @property
    def spacing(self) -> Float[Array, ""]:
        """The typical distance between neighbouring levels: the mean of the two around the middle level."""
        middle = len(self.levels) // 2
        return (self.levels[middle + 1] - self.levels[middle - 1]) / 2


@struct.dataclass
class OperatingPoint:
    """A rate: the quantizers of y − μ and z, λ, and the effect of an error in ŷ on the image.

    Attributes:
      latent, hyper_latent: the quantizers.
      rd_lambda: λ.
      gains: G_c = ‖∂x̂/∂ŷ‖² of a latent of each channel (`rounding.local_gains`), the same at every rate.
      distortion: the distortion that λ weighs.
    """

    latent: Staircase
    hyper_latent: Staircase
    rd_lambda: Float[Array, ""]
    gains: Float[Array, " latent"]
    distortion: Distortion = struct.field(pytree_node=False, default=mse)

    @property
    def bits_per_error(self) -> Float[Array, ""]:
        """The weight, in bits, of a squared error of 1 in the network's domain, summed over pixels and channels."""
        return self.rd_lambda * 255.0**2 / 3


def code_length(
    staircase: Staircase, index: Real[Array | np.ndarray, "*#shape"], symbols: Int[Array | np.ndarray, "*#shape"]
) -> Float[Array, "*#shape"]:
    """Returns the bits of symbols by whole table indexes; differentiable in floating-point indexes.

    The slope is half the difference between the tables of the next larger and the next smaller scale.
    """
    table = staircase.code_lengths
    row = _row(index)
    length = table[row, symbols]
    if not jnp.issubdtype(index.dtype, jnp.floating):
        return length
    higher, lower = jnp.minimum(row + 1, len(table) - 1), jnp.maximum(row - 1, 0)
    slope = (table[higher, symbols] - table[lower, symbols]) / 2
    return straight_through(slope * index, length)


def _row(index: Array | np.ndarray) -> Int[Array, "*shape"]:
    return jax.lax.stop_gradient(jnp.asarray(index)).astype(jnp.int32)
