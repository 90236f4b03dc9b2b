"""Quantizers in integers that differ from row to row of the coding tables, for model files and for coding.

`quantization.rows` fits them and explains why. This is the receiver's side, NumPy only and the same on every machine.
"""

import dataclasses
from typing import ClassVar

import numpy as np

from lic_jax.arrays import Float, Int, Integer
from lic_jax.errors import LicError
from lic_jax.quantization.fixed_point import LIMIT, UNIT, FixedPointQuantizer, cell_middles, in_units, midpoints, mixed


@dataclasses.dataclass(frozen=True, eq=False)
class FixedPointRows:
    """A quantizer with an even number of components, opened in the middle by each row of the coding tables.

    In row r threshold b_i is b_i ± t_r and level c_k is c_k ± o_r: + above the middle, − below, the middle level stays.

    Attributes:
      narrowest: the quantizer that each row opens further, or by 0.
      dead_zones: t ≥ 0, int64 in units of 2⁻¹².
      reconstructions: o ≥ 0, int64 in units of 2⁻¹².
    """

    kind: ClassVar[str] = "rows"

    narrowest: FixedPointQuantizer
    dead_zones: Int[np.ndarray, " rows"]
    reconstructions: Int[np.ndarray, " rows"]

    def __post_init__(self):
        offsets = self.dead_zones, self.reconstructions
        if self._components % 2 or len(self.dead_zones) != len(self.reconstructions):
            raise LicError(
                f"a stored quantizer of {self._components} components has {len(self.dead_zones)} dead zones and "
                f"{len(self.reconstructions)} reconstructions; the file is damaged, copy it again"
            )
        if any(np.any(values < 0) or np.any(values >= LIMIT // 4) for values in offsets):
            raise LicError("a stored quantizer's dead zones are out of bounds; the file is damaged, copy it again")
        if max(np.abs(self.narrowest.thresholds).max(), np.sum(self.narrowest.spacings)) >= LIMIT // 2:
            raise LicError("a stored quantizer reaches beyond ±2¹⁰ steps; the file is damaged, copy it again")

    @property
    def _components(self) -> int:
        return self.symbol_count - 1

    @property
    def symbol_count(self) -> int:
        """T + 1."""
        return self.narrowest.symbol_count

    def row_levels(self) -> Float[np.ndarray, "rows levels"]:
        """Returns the levels of every row as float32, exactly."""
        return (self._doubled_levels() * (UNIT / 2)).astype(np.float32)

    def levels_of(
        self, symbols: Int[np.ndarray, "*#shape"], row: Integer[np.ndarray, "*#shape"]
    ) -> Float[np.ndarray, "*shape"]:
        """Returns the level of each symbol in its row, float32."""
        return self._look_up(self.row_levels(), symbols, row)

    def symbols(
        self, values: Float[np.ndarray, "*#shape"], row: Integer[np.ndarray, "*#shape"]
    ) -> Int[np.ndarray, "*shape"]:
        """Returns #{i : v > b_i ± t} of each value, int32: the narrowest's symbols of values moved inward by t."""
        above = self._components // 2
        middle = (self.narrowest.thresholds[above - 1] + self.narrowest.thresholds[above]) * (UNIT / 2)
        from_middle = np.asarray(values, np.float64) - middle
        inward = np.maximum(np.abs(from_middle) - (self.dead_zones * UNIT)[row], 0)
        moved = np.copysign(inward, from_middle) + middle
        return np.searchsorted(self.narrowest.thresholds * UNIT, moved, side="left").astype(np.int32)

    def middles_of(
        self, symbols: Int[np.ndarray, "*#shape"], row: Integer[np.ndarray, "*#shape"]
    ) -> Float[np.ndarray, "*shape"]:
        """Returns the middle of each symbol's cell in its row (`fixed_point.cell_middles`)."""
        return self._look_up(cell_middles(self._thresholds() * UNIT), symbols, row)

    def coding_edges(self) -> Float[np.ndarray, "rows T"]:
        """Returns the inner edges of the bins in each row of the coding tables, float64, exactly."""
        if self.narrowest.bin_edges == "thresholds":
            return self._thresholds() * UNIT
        return midpoints(self._doubled_levels())

    def mixed_with(self, other: "FixedPointRows", units: int) -> "FixedPointRows":
        """Returns the quantizer `units`/256 of the way to another: linear in w, b, t and o, rounded down."""
        return FixedPointRows(
            self.narrowest.mixed_with(other.narrowest, units),
            mixed(self.dead_zones, other.dead_zones, units),
            mixed(self.reconstructions, other.reconstructions, units),
        )

    @property
    def bin_edges(self) -> str:
        """The kind of bin edges, the narrowest's."""
        return self.narrowest.bin_edges

    def outward(self) -> tuple[Float[np.ndarray, " levels"], Float[np.ndarray, " rows"]]:
        """Returns the narrowest levels, and how far each row moves them outward."""
        return self.narrowest.levels(), (self.reconstructions * UNIT).astype(np.float32)

    def arrays(self) -> dict[str, Int[np.ndarray, "..."]]:
        """Returns the narrowest's arrays, and the offsets of each row."""
        return {
            **self.narrowest.arrays(),
            "dead_zones": self.dead_zones,
            "reconstructions": self.reconstructions,
        }

    @classmethod
    def from_arrays(cls, arrays: dict[str, np.ndarray], bin_edges: str) -> "FixedPointRows":
        """Inverts `arrays`.

        Raises:
          KeyError, LicError: the arrays are not a valid quantizer.
        """
        narrowest = FixedPointQuantizer.from_arrays(arrays, bin_edges)
        return cls(narrowest, arrays["dead_zones"], arrays["reconstructions"])

    def at_row(self, row: int) -> FixedPointQuantizer:
        """Returns a row's quantizer by itself."""
        return _opened(self.narrowest, self.dead_zones[row], self.reconstructions[row])

    def _thresholds(self) -> Int[np.ndarray, "rows T"]:
        return self.narrowest.thresholds + _sides(self._components) * self.dead_zones[:, None]

    def _doubled_levels(self) -> Int[np.ndarray, "rows levels"]:
        return self.narrowest.doubled_levels() + 2 * _sides(self.symbol_count) * self.reconstructions[:, None]

    def _look_up(self, table: np.ndarray, symbols: np.ndarray, row: np.ndarray) -> np.ndarray:
        return table.ravel()[row.astype(np.int32) * self.symbol_count + symbols]


def to_fixed_rows(
    quantizer: FixedPointQuantizer, dead_zones: Float[np.ndarray, " rows"], reconstructions: Float[np.ndarray, " rows"]
) -> FixedPointRows:
    """Rounds the offsets of fitted rows, which may be negative, to integers.

    The part that all rows share goes to the quantizer, so that the offsets are 0 or more.

    Args:
      quantizer: the quantizer whose thresholds and levels the rows move.
      dead_zones: how far outward each row moves the thresholds.
      reconstructions: how far outward each row moves the levels.
    """
    above = len(quantizer.thresholds) // 2
    gap, spacing = np.diff(quantizer.thresholds)[above - 1], quantizer.spacings[above - 1 : above + 1].min()
    dead_zones = np.maximum(in_units(dead_zones), -((gap - 1) // 2))
    reconstructions = np.maximum(in_units(reconstructions), 1 - spacing)
    least_dead, least_out = dead_zones.min(), reconstructions.min()
    return FixedPointRows(
        _opened(quantizer, least_dead, least_out), dead_zones - least_dead, reconstructions - least_out
    )


def _sides(count: int) -> Int[np.ndarray, " count"]:
    """Returns −1 below the middle of `count` indexes, 0 at the middle, +1 above."""
    return np.sign(2 * np.arange(count) + 1 - count)


def _opened(
    quantizer: FixedPointQuantizer, dead_zone: int | np.int64, reconstruction: int | np.int64
) -> FixedPointQuantizer:
    """Moves a quantizer's thresholds and levels outward: the gap in the middle and the spacings beside it grow."""
    components = len(quantizer.thresholds)
    spacings = quantizer.spacings.copy()
    spacings[components // 2 - 1 : components // 2 + 1] += reconstruction
    thresholds = quantizer.thresholds + _sides(components) * dead_zone
    return FixedPointQuantizer(spacings, thresholds, quantizer.bin_edges, quantizer.centre)
