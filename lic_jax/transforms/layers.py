"""Layers that JAX or Flax lack or compute slowly: transposed convolutions and generalized divisive normalization.

A transposed convolution of stride s is written directly as a convolution over an input dilated with zeros. A CPU
multiplies all those zeros. Two forms avoid them, and both are exact:

- phase form: a plain stride-1 convolution yields the s² output pixels of each input position as channels, and a
  depth-to-space puts them in place. The kernel is padded with zeros to a multiple of the stride.
- overlap-add form: one matrix product yields each position's k×k patch, and overlapping patches are added. Nothing is
  padded, but every patch passes through memory.

`transposed_convolution` takes the phase form unless padding would more than double the arithmetic, as it does for the
large-stride kernels of the shallow decoders (13×13 with stride 8: 3.4 times; 18×18 with stride 16: 7.1 times).
"""

import functools

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float


def _first_tap(kernel_size: int, stride: int) -> int:
    """The kernel row that lands on an input position's own first output row, with SAME padding."""
    return max(kernel_size - stride, 0) // 2


def _block_reach(kernel_size: int, stride: int) -> tuple[int, int]:
    """How many blocks of `stride` output rows before and after its own an input position reaches."""
    first = _first_tap(kernel_size, stride)
    return -(-first // stride), (kernel_size - 1 - first) // stride


def depth_to_space(
    blocks: Float[Array, "batch height width stride*stride*channel"], stride: int
) -> Float[Array, "batch height*stride width*stride channel"]:
    """Lays the channels of each position, ordered (row, column, channel), out as a stride × stride block of pixels."""
    batch, height, width, depth = blocks.shape
    channels = depth // stride**2
    blocks = blocks.reshape(batch, height, width, stride, stride, channels)
    return blocks.transpose(0, 1, 3, 2, 4, 5).reshape(batch, height * stride, width * stride, channels)


def transposed_convolution_phases(
    inputs: Float[Array, "batch height width in"], kernel: Float[Array, "k k out in"], stride: int
) -> Float[Array, "batch height*stride width*stride out"]:
    """The transposed convolution as a plain convolution to stride² phases and a depth-to-space."""
    kernel_size, _, out_channels, in_channels = kernel.shape
    before, after = _block_reach(kernel_size, stride)
    taps = before + 1 + after
    low = before * stride - _first_tap(kernel_size, stride)
    high = taps * stride - kernel_size - low
    padded = jnp.pad(kernel, ((low, high), (low, high), (0, 0), (0, 0)))
    phases = padded.reshape(taps, stride, taps, stride, out_channels, in_channels)[::-1, :, ::-1]
    phases = phases.transpose(0, 2, 5, 1, 3, 4).reshape(taps, taps, in_channels, stride**2 * out_channels)
    blocks = jax.lax.conv_general_dilated(
        inputs, phases, (1, 1), ((after, before), (after, before)), dimension_numbers=("NHWC", "HWIO", "NHWC")
    )
    return depth_to_space(blocks, stride)


def _overlap_add(patches: Array, position_axis: int, tap_axis: int, stride: int) -> Array:
    """Adds overlapping taps along one axis: (positions, k) become (positions + reach, stride)."""
    kernel_size = patches.shape[tap_axis]
    shifts = -(-kernel_size // stride)
    total = None
    for shift in range(shifts):
        start, stop = shift * stride, min((shift + 1) * stride, kernel_size)
        padding = [(0, 0)] * patches.ndim
        padding[tap_axis] = (0, stride - (stop - start))
        padding[position_axis] = (shift, shifts - 1 - shift)
        shifted = jnp.pad(jax.lax.slice_in_dim(patches, start, stop, axis=tap_axis), padding)
        total = shifted if total is None else total + shifted
    return total


def transposed_convolution_overlap_add(
    inputs: Float[Array, "batch height width in"], kernel: Float[Array, "k k out in"], stride: int
) -> Float[Array, "batch height*stride width*stride out"]:
    """The transposed convolution as one matrix product to k×k patches, added where they overlap."""
    kernel_size, _, out_channels, in_channels = kernel.shape
    batch, height, width, _ = inputs.shape
    taps = kernel.transpose(3, 0, 1, 2).reshape(in_channels, -1)
    patches = (inputs.reshape(-1, in_channels) @ taps).reshape(
        batch, height, width, kernel_size, kernel_size, out_channels
    )
    columns_added = _overlap_add(patches, position_axis=2, tap_axis=4, stride=stride)
    added = _overlap_add(columns_added, position_axis=1, tap_axis=3, stride=stride)
    _, blocks_down, blocks_across = added.shape[:3]
    canvas = added.transpose(0, 1, 3, 2, 4, 5).reshape(
        batch, blocks_down * stride, blocks_across * stride, out_channels
    )
    first = _first_tap(kernel_size, stride)
    return canvas[:, first : first + height * stride, first : first + width * stride]


def transposed_convolution(
    inputs: Float[Array, "batch height width in"], kernel: Float[Array, "k k out in"], stride: int
) -> Float[Array, "batch height*stride width*stride out"]:
    """The gradient of a SAME-padded strided convolution with respect to its input, in the cheaper exact form.

    Equal to `jax.lax.conv_transpose(inputs, kernel, (stride, stride), "SAME", transpose_kernel=True)`.

    Args:
      inputs: channels-last images.
      kernel: square, k ≥ stride, in the layout of the convolution it transposes: [k, k, out, in].
      stride: output pixels per input position, per axis.
    """
    kernel_size = kernel.shape[0]
    before, after = _block_reach(kernel_size, stride)
    padded_arithmetic = ((before + 1 + after) * stride / kernel_size) ** 2
    form = transposed_convolution_overlap_add if padded_arithmetic > 2 else transposed_convolution_phases
    return form(inputs, kernel, stride)


class TransposedConvolution(nn.Module):
    """A biased, SAME-padded transposed convolution ("convT" in the tables of the papers)."""

    features: int
    kernel_size: int
    stride: int

    @nn.compact
    def __call__(
        self, inputs: Float[Array, "batch height width in"]
    ) -> Float[Array, "batch height*stride width*stride features"]:
        shape = (self.kernel_size, self.kernel_size, self.features, inputs.shape[-1])
        initializer = nn.initializers.variance_scaling(
            self.stride**2, "fan_in", "truncated_normal", in_axis=(0, 1, 3), out_axis=2
        )
        kernel = self.param("kernel", initializer, shape)
        bias = self.param("bias", nn.initializers.zeros, (self.features,))
        return transposed_convolution(inputs, kernel, self.stride) + bias


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def convolution(
    inputs: Float[Array, "batch height width in"], kernel: Float[Array, "k k in out"], stride: int
) -> Float[Array, "batch height/stride width/stride out"]:
    """A SAME-padded convolution whose gradient in its input is our `transposed_convolution`.

    Height and width are multiples of the stride. Differentiable in reverse mode only.
    The gradient that JAX derives is a convolution over a dilated array: on a CPU three times slower for conv5s2.
    """
    return jax.lax.conv_general_dilated(
        inputs, kernel, (stride, stride), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
    )


def _convolution_forward(inputs, kernel, stride):
    return convolution(inputs, kernel, stride), (inputs, kernel)


def _convolution_backward(stride, residuals, gradient):
    inputs, kernel = residuals
    _, kernel_gradient = jax.vjp(lambda kernel: convolution.fun(inputs, kernel, stride), kernel)
    return transposed_convolution(gradient, kernel, stride), *kernel_gradient(gradient)


convolution.defvjp(_convolution_forward, _convolution_backward)


class Convolution(nn.Module):
    """A biased, SAME-padded convolution; "conv5s2 N" in the tables of the papers is `Convolution(N, 5, 2)`."""

    features: int
    kernel_size: int
    stride: int

    @nn.compact
    def __call__(
        self, inputs: Float[Array, "batch height width in"]
    ) -> Float[Array, "batch height/stride width/stride features"]:
        shape = (self.kernel_size, self.kernel_size, inputs.shape[-1], self.features)
        kernel = self.param("kernel", nn.initializers.lecun_normal(), shape)
        bias = self.param("bias", nn.initializers.zeros, (self.features,))
        return convolution(inputs, kernel, self.stride) + bias


@jax.custom_vjp
def lower_bound(values: Float[Array, "*shape"], bound: float) -> Float[Array, "*shape"]:
    """max(values, bound), whose gradient also passes where it would move a value back up to the bound.

    With the plain maximum a value below the bound is stuck there (Ballé et al., tensorflow-compression `lower_bound`).
    """
    return jnp.maximum(values, bound)


def _lower_bound_forward(values, bound):
    return jnp.maximum(values, bound), (values >= bound)


def _lower_bound_backward(inside, gradient):
    return jnp.where(inside | (gradient < 0), gradient, 0.0), None


lower_bound.defvjp(_lower_bound_forward, _lower_bound_backward)


class InverseGDN1(nn.Module):
    """The inverse of simplified generalized divisive normalization: x · (β + Γ|x|).

    Johnston et al., "Computationally Efficient Neural Image Compression" (2019), section 3. β ≥ 1e-6 and Γ ≥ 0 hold by
    the reparameterization of Ballé (2018): the stored value r stands for max(r, bound)² − 2⁻³⁶.
    """

    initial_gamma: float = 0.1

    @nn.compact
    def __call__(self, inputs: Float[Array, "*batch channel"]) -> Float[Array, "*batch channel"]:
        channels = inputs.shape[-1]
        pedestal = 2.0**-36
        beta_root = self.param("beta_root", lambda key: jnp.sqrt(jnp.ones(channels) + pedestal))
        gamma_root = self.param("gamma_root", lambda key: jnp.sqrt(self.initial_gamma * jnp.eye(channels) + pedestal))
        beta = lower_bound(beta_root, (1e-6 + pedestal) ** 0.5) ** 2 - pedestal
        gamma = lower_bound(gamma_root, pedestal**0.5) ** 2 - pedestal
        return inputs * (beta + jnp.abs(inputs) @ gamma)
