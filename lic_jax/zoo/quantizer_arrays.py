"""The quantizers of all fitted rates as the arrays of a file, and back."""

from collections.abc import Sequence

import numpy as np

from lic_jax.quantization.fixed_point import FixedPointQuantizer
from lic_jax.quantization.fixed_rows import FixedPointRows

_PLAIN = ("spacings", "thresholds")
_OF_ROWS = ("dead_zones", "reconstructions")
"""What the latent's have beside these where they differ from row to row of the coding tables."""


def stack(quantizers: Sequence, names: Sequence[str] = _PLAIN) -> dict[str, np.ndarray]:
    """An array a name, int32 [K, …]."""
    return {name: np.stack([getattr(quantizer, name) for quantizer in quantizers]).astype(np.int32) for name in names}


def stack_rows(quantizers: Sequence[FixedPointQuantizer] | Sequence[FixedPointRows]) -> dict[str, np.ndarray]:
    """The same of quantizers that may differ from row to row."""
    if isinstance(quantizers[0], FixedPointQuantizer):
        return stack(quantizers)
    return {**stack([quantizer.narrowest for quantizer in quantizers]), **stack(quantizers, _OF_ROWS)}


def unstack(arrays: dict[str, np.ndarray], bin_edges: str) -> tuple[FixedPointQuantizer, ...]:
    """The quantizers of `stack`.

    Args:
      arrays: by name.
      bin_edges: one of `fixed_point.BIN_EDGES`.

    Raises:
      KeyError, ValueError: arrays are missing, unknown, of another type or rank, or do not fit together.
      LicError: they are no quantizers.
    """
    _check(arrays, _PLAIN)
    pairs = zip(arrays["spacings"], arrays["thresholds"], strict=True)
    return tuple(
        FixedPointQuantizer(spacings.astype(np.int64), thresholds.astype(np.int64), bin_edges)
        for spacings, thresholds in pairs
    )


def unstack_rows(
    arrays: dict[str, np.ndarray], bin_edges: str, tables: int
) -> tuple[FixedPointQuantizer, ...] | tuple[FixedPointRows, ...]:
    """The quantizers of `stack_rows`, for a latent of so many coding tables.

    Raises:
      KeyError, ValueError, LicError: as `unstack`.
    """
    _check(arrays, (*_PLAIN, *_OF_ROWS))
    quantizers = unstack({name: arrays[name] for name in _PLAIN}, bin_edges)
    if not arrays.keys() & set(_OF_ROWS):
        return quantizers
    of_rows = [arrays[name].astype(np.int64) for name in _OF_ROWS]
    if any(offsets.shape != (len(quantizers), tables) for offsets in of_rows):
        raise ValueError(f"its dead zones are not of {len(quantizers)} rates and {tables} coding tables")
    return tuple(FixedPointRows(*parts) for parts in zip(quantizers, *of_rows, strict=True))


def _check(arrays: dict[str, np.ndarray], known: Sequence[str]) -> None:
    """Raises ValueError unless all are int32 [K, n], whose sums 64 bits hold, and have known names."""
    if not isinstance(arrays, dict):
        raise ValueError("its quantizers are one array, not several with names")
    for name, array in arrays.items():
        if name not in known:
            raise ValueError(f"its quantizers have {name}, which this lic does not know")
        if not isinstance(array, np.ndarray) or array.dtype != np.int32 or array.ndim != 2:
            raise ValueError(f"its quantizers' {name} are not int32 of two axes")
