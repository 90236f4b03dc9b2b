"""The field's reference as oracle: our priors, tables, normalizations and samples against tensorflow-compression's own
and tensorflow-probability's.

Run by `make test-tfc`; skipped where the extra `tfc` is not installed. Bits agree to a relative 1e-5, gradients to 1e-4
and 1e-5 of the largest, which is what float32 leaves of them; other tolerances are stated with their test.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

tfc = pytest.importorskip("tensorflow_compression", reason="needs the extra tfc (make test-tfc)")

import tensorflow as tf
import tensorflow_probability as tfp

from lic_jax.entropy.priors.density import FactorizedDensity
from lic_jax.entropy.priors.gaussian import gaussian_mass, index_of_log_index, scale_of_index
from lic_jax.entropy.scale_table import LOG_SCALE_STEP, SCALE_COUNT, SCALE_MIN
from lic_jax.entropy.tables import TOTAL, factorized_tables, gaussian_tables
from lic_jax.quantization.fixed_point import FixedPointQuantizer
from lic_jax.quantization.gumbel import logistic_noise, upper_weight
from lic_jax.transforms.gdn import GDN1, InverseGDN1

CHANNELS = 5
LIKELIHOOD_MIN = 1e-9
COMPONENTS = 30
ON_RANDOM_INPUTS = given(st.integers(0, 2**32 - 1))
A_FEW = settings(max_examples=10)


def bits(mass):
    return -jnp.sum(jnp.log2(jnp.maximum(mass, LIKELIHOOD_MIN)), axis=-1)


def assert_gradients_agree(found, expected, of_largest=1e-5):
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=of_largest * np.abs(expected).max())


@functools.cache
def their_density():
    return tfc.NoisyDeepFactorized(batch_shape=(CHANNELS,), num_filters=(3, 3), init_scale=10)


@functools.cache
def density_params():
    zeros = jnp.zeros(CHANNELS)
    return FactorizedDensity(CHANNELS).init(jax.random.key(0), zeros, zeros)["params"]


def their_variables(theirs):
    """Their variables by our names."""
    kinds = (("matrix", theirs.base._matrices), ("bias", theirs.base._biases), ("factor", theirs.base._factors))
    return {f"{kind}_{index}": variable for kind, variables in kinds for index, variable in enumerate(variables)}


def random_density(rng):
    """One factorized density with random weights, as ours and as theirs: (params, their distribution)."""
    params = {
        name: (np.asarray(leaf) + rng.normal(0, 0.5, leaf.shape)).astype(np.float32)
        for name, leaf in density_params().items()
    }
    theirs = their_density()
    for name, variable in their_variables(theirs).items():
        variable.assign(params[name].reshape(variable.shape))
    return params, theirs


@jax.jit
def our_density_bits(params, values):
    objective = lambda params, values: jnp.sum(
        bits(FactorizedDensity(CHANNELS).apply({"params": params}, values - 0.5, values + 0.5))
    )
    return jax.value_and_grad(objective, (0, 1))(params, values)


@A_FEW
@ON_RANDOM_INPUTS
def test_the_factorized_densitys_bits_and_gradients(seed):
    """Gradients in values and parameters. Where float32 has too little mass to be a difference, no value is drawn."""
    rng = np.random.default_rng(seed)
    params, theirs = random_density(rng)
    values = rng.uniform(-12, 12, (200, CHANNELS)).astype(np.float32)
    values[theirs.prob(values).numpy() < 1e-5] = 0
    total, (of_params, of_values) = our_density_bits(params, values)
    inputs, variables = tf.constant(values), their_variables(theirs)
    with tf.GradientTape() as tape:
        tape.watch(inputs)
        expected = -tf.reduce_sum(theirs.log_prob(inputs)) / np.log(2)
    np.testing.assert_allclose(total, expected.numpy(), rtol=1e-5)
    expected_of_values, expected_of_params = tape.gradient(expected, (inputs, variables))
    assert_gradients_agree(of_values, expected_of_values.numpy())
    for name, gradient in expected_of_params.items():
        assert_gradients_agree(of_params[name], gradient.numpy().reshape(of_params[name].shape))


@functools.cache
def scale_entropy_model():
    return tfc.LocationScaleIndexedEntropyModel(
        prior_fn=tfc.NoisyNormal,
        num_scales=SCALE_COUNT,
        scale_fn=lambda index: SCALE_MIN * tf.exp(index * LOG_SCALE_STEP),
        coding_rank=1,
        compression=False,
    )


def random_latents(rng, index):
    """Latents and means such that the scales of these indexes describe them."""
    mean = rng.normal(0, 3, index.shape).astype(np.float32)
    scale = np.asarray(scale_of_index(index))
    return (mean + scale * rng.normal(0, 1, index.shape)).astype(np.float32), mean


@pytest.mark.parametrize("noisy", [False, True], ids=["hard", "noisy"])
@pytest.mark.parametrize("whole", [False, True], ids=["real index", "whole index"])
@A_FEW
@ON_RANDOM_INPUTS
def test_the_scale_tables_gaussian_bits(noisy, whole, seed):
    """At indexes from the table's first to its last: a relative 1e-5 of all bits, and of a vector of five latents'
    but for 1e-4 bits: at the widest scales, 256, float32 has a mass of 0.0016 to a relative 4e-5.
    """
    rng = np.random.default_rng(seed)
    tf.random.set_seed(seed)
    index = np.asarray(index_of_log_index(rng.uniform(-2, 4.5, (300, CHANNELS)).astype(np.float32)))
    index = np.rint(index) if whole else index
    latent, mean = random_latents(rng, index)
    perturbed, expected = scale_entropy_model()(
        tf.constant(latent), scale_indexes=tf.constant(index), loc=tf.constant(mean), training=noisy
    )
    residual = perturbed.numpy() - mean
    if not noisy:
        np.testing.assert_allclose(residual, np.rint(latent - mean), atol=1e-4)
        residual = np.rint(residual)
    found = bits(gaussian_mass(residual - 0.5, residual + 0.5, scale_of_index(index)))
    np.testing.assert_allclose(np.sum(found), np.sum(expected.numpy()), rtol=1e-5)
    np.testing.assert_allclose(found, expected.numpy(), rtol=1e-5, atol=1e-4)


@jax.jit
def our_gaussian_gradients(residual, index):
    objective = lambda residual, index: jnp.sum(
        bits(gaussian_mass(residual - 0.5, residual + 0.5, scale_of_index(index)))
    )
    return jax.grad(objective, (0, 1))(residual, index)


@A_FEW
@ON_RANDOM_INPUTS
def test_the_scale_tables_gaussian_gradients(seed):
    """In the values and in the real-valued index, with noise as in training; to 1e-4 of the largest (see above)."""
    rng = np.random.default_rng(seed)
    tf.random.set_seed(seed)
    index = rng.uniform(0, SCALE_COUNT - 1, (300, CHANNELS)).astype(np.float32)
    latent, mean = random_latents(rng, index)
    inputs, indexes = tf.constant(latent), tf.constant(index)
    with tf.GradientTape() as tape:
        tape.watch((inputs, indexes))
        perturbed, expected = scale_entropy_model()(inputs, scale_indexes=indexes, loc=tf.constant(mean), training=True)
        total = tf.reduce_sum(expected)
    found = our_gaussian_gradients(perturbed.numpy() - mean, index)
    for ours, theirs in zip(found, tape.gradient(total, (inputs, indexes)), strict=True):
        assert_gradients_agree(ours, theirs.numpy(), of_largest=1e-4)


def uniform_quantizer():
    """Whole numbers from −15 to 15."""
    thresholds = (2 * np.arange(COMPONENTS) - COMPONENTS + 1) * 2048
    return FixedPointQuantizer(np.full(COMPONENTS, 4096), thresholds)


def assert_parts_are(probabilities, tables):
    """A part for every symbol, and rounding, take the rest; the outermost symbols have the tails, too."""
    share = tables[:, 1:-1] / TOTAL
    np.testing.assert_allclose(share, probabilities[:, 1:-1], rtol=1e-4, atol=2 * COMPONENTS / TOTAL)


def test_the_gaussians_tables():
    levels = np.arange(-COMPONENTS // 2, COMPONENTS // 2 + 1, dtype=np.float32)
    scale = SCALE_MIN * np.exp(np.arange(SCALE_COUNT) * LOG_SCALE_STEP)[:, None].astype(np.float32)
    expected = tfc.NoisyNormal(loc=0.0, scale=scale).prob(levels).numpy()
    assert_parts_are(expected, gaussian_tables(uniform_quantizer()))


@A_FEW
@ON_RANDOM_INPUTS
def test_the_factorized_densitys_tables(seed):
    params, theirs = random_density(np.random.default_rng(seed))
    levels = np.arange(-COMPONENTS // 2, COMPONENTS // 2 + 1, dtype=np.float32)
    expected = theirs.prob(np.repeat(levels[:, None], CHANNELS, axis=1)).numpy().T
    assert_parts_are(expected, factorized_tables(params, uniform_quantizer()))


@functools.cache
def our_normalization(module):
    def run(params, values):
        outputs = module().apply({"params": params}, values)
        return jnp.sum(outputs**2), outputs

    return jax.jit(jax.value_and_grad(run, argnums=1, has_aux=True))


@pytest.mark.parametrize(("module", "inverse"), [(GDN1, False), (InverseGDN1, True)])
@A_FEW
@ON_RANDOM_INPUTS
def test_gdn1_and_its_inverse(module, inverse, seed):
    """Values agree to a relative 1e-5."""
    rng = np.random.default_rng(seed)
    values = rng.normal(0, 2, (2, 6, 7, CHANNELS)).astype(np.float32)
    beta = rng.uniform(0.5, 2, CHANNELS).astype(np.float32)
    gamma = rng.uniform(0, 0.3, (CHANNELS, CHANNELS)).astype(np.float32)
    pedestal = 2.0**-36
    params = {"beta_root": np.sqrt(beta + pedestal), "gamma_root": np.sqrt(gamma + pedestal)}
    (_, found), gradient = our_normalization(module)(params, values)
    layer = tfc.GDN(
        inverse=inverse,
        alpha_parameter=1,
        epsilon_parameter=1,
        beta_parameter=lambda *_: tf.constant(beta),
        gamma_parameter=lambda *_: tf.constant(gamma),
    )
    inputs = tf.constant(values)
    with tf.GradientTape() as tape:
        tape.watch(inputs)
        expected = layer(inputs)
        squares = tf.reduce_sum(expected**2)
    np.testing.assert_allclose(found, expected.numpy(), rtol=1e-5, atol=1e-6)
    assert_gradients_agree(gradient, tape.gradient(squares, inputs).numpy())


@pytest.mark.parametrize("temperature", [0.5, 0.3, 0.1])
def test_sga_samples_as_the_relaxed_categorical_of_the_paper(temperature):
    """Moments of the upper level's weight, at every position, within five of their standard errors."""
    position = np.array([0.02, 0.2, 0.45, 0.5, 0.7, 0.99], np.float32)
    draws = 400_000
    logits = -np.arctanh(np.stack([position, 1 - position], axis=-1)) / temperature
    categorical = tfp.distributions.RelaxedOneHotCategorical(temperature, logits=logits)
    theirs = categorical.sample(draws, seed=1).numpy()[..., 1]
    noise = logistic_noise(jax.random.key(0), (draws, len(position)))
    ours = np.asarray(upper_weight(noise, position, temperature))
    for power in (1, 2, 3):
        first, second = ours**power, theirs**power
        error = np.sqrt((np.var(first, axis=0) + np.var(second, axis=0)) / draws)
        assert np.all(np.abs(np.mean(first, axis=0) - np.mean(second, axis=0)) < 5 * error + 1e-5)
