import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import log_ndtr, ndtr

from lic_jax.entropy.priors.gaussian import gaussian_mass, index_of_log_scale, scale_of_index
from lic_jax.entropy.scale_table import LOG_SCALE_STEP, SCALE_COUNT, SCALE_MAX, SCALE_MIN
from lic_jax.entropy.tables import scale_table


def float32s(low, high):
    """Without subnormal numbers, which XLA takes for zero."""
    return st.floats(low, high, width=32, allow_subnormal=False)


mass_of = jax.jit(gaussian_mass)
COUNT = 400


def exact_mass(lower, upper, scale):
    """In float64, from the tail that keeps precision."""
    low, high = np.float64(lower) / np.float64(scale), np.float64(upper) / np.float64(scale)
    mirrored = low + high > 0
    low, high = np.where(mirrored, -high, low), np.where(mirrored, -low, high)
    return ndtr(high) - ndtr(low)


@settings(max_examples=100)
@given(st.integers(0, 2**32 - 1), st.floats(-2.2, 5.5))
def test_masses_agree_with_scipy_into_the_tails(seed, log_scale):
    """Relatively, to 1e-4, where the bin is no narrower than a quarter of the scale; down to 1e-30."""
    rng = np.random.default_rng(seed)
    scale = np.float32(math.exp(log_scale))
    lower = (scale * rng.uniform(-12, 12, COUNT)).astype(np.float32)
    upper = (lower + scale * np.exp(rng.uniform(math.log(0.25), 3, COUNT))).astype(np.float32)
    expected = exact_mass(lower, upper, scale)
    found = np.asarray(mass_of(lower, upper, scale))
    kept = expected > 1e-30
    assert kept.sum() > COUNT / 2
    np.testing.assert_allclose(found[kept], expected[kept], rtol=1e-4)
    assert np.all(found[~kept] < 2e-30)


@settings(max_examples=50)
@given(st.integers(0, 2**32 - 1), float32s(0.125, 256))
def test_masses_of_unit_bins_lose_no_more_than_float32_must(seed, scale):
    """A narrow bin's mass is a difference of nearly equal tails: a few roundings of them, times v² for e^−v²/2's."""
    lower = np.random.default_rng(seed).uniform(-2000, 2000, COUNT).astype(np.float32)
    found = np.asarray(mass_of(lower, lower + 1, np.float32(scale)))
    expected = exact_mass(lower, lower + np.float32(1), scale)
    nearest = np.minimum(np.abs(lower), np.abs(lower + 1)) / scale
    rounding = np.finfo(np.float32).eps * 2 * (4 + nearest**2)
    np.testing.assert_array_less(np.abs(found - expected), 1e-37 + rounding * (ndtr(-nearest) + expected))


def test_masses_are_symmetric_and_add_up():
    edges = np.linspace(-40, 40, 161).astype(np.float32)
    masses = np.asarray(mass_of(edges[:-1], edges[1:], np.float32(7.5)), np.float64)
    np.testing.assert_allclose(masses, masses[::-1], rtol=1e-5)
    assert masses.sum() == pytest.approx(1, abs=1e-6)
    assert np.all(np.diff(masses[:80]) > 0)


def test_far_bins_have_no_mass_and_no_gradient_that_is_not_a_number():
    gradient = jax.jit(jax.grad(lambda bounds, scale: jnp.sum(gaussian_mass(*bounds, scale)), (0, 1)))
    bounds = np.float32([[-1e6, 50, 1e5, -1e6], [-50, 1e6, 1e5 + 1, 1e6]])
    np.testing.assert_allclose(mass_of(*bounds, np.float32(0.11)), [0, 0, 0, 1])
    for part in gradient(bounds, np.float32(0.11)):
        assert np.all(np.isfinite(part))


def test_the_gradient_in_the_scale_is_that_of_the_density():
    lower, upper, scale, step = 0.5, 1.5, 0.75, 1e-5
    found = jax.grad(lambda scale: gaussian_mass(lower, upper, scale))(scale)
    expected = (exact_mass(lower, upper, scale + step) - exact_mass(lower, upper, scale - step)) / (2 * step)
    assert found == pytest.approx(expected, rel=1e-4)


def test_the_scale_table_has_64_log_spaced_scales_from_0_11_to_256():
    table = scale_table()
    assert len(table) == SCALE_COUNT == 64
    assert table[0] == SCALE_MIN == 0.11
    assert table[-1] == pytest.approx(SCALE_MAX, rel=1e-14)
    assert SCALE_MAX == 256
    np.testing.assert_allclose(np.diff(np.log(table)), math.log(256 / 0.11) / 63, rtol=1e-12)
    assert pytest.approx(math.log(256 / 0.11) / 63, rel=1e-15) == LOG_SCALE_STEP
    assert float("0.12305479932808386") == LOG_SCALE_STEP  # to the last bit, as docs/bitstream.md has it
    np.testing.assert_allclose(scale_of_index(jnp.arange(64.0)), table, rtol=1e-5)


def test_the_index_of_a_scale_is_the_inverse_of_the_scale_of_an_index():
    index = jnp.linspace(0, 63, 200)
    np.testing.assert_allclose(index_of_log_scale(jnp.log(scale_of_index(index))), index, atol=1e-4)


def test_an_index_stays_in_the_table_and_its_gradient_leads_back():
    log_scale = jnp.array([-50.0, 0.0, 50.0])
    np.testing.assert_allclose(index_of_log_scale(log_scale), [0, -math.log(0.11) / LOG_SCALE_STEP, 63], rtol=1e-5)
    slope = 1 / LOG_SCALE_STEP
    for direction, expected in ((1.0, [0, slope, slope]), (-1.0, [-slope, -slope, 0])):
        gradient = jax.grad(lambda log_scale, sign=direction: sign * jnp.sum(index_of_log_scale(log_scale)))(log_scale)
        np.testing.assert_allclose(gradient, expected, rtol=1e-5)


@pytest.fixture(scope="module", params=["cnn_jpeg_like", "elic_two_layer_res"])
def published(request, reference):
    with np.load(reference / f"{request.param}.npz") as file:
        return dict(file)


def test_the_published_scales(published):
    index = np.clip(published["scale_index"], 0, 63)
    np.testing.assert_allclose(scale_of_index(index), published["effective_scale"], rtol=1e-5)


def test_the_published_bits_of_the_latent(published):
    """Most of these random weights' latents lie far in the tails; those are checked against our formula in float64."""
    residual, scale = published["latent_quantized"] - published["loc"], published["effective_scale"]
    masses = np.asarray(mass_of(residual - 0.5, residual + 0.5, scale), np.float64)
    inside = masses > 1e-30
    assert 0.3 < np.mean(inside) < 0.9
    outer = np.float64(np.abs(residual) - 0.5)[~inside] / scale[~inside]  # the inner edge has all of the tail's mass
    bits = -np.sum(np.log2(masses[inside])) - np.sum(log_ndtr(-outer)) / math.log(2)
    assert bits == pytest.approx(published["latent_bits"][0], rel=1e-4)
