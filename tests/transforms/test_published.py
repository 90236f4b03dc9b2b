"""The published models, layer by layer."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lic_jax.transforms.convolution import convolution, transposed_convolution
from lic_jax.transforms.gdn import InverseGDN1


def relative_error(found, reference):
    """max |found − reference| / max |reference|."""
    found, reference = np.asarray(found, np.float64), np.asarray(reference, np.float64)
    assert found.shape == reference.shape
    return np.max(np.abs(found - reference)) / np.max(np.abs(reference))


def inverse_gdn(inputs, beta_root, gamma_root):
    return InverseGDN1().apply({"params": {"beta_root": beta_root, "gamma_root": gamma_root}}, inputs)


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
