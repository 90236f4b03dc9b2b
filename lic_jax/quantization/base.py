"""The two contracts of a quantizer: while it is fitted, and as a stream is coded with it.

A *fitted quantizer* is a pytree that an optimizer changes. A staircase is all that the rest asks of it: where the
symbol changes (`thresholds`), which value a symbol stands for (`levels`), and how soft a decision is at an inverse
temperature β. Everything else, symbols, bins, rows, integers, follows from these (`quantization.staircase`).

An *integer quantizer* is what a model's file holds and what both sides of a stream compute with, exactly.
"""

from typing import Any, ClassVar, Protocol, runtime_checkable

import numpy as np

from lic_jax.arrays import Float, Int


@runtime_checkable
class FittedQuantizer(Protocol):
    """A learnable staircase: a pytree (`flax.struct.dataclass`); leaves may have a leading axis of K quantizers."""

    @classmethod
    def start(cls, components: int, step: float, reach: float) -> "FittedQuantizer":
        """Where a fit begins: about uniform, symmetric about zero.

        Args:
          components: T; there are T + 1 levels.
          step: between levels near zero.
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
        """How far, from 0 to 1, a value has gone from symbol `index` to symbol `index` + 1.

        0.5 at threshold `index`; 0 or 1 on either side of it for β → ∞. Of one quantizer, not of a stack.

        Args:
          values: [*shape].
          index: of the threshold nearest to each value, whole numbers from 0 to T − 1.
          inverse_temperature: β > 0.
        """
        ...

    def symmetric(self) -> "FittedQuantizer":
        """The nearest quantizer that treats ±v alike."""
        ...


@runtime_checkable
class IntegerQuantizer(Protocol):
    """A staircase in integers: T + 1 symbols, the same on every machine. NumPy alone.

    `row` is the row of the coding tables that a symbol is coded with; most quantizers pass over it.
    """

    kind: ClassVar[str]
    """Its name in `registry.INTEGER_QUANTIZERS`."""

    @property
    def bin_edges(self) -> str:
        """One of `fixed_point.BIN_EDGES`: what the coding tables take for the edges of a symbol's bin."""
        ...

    @property
    def symbol_count(self) -> int:
        """T + 1."""
        ...

    def symbols(self, values: Float[np.ndarray, "*shape"], row: Any) -> Int[np.ndarray, "*shape"]:
        """The symbol of each value, int32."""
        ...

    def levels_of(self, symbols: Int[np.ndarray, "*shape"], row: Any) -> Float[np.ndarray, "*shape"]:
        """The level of each symbol, float32."""
        ...

    def middles_of(self, symbols: Int[np.ndarray, "*shape"], row: Any) -> Float[np.ndarray, "*shape"]:
        """A value amid those that have each symbol, float32."""
        ...

    def coding_edges(self) -> Float[np.ndarray, "rows T"]:
        """The inner edges of the bins in each row of the coding tables, or one row for all; float64, exact."""
        ...

    def mixed_with(self, other: Any, units: int) -> "IntegerQuantizer":
        """The quantizer `units`/256 of the way to another of the same kind."""
        ...

    def outward(self) -> tuple[Float[np.ndarray, " levels"], Float[np.ndarray, " rows"] | None]:
        """(levels, how far each row moves them away from the middle level; None where rows are alike): for searches."""
        ...

    def arrays(self) -> dict[str, Int[np.ndarray, "..."]]:
        """What a file stores, int64 arrays by name."""
        ...

    @classmethod
    def from_arrays(cls, arrays: dict[str, np.ndarray], bin_edges: str) -> "IntegerQuantizer":
        """The inverse of `arrays`.

        Raises:
          LicError: the arrays are no quantizer.
        """
        ...
