"""Transposed convolutions as matrix products over phases, for NumPy and JAX alike.

The output pixels at the same place of their stride × stride block see the same kernel taps: a phase. Per axis, the
first k mod s phases see one tap more than the others, so there are at most four groups of phases with the same taps,
and each group is one matrix product of shifted inputs with its part of the kernel. Nothing is multiplied by padding.

A matrix product of integers whose sums stay below 2²⁴ is exact in float32, in any order and on any device; convolution
libraries may take shortcuts that are not. No framework is imported here: the array module is an argument.
"""

import numpy as np


def first_tap(kernel_size: int, stride: int) -> int:
    """The kernel row that lands on an input position's own first output row, with SAME padding."""
    return max(kernel_size - stride, 0) // 2


def phase_groups(kernel_size: int, stride: int) -> list[tuple[int, int, int]]:
    """(first phase, end, taps) of the phases that see equally many taps, along one axis."""
    taps, remainder = divmod(kernel_size, stride)
    groups = [(0, remainder, taps + 1), (remainder, stride, taps)]
    return [group for group in groups if group[0] < group[1]]


def group_kernel(xp, kernel, stride: int, down: tuple[int, int, int], across: tuple[int, int, int]):
    """The kernel of one group of phases: [taps down, taps across, in, phases down · phases across · out].

    Args:
      xp: numpy or jax.numpy.
      kernel: [k, k, out, in].
      down, across: the group along each axis.
    """
    kernel_size, _, out_channels, in_channels = kernel.shape
    taps = -(-kernel_size // stride)
    missing = taps * stride - kernel_size
    padded = xp.pad(kernel, ((0, missing), (0, missing), (0, 0), (0, 0)))
    by_phase = padded.reshape(taps, stride, taps, stride, out_channels, in_channels)
    (top, bottom, taps_down), (left, right, taps_across) = down, across
    seen = by_phase[:taps_down, top:bottom, :taps_across, left:right][::-1, :, ::-1]
    return seen.transpose(0, 2, 5, 1, 3, 4).reshape(taps_down, taps_across, in_channels, -1)


def blocks_to_image(xp, groups, kernel_size: int, stride: int, height: int, width: int):
    """Lays the outputs of all groups out as an image and cuts the margins off.

    Args:
      groups: for each group down, for each group across: [batch, height + taps − 1, width + taps − 1, phases down,
        phases across, channel].
    """
    blocks = xp.concatenate([xp.concatenate(row, axis=4) for row in groups], axis=3)
    batch, blocks_down, blocks_across, _, _, channels = blocks.shape
    canvas = blocks.transpose(0, 1, 3, 2, 4, 5).reshape(batch, blocks_down * stride, blocks_across * stride, channels)
    first = first_tap(kernel_size, stride)
    return canvas[:, first : first + height * stride, first : first + width * stride]


def product(inputs, matrix):
    """The last axis times a matrix as one matrix product; NumPy would make one a row of the image."""
    return (inputs.reshape(-1, inputs.shape[-1]) @ matrix).reshape(*inputs.shape[:-1], matrix.shape[-1])


def transposed_convolution_sums(inputs, kernel, stride: int):
    """`transposed_convolution_products` in NumPy by a matrix product a tap and block, added where it lands.

    Lighter where outputs are few: it gathers no inputs.
    """
    batch, height, width, in_channels = inputs.shape
    kernel_size, _, out_channels, _ = kernel.shape
    taps = -(-kernel_size // stride)
    missing = taps * stride - kernel_size
    padded = np.pad(kernel, ((0, missing), (0, missing), (0, 0), (0, 0)))
    by_tap = padded.reshape(taps, stride, taps, stride, out_channels, in_channels).transpose(0, 2, 5, 1, 3, 4)
    blocks = np.zeros((batch, height + taps - 1, width + taps - 1, stride**2 * out_channels), inputs.dtype)
    for row in range(taps):
        for column in range(taps):
            weights = by_tap[row, column].reshape(in_channels, -1)
            blocks[:, row : row + height, column : column + width] += product(inputs, weights)
    blocks = blocks.reshape(batch, height + taps - 1, width + taps - 1, stride, stride, out_channels)
    return blocks_to_image(np, [[blocks]], kernel_size, stride, height, width)


def transposed_convolution_products(xp, inputs, kernel, stride: int):
    """The SAME-padded transposed convolution [batch, h, w, in] → [batch, h·s, w·s, out] as matrix products.

    Args:
      xp: numpy or jax.numpy.
      kernel: [k, k, out, in].
    """
    batch, height, width, _ = inputs.shape
    kernel_size, _, out_channels, _ = kernel.shape
    taps = -(-kernel_size // stride)
    margin = taps - 1
    padded = xp.pad(inputs, ((0, 0), (margin, margin), (margin, margin), (0, 0)))
    blocks_down, blocks_across = height + margin, width + margin

    def group(down, across):
        top, bottom, taps_down = down
        left, right, taps_across = across
        shifted = [
            padded[:, taps - taps_down + row :, taps - taps_across + column :][:, :blocks_down, :blocks_across]
            for row in range(taps_down)
            for column in range(taps_across)
        ]
        weights = group_kernel(xp, kernel, stride, down, across)
        outputs = product(xp.concatenate(shifted, axis=-1), weights.reshape(-1, weights.shape[-1]))
        return outputs.reshape(batch, blocks_down, blocks_across, bottom - top, right - left, out_channels)

    groups = phase_groups(kernel_size, stride)
    outputs = [[group(down, across) for across in groups] for down in groups]
    return blocks_to_image(xp, outputs, kernel_size, stride, height, width)
