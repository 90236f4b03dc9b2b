"""Entropy coding with integer tables by constriction's range coder (Bamler 2022): the default of `entropy.coder`.

Symbols are grouped by the table they are coded with, so that each table is set up once a stream; within a group they
keep their order.
"""

import functools

import constriction
import numpy as np

from lic_jax.arrays import Float, Int
from lic_jax.entropy.tables import information
from lic_jax.errors import LicError


def _model(frequencies: Int[np.ndarray, " symbols"]):
    """constriction's entropy model with exactly these frequencies out of 2²⁴.

    Its fast quantization of n symbols gives symbol k the range from floor(s · Σ_{j<k} p_j) + k, s = (2²⁴ − n)/Σ p.
    For p_j = frequency_j − 1 the factor s is exactly 1 and every sum an integer: nothing is left to round.
    """
    return constriction.stream.model.Categorical((frequencies - 1).astype(np.float64), perfect=False)


_CHUNK = 1 << 24
"""Larger images' positions are sought in pieces of so many symbols, lest they take more memory than the symbols."""


def _groups(table_index: Int[np.ndarray, " n"], table_count: int):
    """(table, positions) of every table that occurs, in the order of the tables, one or more a table."""
    if len(table_index) > _CHUNK:
        for table in range(table_count):
            for start in range(0, len(table_index), _CHUNK):
                positions = start + np.flatnonzero(table_index[start : start + _CHUNK] == table)
                if len(positions):
                    yield table, positions
        return
    order = np.argsort(table_index, kind="stable")
    counts = np.bincount(table_index, minlength=table_count)
    ends = np.cumsum(counts)
    for table, (start, end) in enumerate(zip(ends - counts, ends, strict=True)):
        if start < end:
            yield table, order[start:end]


def encode(
    symbols: Int[np.ndarray, " n"], table_index: Int[np.ndarray, " n"], tables: Int[np.ndarray, "tables symbols"]
) -> bytes:
    """Codes n symbols, each with the table of its index, into bytes (a multiple of 4)."""
    encoder = constriction.stream.queue.RangeEncoder()
    model_of = functools.cache(lambda table: _model(tables[table]))
    for table, positions in _groups(table_index, len(tables)):
        encoder.encode(symbols[positions].astype(np.int32), model_of(table))
    return encoder.get_compressed().astype("<u4").tobytes()


def least_bits(tables: Int[np.ndarray, "tables symbols"]) -> Float[np.ndarray, " tables"]:
    """The bits that a table's cheapest symbol costs."""
    return information(tables.max(axis=1))


def decode(
    data: bytes, table_index: Int[np.ndarray, " n"], tables: Int[np.ndarray, "tables symbols"]
) -> Int[np.ndarray, " n"]:
    """The inverse of `encode`: int16 symbols in their original order.

    Raises:
      LicError: the data is no code of so many symbols.
    """
    if len(data) % 4:
        raise LicError(f"a segment of {len(data)} bytes is not whole 32-bit words; the stream is damaged")
    decoder = constriction.stream.queue.RangeDecoder(np.frombuffer(data, "<u4").astype(np.uint32))
    symbols = np.empty(len(table_index), np.int16)
    model_of = functools.cache(lambda table: _model(tables[table]))
    for table, positions in _groups(table_index, len(tables)):
        try:
            symbols[positions] = decoder.decode(model_of(table), len(positions))
        except (AssertionError, ValueError, RuntimeError) as error:
            raise LicError("the stream's code is damaged; get the file again") from error
    if not decoder.maybe_exhausted():
        raise LicError("the stream's code goes on after its last symbol; it is damaged, get the file again")
    return symbols
