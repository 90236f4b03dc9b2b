"""Quantizers in integers, for model files and for coding.

Thresholds and spacings decide the coding tables, so they are stored, and interpolated between rates, as integers in
units of 2⁻¹². Rates are integers too: `rate 3.5` is 896 in units of 1/256. NumPy only; nothing here rounds
differently from one machine to the next.
"""

import dataclasses
from collections.abc import Sequence
from typing import ClassVar, Literal, TypeVar, cast, get_args

import numpy as np

from lic_jax.arrays import Float, Int
from lic_jax.errors import LicError, unknown_name
from lic_jax.quantization.base import IntegerQuantizer

Quantizer = TypeVar("Quantizer", bound=IntegerQuantizer)

FRACTION_BITS = 12
UNIT = 2.0**-FRACTION_BITS
"""The value of one unit of a threshold or a spacing, in quantization steps of the anchor (the trained model)."""

LIMIT = 1 << 24
"""Levels and thresholds stay below this many units, so that float32 holds each exactly."""

_ALIKE = 0.75
"""The part of a unit by which the sides of a symmetric quantizer may differ in floating point."""

RATE_UNITS = 256
"""A rate of 1, the distance between two fitted quantizers, in the units that a stream stores."""


EdgeKind = Literal["thresholds", "midpoints"]
"""The edges of the bins whose mass codes a symbol: the thresholds, or the points halfway between levels."""

BIN_EDGES: tuple[EdgeKind, ...] = get_args(EdgeKind)


@dataclasses.dataclass(frozen=True, eq=False)
class FixedPointQuantizer:
    """T components (T + 1 levels), the same for all rows of the coding tables; in `fixed_rows` they differ by row.

    Attributes:
      spacings: at least 1, int64 in units of 2⁻¹².
      thresholds: strictly increasing, int64 in units of 2⁻¹².
      bin_edges: the edges of a symbol's bin in the coding tables, one of `BIN_EDGES`.
      centre: halfway between the outermost levels, in units of 2⁻¹²; 0 for STanH.
    """

    kind: ClassVar[str] = "staircase"

    spacings: Int[np.ndarray, " T"]
    thresholds: Int[np.ndarray, " T"]
    bin_edges: str = BIN_EDGES[0]
    centre: int = 0

    def __post_init__(self):
        if len(self.spacings) != len(self.thresholds):
            raise LicError(
                f"a stored quantizer has {len(self.spacings)} spacings for {len(self.thresholds)} thresholds; "
                "the file is damaged, copy it again"
            )
        if np.sum(np.abs(self.spacings)) + 2 * abs(self.centre) >= LIMIT or np.any(np.abs(self.thresholds) >= LIMIT):
            raise LicError("a stored quantizer reaches beyond ±2¹¹ steps; the file is damaged, copy it again")
        if np.any(self.spacings < 1) or np.any(np.diff(self.thresholds) < 1):
            raise LicError(
                "a stored quantizer has levels or thresholds out of order; the file is damaged, copy it again"
            )
        if self.bin_edges not in BIN_EDGES:
            raise unknown_name("kind of bin edges", self.bin_edges, BIN_EDGES)

    @property
    def symbol_count(self) -> int:
        """T + 1."""
        return len(self.spacings) + 1

    def doubled_levels(self) -> Int[np.ndarray, " levels"]:
        """Returns c_0 … c_T in units of 2⁻¹³."""
        return 2 * np.concatenate([[0], np.cumsum(self.spacings)]) - np.sum(self.spacings) + 2 * self.centre

    def levels(self) -> Float[np.ndarray, " levels"]:
        """Returns c_0 … c_T as float32, exactly: multiples of 2⁻¹³ below 2¹¹."""
        return (self.doubled_levels() * (UNIT / 2)).astype(np.float32)

    def symbols(self, values: Float[np.ndarray, "*shape"], row=None) -> Int[np.ndarray, "*shape"]:
        """Returns #{i : v > b_i} of each value, int32."""
        edges = (self.thresholds * UNIT).astype(np.float32)
        return np.searchsorted(edges, np.asarray(values, np.float32), side="left").astype(np.int32)

    def at_row(self, row: int) -> "FixedPointQuantizer":
        """Returns a row's quantizer."""
        return self

    def levels_of(self, symbols: Int[np.ndarray, "*shape"], row=None) -> Float[np.ndarray, "*shape"]:
        """Returns the level of each symbol, float32."""
        return self.levels()[symbols]

    def middles_of(self, symbols: Int[np.ndarray, "*shape"], row=None) -> Float[np.ndarray, "*shape"]:
        """Returns the middle of each symbol's cell (`cell_middles`)."""
        return self.cell_middles()[symbols]

    def coding_edges(self) -> Float[np.ndarray, "1 T"]:
        """Returns the inner edges of the bins in every row of the coding tables, float64, exactly."""
        if self.bin_edges == "thresholds":
            return self.thresholds[None] * UNIT
        return midpoints(self.doubled_levels())[None]

    def cell_middles(self) -> Float[np.ndarray, " levels"]:
        """Returns the middle of every symbol's cell (see the function `cell_middles`)."""
        return cell_middles(self.thresholds * UNIT)

    def mixed_with(self, other: "FixedPointQuantizer", units: int) -> "FixedPointQuantizer":
        """Returns the quantizer `units`/256 of the way to another: linear in w and b, rounded down."""
        return FixedPointQuantizer(
            mixed(self.spacings, other.spacings, units),
            mixed(self.thresholds, other.thresholds, units),
            self.bin_edges,
            int(mixed(np.array([self.centre], np.int64), np.array([other.centre], np.int64), units)[0]),
        )

    def outward(self) -> tuple[Float[np.ndarray, " levels"], None]:
        """Returns the levels; all rows are alike."""
        return self.levels(), None

    def arrays(self) -> dict[str, Int[np.ndarray, "..."]]:
        """Returns spacings and thresholds, and the centre if it is not 0."""
        arrays = {"spacings": self.spacings, "thresholds": self.thresholds}
        return {**arrays, "centre": np.array([self.centre])} if self.centre else arrays

    @classmethod
    def from_arrays(cls, arrays: dict[str, np.ndarray], bin_edges: str) -> "FixedPointQuantizer":
        """Inverts `arrays`.

        Raises:
          KeyError, LicError: the arrays are not a valid quantizer.
        """
        centre = int(arrays["centre"][0]) if "centre" in arrays else 0
        return cls(arrays["spacings"], arrays["thresholds"], bin_edges, centre)


