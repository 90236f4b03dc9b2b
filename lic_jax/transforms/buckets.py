"""Puts images of any size into arrays of few sizes, so that one compiled program serves many images.

An array larger than its image is set to zero beyond the image's border after every layer, like SAME padding. So the
result equals that of an array of the image's own size. Sizes are counted in blocks of 64×64 pixels, to which every
transform's inputs and outputs are aligned.
"""

import collections
import contextlib
import functools
import math
from collections.abc import Callable, Iterator, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jaxtyping import Array, Float, Int, Shaped

BATCH_BLOCKS = 2048
"""The most blocks in a batch: eight megapixels."""


def bucket(blocks: int) -> int:
    """Returns the smallest compiled size that holds this many blocks: 1 … 8, 10, 12, 14, 16, 20, 24, …

    At most a quarter is wasted along an axis.
    """
    step = 1 << max(0, (blocks - 1).bit_length() - 3)
    return -(-blocks // step) * step


def zero_beyond(
    array: Float[Array | np.ndarray, "batch rows columns channels"],
    extents: Int[Array, "batch 2"],
    grid: tuple[int, int],
) -> Float[Array, "batch rows columns channels"]:
    """Sets an array to zero outside of its images.

    Args:
      extents: each image's size in blocks.
      grid: the array's size in blocks.
    """
    row, column = (jnp.arange(size) // (size // count) for size, count in zip(array.shape[1:3], grid, strict=True))
    inside_rows, inside_columns = row < extents[:, :1], column < extents[:, 1:]
    return jnp.where(inside_rows[:, :, None, None] & inside_columns[:, None, :, None], array, 0)


@contextlib.contextmanager
def cut_at_borders(extents: Int[Array, "batch 2"], grid: tuple[int, int]) -> Iterator[None]:
    """Makes every layer of a Flax module set its output to zero beyond the images' borders, while it is open.

    Args:
      extents: each image's size in blocks.
      grid: the arrays' size in blocks.
    """

    def cut(call, positional, keywords, context):
        output = call(*positional, **keywords)
        is_layer = hasattr(context.module, "kernel_size") and context.method_name == "__call__"
        return zero_beyond(output, extents, grid) if is_layer else output

    with nn.intercept_methods(cut):
        yield


def batches_of(extents: Sequence[tuple[int, int]], most_blocks: int) -> Iterator[tuple[tuple[int, int], list[int]]]:
    """Yields batches that share few programs: (grid in blocks, positions of the images in the batch).

    Args:
      extents: each image's size in blocks.
      most_blocks: the most blocks in a batch of several images.
    """
    by_grid = collections.defaultdict(list)
    for position, extent in enumerate(extents):
        by_grid[tuple(map(bucket, extent))].append(position)
    for grid, positions in by_grid.items():
        for batch in _batches(positions, most_blocks // math.prod(grid)):
            yield grid, batch


def stacked(
    arrays: Sequence[Shaped[Array | np.ndarray, "1 _rows _columns channels"]], shape: tuple[int, int]
) -> Shaped[np.ndarray, "batch rows columns channels"]:
    """Stacks arrays of several sizes as one of this shape, [rows, columns], with zeros below and to the right."""
    stack = np.zeros((len(arrays), *shape, arrays[0].shape[-1]), arrays[0].dtype)
    for position, array in enumerate(arrays):
        _, rows, columns, _ = array.shape
        stack[position, :rows, :columns] = array[0]
    return stack


class Bucketed:
    """Compiles a function of Flax modules to few programs for arrays of many sizes.

    Calls take arrays of one image each; each result is the same as for the array by itself.
    """

    def __init__(self, function: Callable, block_rows: int, to_domain: Callable = lambda inputs: inputs):
        """Prepares a function; the programs are compiled at the first calls.

        Args:
          function: (variables, [batch, rows, columns, channels]) → arrays of [batch, rows', columns', channels'].
          block_rows: rows, and columns, of its inputs in a block.
          to_domain: an elementwise function, applied to the inputs first.
        """
        self._block_rows = block_rows

        def program(variables, inputs, extents):
            grid = self._blocks(inputs)
            with cut_at_borders(extents, grid):
                return function(variables, zero_beyond(to_domain(inputs), extents, grid))

        self._program = jax.jit(program)

    def __call__(self, variables: dict, arrays: Sequence[Shaped[np.ndarray, "1 _rows _columns channels"]]) -> list:
        """Returns the function's outputs for each array, cut to its size, as NumPy arrays."""
        outputs: list = [None] * len(arrays)
        for grid, batch in batches_of([self._blocks(array) for array in arrays], BATCH_BLOCKS):
            results = self._run(variables, [arrays[position] for position in batch], grid)
            for position, result in zip(batch, results, strict=True):
                outputs[position] = result
        return outputs

    @property
    def program_count(self) -> int:
        """The number of programs compiled so far."""
        return self._program._cache_size()  # pyright: ignore[reportAttributeAccessIssue]  # JAX has no public count

    def _run(self, variables: dict, arrays: list[np.ndarray], grid: tuple[int, int]) -> list:
        inputs = stacked(arrays, (self._block_rows * grid[0], self._block_rows * grid[1]))
        extents = np.array([self._blocks(array) for array in arrays], np.int32)
        outputs = jax.tree.map(np.asarray, self._program(variables, inputs, extents))
        return [
            jax.tree.map(functools.partial(_cut, position=position, extent=extent, grid=grid), outputs)
            for position, extent in enumerate(extents)
        ]

    def _blocks(self, array: Shaped[Array | np.ndarray, "batch rows columns channels"]) -> tuple[int, int]:
        return array.shape[1] // self._block_rows, array.shape[2] // self._block_rows


def _batches(positions: list[int], most: int) -> Iterator[list[int]]:
    """Yields batches of the largest power of two up to `most` and the number left: few sizes, so few programs."""
    while positions:
        size = 1 << (max(1, min(most, len(positions))).bit_length() - 1)
        yield positions[:size]
        positions = positions[size:]


def _cut(output: np.ndarray, position: int, extent: np.ndarray, grid: tuple[int, int]) -> np.ndarray:
    rows, columns = (
        size // count * blocks for size, count, blocks in zip(output.shape[1:3], grid, extent, strict=True)
    )
    return output[position : position + 1, :rows, :columns]
