import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from lic_jax.transforms.layers import (
    Convolution,
    InverseGDN1,
    TransposedConvolution,
    convolution,
    depth_to_space,
    lower_bound,
    transposed_convolution,
    transposed_convolution_overlap_add,
    transposed_convolution_phases,
)


def float32s(low, high):
    """Without subnormal numbers, which XLA takes for zero."""
    return st.floats(low, high, width=32, allow_subnormal=False)


KERNELS_AND_STRIDES = [(13, 8), (18, 16), (5, 2), (6, 4), (3, 1), (16, 16), (2, 2), (5, 4), (7, 3)]
CHANNELS_LAST = ("NHWC", "HWIO", "NHWC")
PEDESTAL = 2.0**-36


def relative_error(found, reference):
    """max |found − reference| / max |reference|."""
    found, reference = np.asarray(found, np.float64), np.asarray(reference, np.float64)
    assert found.shape == reference.shape
    return np.max(np.abs(found - reference)) / np.max(np.abs(reference))


def random(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def value_and_gradients(function, inputs, kernel, cotangent):
    """The function's value and its pullback of `cotangent` to inputs and kernel."""

    @jax.jit
    def run(inputs, kernel, cotangent):
        value, pullback = jax.vjp(function, inputs, kernel)
        return value, *pullback(cotangent)

    return run(inputs, kernel, cotangent)


@pytest.mark.parametrize(("kernel_size", "stride"), KERNELS_AND_STRIDES)
def test_both_forms_are_the_transposed_convolution_with_its_gradients(kernel_size, stride):
    inputs, kernel = random(2, 3, 5, 4), random(kernel_size, kernel_size, 3, 4, seed=1)
    cotangent = random(2, 3 * stride, 5 * stride, 3, seed=2)

    def direct(inputs, kernel):
        return jax.lax.conv_transpose(inputs, kernel, (stride, stride), "SAME", transpose_kernel=True)

    expected = value_and_gradients(direct, inputs, kernel, cotangent)
    for form in (transposed_convolution_phases, transposed_convolution_overlap_add):
        found = value_and_gradients(lambda *args, form=form: form(*args, stride), inputs, kernel, cotangent)
        for part, reference in zip(found, expected, strict=True):
            assert relative_error(part, reference) < 1e-5


@pytest.mark.parametrize(("kernel_size", "stride"), [(13, 8), (18, 16), (5, 2)])
def test_the_chosen_form_is_the_adjoint_of_the_strided_convolution(kernel_size, stride):
    """⟨conv(x), y⟩ = ⟨x, convT(y)⟩ with one kernel: [k, k, in, out] to the one is [k, k, out, in] to the other."""
    images, latents = random(2, 3 * stride, 4 * stride, 3), random(2, 3, 4, 5, seed=1)
    kernel = random(kernel_size, kernel_size, 3, 5, seed=2)
    forward = jax.lax.conv_general_dilated(images, kernel, (stride, stride), "SAME", dimension_numbers=CHANNELS_LAST)
    backward = transposed_convolution(latents, kernel, stride)
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

    expected = value_and_gradients(direct, inputs, kernel, cotangent)
    found = value_and_gradients(lambda *args: convolution(*args, stride), inputs, kernel, cotangent)
    for part, reference in zip(found, expected, strict=True):
        assert relative_error(part, reference) < 1e-5


@pytest.mark.parametrize("axes", [(0, 0), (0, None), (None, 0)], ids=str)
def test_a_convolution_under_vmap_is_a_loop_with_its_gradients(axes):
    """A stack of inputs, of kernels or of both."""
    inputs, kernels = random(3, 2, 6, 8, 3), random(3, 5, 5, 3, 4, seed=1)
    cotangents = random(3, 2, 3, 4, 4, seed=2)
    single = lambda inputs, kernel, cotangent: value_and_gradients(
        lambda *args: convolution(*args, 2), inputs, kernel, cotangent
    )
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


def inverse_gdn(inputs, beta_root, gamma_root):
    return InverseGDN1().apply({"params": {"beta_root": beta_root, "gamma_root": gamma_root}}, inputs)


def test_inverse_gdn_multiplies_by_beta_plus_gamma_times_magnitudes():
    inputs, beta_root, gamma_root = random(2, 3, 4), 1 + random(4, seed=1) / 4, np.abs(random(4, 4, seed=2))
    found = inverse_gdn(inputs, beta_root, gamma_root)
    beta, gamma = np.float64(beta_root) ** 2 - PEDESTAL, np.float64(gamma_root) ** 2 - PEDESTAL
    for batch, position in np.ndindex(2, 3):
        values = np.float64(inputs[batch, position])
        for channel in range(4):
            norm = beta[channel] + sum(gamma[other, channel] * abs(values[other]) for other in range(4))
            assert found[batch, position, channel] == pytest.approx(values[channel] * norm, rel=1e-5)


@settings(deadline=None, max_examples=30)
@given(*(arrays(np.float32, shape, elements=float32s(-3, 3)) for shape in ((3,), (3, 3))))
def test_beta_is_positive_and_gamma_is_not_negative_whatever_is_stored(beta_root, gamma_root):
    """So the sign of every value is kept and its magnitude grows with all magnitudes."""
    ones = inverse_gdn(np.ones(3, np.float32), beta_root, gamma_root)
    small = inverse_gdn(np.full(3, 1e-3, np.float32), beta_root, np.full((3, 3), -1, np.float32))
    np.testing.assert_allclose(small, 1e-3 * np.maximum(np.float64(beta_root), 1e-3) ** 2, rtol=1e-4)
    assert np.all(ones >= small)
    assert np.all(small > 0)


def test_an_initial_inverse_gdn_is_the_identity_plus_a_tenth_of_the_square():
    inputs = random(5, 6)
    found, _ = InverseGDN1().init_with_output(jax.random.key(0), inputs)
    np.testing.assert_allclose(found, inputs * (1 + 0.1 * np.abs(inputs)), rtol=1e-5)


@settings(deadline=None, max_examples=50)
@given(*(arrays(np.float32, 8, elements=float32s(-10, 10)) for _ in range(2)))
def test_a_lower_bound_passes_the_gradients_that_lead_back_inside(values, cotangent):
    found, pullback = jax.vjp(lambda values: lower_bound(values, 1.5), jnp.array(values))
    np.testing.assert_array_equal(found, np.maximum(values, np.float32(1.5)))
    descent_raises = cotangent < 0
    np.testing.assert_array_equal(
        pullback(jnp.array(cotangent))[0], np.where((values >= 1.5) | descent_raises, cotangent, 0)
    )


# The published models, layer by layer


def weights(file, part):
    return [file[name] for name in sorted(file) if name.startswith(f"weights/{part}/")]


@pytest.fixture(scope="module", params=["cnn_jpeg_like", "elic_two_layer_res"])
def published(request, reference):
    with np.load(reference / f"{request.param}.npz") as file:
        return dict(file)


def convolve(inputs, weights, strides, activation):
    layers = list(zip(weights[::2], weights[1::2], strides, strict=True))
    for index, (kernel, bias, stride) in enumerate(layers):
        inputs = convolution(inputs, kernel, stride) + bias
        inputs = activation(inputs) if index < len(layers) - 1 else inputs
    return inputs


def leaky_relu(values):
    return jax.nn.leaky_relu(values, 0.2)


def test_the_published_convolutional_analysis(reference):
    with np.load(reference / "cnn_jpeg_like.npz") as file:
        published = dict(file)
    image = published["image"]
    padded = np.pad(image, (*((0, -side % 64) for side in image.shape[:2]), (0, 0)), mode="reflect")
    network = (padded[None] / np.float32(255) - np.float32(0.5)).astype(np.float32)
    analysis = jax.jit(lambda x: convolve(x, weights(published, "analysis"), (2, 2, 2, 2), leaky_relu))
    assert relative_error(analysis(network), published["latent"]) < 1e-5


def test_the_published_hyper_analysis(published):
    analysis = jax.jit(lambda y: convolve(y, weights(published, "hyper_analysis"), (1, 2, 2), jax.nn.relu))
    assert relative_error(analysis(published["latent"]), published["hyper_latent"]) < 1e-5


def test_the_published_hyper_synthesis(published):
    kernels = weights(published, "hyper_synthesis")

    @jax.jit
    def synthesis(hidden):
        hidden = jax.nn.relu(transposed_convolution(hidden, kernels[0], 2) + kernels[1])
        hidden = jax.nn.relu(transposed_convolution(hidden, kernels[2], 2) + kernels[3])
        return jnp.split(transposed_convolution(hidden, kernels[4], 1) + kernels[5], 2, axis=-1)

    mean, log_index = synthesis(published["hyper_latent_quantized"])
    assert relative_error(mean, published["loc"]) < 1e-5
    inside = published["scale_index"] < 63
    np.testing.assert_allclose(np.exp(log_index)[inside], published["scale_index"][inside], rtol=1e-4)


def test_the_published_syntheses(published):
    latent, layers = published["latent_quantized"], weights(published, "synthesis")

    @jax.jit
    def jpeg_like(latent):
        return transposed_convolution(latent, layers[0], 16) + layers[1]

    @jax.jit
    def two_layer_residual(latent):
        first = inverse_gdn(transposed_convolution(latent, layers[0], 8) + layers[1], layers[2], layers[3])
        hidden = first + transposed_convolution(latent, layers[4], 8) + layers[5]
        return transposed_convolution(hidden, layers[6], 2) + layers[7]

    height, width, _ = published["image"].shape
    image = (jpeg_like if len(layers) == 2 else two_layer_residual)(latent)[:, :height, :width]
    assert relative_error(image, published["reconstruction"]) < 1e-5
