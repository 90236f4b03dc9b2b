"""Quantizers as they are shipped and coded with: integers.

Thresholds and spacings decide the coding tables, so they are stored, and interpolated between rates, as integers in
units of 2⁻¹². Rates are integers too: `rate 3.5` is 896 in units of 1/256. NumPy only; nothing here rounds
differently from one machine to the next.
"""

import dataclasses

import numpy as np

from lic_jax.arrays import Float, Int
from lic_jax.errors import LicError

FRACTION_BITS = 12
UNIT = 2.0**-FRACTION_BITS
"""What one integer of a threshold or a spacing is worth, in units of the anchor's quantization step."""

_LIMIT = 1 << 24
"""Levels and thresholds stay below this many units, so that float32 holds each exactly."""

RATE_UNITS = 256
"""A rate of 1, the distance between two fitted quantizers, in the units that a stream stores."""


@dataclasses.dataclass(frozen=True, eq=False)
class FixedPointQuantizer:
    """T components (T + 1 levels): spacings ≥ 1, thresholds strictly increasing, both int64 in units of 2⁻¹²."""

    spacings: Int[np.ndarray, " T"]
    thresholds: Int[np.ndarray, " T"]

    def __post_init__(self):
        if len(self.spacings) != len(self.thresholds):
            raise LicError(
                f"a stored quantizer has {len(self.spacings)} spacings for {len(self.thresholds)} thresholds; "
                "the weights file is damaged"
            )
        if np.sum(np.abs(self.spacings)) >= _LIMIT or np.any(np.abs(self.thresholds) >= _LIMIT):
            raise LicError("a stored quantizer reaches beyond ±2¹¹ steps; the weights file is damaged")
        if np.any(self.spacings < 1) or np.any(np.diff(self.thresholds) < 1):
            raise LicError("a stored quantizer has levels or thresholds out of order; the weights file is damaged")

    @property
    def symbol_count(self) -> int:
        """T + 1."""
        return len(self.spacings) + 1

    def levels(self) -> Float[np.ndarray, " T+1"]:
        """c_0 … c_T as float32, exactly: multiples of 2⁻¹³ below 2¹¹."""
        doubled = 2 * np.concatenate([[0], np.cumsum(self.spacings)]) - np.sum(self.spacings)
        return (doubled * (UNIT / 2)).astype(np.float32)

    def symbols(self, values: Float[np.ndarray, "*shape"]) -> Int[np.ndarray, "*shape"]:
        """#{i : v > b_i} of each value, int32."""
        edges = (self.thresholds * UNIT).astype(np.float32)
        return np.searchsorted(edges, np.asarray(values, np.float32), side="left").astype(np.int32)

    def cell_middles(self) -> Float[np.ndarray, " T+1"]:
        """For each symbol a value amid those that have it, which keeps it though the thresholds move a little.

        Halfway between the thresholds on either side; the outermost symbols have one, and a value half the neighbouring
        cell beyond.
        """
        edges = self.thresholds * UNIT
        first, last = (edges[1] - edges[0], edges[-1] - edges[-2]) if len(edges) > 1 else (2.0, 2.0)
        padded = np.concatenate([[edges[0] - first], edges, [edges[-1] + last]])
        return ((padded[1:] + padded[:-1]) / 2).astype(np.float32)


def to_fixed_point(spacings: Float[np.ndarray, " T"], thresholds: Float[np.ndarray, " T"]) -> FixedPointQuantizer:
    """Rounds a fitted quantizer to integers, keeping spacings positive and thresholds in order."""
    spacing_units = np.maximum(np.rint(np.asarray(spacings, np.float64) / UNIT).astype(np.int64), 1)
    threshold_units = np.rint(np.asarray(thresholds, np.float64) / UNIT).astype(np.int64)
    index = np.arange(len(threshold_units))
    return FixedPointQuantizer(spacing_units, np.maximum.accumulate(threshold_units - index) + index)


def interpolate(first: FixedPointQuantizer, second: FixedPointQuantizer, units: int) -> FixedPointQuantizer:
    """The quantizer `units`/256 of the way from the first to the second: linear in w and b, rounded down."""
    mix = lambda a, b: (a * (RATE_UNITS - units) + b * units) // RATE_UNITS
    return FixedPointQuantizer(mix(first.spacings, second.spacings), mix(first.thresholds, second.thresholds))


def at_rate(quantizers: list[FixedPointQuantizer], rate_units: int) -> FixedPointQuantizer:
    """The quantizer of a rate, `rate_units` in [0, 256 · (K − 1)], among K fitted ones."""
    whole, part = divmod(rate_units, RATE_UNITS)
    return quantizers[whole] if part == 0 else interpolate(quantizers[whole], quantizers[whole + 1], part)
