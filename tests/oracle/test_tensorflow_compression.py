"""The field's reference as oracle: our priors and normalizations against tensorflow-compression's own.

Run by `make test-tfc`; skipped where the extra `tfc` is not installed.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

tfc = pytest.importorskip("tensorflow_compression", reason="needs the extra tfc (make test-tfc)")

import tensorflow as tf

from lic_jax.entropy.factorized import FactorizedPrior
from lic_jax.entropy.gaussian import gaussian_mass, index_of_log_index, scale_of_index
from lic_jax.entropy.scale_table import LOG_SCALE_STEP, SCALE_COUNT, SCALE_MIN
from lic_jax.transforms.gdn import GDN, GDN1, InverseGDN, InverseGDN1

CHANNELS = 5
LIKELIHOOD_MIN = 1e-9


def bits(mass):
    return -jnp.sum(jnp.log2(jnp.maximum(mass, LIKELIHOOD_MIN)), axis=-1)


@pytest.fixture(scope="module", params=[0, 1, 2])
def density(request):
    """One factorized density with random weights, as ours and as theirs: (module, params, their distribution)."""
    module = FactorizedPrior(CHANNELS)
    key = jax.random.key(request.param)
    params = module.init(key, jnp.zeros(CHANNELS), jnp.ones(CHANNELS))["params"]
    leaves, tree = jax.tree.flatten(params)
    keys = jax.random.split(key, len(leaves))
    params = tree.unflatten(
        [leaf + 0.5 * jax.random.normal(key, leaf.shape) for leaf, key in zip(leaves, keys, strict=True)]
    )
    theirs = tfc.NoisyDeepFactorized(batch_shape=(CHANNELS,), num_filters=(3, 3), init_scale=10)
    for ours, variables in (("matrix", "_matrices"), ("bias", "_biases"), ("factor", "_factors")):
        for index, variable in enumerate(getattr(theirs.base, variables)):
            variable.assign(np.asarray(params[f"{ours}_{index}"]).reshape(variable.shape))
    return module, params, theirs


def test_the_factorized_densitys_bits_and_gradients(density):
    """Relative 1e-5; in the tails, whose mass float32 rounds, 1e-5 of the largest gradient."""
    module, params, theirs = density
    values = np.random.default_rng(0).uniform(-12, 12, (200, CHANNELS)).astype(np.float32)

    @jax.jit
    def run(values):
        return jax.value_and_grad(
            lambda values: jnp.sum(bits(module.apply({"params": params}, values - 0.5, values + 0.5)))
        )(values)

    total, gradient = run(values)
    inputs = tf.constant(values)
    with tf.GradientTape() as tape:
        tape.watch(inputs)
        expected = -tf.reduce_sum(theirs.log_prob(inputs)) / np.log(2)
    np.testing.assert_allclose(total, expected.numpy(), rtol=1e-5)
    expected_gradient = tape.gradient(expected, inputs).numpy()
    np.testing.assert_allclose(gradient, expected_gradient, rtol=1e-4, atol=1e-5 * np.abs(expected_gradient).max())


def scale_entropy_model():
    return tfc.LocationScaleIndexedEntropyModel(
        prior_fn=tfc.NoisyNormal,
        num_scales=SCALE_COUNT,
        scale_fn=lambda index: SCALE_MIN * tf.exp(index * LOG_SCALE_STEP),
        coding_rank=1,
        compression=False,
    )


@pytest.mark.parametrize("noisy", [False, True], ids=["hard", "noisy"])
@pytest.mark.parametrize("whole", [False, True], ids=["real index", "whole index"])
def test_the_scale_tables_gaussian_bits(noisy, whole):
    """Relative 1e-5 a vector of five latents, at indexes inside and outside of the table."""
    rng = np.random.default_rng(int(noisy) + 2 * whole)
    log_index = rng.uniform(-2, 4.5, (300, CHANNELS)).astype(np.float32)
    index = np.asarray(index_of_log_index(log_index))
    index = np.rint(index) if whole else index
    mean = rng.normal(0, 3, index.shape).astype(np.float32)
    latent = (mean + np.asarray(scale_of_index(index)) * rng.normal(0, 1, index.shape)).astype(np.float32)
    perturbed, expected = scale_entropy_model()(
        tf.constant(latent), scale_indexes=tf.constant(index), loc=tf.constant(mean), training=noisy
    )
    residual = perturbed.numpy() - mean
    if not noisy:
        np.testing.assert_allclose(residual, np.rint(latent - mean), atol=1e-4)
        residual = np.rint(residual)
    found = bits(gaussian_mass(residual - 0.5, residual + 0.5, scale_of_index(index)))
    np.testing.assert_allclose(found, expected.numpy(), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("module", "inverse", "power"), [(GDN, False, 2), (InverseGDN, True, 2), (GDN1, False, 1), (InverseGDN1, True, 1)]
)
def test_gdn_and_its_inverse(module, inverse, power):
    """Relative 1e-5, values and gradients."""
    rng = np.random.default_rng(power)
    values = rng.normal(0, 2, (2, 6, 7, CHANNELS)).astype(np.float32)
    beta = rng.uniform(0.5, 2, CHANNELS).astype(np.float32)
    gamma = rng.uniform(0, 0.3, (CHANNELS, CHANNELS)).astype(np.float32)
    pedestal = 2.0**-36
    params = {"beta_root": np.sqrt(beta + pedestal), "gamma_root": np.sqrt(gamma + pedestal)}
    ours = lambda values: module().apply({"params": params}, values)
    layer = tfc.GDN(
        inverse=inverse,
        alpha_parameter=power,
        epsilon_parameter=1 / power,
        beta_parameter=lambda *_: tf.constant(beta),
        gamma_parameter=lambda *_: tf.constant(gamma),
    )
    inputs = tf.constant(values)
    with tf.GradientTape() as tape:
        tape.watch(inputs)
        expected = layer(inputs)
        squares = tf.reduce_sum(expected**2)
    np.testing.assert_allclose(ours(values), expected.numpy(), rtol=1e-5, atol=1e-6)
    gradient = jax.jit(jax.grad(lambda values: jnp.sum(ours(values) ** 2)))(values)
    expected_gradient = tape.gradient(squares, inputs).numpy()
    np.testing.assert_allclose(gradient, expected_gradient, rtol=1e-4, atol=1e-5 * np.abs(expected_gradient).max())
