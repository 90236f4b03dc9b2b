import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lic_jax.quantization.gumbel import level_below, log_odds, logistic_noise, position_between, upper_weight

LEVELS = np.array([-4.0, -1.5, 0.0, 0.25, 3.0], np.float32)


@settings(max_examples=30)
@given(st.lists(st.floats(-4, 3, width=32, allow_subnormal=False), min_size=8, max_size=8))
def test_a_value_lies_between_its_two_levels_at_its_position(values):
    values = np.array(values, np.float32)
    below = np.asarray(level_below(LEVELS, values))
    assert np.all((LEVELS[below] <= values) & (values <= LEVELS[below + 1]))
    position = np.asarray(position_between(LEVELS[below], LEVELS[below + 1], values))
    np.testing.assert_allclose(LEVELS[below] + position * np.diff(LEVELS)[below], values, atol=1e-4)


def test_values_beyond_all_levels_stay_at_the_last_pair():
    values = jnp.array([-50.0, -4.0, 3.0, 50.0])
    below = level_below(LEVELS, values)
    np.testing.assert_array_equal(below, [0, 0, 3, 3])
    position = position_between(LEVELS[below], LEVELS[below + 1], values)
    np.testing.assert_allclose(position, [0, 0, 1, 1], atol=2e-5)


def test_the_log_odds_are_the_difference_of_the_papers_logits():
    position = np.linspace(1e-5, 1 - 1e-5, 101)
    np.testing.assert_allclose(
        log_odds(position), np.arctanh(position) - np.arctanh(1 - position), rtol=1e-4, atol=1e-6
    )


@pytest.mark.parametrize("temperature", [0.5, 0.2])
def test_levels_are_sampled_with_the_papers_probabilities(temperature):
    """The upper level has the larger weight as often as a softmax of the two logits says."""
    position = np.array([0.1, 0.35, 0.5, 0.8], np.float32)
    draws = 20_000
    noise = logistic_noise(jax.random.key(0), (draws, len(position)))
    found = np.mean(np.asarray(upper_weight(noise, position, temperature)) > 0.5, axis=0)
    lower, upper = np.exp(-np.arctanh(position) / temperature), np.exp(-np.arctanh(1 - position) / temperature)
    expected = upper / (lower + upper)
    assert np.all(np.abs(found - expected) < 5 * np.sqrt(expected * (1 - expected) / draws) + 1e-4)


def test_a_sample_is_the_gumbel_softmax_of_two_gumbel_variables():
    """sigmoid of a difference, with logistic noise, has the distribution of softmax((logits + Gumbel)/τ)."""
    temperature, position, draws = 0.5, 0.3, 20_000
    logits = np.array([-np.arctanh(position), -np.arctanh(1 - position)]) / temperature
    gumbel = jax.random.gumbel(jax.random.key(1), (draws, 2))
    reference = np.asarray(jax.nn.softmax((logits + gumbel) / temperature))[:, 1]
    noise = logistic_noise(jax.random.key(2), (draws,))
    found = np.asarray(upper_weight(noise, position, temperature))
    quantiles = np.linspace(0.05, 0.95, 10)
    np.testing.assert_allclose(np.quantile(found, quantiles), np.quantile(reference, quantiles), atol=0.03)


def test_without_temperature_a_value_takes_its_nearest_level():
    position = jnp.array([0.1, 0.4, 0.6, 0.9])
    noise = logistic_noise(jax.random.key(0), (100, 4))
    np.testing.assert_allclose(upper_weight(noise, position, 1e-3), np.tile([0.0, 0, 1, 1], (100, 1)), atol=1e-3)
