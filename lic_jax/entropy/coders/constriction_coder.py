"""Entropy coding with integer tables by constriction's range coder (Bamler 2022): the default.

Symbols are grouped by the table that codes them, so that each table is set up once a stream. Within a group they keep
their order.
"""

import functools
from collections.abc import Sequence

import numpy as np
from constriction import stream  # pyright: ignore[reportAttributeAccessIssue]  # compiled, without types

from lic_jax.arrays import Float, Int, Integer
from lic_jax.entropy.coders.base import Coder, Part
from lic_jax.entropy.tables import information
from lic_jax.errors import LicError


def _model(frequencies: Int[np.ndarray, " symbols"]):
    """Makes constriction's entropy model with exactly these frequencies out of 2²⁴.

    Its fast quantization of n symbols gives symbol k the range from floor(s · Σ_{j<k} p_j) + k, s = (2²⁴ − n)/Σ p.
    For p_j = frequency_j − 1 the factor s is exactly 1 and every sum an integer, so nothing is rounded.
    """
    return stream.model.Categorical((frequencies - 1).astype(np.float64), perfect=False)


_CHUNK = 1 << 24
"""Positions in larger images are found in pieces of this many symbols, to take less memory than the symbols."""


def _groups(table_index: Integer[np.ndarray, " n"], table_count: int):
    """Yields (table, positions) of every table that occurs, in the order of the tables, one or more a table."""
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


def encode(parts: Sequence[Part], tables: Int[np.ndarray, "tables symbols"]) -> bytes:
    """Codes symbols, each with the table of its index, into bytes (a multiple of 4)."""
    encoder = stream.queue.RangeEncoder()
    model_of = functools.cache(lambda table: _model(tables[table]))
    for symbols, table_index in parts:
        for table, positions in _groups(table_index, len(tables)):
            encoder.encode(symbols[positions].astype(np.int32), model_of(table))
    return encoder.get_compressed().astype("<u4").tobytes()


def least_bits(tables: Int[np.ndarray, "tables symbols"]) -> Float[np.ndarray, " tables"]:
    """Returns the bits of each table's cheapest symbol."""
    return information(tables.max(axis=1))


class Reader:
    """Reads the bytes of `encode` (`coders.base.Reader`).

    Raises:
      LicError: the data is not whole words.
    """

    def __init__(self, data: bytes, tables: Int[np.ndarray, "tables symbols"]):
        if len(data) % 4:
            raise LicError(
                f"a segment of {len(data)} bytes is not whole 32-bit words; the stream is damaged, get it again"
            )
        self._decoder = stream.queue.RangeDecoder(np.frombuffer(data, "<u4").astype(np.uint32))
        self._tables = len(tables)
        self._model_of = functools.cache(lambda table: _model(tables[table]))

    def read(self, table_index: Integer[np.ndarray, " n"]) -> Int[np.ndarray, " n"]:
        """Reads the next n symbols, int16, in their original order.

        Raises:
          LicError: the data does not code n symbols.
        """
        symbols = np.empty(len(table_index), np.int16)
        for table, positions in _groups(table_index, self._tables):
            try:
                symbols[positions] = self._decoder.decode(self._model_of(table), len(positions))
            except (AssertionError, ValueError, RuntimeError) as error:
                raise LicError("the stream's code is damaged; get the file again") from error
        return symbols

    def close(self) -> None:
        """Raises LicError unless the code ends here."""
        if not self._decoder.maybe_exhausted():
            raise LicError("the stream's code goes on after its last symbol; it is damaged, get the file again")


CODER = Coder(encode, Reader, least_bits)
