"""Entropy coding with integer tables by tensorflow-compression's range coder; needs the extra `tfc`.

That coder's probabilities have 16 bits, our tables 24. A symbol with less than one of 2¹⁶ parts is therefore coded in
two steps: as an escape, which owns the parts of all such symbols of its table, and among these with all 2¹⁶ parts. All
first steps of a segment come first, then the second ones, so that a decoder knows the tables of what it reads. The
coder's own escape (Elias gamma codes without an end) would read damaged bytes for ever.
"""

from types import ModuleType

import numpy as np

from lic_jax import extras
from lic_jax.arrays import Float, Int
from lic_jax.entropy.tables import PRECISION_BITS
from lic_jax.errors import LicError

BITS = 16
_PARTS = 1 << BITS
_RARE = 1 << (PRECISION_BITS - BITS)
"""Symbols with less of 2²⁴ parts than this are escaped."""

_CHUNK = 1 << 24
"""Symbols go to the coder in pieces, lest copies of 32 bits take more memory than the image."""


def sixteen_bits(weights: Int[np.ndarray, "rows symbols"]) -> Int[np.ndarray, "rows symbols+1"]:
    """Edges from 0 to 2¹⁶ between symbols: in proportion to integer weights, one part or more for each that is not 0.

    With C_k = Σ_{j<k} weight_j and n_k the number of weights before k that are not 0, edge k is
    ⌊C_k (2¹⁶ − n) / C⌋ + n_k. Where all weights are 0 the last symbol has everything.
    """
    summed, present = (
        np.concatenate([np.zeros((len(weights), 1), np.int64), np.cumsum(values, axis=1, dtype=np.int64)], axis=1)
        for values in (weights, weights > 0)
    )
    edges = summed * (_PARTS - present[:, -1:]) // np.maximum(summed[:, -1:], 1) + present
    edges[:, -1] = _PARTS
    return edges


def lookup(tables: Int[np.ndarray, "tables symbols"]) -> Int[np.ndarray, "2*tables symbols+3"]:
    """tensorflow-compression's tables (int32): precision and edges a row.

    The first half are those of the first steps, whose last symbol is the escape; the second half those of the second
    steps. A symbol that a row does not code has no parts in it.
    """
    rare = tables < _RARE
    escape = np.sum(tables * rare, axis=1, keepdims=True)
    first = sixteen_bits(np.concatenate([np.where(rare, 0, tables), escape], axis=1))
    second = sixteen_bits(np.concatenate([np.where(rare, tables, 0), np.zeros_like(escape)], axis=1))
    edges = np.concatenate([first, second])
    return np.concatenate([np.full((len(edges), 1), BITS), edges], axis=1).astype(np.int32)


def least_bits(tables: Int[np.ndarray, "tables symbols"]) -> Float[np.ndarray, " tables"]:
    """The least bits that a symbol of each table can cost.

    The coder's intervals, of 2¹⁶ units or more, are rounded to whole units, so a symbol may own one part more.
    """
    widest = np.diff(lookup(tables)[: len(tables), 1:], axis=1).max(axis=1, initial=1)
    return BITS - np.log2(np.minimum(widest + 1, _PARTS))


def _library() -> tuple[ModuleType, ModuleType]:
    tensorflow_compression = extras.of_tfc("tensorflow_compression", "coder tfc")
    return extras.of_tfc("tensorflow", "coder tfc"), tensorflow_compression


def _pieces(count: int) -> list[slice]:
    return [slice(start, start + _CHUNK) for start in range(0, count, _CHUNK)]


def encode(
    symbols: Int[np.ndarray, " n"], table_index: Int[np.ndarray, " n"], tables: Int[np.ndarray, "tables symbols"]
) -> bytes:
    """Codes n symbols, each with the table of its index, into bytes.

    Raises:
      LicError: tensorflow-compression is not installed.
    """
    _, tfc = _library()
    handle = tfc.create_range_encoder([], lookup(tables))
    escape = tables.shape[1]
    escaped = np.empty(len(symbols), bool)
    for piece in _pieces(len(symbols)):
        index = table_index[piece].astype(np.int32)
        escaped[piece] = tables[index, symbols[piece]] < _RARE
        first = np.where(escaped[piece], escape, symbols[piece]).astype(np.int32)
        handle = tfc.entropy_encode_index(handle, index, first)
    index = len(tables) + table_index[escaped].astype(np.int32)
    handle = tfc.entropy_encode_index(handle, index, symbols[escaped].astype(np.int32))
    return tfc.entropy_encode_finalize(handle).numpy()


def decode(
    data: bytes, table_index: Int[np.ndarray, " n"], tables: Int[np.ndarray, "tables symbols"]
) -> Int[np.ndarray, " n"]:
    """The inverse of `encode`: int16 symbols in their original order.

    Raises:
      LicError: tensorflow-compression is not installed, or the data is no code of so many symbols.
    """
    tensorflow, tfc = _library()
    handle = tfc.create_range_decoder(data, lookup(tables))
    symbols = np.empty(len(table_index), np.int16)

    def read(handle, index):
        handle, values = tfc.entropy_decode_index(handle, index, index.shape, Tdecoded=tensorflow.int32)
        return handle, values.numpy()

    for piece in _pieces(len(symbols)):
        handle, symbols[piece] = read(handle, table_index[piece].astype(np.int32))
    escaped = np.flatnonzero(symbols == tables.shape[1])
    handle, symbols[escaped] = read(handle, len(tables) + table_index[escaped].astype(np.int32))
    if not tfc.entropy_decode_finalize(handle).numpy():
        raise LicError("the stream's code is damaged or goes on after its last symbol; get the file again")
    return symbols
