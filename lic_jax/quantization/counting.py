"""Counts the thresholds below a value, which is its symbol, at a cost that hardly grows with their number.

XLA compiles a binary search for many values to a chain of look-ups that it computes anew wherever the result is used.
Here the line is cut into equal cells. One division gives a value's cell, which bounds its count. Few thresholds share a
cell, so one or two halvings are left.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Integer

_CELLS = 4096

_FEW = 8
"""Up to this many thresholds, values are compared with each."""


def count_below(thresholds: Float[Array, " T"], values: Float[Array | np.ndarray, "*shape"]) -> Int[Array, "*shape"]:
    """Returns #{i : b_i < v}, in [0, T], exactly, without a gradient.

    Args:
      thresholds: b, increasing.
      values: v.
    """
    thresholds, values = jax.lax.stop_gradient((jnp.asarray(thresholds), jnp.asarray(values)))
    if len(thresholds) <= _FEW:
        return jnp.sum(thresholds < values[..., None], axis=-1, dtype=jnp.int32)
    low, high, halvings = _bounds(thresholds, values)

    def halve(_, bounds: tuple[Array, Array]) -> tuple[Array, Array]:
        low, high = bounds
        middle = (low + high) // 2
        is_below = (low < high) & (look_up(thresholds, jnp.minimum(middle, len(thresholds) - 1)) < values)
        return jnp.where(is_below, middle + 1, low), jnp.where(is_below, high, middle)

    return jax.lax.fori_loop(0, halvings, halve, (low, high))[0]


def _bounds(thresholds: Array, values: Array) -> tuple[Array, Array, Int[Array, ""]]:
    """Returns the numbers between which each count lies, and how often the widest of these intervals must be halved.

    A division may round into the cell beside, so the intervals are wider by a cell at both ends.
    """
    width = (thresholds[-1] - thresholds[0]) / _CELLS
    inner_edges = thresholds[0] + width * jnp.arange(1, _CELLS, dtype=thresholds.dtype)
    counts = jnp.pad(jnp.searchsorted(thresholds, inner_edges), 1, constant_values=(0, len(thresholds)))
    counts = jax.lax.sort(counts.astype(jnp.int32))  # sorted already, but XLA recomputes an unsorted table at each use
    cell = jnp.clip(((values - thresholds[0]) / width).astype(jnp.int32), 0, _CELLS - 1)
    low, high = look_up(counts, jnp.maximum(cell - 1, 0)), look_up(counts, jnp.minimum(cell + 2, _CELLS))
    widest = jnp.max(counts[3:] - counts[:-3])
    return low, high, jnp.ceil(jnp.log2(widest + 1.0)).astype(jnp.int32)


def look_up(table: Array, index: Integer[Array, "*shape"]) -> Array:
    """Returns table[index] without checking bounds; all indexes must be inside."""
    return table.at[index].get(mode="promise_in_bounds")
