import itertools
import math

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lic_jax.entropy.priors.density import FactorizedDensity

CHANNELS = 4
PRIOR = FactorizedDensity(CHANNELS)


@jax.jit
def logits_of(parameters, values):
    return PRIOR.apply({"params": parameters}, values, method="cumulative_logits")


@jax.jit
def mass_of(parameters, lower, upper):
    return PRIOR.apply({"params": parameters}, lower, upper)


@pytest.fixture(scope="module")
def initial():
    zeros = np.zeros((1, CHANNELS), np.float32)
    return jax.device_get(jax.jit(PRIOR.init)(jax.random.key(0), zeros, zeros)["params"])


def random_parameters(seed, spread=1.0):
    rng = np.random.default_rng(seed)
    widths = (1, 3, 3, 1)
    parameters = {}
    for layer, (width_in, width_out) in enumerate(itertools.pairwise(widths)):
        parameters[f"matrix_{layer}"] = rng.normal(0, spread, (CHANNELS, width_out, width_in)).astype(np.float32)
        parameters[f"bias_{layer}"] = rng.normal(0, spread, (CHANNELS, width_out)).astype(np.float32)
        if layer < 2:
            parameters[f"factor_{layer}"] = rng.normal(0, spread, (CHANNELS, width_out)).astype(np.float32)
    return parameters


def logit(parameters, channel, value):
    """The network of Ballé et al. 2018, appendix 6.1, of one value, in Python's own numbers."""
    hidden = [float(value)]
    for layer in range(3):
        matrix = parameters[f"matrix_{layer}"][channel].astype(float)
        bias = parameters[f"bias_{layer}"][channel].astype(float)
        hidden = [
            sum(math.log1p(math.exp(weight)) * number for weight, number in zip(row, hidden, strict=True)) + shift
            for row, shift in zip(matrix, bias, strict=True)
        ]
        if layer < 2:
            factor = parameters[f"factor_{layer}"][channel].astype(float)
            hidden = [number + math.tanh(gain) * math.tanh(number) for number, gain in zip(hidden, factor, strict=True)]
    return hidden[0]


@pytest.mark.parametrize("seed", range(5))
def test_the_logits_are_those_of_the_formula(seed):
    parameters = random_parameters(seed)
    values = np.random.default_rng(seed).uniform(-30, 30, (20, CHANNELS)).astype(np.float32)
    expected = [[logit(parameters, channel, row[channel]) for channel in range(CHANNELS)] for row in values]
    np.testing.assert_allclose(logits_of(parameters, values), expected, rtol=1e-5, atol=2e-5)


@settings(max_examples=50)
@given(st.integers(0, 2**32 - 1), st.floats(0.1, 3))
def test_the_distribution_rises_from_nothing_to_everything(seed, spread):
    parameters = random_parameters(seed, spread)
    values = np.repeat(np.linspace(-100, 100, 81, dtype=np.float32)[:, None], CHANNELS, axis=1)
    logits = np.asarray(logits_of(parameters, values))
    slack = 1e-6 * np.max(np.abs(logits))  # float32's rounding where the distribution is almost flat
    assert np.all(np.diff(logits, axis=0) > -slack)
    tails = np.asarray(logits_of(parameters, np.float32([[-1e9] * CHANNELS, [1e9] * CHANNELS])))
    assert np.all(tails[0] < -30)
    assert np.all(tails[1] > 30)


