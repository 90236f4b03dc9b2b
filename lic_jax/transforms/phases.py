"""Transposed convolutions as matrix products over phases, for NumPy and JAX alike.

The output pixels at the same place of their stride × stride block see the same kernel taps: a phase. Per axis, the
first k mod s phases see one tap more than the others. So at most four groups of phases have the same taps. Each group
is one matrix product of shifted inputs with its part of the kernel, and nothing is multiplied by padding.

A matrix product of integers whose sums stay below 2²⁴ is exact in float32, in any order and on any device. Convolution
libraries may take inexact shortcuts. No framework is imported here: the array module is an argument.
"""

from collections.abc import Callable

import numpy as np


def first_tap(kernel_size: int, stride: int) -> int:
    """Returns the kernel row that lands on an input position's own first output row, with SAME padding."""
    return max(kernel_size - stride, 0) // 2


def phase_groups(kernel_size: int, stride: int) -> list[tuple[int, int, int]]:
    """Returns (first phase, end, taps) of the phases that see equally many taps, along one axis."""
    taps, remainder = divmod(kernel_size, stride)
    groups = [(0, remainder, taps + 1), (remainder, stride, taps)]
    return [group for group in groups if group[0] < group[1]]


def group_kernel(xp, kernel, stride: int, down: tuple[int, int, int], across: tuple[int, int, int]):
    """Returns the kernel of one group of phases: [taps down, taps across, in, phases down · phases across · out].

    Args:
      xp: numpy or jax.numpy.
      kernel: [k, k, out, in].
      down, across: the group along each axis.
    """
    (top, bottom, taps_down), (left, right, taps_across) = down, across
    rows = xp.stack([kernel[stride * tap + top : stride * tap + bottom] for tap in reversed(range(taps_down))])
    columns = [rows[:, :, stride * tap + left : stride * tap + right] for tap in reversed(range(taps_across))]
    return xp.stack(columns, 1).transpose(0, 1, 5, 2, 3, 4).reshape(taps_down, taps_across, kernel.shape[3], -1)


def blocks_to_image(blocks, kernel_size: int, stride: int, height: int, width: int):
    """Lays blocks out beside each other and cuts off the margins, as SAME padding does.

    Args:
      blocks: [batch, down, across, rows, columns · channels], square.
      kernel_size, stride: the transposed convolution that made the blocks.
      height, width: the size of its inputs.
    """
    batch, down, across, side, depth = blocks.shape
    canvas = blocks.transpose(0, 1, 3, 2, 4).reshape(batch, down * side, across * side, depth // side)
    first = first_tap(kernel_size, stride)
    return canvas[:, first : first + height * stride, first : first + width * stride]


def product(inputs, matrix):
    """Multiplies the last axis by a matrix in one matrix product; NumPy would make one for each row of the image."""
    return (inputs.reshape(-1, inputs.shape[-1]) @ matrix).reshape(*inputs.shape[:-1], matrix.shape[-1])


def transposed_convolution_products(xp, kernel, stride: int) -> Callable:
    """Prepares the SAME-padded transposed convolution [batch, h, w, in] → [batch, h·s, w·s, out] as matrix products.

    Args:
      xp: numpy or jax.numpy.
      kernel: [k, k, out, in].

    Returns:
      A function of the inputs, with its kernel laid out once.
    """
    kernel_size = kernel.shape[0]
    groups = phase_groups(kernel_size, stride)
    matrices = [[group_kernel(xp, kernel, stride, down, across) for across in groups] for down in groups]
    taps = -(-kernel_size // stride)
    margin = taps - 1

    def run(inputs):
        _, height, width, _ = inputs.shape
        padded = xp.pad(inputs, ((0, 0), (margin, margin), (margin, margin), (0, 0)))

        def group(weights, phases_down):
            taps_down, taps_across, _, depth = weights.shape
            shifted = [
                padded[:, row : row + height + margin, column : column + width + margin]
                for row in range(taps - taps_down, taps)
                for column in range(taps - taps_across, taps)
            ]
            outputs = product(xp.concatenate(shifted, axis=-1), weights.reshape(-1, depth))
            return outputs.reshape(*outputs.shape[:3], phases_down, depth // phases_down)

        outputs = [
            [group(weights, bottom - top) for weights in row]
            for row, (top, bottom, _) in zip(matrices, groups, strict=True)
        ]
        return blocks_to_image(xp.block(outputs), kernel_size, stride, height, width)

    return run


_WINDOW = 4
"""Input positions, down and across, whose outputs share one row of the products in `transposed_convolution_windows`."""


def transposed_convolution_windows(kernel, stride: int) -> Callable:
    """Prepares `transposed_convolution_products` in NumPy for few inputs and outputs, too few for matrix products.

    It treats four neighbouring positions as one, with all inputs that their outputs see. So the products are four
    times as wide, at the price of multiplying zeros, and every input is copied at most (1 + taps/4)² times.
    """
    kernel_size, _, out_channels, in_channels = kernel.shape
    taps = -(-kernel_size // stride)
    margin = taps - 1
    seen = _WINDOW + margin
    missing = (0, taps * stride - kernel_size)
    weights = group_kernel(np, np.pad(kernel, (missing, missing, (0, 0), (0, 0))), stride, *2 * [(0, stride, taps)])
    weights = weights.reshape(taps, taps, in_channels, stride, stride * out_channels)
    matrix = np.zeros((taps, seen, in_channels, stride, _WINDOW, stride * out_channels), kernel.dtype)
    for position in range(_WINDOW):
        matrix[:, position : position + taps, :, :, position] = weights
    matrix = matrix.reshape(taps * seen * in_channels, -1)

    def run(inputs):
        batch, height, width, _ = inputs.shape
        down, across = (-(-(size + margin) // _WINDOW) for size in (height, width))
        ends = (margin, down * _WINDOW - height), (margin, across * _WINDOW - width)
        padded = np.pad(inputs, ((0, 0), *ends, (0, 0)))
        windows = np.lib.stride_tricks.sliding_window_view(padded, (seen, seen), (1, 2))[:, ::_WINDOW, ::_WINDOW]
        rows = np.ascontiguousarray(windows.transpose(0, 1, 2, 4, 5, 3)).reshape(batch * down * across, seen, -1)
        outputs = np.empty((len(rows), _WINDOW, matrix.shape[-1]), inputs.dtype)
        for position in range(_WINDOW):
            below = rows[:, position : position + taps].reshape(len(rows), -1)
            outputs[:, position] = below @ matrix
        blocks = outputs.reshape(batch, down, across, _WINDOW * stride, -1)
        return blocks_to_image(blocks, kernel_size, stride, height, width)

    return run
