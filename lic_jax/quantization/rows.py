"""Quantizers conditional on the row of the coding table: one staircase, opened in the middle by each row as it likes.

The row is known to sender and receiver alike before a symbol is: it is the latent's scale index (with a factorized
prior its channel). Where the prior is narrow most latents are near zero, and a wider dead zone saves more bits than it
loses quality; how far the levels beside zero stand out is another matter. So each row r moves all thresholds outward
by t_r and all levels but the middle one by o_r:

    b_i(r) = b_i ± t_r        c_k(r) = c_k ± o_r        + above the middle, − below

All rows have the same T + 1 symbols, so a receiver pays for a table of levels and nothing else.
(Dead zones by the prior's scale are the hand-made rule of HEVC's encoders; here they are fitted with the quantizer.)
"""

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from jaxtyping import Array, Float, Int

from lic_jax.quantization import staircase
from lic_jax.quantization.base import FittedQuantizer
from lic_jax.quantization.bins import bin_edges
from lic_jax.quantization.fixed_point import EdgeKind
from lic_jax.quantization.staircase import components_of

_NARROWEST = -0.9
"""A row may close the middle by nine tenths at most, so that thresholds and levels stay in order."""


@struct.dataclass
class Widening:
    """How much wider the rows' dead zones are and how much further out their levels, as fractions, at some knots.

    Rows lie evenly between the first and the last knot and have what a line between their neighbours says: few numbers
    that many rows share learn sooner than one for each.

    Attributes:
      dead_zones: of half the gap between the two thresholds in the middle; 0 is the quantizer's own.
      reconstructions: of the mean spacing beside the middle level.
      rows: how many rows there are.
    """

    dead_zones: Float[Array, "*stack knots"]
    reconstructions: Float[Array, "*stack knots"]
    rows: int = struct.field(pytree_node=False)


def no_widening(rows: int, knots: int, stack: tuple[int, ...] = ()) -> Widening:
    """Every row as the quantizer itself."""
    return Widening(jnp.zeros((*stack, knots)), jnp.zeros((*stack, knots)), rows)


def offsets(quantizer: FittedQuantizer, widening: Widening) -> tuple[Float[Array, " rows"], Float[Array, " rows"]]:
    """(t, o): how far each row moves the thresholds and the levels outward, negative for inward.

    Args:
      quantizer: one of an even number of components, so that there is a level in the middle.
      widening: of the same.
    """
    half_gap, spacing = middle_of(quantizer)
    nearest_level = jnp.min(_spacings_beside_middle(quantizer))
    at_rows = lambda knots: _lines(widening.rows, len(knots)) @ knots
    dead_zones = jnp.maximum(half_gap * at_rows(widening.dead_zones), _NARROWEST * half_gap)
    reconstructions = jnp.maximum(spacing * at_rows(widening.reconstructions), _NARROWEST * nearest_level)
    return dead_zones, reconstructions


def middle_of(quantizer: FittedQuantizer) -> tuple[Float[Array, "*stack"], Float[Array, "*stack"]]:
    """What a widening is a fraction of: half the gap between the thresholds in the middle, the mean spacing there."""
    middle = components_of(quantizer) // 2
    below, above = quantizer.thresholds[..., middle - 1], quantizer.thresholds[..., middle]
    return (above - below) / 2, jnp.mean(_spacings_beside_middle(quantizer), axis=-1)


def _spacings_beside_middle(quantizer: FittedQuantizer) -> Float[Array, "*stack 2"]:
    middle = components_of(quantizer) // 2
    return jnp.diff(quantizer.levels[..., middle - 1 : middle + 2], axis=-1)


def _lines(rows: int, knots: int) -> Float[np.ndarray, "rows knots"]:
    """What each knot weighs in each row: hats of linear interpolation."""
    position = np.linspace(0, knots - 1, rows)
    return np.maximum(1 - np.abs(position[:, None] - np.arange(knots)), 0).astype(np.float32)


