"""Entropy coding of symbols with integer tables, by a coder of `registry.CODERS`.

A coder is imported when it is used, so a device that decodes streams of the default coder needs no other.
"""

from collections.abc import Sequence

import numpy as np

from lic_jax.arrays import Int, Integer
from lic_jax.entropy.coders.base import Part
from lic_jax.entropy.tables import TOTAL
from lic_jax.errors import LicError
from lic_jax.registry import CODERS, DEFAULT_CODER

_SLACK_BITS = 64
"""A code may be shorter than the information of its symbols by its coder's state, but not by more."""


def check(coder: str) -> None:
    """Checks that a coder works by coding a symbol, before a long search for an image's symbols.

    Raises:
      LicError: no such coder, or it is not installed.
    """
    encode(np.zeros(1, np.int64), np.zeros(1, np.int64), np.full((1, 2), TOTAL // 2), coder)


def encode(
    symbols: Integer[np.ndarray, " n"],
    table_index: Integer[np.ndarray, " n"],
    tables: Int[np.ndarray, "tables symbols"],
    coder: str = DEFAULT_CODER,
) -> bytes:
    """Codes n symbols, each with the table of its index, into bytes; no symbols give no bytes.

    Args:
      symbols: from 0 up.
      table_index: the row of `tables` that codes each symbol.
      tables: how many of 2²⁴ equal parts of the coder's range each symbol owns (`entropy.tables`).
      coder: a name in `registry.CODERS`.

    Raises:
      LicError: no such coder, or it is not installed.
    """
    return encode_parts([(symbols, table_index)], tables, coder)


def encode_parts(parts: Sequence[Part], tables: Int[np.ndarray, "tables symbols"], coder: str = DEFAULT_CODER) -> bytes:
    """Codes the symbols of a prior's stages, one stage after the other; `SegmentReader` reads them.

    Raises:
      LicError: no such coder, or it is not installed.
    """
    home = CODERS[coder]
    return home.encode(parts, tables) if any(len(symbols) for symbols, _ in parts) else b""


def decode(
    data: bytes,
    table_index: Integer[np.ndarray, " n"],
    tables: Int[np.ndarray, "tables symbols"],
    coder: str = DEFAULT_CODER,
) -> Int[np.ndarray, " n"]:
    """Inverts `encode`: returns int16 symbols in their original order.

    Raises:
      LicError: no such coder, it is not installed, or the data does not code n symbols.
    """
    reader = SegmentReader(data, tables, coder)
    symbols = reader.read(table_index)
    reader.close()
    return symbols


class SegmentReader:
    """Reads a segment stage by stage.

    Raises:
      LicError: no such coder, or it is not installed.
    """

    def __init__(self, data: bytes, tables: Int[np.ndarray, "tables symbols"], coder: str = DEFAULT_CODER):
        self._data, self._tables, self._coder = data, tables, CODERS[coder]
        self._reader, self._least, self._count = None, None, 0
        self._bits = 0.0

    def read(self, table_index: Integer[np.ndarray, " n"]) -> Int[np.ndarray, " n"]:
        """Reads the next n symbols, int16.

        Raises:
          LicError: the segment is too short for them, or damaged.
        """
        if not len(table_index):
            return np.zeros(0, np.int16)
        if self._reader is None:
            self._least = self._coder.least_bits(self._tables)
        self._count += len(table_index)
        self._bits += float(_counts(table_index, len(self._tables)) @ self._least)
        if self._bits > 8 * len(self._data) + _SLACK_BITS:
            raise LicError(
                f"a segment of {len(self._data)} bytes is too short for its {self._count} symbols; "
                "the stream is damaged, get it again"
            )
        if self._reader is None:
            self._reader = self._coder.open(self._data, self._tables)
        return self._reader.read(table_index)

    def close(self) -> None:
        """Raises LicError unless the segment ends here."""
        if self._reader is not None:
            self._reader.close()
        elif self._data:
            raise LicError(
                f"a segment of {len(self._data)} bytes has no symbols to code; the stream is damaged, get it again"
            )


def _counts(table_index: Integer[np.ndarray, " n"], table_count: int) -> Int[np.ndarray, " tables"]:
    """Counts how often each table is used, in pieces, because NumPy counts copies of 64 bits."""
    counts = np.zeros(table_count, np.int64)
    for start in range(0, len(table_index), 1 << 24):
        counts += np.bincount(table_index[start : start + (1 << 24)], minlength=table_count)
    return counts
