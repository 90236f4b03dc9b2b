import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from lic_jax.gradients import lower_bound
from lic_jax.transforms.gdn import GDN1, InverseGDN1, SignedGain

PEDESTAL = 2.0**-36


def float32s(low, high):
    """Without subnormal numbers, which XLA takes for zero."""
    return st.floats(low, high, width=32, allow_subnormal=False)


def random(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


@jax.jit
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


def test_a_signed_gain_keeps_signs_whatever_gamma_is_and_starts_as_the_identity():
    inputs, beta, gamma = random(50, 4), 1 + random(4, seed=1) / 4, random(4, 4, seed=2)
    found = SignedGain().apply({"params": {"beta": beta, "gamma": gamma}}, inputs)
    expected = np.float64(inputs) * np.maximum(np.float64(beta) + np.abs(np.float64(inputs)) @ gamma, 1 / 256)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)
    assert np.all(np.sign(found) == np.sign(inputs)) and np.any(expected == inputs / 256)
    start = SignedGain().init(jax.random.key(0), inputs)
    np.testing.assert_array_equal(SignedGain().apply(start, inputs), inputs)


def test_gdn1_divides_by_the_norm_that_its_inverse_multiplies_with():
    inputs = random(5, 4)
    parameters = {"params": {"beta_root": 1 + random(4, seed=1) / 4, "gamma_root": np.abs(random(4, 4, seed=2))}}
    beta, gamma = (np.float64(root) ** 2 - PEDESTAL for root in parameters["params"].values())
    norm = beta + np.abs(np.float64(inputs)) @ gamma
    np.testing.assert_allclose(GDN1().apply(parameters, inputs), inputs / norm, rtol=1e-5)
    np.testing.assert_allclose(InverseGDN1().apply(parameters, inputs), inputs * norm, rtol=1e-5)


@settings(max_examples=30)
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
    found, _ = jax.jit(InverseGDN1().init_with_output)(jax.random.key(0), inputs)
    np.testing.assert_allclose(found, inputs * (1 + 0.1 * np.abs(inputs)), rtol=1e-5)


@settings(max_examples=50)
@given(*(arrays(np.float32, 8, elements=float32s(-10, 10)) for _ in range(2)))
def test_a_lower_bound_passes_the_gradients_that_lead_back_inside(values, cotangent):
    found, pullback = jax.vjp(lambda values: lower_bound(values, 1.5), jnp.array(values))
    np.testing.assert_array_equal(found, np.maximum(values, np.float32(1.5)))
    descent_raises = cotangent < 0
    np.testing.assert_array_equal(
        pullback(jnp.array(cotangent))[0], np.where((values >= 1.5) | descent_raises, cotangent, 0)
    )