@settings(max_examples=50)
@given(st.integers(0, 2**32 - 1))
def test_masses_agree_with_the_formula_in_both_tails(seed):
    """Relatively, to 1e-4, down to 1e-20: by the logistic distribution's tail on the side that the bin is on."""
    parameters = random_parameters(seed, 0.7)
    rng = np.random.default_rng(seed)
    lower = rng.uniform(-40, 40, (4, CHANNELS)).astype(np.float32)
    upper = lower + rng.uniform(1, 4, lower.shape).astype(np.float32)
    found = np.asarray(mass_of(parameters, lower, upper))
    for (row, channel), mass in np.ndenumerate(found):
        low, high = (logit(parameters, channel, edges[row, channel]) for edges in (lower, upper))
        if low + high > 0:
            low, high = -high, -low
        expected = 1 / (1 + math.exp(-high)) - 1 / (1 + math.exp(-low)) if low > -700 else 0.0
        if expected > 1e-20 and high - low > 0.1:
            assert mass == pytest.approx(expected, rel=1e-4)
        else:
            assert mass == pytest.approx(expected, abs=1e-5)


@settings(max_examples=30)
@given(st.integers(0, 2**32 - 1))
def test_the_masses_of_a_partition_sum_to_one(seed):
    parameters = random_parameters(seed)
    edges = np.concatenate([[-1e6], np.linspace(-30, 30, 62), [1e6]]).astype(np.float32)
    edges = np.repeat(edges[:, None], CHANNELS, axis=1)
    masses = np.asarray(mass_of(parameters, edges[:-1], edges[1:]), np.float64)
    assert np.all(masses >= 0)
    np.testing.assert_allclose(masses.sum(axis=0), 1, atol=1e-5)


def test_the_initial_density_spreads_over_the_initial_scale(initial):
    """Half of the mass within ±10 or so, none to speak of beyond ±200; one channel is not another (random biases)."""
    bounds = np.repeat(np.float32([[10], [200]]), CHANNELS, axis=1)
    within = np.asarray(mass_of(initial, -bounds, bounds))
    assert np.all((within[0] > 0.3) & (within[0] < 0.9))
    assert np.all(within[1] > 0.999)
    assert len(np.unique(logits_of(initial, np.zeros((1, CHANNELS), np.float32)))) == CHANNELS


def test_the_parameters_of_the_prior_have_the_shapes_of_the_filters(initial):
    shapes = {name: leaf.shape[1:] for name, leaf in initial.items()}
    assert {name for name in shapes if name.startswith("matrix")} == {"matrix_0", "matrix_1", "matrix_2"}
    assert [shapes[f"matrix_{layer}"] for layer in range(3)] == [(3, 1), (3, 3), (1, 3)]
    assert [shapes[f"bias_{layer}"] for layer in range(3)] == [(3,), (3,), (1,)]
    assert [shapes[f"factor_{layer}"] for layer in range(2)] == [(3,), (3,)]
    assert "factor_2" not in shapes


def test_no_gradient_is_lost_at_the_open_ends(initial):
    def bits(parameters):
        lower = np.repeat(np.float32([[-1e6], [-0.5], [0.5]]), CHANNELS, axis=1)
        upper = np.repeat(np.float32([[-0.5], [0.5], [1e6]]), CHANNELS, axis=1)
        return -jax.numpy.sum(jax.numpy.log2(PRIOR.apply({"params": parameters}, lower, upper)))

    for name, gradient in jax.jit(jax.grad(bits))(initial).items():
        assert np.all(np.isfinite(gradient)), name
        assert np.any(gradient != 0), name


@pytest.mark.parametrize("model", ["cnn_jpeg_like", "elic_two_layer_res"])
def test_the_published_bits_of_the_hyper_latent(reference, model):
    """The published arrays have a column axis that ours, but for the matrices, leave out."""
    with np.load(reference / f"{model}.npz") as file:
        published = dict(file)
    parameters = {
        name.split(".")[-1]: array if "matrix" in name else array[..., 0]
        for name, array in published.items()
        if name.startswith("weights/prior/")
    }
    values = published["hyper_latent_quantized"]
    prior = FactorizedDensity(values.shape[-1])
    masses = jax.jit(prior.apply)({"params": parameters}, values - 0.5, values + 0.5)
    bits = -np.sum(np.log2(np.asarray(masses, np.float64)))
    assert bits == pytest.approx(published["hyper_latent_bits"][0], rel=1e-5)
