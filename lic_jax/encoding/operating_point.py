"""A rate as a search sees it: the levels that latents may take, what their symbols cost in bits, and λ.

Bits are read off the integer coding tables.
"""

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from jaxtyping import Array, Float, Int

from lic_jax.distortion.base import Distortion
from lic_jax.distortion.mse import mse
from lic_jax.entropy.tables import information
from lic_jax.gradients import straight_through
from lic_jax.quantization.base import IntegerQuantizer
from lic_jax.quantization.gumbel import level_below
from lic_jax.quantization.rows import moved_inward


@struct.dataclass
class Staircase:
    """A quantizer at a rate, with what its symbols cost.

    Thresholds play no part here: whoever counts the bits of both may choose either level.

    Attributes:
      levels: in units of the anchor's quantization step; where rows differ, those of the narrowest.
      code_lengths: bits of each symbol, a row a coding table.
      reconstructions: how far each row moves its levels away from the middle one (`quantization.rows`), if it does.
    """

    levels: Float[Array, " levels"]
    code_lengths: Float[Array, "tables levels"]
    reconstructions: Float[Array, " tables"] | None = None

    @classmethod
    def of(cls, quantizer: IntegerQuantizer, tables: Int[np.ndarray, "tables levels"]) -> "Staircase":
        """A codec's quantizer and the integer tables that its symbols are coded with."""
        levels, reconstructions = quantizer.outward()
        if reconstructions is not None:
            reconstructions = jnp.asarray(reconstructions)
        return cls(jnp.asarray(levels), jnp.asarray(information(tables), jnp.float32), reconstructions)

    def level(self, symbols: Int[Array | np.ndarray, "*shape"], index: Array | np.ndarray) -> Float[Array, "*shape"]:
        """The level of each symbol in the row that its index, a whole number of any type, says."""
        if self.reconstructions is None:
            return self.levels[symbols]
        sides = jnp.sign(2 * symbols + 1 - len(self.levels))
        return self.levels[symbols] + sides * self.reconstructions[_row(index)]

    def below(self, values: Float[Array | np.ndarray, "*shape"], index: Array | np.ndarray) -> Int[Array, "*shape"]:
        """The symbol of the lower of the two levels beside each value, or of the outermost two."""
        if self.reconstructions is None:
            return level_below(self.levels, values)
        middle = len(self.levels) // 2
        moved = moved_inward(values, self.levels[middle], self.reconstructions[_row(index)])
        below = level_below(self.levels, moved)
        is_low = values < self.levels[middle]  # many move just to the middle level: from which side is lost there
        return jnp.where(is_low, jnp.minimum(below, middle - 1), jnp.maximum(below, middle))

    def nearest(self, values: Float[Array | np.ndarray, "*shape"], index: Array | np.ndarray) -> Int[Array, "*shape"]:
        """The symbol of the level nearest to each value, wherever the thresholds are."""
        below = self.below(values, index)
        return below + (self.level(below + 1, index) - values < values - self.level(below, index))

    @property
    def spacing(self) -> Float[Array, ""]:
        """The distance between neighbouring levels, typically: that of the levels around the middle one."""
        middle = len(self.levels) // 2
        return (self.levels[middle + 1] - self.levels[middle - 1]) / 2


@struct.dataclass
class OperatingPoint:
    """A rate: the quantizers of y − μ and z, λ, and what an error in ŷ does to the image.

    Attributes:
      latent, hyper_latent: the quantizers.
      rd_lambda: λ.
      gains: G_c = ‖∂x̂/∂ŷ‖² of a latent of each channel (`rounding.local_gains`), the same at every rate.
      distortion: what λ weighs.
    """

    latent: Staircase
    hyper_latent: Staircase
    rd_lambda: Float[Array, ""]
    gains: Float[Array, " latent"]
    distortion: Distortion = struct.field(pytree_node=False, default=mse)

    @property
    def bits_per_error(self) -> Float[Array, ""]:
        """What a squared error of 1 in the network's domain, summed over pixels and channels, weighs in bits."""
        return self.rd_lambda * 255.0**2 / 3


def code_length(
    staircase: Staircase, index: Float[Array | np.ndarray, "*shape"], symbols: Int[Array | np.ndarray, "*shape"]
) -> Float[Array, "*shape"]:
    """Bits of symbols, by whole table indexes; differentiable in the index, as half the difference of its neighbours.

    A scale index' neighbours are the tables of a smaller and of a larger scale.
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