@struct.dataclass
class QuantizerOfRows:
    """A quantizer as each of some values has it, by the row that the value's symbol is coded with.

    Attributes:
      quantizer: what the rows have in common.
      dead_zone: t of each value's row; 0 where rows do not matter.
      reconstruction: o of each value's row.
    """

    quantizer: FittedQuantizer
    dead_zone: Float[Array, "*shape"] | float = 0.0
    reconstruction: Float[Array, "*shape"] | float = 0.0

    @classmethod
    def of(cls, quantizer: FittedQuantizer, widening: Widening | None, row: Array) -> "QuantizerOfRows":
        """The quantizer of each value's row; `row` may be a real-valued index, whose nearest whole one counts."""
        if widening is None:
            return cls(quantizer)
        row = jnp.round(jax.lax.stop_gradient(row)).astype(jnp.int32)
        return cls(quantizer, *(of_rows[row] for of_rows in offsets(quantizer, widening)))

    def threshold(self, index: Int[Array, "*shape"]) -> Float[Array, "*shape"]:
        """b_i, i = 0 … T − 1."""
        return self.quantizer.thresholds[index] + self._outward(index)

    def level(self, symbol: Int[Array, "*shape"]) -> Float[Array, "*shape"]:
        """c_k, k = 0 … T."""
        outward = jnp.sign(2 * symbol - components_of(self.quantizer))
        return self.quantizer.levels[symbol] + outward * self.reconstruction

    def edge(self, index: Int[Array, "*shape"], kind: EdgeKind) -> Float[Array, "*shape"]:
        """e_j, j = 0 … T + 1: between which lies the bin of symbol j − 1 and that of symbol j."""
        components = components_of(self.quantizer)
        if kind == "thresholds":
            outward = jnp.sign(2 * index - 1 - components) * self.dead_zone
        else:
            sides = jnp.sign(2 * index - 2 - components) + jnp.sign(2 * index - components)
            outward = sides / 2 * self.reconstruction
        return bin_edges(self.quantizer, kind)[index] + outward

    def soft(
        self, values: Float[Array, "*shape"], inverse_temperature: Float[Array, ""] | float
    ) -> "tuple[Int[Array, '*shape'], Float[Array, '*shape']]":
        """The threshold nearest to each value and the upper symbol's weight: (i, p in [0, 1]).

        A value is symbol i with weight 1 − p and symbol i + 1 with weight p.
        """
        components = components_of(self.quantizer)
        index = staircase.nearer_beside(self.threshold, components, self.symbols(values), values)
        return index, self.quantizer.upper_weight(values - self._outward(index), index, inverse_temperature)

    def _outward(self, index: Int[Array, "*shape"]) -> Float[Array, "*shape"]:
        """How far threshold i is moved: + above the middle, − below."""
        return jnp.sign(2 * index + 1 - components_of(self.quantizer)) * self.dead_zone

    def symbols(self, values: Float[Array, "*shape"]) -> Int[Array, "*shape"]:
        """k(v) = #{i : v > b_i(r)}: the quantizer's own once the values have moved inward as far as thresholds out."""
        return staircase.symbols(self.quantizer, self.inward(values))

    def inward(self, values: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
        """Values moved as far towards the middle as thresholds are moved outward, no further than to it."""
        return moved_inward(values, _middle(self.quantizer), self.dead_zone)


def moved_inward(values, middle, distance):
    """Values moved towards the middle, no further than to it; away from it by a negative distance."""
    from_middle = values - middle
    return values - jnp.sign(from_middle) * jnp.minimum(jnp.abs(from_middle), distance)


def _middle(quantizer: FittedQuantizer) -> Float[Array, ""]:
    """Halfway between the two thresholds that the middle level lies between."""
    above = components_of(quantizer) // 2
    return (quantizer.thresholds[above - 1] + quantizer.thresholds[above]) / 2
