"""STanH at a cost that does not grow with its number of components.

All but the nearest tanh of s_β(v) = Σ_i (w_i/2) · tanh(β (v − b_i)) are saturated: 1 − tanh 9 = 3e-8, half a unit in
the last place of float32. So each value computes the tanh of a *window* of thresholds, those within 9/β of it, and
takes the share of all others from a cumulative sum of the spacings. A table holds the windows: the line is cut into
equal cells, one division gives a value's cell, and the cell says where the window begins. Gradients in the quantizer
are sums over the values that share a window, spread from there to the thresholds in it.

The size of the window shapes the program, so it is a Python number that the caller gives: `window_of` computes it for a
quantizer and the smallest β to come. It stays right while β grows and the thresholds stay. If β falls or the thresholds
are fitted, compute it again between two compiled steps, or for a smaller β from the start. A window that is too small
gives an approximation, not an error: it treats the thresholds just outside as saturated.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, ScalarLike

from lic_jax.gradients import own_gradient
from lic_jax.quantization import stanh
from lic_jax.quantization.counting import look_up
from lic_jax.quantization.stanh import STanH

_SATURATION = 9.0
"""tanh of more than this counts as 1."""

_CELLS = 4096
"""The number of cells of the line. A window is one cell wider than it must be."""

_BINS = 4096
"""Sums over all values are taken in about this many parts: few enough for the cache, and small, so that float32 rounds
less."""


def window_of(quantizer: STanH, inverse_temperature: ScalarLike) -> int:
    """Computes how many thresholds `soft_windowed` needs to be exact: the harder the staircase, the fewer.

    Not for use under jit: a window's size shapes the program.

    Args:
      quantizer: one quantizer, or a stack that shares the window.
      inverse_temperature: the smallest β > 0 that the window will be used with.

    Returns:
      The most thresholds that any value has within the reach of an unsaturated tanh; 1 to T.
    """
    thresholds = quantizer.thresholds.reshape(-1, quantizer.components)
    return int(_most_in_reach(thresholds, inverse_temperature))


def soft_windowed(
    quantizer: STanH, values: Float[Array, "*shape"], inverse_temperature: ScalarLike, window: int
) -> Float[Array, "*shape"]:
    """Computes s_β, like `stanh.soft`, at a cost that does not grow with T.

    If `window` is at least `window_of` at this β, value and gradients, in values, spacings, thresholds and β, are those
    of `stanh.soft`: to 1e-6 of the distance between the outermost levels, or of a gradient's largest entry. Computes in
    float32, or in float64 for float64 values, and rounds to the values' type in the end. For reverse-mode
    differentiation.

    Args:
      quantizer: one quantizer (not a stack).
      values: latents minus their mean, in units of the anchor's quantization step.
      inverse_temperature: β > 0.
      window: thresholds whose tanh is computed for each value, a Python number from 1 up. From T on, all are.

    Returns:
      Values between the lowest and the highest level, of the type of `values`.
    """
    if window >= quantizer.components:
        return stanh.soft(quantizer, values, inverse_temperature)
    precision = jnp.promote_types(values.dtype, jnp.float32)
    operands = quantizer.thresholds, quantizer.spacings / 2, inverse_temperature, values
    return _soft(window, *(jnp.asarray(operand, precision) for operand in operands)).astype(values.dtype)


class _Cells(NamedTuple):
    """The line from b_1 to b_T and the reach of a tanh beyond both, in equal cells.

    Attributes:
      low: where the first cell begins.
      width: the width of a cell.
      begin, end: the thresholds in reach of a cell's values have the indexes begin … end − 1.
    """

    low: Float[Array, ""]
    width: Float[Array, ""]
    begin: Int[Array, " cells"]
    end: Int[Array, " cells"]


def _cells(thresholds: Float[Array, " T"], inverse_temperature: ScalarLike) -> _Cells:
    reach = _SATURATION / inverse_temperature
    low = thresholds[0] - reach
    width = (thresholds[-1] + reach - low) / _CELLS
    edges = low + width * jnp.arange(_CELLS + 1, dtype=thresholds.dtype)
    begin, end = jnp.searchsorted(thresholds, jnp.stack([edges[:-1] - reach, edges[1:] + reach]))
    return _Cells(low, width, begin, end)


@jax.jit
def _most_in_reach(thresholds: Float[Array, "K T"], inverse_temperature: Float[Array, ""]) -> Int[Array, ""]:
    cells = jax.vmap(_cells, in_axes=(0, None))(thresholds, inverse_temperature)
    return jnp.max(cells.end - cells.begin)


class _Windows(NamedTuple):
    """The tables of windows.

    Attributes:
      low, width: the start of the first cell and the width of a cell.
      first: the index of the first threshold in the window of a cell.
      thresholds, half_spacings: b_i and w_i/2.
      saturated: for a window that begins at each threshold, the share of all thresholds outside it; windows that would
        end beyond b_T have no entry.
    """

    low: Float[Array, ""]
    width: Float[Array, ""]
    first: Int[Array, " cells"]
    thresholds: Float[Array, " T"]
    half_spacings: Float[Array, " T"]
    saturated: Float[Array, " windows"]


def _windows(thresholds, half_spacings, inverse_temperature, window: int) -> _Windows:
    """Makes the windows around the thresholds in reach of each cell.

    XLA fuses the computation of a table into every look-up, which would repeat it for every value. It does not fuse a
    sort, so these tables are sorted, although all are in order already.
    """
    cells = _cells(thresholds, inverse_temperature)
    first = jnp.clip((cells.begin + cells.end - window) // 2, 0, len(thresholds) - window)
    below = jnp.pad(jnp.cumsum(half_spacings), (1, 0))
    saturated = below[:-window] - (below[-1] - below[window:])
    thresholds, half_spacings = jax.lax.sort((thresholds, half_spacings), num_keys=1)
    return _Windows(cells.low, cells.width, jax.lax.sort(first), thresholds, half_spacings, jax.lax.sort(saturated))


def _first_of(windows: _Windows, values: Float[Array, "*shape"]) -> Int[Array, "*shape"]:
    """Returns the index of the first threshold in each value's window."""
    cell = jnp.clip((values - windows.low) / windows.width, 0, _CELLS - 1).astype(jnp.int32)
    return look_up(windows.first, cell)


