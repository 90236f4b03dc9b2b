"""The contract of an entropy coder: it codes symbols to bytes and back, by integer tables, in one or more parts."""

from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np

from lic_jax.arrays import Float, Int, Integer

Part = tuple[Integer[np.ndarray, " _n"], Integer[np.ndarray, " _n"]]
"""(symbols, the row of the tables that codes each symbol)."""


@runtime_checkable
class Reader(Protocol):
    """Reads a segment's symbols part by part: the tables of a part may depend on the symbols before it."""

    def read(self, table_index: Integer[np.ndarray, " n"]) -> Int[np.ndarray, " n"]:
        """Reads the next n symbols, int16.

        Raises:
          LicError: the data does not code n symbols.
        """
        ...

    def close(self) -> None:
        """Raises LicError unless the segment ends here."""
        ...


class Coder(NamedTuple):
    """An entropy coder, as pure functions.

    Attributes:
      encode: (parts, tables) → bytes.
      open: (bytes, tables) → a `Reader`.
      least_bits: tables → the bits of each table's cheapest symbol.
    """

    encode: Callable[[Sequence[Part], Int[np.ndarray, "tables symbols"]], bytes]
    open: Callable[[bytes, Int[np.ndarray, "tables symbols"]], Reader]
    least_bits: Callable[[Int[np.ndarray, "tables symbols"]], Float[np.ndarray, " tables"]]
