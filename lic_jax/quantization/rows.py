"""Quantizers that depend on the row of the coding table: one staircase, opened in the middle by each row's own amount.

Sender and receiver know the row before the symbol: it is the latent's scale index (with a factorized prior its
channel). Where the prior is narrow, most latents are near zero, and a wider dead zone (the cell around zero) saves more
bits than it loses quality. The best distance of the next levels from zero is independent of that. So each row r moves
all thresholds outward by t_r and all levels but the middle one by o_r:

    b_i(r) = b_i ± t_r        c_k(r) = c_k ± o_r        + above the middle, − below

All rows have the same T + 1 symbols, so a receiver only needs one more table of levels.
(Dead zones by the prior's scale are the hand-made rule of HEVC's encoders; here they are fitted with the quantizer.)
"""

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from jaxtyping import Array, Float, Int, Integer, ScalarLike

from lic_jax.quantization import staircase
from lic_jax.quantization.base import FittedQuantizer
from lic_jax.quantization.bins import bin_edges
from lic_jax.quantization.fixed_point import EdgeKind
from lic_jax.quantization.staircase import components_of

_NARROWEST = -0.9
"""A row may close the middle by at most nine tenths, so that thresholds and levels stay in order."""


@struct.dataclass
class Widening:
    """How much wider the rows' dead zones are and how much further out their levels, as fractions, at some knots.

    Rows lie evenly between the first and the last knot and are interpolated linearly between knots. A few numbers
    shared by many rows learn sooner than one number for each row.

    Attributes:
      dead_zones: fractions of half the gap between the two middle thresholds; 0 keeps the quantizer's own.
      reconstructions: fractions of the mean spacing beside the middle level.
      rows: the number of rows.
    """

    dead_zones: Float[Array, "*stack knots"]
    reconstructions: Float[Array, "*stack knots"]
    rows: int = struct.field(pytree_node=False)


def no_widening(rows: int, knots: int, stack: tuple[int, ...] = ()) -> Widening:
    """Makes a widening that leaves every row unchanged."""
    return Widening(jnp.zeros((*stack, knots)), jnp.zeros((*stack, knots)), rows)


def offsets(quantizer: FittedQuantizer, widening: Widening) -> tuple[Float[Array, " rows"], Float[Array, " rows"]]:
    """Returns (t, o): how far each row moves the thresholds and the levels outward, negative for inward.

    Args:
      quantizer: has an even number of components, so that it has a middle level.
      widening: the quantizer's widening.
    """
    half_gap, spacing = middle_of(quantizer)
    nearest_level = jnp.min(_spacings_beside_middle(quantizer))
    at_rows = lambda knots: _lines(widening.rows, len(knots)) @ knots
    dead_zones = jnp.maximum(half_gap * at_rows(widening.dead_zones), _NARROWEST * half_gap)
    reconstructions = jnp.maximum(spacing * at_rows(widening.reconstructions), _NARROWEST * nearest_level)
    return dead_zones, reconstructions


def middle_of(quantizer: FittedQuantizer) -> tuple[Float[Array, "*stack"], Float[Array, "*stack"]]:
    """Returns the units of a widening: half the gap between the middle thresholds, and the mean spacing there."""
    middle = components_of(quantizer) // 2
    below, above = quantizer.thresholds[..., middle - 1], quantizer.thresholds[..., middle]
    return (above - below) / 2, jnp.mean(_spacings_beside_middle(quantizer), axis=-1)


def _spacings_beside_middle(quantizer: FittedQuantizer) -> Float[Array, "*stack 2"]:
    middle = components_of(quantizer) // 2
    return jnp.diff(quantizer.levels[..., middle - 1 : middle + 2], axis=-1)


def _lines(rows: int, knots: int) -> Float[np.ndarray, "rows knots"]:
    """Returns the weight of each knot in each row, for linear interpolation."""
    position = np.linspace(0, knots - 1, rows)
    return np.maximum(1 - np.abs(position[:, None] - np.arange(knots)), 0).astype(np.float32)


