import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from lic_jax.gradients import straight_through
from lic_jax.quantization.noise import additive_noise, straight_through_round


def float32s(low, high):
    """Without subnormal numbers, which XLA takes for zero."""
    return st.floats(low, high, width=32, allow_subnormal=False)


numbers = arrays(np.float32, 9, elements=float32s(-1e4, 1e4))
steps = float32s(2**-6, 8)


@pytest.mark.parametrize("step", [0.5, 1.0, 4.0])
def test_noise_is_uniform_over_one_step(step):
    values = jnp.linspace(-3, 3, 20000)
    noise = np.asarray(additive_noise(jax.random.key(0), values, step) - values, np.float64) / step
    assert noise.shape == values.shape
    assert np.max(np.abs(noise)) <= 0.5 + 1e-5
    histogram = np.histogram(noise, 10, (-0.5, 0.5))[0]
    assert np.all(np.abs(histogram - 2000) < 5 * 2000**0.5)  # five standard deviations
    assert abs(np.corrcoef(noise, values)[0, 1]) < 0.03


def test_noise_is_a_function_of_its_key():
    values = jnp.zeros((4, 5))
    first = additive_noise(jax.random.key(1), values)
    np.testing.assert_array_equal(first, additive_noise(jax.random.key(1), values))
    assert not np.any(first == additive_noise(jax.random.key(2), values))


def test_every_image_may_have_its_own_step():
    values = np.random.default_rng(0).normal(0, 5, (3, 4, 5, 6)).astype(np.float32)
    step = np.array([0.1, 1.0, 10.0], np.float32)[:, None, None, None]
    noise = np.asarray(additive_noise(jax.random.key(1), values, step)) - values
    unit_noise = np.asarray(additive_noise(jax.random.key(1), np.zeros_like(values)))
    rounded = np.asarray(straight_through_round(values, step))
    for image in range(3):
        np.testing.assert_allclose(noise[image], step[image] * unit_noise[image], atol=1e-5)
        multiples = rounded[image] / step[image]
        np.testing.assert_allclose(multiples, np.round(values[image] / step[image]), atol=1e-4)


@settings(max_examples=50)
@given(numbers, numbers)
def test_straight_through_has_the_value_of_one_and_the_gradient_of_the_other(values, hard):
    found, pullback = jax.vjp(straight_through, jnp.array(values), jnp.array(hard))
    np.testing.assert_array_equal(found, hard)
    cotangent = jnp.arange(9.0)
    of_values, of_hard = pullback(cotangent)
    np.testing.assert_array_equal(of_values, cotangent)
    np.testing.assert_array_equal(of_hard, 0)


@settings(max_examples=50)
@given(numbers, steps)
def test_rounding_gives_the_nearest_multiple_of_the_step(values, step):
    found = np.asarray(straight_through_round(jnp.array(values), step), np.float64)
    rounding = 2 * np.finfo(np.float32).eps * (np.abs(values) + step)
    assert np.all(np.abs(found - values) <= step / 2 + rounding)
    assert np.all(np.abs(found / step - np.round(found / step)) * step <= rounding)


def test_rounding_has_the_gradient_of_the_identity():
    values = jnp.linspace(-3, 3, 50)
    np.testing.assert_array_equal(jax.grad(lambda values: jnp.sum(straight_through_round(values, 0.3)))(values), 1)