@own_gradient(nondiff_argnums=(0,))
def _soft(window: int, thresholds, half_spacings, inverse_temperature, values):
    windows = _windows(thresholds, half_spacings, inverse_temperature, window)
    first = _first_of(windows, values)
    result = look_up(windows.saturated, first)
    for offset in range(window):
        distance = values - look_up(windows.thresholds, first + offset)
        result += look_up(windows.half_spacings, first + offset) * jnp.tanh(inverse_temperature * distance)
    return result


def _forward(window: int, *operands):
    return _soft(window, *operands), operands


def _backward(window: int, operands, cotangent):
    """Sums over the values that share a window, then spreads to the thresholds in it and on both sides of it."""
    thresholds, half_spacings, inverse_temperature, values = operands
    windows = _windows(thresholds, half_spacings, inverse_temperature, window)
    first = _first_of(windows, values)
    parts = max(1, _BINS // len(thresholds))
    part = jnp.arange(values.size, dtype=jnp.int32).reshape(values.shape) % parts

    def sums_by_window(term: Float[Array, "*shape"]) -> Float[Array, " T"]:
        sums = (
            jnp.zeros(len(thresholds) * parts, term.dtype).at[first * parts + part].add(term, mode="promise_in_bounds")
        )
        return jnp.sum(sums.reshape(-1, parts), axis=-1)

    up_to = jnp.cumsum(sums_by_window(cotangent))
    windows_above, windows_below = up_to[-1] - up_to, jnp.pad(up_to, (window, 0))[:-window]
    in_half_spacings = windows_above - windows_below
    in_thresholds = jnp.zeros_like(thresholds)
    in_inverse_temperature = jnp.zeros_like(inverse_temperature)
    in_values = jnp.zeros_like(values)
    for offset in range(window):
        distance = values - look_up(windows.thresholds, first + offset)
        step = jnp.tanh(inverse_temperature * distance)
        slope = cotangent * look_up(windows.half_spacings, first + offset) * (1 - step**2)
        in_half_spacings += jnp.roll(sums_by_window(cotangent * step), offset)
        in_thresholds -= inverse_temperature * jnp.roll(sums_by_window(slope), offset)
        in_inverse_temperature += jnp.sum(slope * distance)
        in_values += inverse_temperature * slope
    return in_thresholds, in_half_spacings, in_inverse_temperature, in_values


_soft.defvjp(_forward, _backward)
