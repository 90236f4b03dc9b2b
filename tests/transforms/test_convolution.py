import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lic_jax.transforms.convolution import (
    convolution,
    depth_to_space,
    transposed_convolution,
    transposed_convolution_phase_groups,
    transposed_convolution_phases,
)
from lic_jax.transforms.layers import Convolution, TransposedConvolution
from lic_jax.transforms.phases import transposed_convolution_products, transposed_convolution_windows

KERNELS_AND_STRIDES = [(13, 8), (18, 16), (5, 2), (6, 4), (3, 1), (16, 16), (2, 2), (5, 4), (7, 3), (32, 16)]
FORMS = (
    transposed_convolution_phases,
    transposed_convolution_phase_groups,
    transposed_convolution,
    lambda inputs, kernel, stride: transposed_convolution_products(jnp, kernel, stride)(inputs),
)
CHANNELS_LAST = ("NHWC", "HWIO", "NHWC")


def relative_error(found, reference):
    """max |found − reference| / max |reference|."""
    found, reference = np.asarray(found, np.float64), np.asarray(reference, np.float64)
    assert found.shape == reference.shape
    return np.max(np.abs(found - reference)) / np.max(np.abs(reference))


def random(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def value_and_gradients(function, inputs, kernel, cotangent):
    """The function's value and its pullback of `cotangent` to inputs and kernel."""
    value, pullback = jax.vjp(function, inputs, kernel)
    return value, *pullback(cotangent)


@functools.partial(jax.jit, static_argnums=0)
def values_and_gradients(functions, *arguments):
    """Of each function, in one program."""
    return [value_and_gradients(function, *arguments) for function in functions]


@pytest.mark.parametrize(("kernel_size", "stride"), KERNELS_AND_STRIDES)
def test_every_form_is_the_transposed_convolution_with_its_gradients(kernel_size, stride):
    inputs, kernel = random(2, 3, 5, 4), random(kernel_size, kernel_size, 3, 4, seed=1)
    cotangent = random(2, 3 * stride, 5 * stride, 3, seed=2)

    def direct(inputs, kernel):
        return jax.lax.conv_transpose(inputs, kernel, (stride, stride), "SAME", transpose_kernel=True)

    forms = [lambda *args, form=form: form(*args, stride) for form in FORMS]
    expected, *found = values_and_gradients((direct, *forms), inputs, kernel, cotangent)
    for of_form in found:
        for part, reference in zip(of_form, expected, strict=True):
            assert relative_error(part, reference) < 1e-5


@pytest.mark.parametrize(("kernel_size", "stride"), KERNELS_AND_STRIDES)
@pytest.mark.parametrize(
    "form",
    [
        functools.partial(transposed_convolution_products, np),
        lambda kernel, stride: jax.jit(transposed_convolution_products(jnp, kernel, stride)),
        transposed_convolution_windows,
    ],
    ids=["products, NumPy", "products, JAX", "windows"],
)
def test_numpy_and_jax_give_the_same_integers(form, kernel_size, stride):
    """Sums below 2²⁴ are exact in float32, whatever the order."""
    rng = np.random.default_rng(0)
    inputs = rng.integers(-128, 256, (2, 3, 5, 4)).astype(np.float32)
    kernel = rng.integers(-255, 256, (kernel_size, kernel_size, 3, 4)).astype(np.float32)
    expected = jax.lax.conv_transpose(inputs, kernel, (stride, stride), "SAME", transpose_kernel=True)
    np.testing.assert_array_equal(form(kernel, stride)(inputs), expected)


@pytest.mark.parametrize(("kernel_size", "stride"), [(13, 8), (18, 16), (5, 2)])
def test_the_chosen_form_is_the_adjoint_of_the_strided_convolution(kernel_size, stride):
    """⟨conv(x), y⟩ = ⟨x, convT(y)⟩ with one kernel: [k, k, in, out] to the one is [k, k, out, in] to the other."""
    images, latents = random(2, 3 * stride, 4 * stride, 3), random(2, 3, 4, 5, seed=1)
    kernel = random(kernel_size, kernel_size, 3, 5, seed=2)
    forward = jax.lax.conv_general_dilated(images, kernel, (stride, stride), "SAME", dimension_numbers=CHANNELS_LAST)
    backward = jax.jit(transposed_convolution, static_argnums=2)(latents, kernel, stride)
    assert backward.shape == images.shape
    left, right = (np.sum(np.asarray(a, np.float64) * b) for a, b in ((forward, latents), (images, np.array(backward))))
    assert left == pytest.approx(right, rel=1e-4)


def test_depth_to_space_lays_out_row_column_channel():
    blocks = np.arange(2 * 3 * 4 * 12).reshape(2, 3, 4, 12)
    image = np.asarray(depth_to_space(blocks, 2))
    assert image.shape == (2, 6, 8, 3)
    for row, column, channel in np.ndindex(2, 2, 3):
        np.testing.assert_array_equal(
            image[:, row::2, column::2, channel], blocks[..., (row * 2 + column) * 3 + channel]
        )


@pytest.mark.parametrize(("kernel_size", "stride"), [(5, 2), (3, 1), (16, 16), (4, 2)])
def test_a_convolution_has_the_value_and_gradients_of_laxs(kernel_size, stride):
    inputs, kernel = random(2, 3 * stride, 4 * stride, 3), random(kernel_size, kernel_size, 3, 4, seed=1)
    cotangent = random(2, 3, 4, 4, seed=2)

    def direct(inputs, kernel):
        return jax.lax.conv_general_dilated(inputs, kernel, (stride, stride), "SAME", dimension_numbers=CHANNELS_LAST)

    ours = lambda *args: convolution(*args, stride)
    expected, found = values_and_gradients((direct, ours), inputs, kernel, cotangent)
    for part, reference in zip(found, expected, strict=True):
        assert relative_error(part, reference) < 1e-5


@pytest.mark.parametrize("axes", [(0, 0), (0, None), (None, 0)], ids=str)
def test_a_convolution_under_vmap_is_a_loop_with_its_gradients(axes):
    """A stack of inputs, of kernels or of both."""
    inputs, kernels = random(3, 2, 6, 8, 3), random(3, 5, 5, 3, 4, seed=1)
    cotangents = random(3, 2, 3, 4, 4, seed=2)
    single = jax.jit(functools.partial(value_and_gradients, lambda *args: convolution(*args, 2)))
    stacked = jax.jit(jax.vmap(single, (*axes, 0)))(
        *(stack if axis == 0 else stack[0] for stack, axis in zip((inputs, kernels), axes, strict=True)), cotangents
    )
    for index in range(3):
        expected = single(
            *(stack[index if axis == 0 else 0] for stack, axis in zip((inputs, kernels), axes, strict=True)),
            cotangents[index],
        )
        for part, reference in zip(stacked, expected, strict=True):
            assert relative_error(part[index], reference) < 1e-5


@pytest.mark.parametrize("height", [7, 10])
def test_the_modules_add_a_bias_and_scale_by_their_stride(height):
    """SAME padding: ⌈height/stride⌉ rows out of a convolution, height · stride out of a transposed one."""
    inputs = random(2, height, 8, 3)
    bias = np.arange(4, dtype=np.float32)
    for module, rows, kernel in (
        (Convolution(4, 5, 2), -(-height // 2), (5, 5, 3, 4)),
        (TransposedConvolution(4, 5, 2), 2 * height, (5, 5, 4, 3)),
    ):
        parameters = {"kernel": np.zeros(kernel, np.float32), "bias": bias}
        initial = jax.eval_shape(module.init, jax.random.key(0), inputs)["params"]
        assert {name: leaf.shape for name, leaf in initial.items()} == {"kernel": kernel, "bias": (4,)}
        outputs = module.apply({"params": parameters}, inputs)
        assert outputs.shape[:2] == (2, rows)
        np.testing.assert_array_equal(outputs, np.broadcast_to(bias, outputs.shape))


@pytest.mark.parametrize(("kernel_size", "stride"), [(5, 2), (13, 8)])
def test_an_initial_transposed_convolution_keeps_the_variance(kernel_size, stride):
    inputs = random(1, 8, 8, 64)
    outputs, _ = jax.jit(TransposedConvolution(3, kernel_size, stride).init_with_output)(jax.random.key(0), inputs)
    inner = np.asarray(outputs)[:, kernel_size:-kernel_size, kernel_size:-kernel_size]
    assert np.std(inner) == pytest.approx(1, abs=0.2)
