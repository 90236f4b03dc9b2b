"""Entropy coding of symbols with integer tables, by one of several coders.

Each is a module with `encode`, `decode` and `least_bits`, imported when it is used: a device that decodes streams of
the default coder needs that one alone.
"""

import importlib
from types import ModuleType

import numpy as np

from lic_jax.arrays import Int
from lic_jax.entropy.tables import TOTAL
from lic_jax.errors import LicError, unknown_name

DEFAULT = "constriction"
_HOMES = {DEFAULT: "lic_jax.entropy.coders.constriction_coder", "tfc": "lic_jax.entropy.coders.tfc_coder"}
NAMES = tuple(_HOMES)

_SLACK_BITS = 64
"""A code may be shorter than the information of its symbols by its coder's state, no more."""


def _home(coder: str) -> ModuleType:
    if coder not in _HOMES:
        raise unknown_name("coder", coder, NAMES)
    return importlib.import_module(_HOMES[coder])


def check(coder: str) -> None:
    """Codes a symbol, so that a coder that is missing is missed before an image is searched for an hour.

    Raises:
      LicError: no such coder, or it is not installed.
    """
    encode(np.zeros(1, np.int64), np.zeros(1, np.int64), np.full((1, 2), TOTAL // 2), coder)


def encode(
    symbols: Int[np.ndarray, " n"],
    table_index: Int[np.ndarray, " n"],
    tables: Int[np.ndarray, "tables symbols"],
    coder: str = DEFAULT,
) -> bytes:
    """Codes n symbols, each with the table of its index, into bytes: none for no symbols.

    Args:
      symbols: from 0 up.
      table_index: the row of `tables` that each is coded with.
      tables: how many of 2²⁴ equal parts of the coder's range each symbol owns (`entropy.tables`).
      coder: one of `NAMES`.

    Raises:
      LicError: no such coder, or it is not installed.
    """
    return _home(coder).encode(symbols, table_index, tables) if len(symbols) else b""


def decode(
    data: bytes,
    table_index: Int[np.ndarray, " n"],
    tables: Int[np.ndarray, "tables symbols"],
    coder: str = DEFAULT,
) -> Int[np.ndarray, " n"]:
    """The inverse of `encode`: int16 symbols in their original order.

    Raises:
      LicError: no such coder, it is not installed, or the data is no code of so many symbols.
    """
    home = _home(coder)
    if not len(table_index):
        if data:
            raise LicError(
                f"a segment of {len(data)} bytes has no symbols to code; the stream is damaged, get it again"
            )
        return np.zeros(0, np.int16)
    if _counts(table_index, len(tables)) @ home.least_bits(tables) > 8 * len(data) + _SLACK_BITS:
        raise LicError(
            f"a segment of {len(data)} bytes is too short for its {len(table_index)} symbols; "
            "the stream is damaged, get it again"
        )
    return home.decode(data, table_index, tables)


def _counts(table_index: Int[np.ndarray, " n"], table_count: int) -> Int[np.ndarray, " tables"]:
    """How often each table is used, counted in pieces: NumPy counts copies of 64 bits."""
    counts = np.zeros(table_count, np.int64)
    for start in range(0, len(table_index), 1 << 24):
        counts += np.bincount(table_index[start : start + (1 << 24)], minlength=table_count)
    return counts
