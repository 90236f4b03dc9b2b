"""The two contracts of a quantizer: one for fitting it, one for coding streams with it.

A *fitted quantizer* is a pytree that an optimizer changes. It describes a staircase: the values at which the symbol
changes (`thresholds`), the value of each symbol (`levels`), and how soft a decision is at an inverse temperature β.
Everything else, symbols, bins, rows, integers, follows from these (`quantization.staircase`).

An *integer quantizer* is stored in a model's file. Both sides of a stream compute with it, exactly.
"""

from typing import Any, ClassVar, Protocol, runtime_checkable

import numpy as np

from lic_jax.arrays import Float, Int


@runtime_checkable
class FittedQuantizer(Protocol):
    """A learnable staircase: a pytree (`flax.struct.dataclass`); leaves may have a leading axis of K quantizers."""

    @classmethod
    def start(cls, components: int, step: float, reach: float) -> "FittedQuantizer":
        """Makes the start of a fit: about uniform, symmetric about zero.

        Args:
          components: T; there are T + 1 levels.
          step: the distance between levels near zero.
          reach: how far the thresholds should reach on both sides, as far as T allows.
        """
        ...

    @property
    def thresholds(self) -> Any:
        """b [*stack, T], increasing: symbol k(v) = #{i : v > b_i}."""
        ...

    @property
    def levels(self) -> Any:
        """c [*stack, T + 1], increasing: the value of each symbol."""
        ...

    def upper_weight(self, values: Any, index: Any, inverse_temperature: Any) -> Any:
        """Returns how far, from 0 to 1, each value has gone from symbol `index` to symbol `index` + 1.

        It is 0.5 at threshold `index`; for β → ∞, 0 below it and 1 above it. For one quantizer, not a stack.

        Args:
          values: [*shape].
          index: the threshold nearest to each value, whole numbers from 0 to T − 1.
          inverse_temperature: β > 0.
        """
        ...

    def symmetric(self) -> "FittedQuantizer":
        """Returns the nearest quantizer that treats ±v alike."""
        ...


@runtime_checkable
class IntegerQuantizer(Protocol):
    """A staircase in integers: T + 1 symbols, the same on every machine. NumPy alone.

    `row` is the row of the coding tables that codes a symbol; most quantizers ignore it.
    """

    kind: ClassVar[str]
    """Its name in `registry.INTEGER_QUANTIZERS`."""

    @property
    def bin_edges(self) -> str:
        """The edges of a symbol's bin in the coding tables, one of `fixed_point.BIN_EDGES`."""
        ...

    @property
    def symbol_count(self) -> int:
        """T + 1."""
        ...

    def symbols(self, values: Float[np.ndarray, "*shape"], row: Any) -> Int[np.ndarray, "*shape"]:
        """Returns the symbol of each value, int32."""
        ...

    def levels_of(self, symbols: Int[np.ndarray, "*shape"], row: Any) -> Float[np.ndarray, "*shape"]:
        """Returns the level of each symbol, float32."""
        ...

    def middles_of(self, symbols: Int[np.ndarray, "*shape"], row: Any) -> Float[np.ndarray, "*shape"]:
        """Returns a value well inside each symbol's cell, float32."""
        ...

    def coding_edges(self) -> Float[np.ndarray, "rows T"]:
        """Returns the inner edges of the bins in each row of the coding tables, or one row for all; float64, exact."""
        ...

    def mixed_with(self, other: Any, units: int) -> "IntegerQuantizer":
        """Returns the quantizer `units`/256 of the way to another of the same kind."""
        ...

    def outward(self) -> tuple[Float[np.ndarray, " levels"], Float[np.ndarray, " rows"] | None]:
        """Returns (levels, how far each row moves them away from the middle; None if rows are alike), for searches."""
        ...

    def arrays(self) -> dict[str, Int[np.ndarray, "..."]]:
        """Returns the arrays that a file stores, int64 by name."""
        ...

    @classmethod
    def from_arrays(cls, arrays: dict[str, np.ndarray], bin_edges: str) -> "IntegerQuantizer":
        """Inverts `arrays`.

        Raises:
          LicError: the arrays are not a valid quantizer.
        """
        ...
