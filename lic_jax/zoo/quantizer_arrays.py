"""Converts the quantizers of all fitted rates to the arrays of a file, and back."""

from collections.abc import Sequence

import numpy as np

from lic_jax.quantization.base import IntegerQuantizer
from lic_jax.registry import INTEGER_QUANTIZERS


def stack(quantizers: Sequence[IntegerQuantizer]) -> dict[str, np.ndarray]:
    """Converts the quantizers of K rates to the arrays that a file stores: int32 [K, …] by name."""
    parts = [quantizer.arrays() for quantizer in quantizers]
    names = list(dict.fromkeys(name for arrays in parts for name in arrays))
    blank = {name: np.zeros_like(next(arrays[name] for arrays in parts if name in arrays)) for name in names}
    return {name: np.stack([arrays.get(name, blank[name]) for arrays in parts]).astype(np.int32) for name in names}


def unstack(
    arrays: dict[str, np.ndarray], bin_edges: str, kind: str, tables: int | None = None
) -> tuple[IntegerQuantizer, ...]:
    """Rebuilds the quantizers from the arrays of `stack`.

    Args:
      arrays: the arrays by name.
      bin_edges: one of `fixed_point.BIN_EDGES`.
      kind: a name in `registry.INTEGER_QUANTIZERS`.
      tables: the number of the latent's coding tables; None for the hyper latent.

    Raises:
      KeyError, ValueError: arrays are missing, of another type or rank, or do not fit together.
      LicError: they are not quantizers, or of an unknown kind.
    """
    if not isinstance(arrays, dict) or not arrays:
        raise ValueError("its quantizers are one array, not several with names")
    for name, array in arrays.items():
        if not isinstance(array, np.ndarray) or array.dtype != np.int32 or array.ndim != 2:
            raise ValueError(f"its quantizers' {name} are not int32 with two axes")
    if len({len(array) for array in arrays.values()}) != 1:
        raise ValueError("its quantizers' arrays have different numbers of rates")
    count = len(next(iter(arrays.values())))
    build = INTEGER_QUANTIZERS[kind].from_arrays
    quantizers = tuple(
        build({name: array[rate].astype(np.int64) for name, array in arrays.items()}, bin_edges)
        for rate in range(count)
    )
    known = set(quantizers[0].arrays()) | {"centre"} if quantizers else set()
    for name in arrays:
        if name not in known:
            raise ValueError(f"its quantizers have {name}, which this lic does not know")
    for quantizer in quantizers:
        if tables is not None and len(quantizer.coding_edges()) not in (1, tables):
            raise ValueError(f"its dead zones are not for {count} rates and {tables} coding tables")
    return quantizers


def kind_of(arrays: dict[str, np.ndarray]) -> str:
    """Returns the quantizer kind of a file that does not name it: "rows" if it has dead zones."""
    return "rows" if isinstance(arrays, dict) and "dead_zones" in arrays else "staircase"
