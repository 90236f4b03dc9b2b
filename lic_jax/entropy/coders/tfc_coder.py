"""Entropy coding with integer tables by tensorflow-compression's range coder; needs the extra `tfc`.

That coder's probabilities have 16 bits, our tables 24. So a rare symbol, with less than one of 2¹⁶ parts, is coded in
two steps: first as an escape, which owns the parts of all rare symbols of its table, then among the rare symbols with
all 2¹⁶ parts. All first steps of a part come before the second ones, so that a decoder knows the table of each step.
The coder's own escape (Elias gamma codes without an end) would read damaged bytes for ever.
"""

from collections.abc import Sequence
from types import ModuleType

import numpy as np

from lic_jax import extras
from lic_jax.arrays import Float, Int, Integer
from lic_jax.entropy.coders.base import Coder, Part
from lic_jax.entropy.tables import PRECISION_BITS
from lic_jax.errors import LicError

BITS = 16
_PARTS = 1 << BITS
_RARE = 1 << (PRECISION_BITS - BITS)
"""Symbols with fewer of 2²⁴ parts than this are escaped."""

_CHUNK = 1 << 24
"""Symbols go to the coder in pieces, so that copies of 32 bits take less memory than the image."""


def sixteen_bits(weights: Int[np.ndarray, "rows symbols"]) -> Int[np.ndarray, "rows edges"]:
    """Computes edges from 0 to 2¹⁶ between symbols, in proportion to integer weights; none but 0 gets less than a part.

    With C_k = Σ_{j<k} weight_j and n_k the number of nonzero weights before k, edge k is ⌊C_k (2¹⁶ − n) / C⌋ + n_k. If
    all weights are 0, the last symbol has all parts.
    """
    summed, present = (
        np.concatenate([np.zeros((len(weights), 1), np.int64), np.cumsum(values, axis=1, dtype=np.int64)], axis=1)
        for values in (weights, weights > 0)
    )
    edges = summed * (_PARTS - present[:, -1:]) // np.maximum(summed[:, -1:], 1) + present
    edges[:, -1] = _PARTS
    return edges


def lookup(tables: Int[np.ndarray, "tables symbols"]) -> Int[np.ndarray, "rows entries"]:
    """Makes tensorflow-compression's tables (int32): precision and edges in each row.

    The first half is for the first steps, whose last symbol is the escape; the second half is for the second steps. A
    symbol that a row does not code has no parts in it.
    """
    rare = tables < _RARE
    escape = np.sum(tables * rare, axis=1, keepdims=True)
    first = sixteen_bits(np.concatenate([np.where(rare, 0, tables), escape], axis=1))
    second = sixteen_bits(np.concatenate([np.where(rare, tables, 0), np.zeros_like(escape)], axis=1))
    edges = np.concatenate([first, second])
    return np.concatenate([np.full((len(edges), 1), BITS), edges], axis=1).astype(np.int32)


def least_bits(tables: Int[np.ndarray, "tables symbols"]) -> Float[np.ndarray, " tables"]:
    """Returns the least bits that a symbol of each table can cost.

    The coder's intervals, of 2¹⁶ units or more, are rounded to whole units, so a symbol may own one part more.
    """
    widest = np.diff(lookup(tables)[: len(tables), 1:], axis=1).max(axis=1, initial=1)
    return BITS - np.log2(np.minimum(widest + 1, _PARTS))


def _library() -> tuple[ModuleType, ModuleType]:
    tensorflow_compression = extras.import_tfc("tensorflow_compression", "coder tfc")
    return extras.import_tfc("tensorflow", "coder tfc"), tensorflow_compression


def _pieces(count: int) -> list[slice]:
    return [slice(start, start + _CHUNK) for start in range(0, count, _CHUNK)]


def encode(parts: Sequence[Part], tables: Int[np.ndarray, "tables symbols"]) -> bytes:
    """Codes symbols, each with the table of its index, into bytes.

    Raises:
      LicError: tensorflow-compression is not installed.
    """
    _, tfc = _library()
    handle = tfc.create_range_encoder([], lookup(tables))
    escape = tables.shape[1]
    for symbols, table_index in parts:
        escaped = np.empty(len(symbols), bool)
        for piece in _pieces(len(symbols)):
            index = table_index[piece].astype(np.int32)
            escaped[piece] = tables[index, symbols[piece]] < _RARE
            first = np.where(escaped[piece], escape, symbols[piece]).astype(np.int32)
            handle = tfc.entropy_encode_index(handle, index, first)
        index = len(tables) + table_index[escaped].astype(np.int32)
        handle = tfc.entropy_encode_index(handle, index, symbols[escaped].astype(np.int32))
    return tfc.entropy_encode_finalize(handle).numpy()


class Reader:
    """Reads the bytes of `encode` (`coders.base.Reader`).

    Raises:
      LicError: tensorflow-compression is not installed.
    """

    def __init__(self, data: bytes, tables: Int[np.ndarray, "tables symbols"]):
        self._tensorflow, self._tfc = _library()
        self._handle = self._tfc.create_range_decoder(data, lookup(tables))
        self._tables, self._escape = tables.shape

    def read(self, table_index: Integer[np.ndarray, " n"]) -> Int[np.ndarray, " n"]:
        """Reads the next n symbols, int16, in their original order."""
        symbols = np.empty(len(table_index), np.int16)
        for piece in _pieces(len(symbols)):
            symbols[piece] = self._next(table_index[piece].astype(np.int32))
        escaped = np.flatnonzero(symbols == self._escape)
        symbols[escaped] = self._next(self._tables + table_index[escaped].astype(np.int32))
        return symbols

    def _next(self, index: Integer[np.ndarray, " n"]) -> Int[np.ndarray, " n"]:
        self._handle, values = self._tfc.entropy_decode_index(
            self._handle, index, index.shape, Tdecoded=self._tensorflow.int32
        )
        return values.numpy()

    def close(self) -> None:
        """Raises LicError unless the code ends here."""
        if not self._tfc.entropy_decode_finalize(self._handle).numpy():
            raise LicError("the stream's code is damaged or goes on after its last symbol; get the file again")


CODER = Coder(encode, Reader, least_bits)