def midpoints(doubled_levels: Int[np.ndarray, "*rows levels"]) -> Float[np.ndarray, "*rows T"]:
    """Returns the points halfway between levels given in units of 2⁻¹³, float64, exactly."""
    return (doubled_levels[..., 1:] + doubled_levels[..., :-1]) * (UNIT / 4)


def cell_middles(edges: Float[np.ndarray, "*rows T"]) -> Float[np.ndarray, "*rows levels"]:
    """Returns a value inside each symbol's cell that keeps its symbol if the thresholds move a little, float32.

    It lies halfway between the thresholds on either side. The outermost symbols have one threshold; their value lies
    beyond it by half the neighbouring cell.
    """
    gaps = np.diff(edges, axis=-1) if edges.shape[-1] > 1 else np.full_like(edges, 2.0)
    below, above = edges[..., :1] - gaps[..., :1], edges[..., -1:] + gaps[..., -1:]
    padded = np.concatenate([below, edges, above], axis=-1)
    return ((padded[..., 1:] + padded[..., :-1]) / 2).astype(np.float32)


def mixed(first: Int[np.ndarray, "*shape"], second: Int[np.ndarray, "*shape"], units: int) -> Int[np.ndarray, "*shape"]:
    """Returns the values `units`/256 of the way from the first to the second, rounded down."""
    return np.asarray((first * (RATE_UNITS - units) + second * units) // RATE_UNITS)


def to_fixed_point(
    spacings: Float[np.ndarray, " T"],
    thresholds: Float[np.ndarray, " T"],
    bin_edges: str = BIN_EDGES[0],
    centre: float = 0.0,
) -> FixedPointQuantizer:
    """Rounds a fitted quantizer to integers; keeps spacings positive and thresholds in order.

    Spacings that are alike on both sides, but for a part of a unit, stay alike. So the middle level of a symmetric
    quantizer is exactly 0, and decoders can skip zeros.
    """
    spacing_units = np.maximum(in_units(spacings), 1)
    threshold_units = in_units(thresholds)
    index = np.arange(len(threshold_units))
    thresholds_in_order = np.maximum.accumulate(threshold_units - index) + index
    if np.max(np.abs(np.subtract(spacings, spacings[::-1]))) < _ALIKE * UNIT:
        spacing_units = np.maximum(spacing_units, spacing_units[::-1])
    return FixedPointQuantizer(spacing_units, thresholds_in_order, bin_edges, int(in_units(np.array([centre]))[0]))


def in_units(values: Float[np.ndarray, "*shape"]) -> Int[np.ndarray, "*shape"]:
    """Rounds to units of 2⁻¹²."""
    return np.asarray(np.rint(np.asarray(values, np.float64) / UNIT), np.int64)


def at_rate(quantizers: Sequence[Quantizer], rate_units: int) -> Quantizer:
    """Returns the quantizer of a rate, `rate_units` in [0, 256 · (K − 1)], among K fitted ones."""
    whole, part = divmod(rate_units, RATE_UNITS)
    if part == 0:
        return quantizers[whole]
    mixture = quantizers[whole].mixed_with(quantizers[whole + 1], part)
    return cast(Quantizer, mixture)  # of the kind that it is mixed of