@struct.dataclass
class QuantizerOfRows:
    """The quantizer of each value, given the row of the coding tables that codes the value's symbol.

    Attributes:
      quantizer: the staircase that all rows share.
      dead_zone: t of each value's row; 0 where rows do not matter.
      reconstruction: o of each value's row.
    """

    quantizer: FittedQuantizer
    dead_zone: Float[Array, "*shape"] | float = 0.0
    reconstruction: Float[Array, "*shape"] | float = 0.0

    @classmethod
    def of(cls, quantizer: FittedQuantizer, widening: Widening | None, row: Array) -> "QuantizerOfRows":
        """Makes the quantizer of each value's row; a real-valued `row` is rounded to the nearest whole number."""
        if widening is None:
            return cls(quantizer)
        row = jnp.round(jax.lax.stop_gradient(row)).astype(jnp.int32)
        return cls(quantizer, *(offset[row] for offset in offsets(quantizer, widening)))

    def threshold(self, index: Integer[Array, "*shape"]) -> Float[Array, "*shape"]:
        """Returns b_i, i = 0 … T − 1."""
        return self.quantizer.thresholds[index] + self._outward(index)

    def level(self, symbol: Int[Array, "*shape"]) -> Float[Array, "*shape"]:
        """Returns c_k, k = 0 … T."""
        outward = jnp.sign(2 * symbol - components_of(self.quantizer))
        return self.quantizer.levels[symbol] + outward * self.reconstruction

    def edge(self, index: Integer[Array, "*shape"], kind: EdgeKind) -> Float[Array, "*shape"]:
        """Returns e_j, j = 0 … T + 1, the edge between the bins of symbols j − 1 and j."""
        components = components_of(self.quantizer)
        if kind == "thresholds":
            outward = jnp.sign(2 * index - 1 - components) * self.dead_zone
        else:
            sides = jnp.sign(2 * index - 2 - components) + jnp.sign(2 * index - components)
            outward = sides / 2 * self.reconstruction
        return bin_edges(self.quantizer, kind)[index] + outward

    def soft(
        self, values: Float[Array, "*shape"], inverse_temperature: ScalarLike
    ) -> tuple[Int[Array, "*shape"], Float[Array, "*shape"]]:
        """Returns the threshold nearest to each value and the upper symbol's weight: (i, p in [0, 1]).

        A value is symbol i with weight 1 − p and symbol i + 1 with weight p.
        """
        components = components_of(self.quantizer)
        index = staircase.nearer_beside(self.threshold, components, self.symbols(values), values)
        return index, self.quantizer.upper_weight(values - self._outward(index), index, inverse_temperature)

    def _outward(self, index: Integer[Array, "*shape"]) -> Float[Array, "*shape"]:
        """Returns how far threshold i is moved: + above the middle, − below."""
        return jnp.sign(2 * index + 1 - components_of(self.quantizer)) * self.dead_zone

    def symbols(self, values: Float[Array, "*shape"]) -> Int[Array, "*shape"]:
        """Returns k(v) = #{i : v > b_i(r)}: moving values inward equals moving thresholds outward."""
        return staircase.symbols(self.quantizer, self.inward(values))

    def inward(self, values: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
        """Moves values towards the middle as far as thresholds are moved outward, but not beyond it."""
        return moved_inward(values, _middle(self.quantizer), self.dead_zone)


def moved_inward(values, middle, distance):
    """Moves values towards the middle, but not beyond it; a negative distance moves them away from it."""
    from_middle = values - middle
    return values - jnp.sign(from_middle) * jnp.minimum(jnp.abs(from_middle), distance)


def _middle(quantizer: FittedQuantizer) -> Float[Array, ""]:
    """Returns the point halfway between the two thresholds around the middle level."""
    above = components_of(quantizer) // 2
    return (quantizer.thresholds[above - 1] + quantizer.thresholds[above]) / 2
