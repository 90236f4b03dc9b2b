"""Fast convolutions and transposed convolutions, made of plain convolutions, gradients included.

The direct form of a transposed convolution of stride s is a convolution over an input dilated with zeros. A CPU
multiplies all those zeros. Here it is computed from its s² phases: the output pixels at the same place of their s × s
block see the same kernel taps. So a plain stride-1 convolution yields them as channels, and a depth-to-space puts them
in place.

- one convolution to all phases: the kernel is padded with zeros to a multiple of the stride;
- phase groups: per axis, the first k mod s phases see one tap more than the others; each group of phases with the same
  taps is a convolution of its own, up to four, and nothing is padded.

`transposed_convolution` takes the first form unless padding would more than double the arithmetic, as it does for the
large-stride kernels of the shallow decoders (13×13 with stride 8: 3.4 times; 18×18 with stride 16: 7.1 times).
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Shaped

from lic_jax.gradients import own_gradient
from lic_jax.transforms.phases import blocks_to_image, first_tap, group_kernel, phase_groups

_LAYOUT = ("NHWC", "HWIO", "NHWC")


def _block_reach(kernel_size: int, stride: int) -> tuple[int, int]:
    """Returns how many blocks of `stride` output rows an input position reaches before and after its own."""
    first = first_tap(kernel_size, stride)
    return -(-first // stride), (kernel_size - 1 - first) // stride


def depth_to_space(
    blocks: Shaped[Array, "batch height width phases"], stride: int
) -> Shaped[Array, "batch height_out width_out channel"]:
    """Lays out the channels of each position, ordered (row, column, channel), as a stride × stride block of pixels."""
    batch, height, width, depth = blocks.shape
    channels = depth // stride**2
    blocks = blocks.reshape(batch, height, width, stride, stride, channels)
    return blocks.transpose(0, 1, 3, 2, 4, 5).reshape(batch, height * stride, width * stride, channels)


def transposed_convolution_phases(
    inputs: Float[Array, "batch height width in"], kernel: Float[Array, "k k out in"], stride: int
) -> Float[Array, "batch height_out width_out out"]:
    """Computes the transposed convolution as a plain convolution to stride² phases and a depth-to-space."""
    kernel_size, _, out_channels, in_channels = kernel.shape
    before, after = _block_reach(kernel_size, stride)
    taps = before + 1 + after
    low = before * stride - first_tap(kernel_size, stride)
    high = taps * stride - kernel_size - low
    padded = jnp.pad(kernel, ((low, high), (low, high), (0, 0), (0, 0)))
    phases = padded.reshape(taps, stride, taps, stride, out_channels, in_channels)[::-1, :, ::-1]
    phases = phases.transpose(0, 2, 5, 1, 3, 4).reshape(taps, taps, in_channels, stride**2 * out_channels)
    blocks = jax.lax.conv_general_dilated(
        inputs, phases, (1, 1), ((after, before), (after, before)), dimension_numbers=_LAYOUT
    )
    return depth_to_space(blocks, stride)


def transposed_convolution_phase_groups(
    inputs: Float[Array, "batch height width in"], kernel: Float[Array, "k k out in"], stride: int
) -> Float[Array, "batch height_out width_out out"]:
    """Computes the transposed convolution as one plain convolution for each group of phases with the same taps.

    The blocks start at the kernel's first row, not at the image's; the margins are cut off at the end.
    """
    kernel_size, _, out_channels, _ = kernel.shape
    _, height, width, _ = inputs.shape
    taps = -(-kernel_size // stride)

    def group(down, across):
        seen = group_kernel(jnp, kernel, stride, down, across)
        margins = ((seen.shape[0] - 1, taps - 1), (seen.shape[1] - 1, taps - 1))
        phases = jax.lax.conv_general_dilated(inputs, seen, (1, 1), margins, dimension_numbers=_LAYOUT)
        (top, bottom, _), (left, right, _) = down, across
        return phases.reshape(*phases.shape[:3], bottom - top, (right - left) * out_channels)

    groups = phase_groups(kernel_size, stride)
    outputs = [[group(down, across) for across in groups] for down in groups]
    return blocks_to_image(jnp.block(outputs), kernel_size, stride, height, width)


def _padding_pays(kernel_size: int, stride: int) -> bool:
    before, after = _block_reach(kernel_size, stride)
    return ((before + 1 + after) * stride / kernel_size) ** 2 <= 2


def _strided_convolution(inputs: Array, kernel: Array, stride: int) -> Array:
    return jax.lax.conv_general_dilated(inputs, kernel, (stride, stride), "SAME", dimension_numbers=_LAYOUT)


def _kernel_gradient(inputs: Array, kernel: Array, stride: int, gradient: Array) -> Array:
    """Computes the gradient of a strided convolution in its kernel, given the gradient in its output."""
    _, pull_back = jax.vjp(lambda kernel: _strided_convolution(inputs, kernel, stride), kernel)
    return pull_back(gradient)[0]


@own_gradient(nondiff_argnums=(2,))
def transposed_convolution(
    inputs: Float[Array, "batch height width in"], kernel: Float[Array, "k k out in"], stride: int
) -> Float[Array, "batch height_out width_out out"]:
    """Computes a SAME-padded transposed convolution, the gradient of a strided one in its input, in the cheaper form.

    Equal to `jax.lax.conv_transpose(inputs, kernel, (stride, stride), "SAME", transpose_kernel=True)`.
    Differentiable in reverse mode only, in the forms that measured fastest: where padding pays, the gradient in the
    input is that of the phases, else the strided convolution; the gradient in the kernel is the convolution's.

    Args:
      inputs: channels-last images.
      kernel: square, k ≥ stride, in the layout of the convolution it transposes: [k, k, out, in].
      stride: output pixels per input position, per axis.
    """
    if _padding_pays(kernel.shape[0], stride):
        return transposed_convolution_phases(inputs, kernel, stride)
    return transposed_convolution_phase_groups(inputs, kernel, stride)


def _transposed_convolution_forward(inputs, kernel, stride):
    return transposed_convolution(inputs, kernel, stride), (inputs, kernel)


def _transposed_convolution_backward(stride, residuals, gradient):
    inputs, kernel = residuals
    if _padding_pays(kernel.shape[0], stride):
        _, input_gradient = jax.vjp(lambda inputs: transposed_convolution_phases(inputs, kernel, stride), inputs)
        (inputs_gradient,) = input_gradient(gradient)
    else:
        inputs_gradient = _strided_convolution(gradient, kernel, stride)
    return inputs_gradient, _kernel_gradient(gradient, kernel, stride, inputs)


transposed_convolution.defvjp(_transposed_convolution_forward, _transposed_convolution_backward)


@own_gradient(nondiff_argnums=(2,))
def convolution(
    inputs: Float[Array, "batch height width in"], kernel: Float[Array, "k k in out"], stride: int
) -> Float[Array, "batch height_out width_out out"]:
    """Computes a SAME-padded convolution whose gradient in its input is our `transposed_convolution`.

    Height and width are multiples of the stride. Differentiable in reverse mode only.
    JAX's own gradient is a convolution over a dilated array: on a CPU, three times slower for conv5s2.
    """
    return _strided_convolution(inputs, kernel, stride)


def _convolution_forward(inputs, kernel, stride):
    return convolution(inputs, kernel, stride), (inputs, kernel)


def _convolution_backward(stride, residuals, gradient):
    inputs, kernel = residuals
    return transposed_convolution(gradient, kernel, stride), _kernel_gradient(inputs, kernel, stride, gradient)


convolution.defvjp(_convolution_forward, _convolution_backward)
