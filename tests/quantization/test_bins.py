import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.stats import norm

from lic_jax.entropy.priors.gaussian import gaussian_mass
from lic_jax.errors import LicError
from lic_jax.quantization import staircase, stanh
from lic_jax.quantization.bins import UNBOUNDED, bin_edges, inner_edges, soft_bins


def float32s(low, high):
    """Without subnormal numbers, which XLA takes for zero."""
    return st.floats(low, high, width=32, allow_subnormal=False)


COMPONENTS = 6
KINDS = ("thresholds", "midpoints")

positive = arrays(np.float32, COMPONENTS, elements=float32s(2**-5, 4))


@jax.jit
def quantizer_of(spacings, gaps):
    thresholds = jnp.cumsum(gaps)
    return stanh.from_values(spacings, thresholds - (thresholds[0] + thresholds[-1]) / 2)


symbols_of = jax.jit(staircase.symbols)
edges_of = jax.jit(bin_edges, static_argnums=1)
hard_bins_of = lambda edges, symbols: (edges[symbols], edges[symbols + 1])
soft_bins_of = jax.jit(soft_bins)
mass_of = jax.jit(gaussian_mass)


@pytest.fixture(scope="module", params=[10, 120])
def published(request, reference):
    """The published layer's numbers, with its symbols, and which of them have no outermost level."""
    with np.load(reference / f"stanh_{request.param}_tanh.npz") as file:
        numbers = dict(file)
    quantizer = jax.jit(stanh.from_values)(numbers["w"], numbers["b"])
    symbols = np.asarray(symbols_of(quantizer, numbers["x"]))
    return numbers, quantizer, symbols, (symbols > 0) & (symbols < request.param)


def test_hard_masses_agree_with_the_published_layer(published):
    """Absolutely, to 1e-5: the published layer subtracts in float32 and has no precision in its tails."""
    numbers, quantizer, symbols, inner = published
    bins = hard_bins_of(edges_of(quantizer, "midpoints"), symbols)
    masses = np.asarray(mass_of(*bins, numbers["scale"]))
    assert inner.sum() > 800
    np.testing.assert_allclose(masses[inner], numbers["gaussian_likelihood_hard"][inner], atol=1e-5)


def test_soft_masses_agree_with_the_published_layer(published):
    numbers, quantizer, symbols, inner = published
    bins = soft_bins_of(quantizer, numbers["soft/beta=5"], symbols)
    masses = np.asarray(mass_of(*bins, numbers["scale"]))
    np.testing.assert_allclose(masses[inner], numbers["gaussian_likelihood_soft_beta=5"][inner], atol=1e-5)


@settings(max_examples=50)
@given(positive, positive, st.sampled_from(KINDS))
def test_bins_partition_the_line_in_the_order_of_the_symbols(spacings, gaps, kind):
    edges = np.asarray(edges_of(quantizer_of(spacings, gaps), kind))
    lower, upper = hard_bins_of(edges, np.arange(COMPONENTS + 1))
    assert np.all(np.diff(edges) > 0)
    assert (edges[0], edges[-1]) == (-UNBOUNDED, UNBOUNDED)
    np.testing.assert_array_equal(lower, edges[:-1])
    np.testing.assert_array_equal(upper, edges[1:])


@settings(max_examples=50)
@given(positive, positive, st.sampled_from(KINDS), float32s(0.125, 256))
def test_the_masses_of_all_symbols_sum_to_one(spacings, gaps, kind, scale):
    edges = edges_of(quantizer_of(spacings, gaps), kind)
    masses = mass_of(*hard_bins_of(edges, np.arange(COMPONENTS + 1)), np.float32(scale))
    assert np.all(masses >= 0)
    assert np.sum(np.float64(masses)) == pytest.approx(1, abs=1e-6)


@settings(max_examples=50)
@given(positive, positive, arrays(np.float32, 10, elements=float32s(-15, 15)))
def test_a_value_lies_in_the_threshold_bin_of_its_symbol_and_its_level_in_the_midpoint_bin(spacings, gaps, values):
    quantizer = quantizer_of(spacings, gaps)
    symbols = np.asarray(symbols_of(quantizer, values))
    for kind, points in (("thresholds", values), ("midpoints", np.asarray(quantizer.levels)[symbols])):
        lower, upper = hard_bins_of(edges_of(quantizer, kind), symbols)
        assert np.all(lower < points + 1e-5)
        assert np.all(points <= upper + 1e-5)


@settings(max_examples=50)
@given(positive, positive, arrays(np.float32, 10, elements=float32s(-3, 3)))
def test_the_bin_of_a_soft_value_reaches_halfway_to_the_neighbouring_levels(spacings, gaps, values):
    quantizer = quantizer_of(spacings, gaps)
    symbols = np.asarray(symbols_of(quantizer, values))
    lower, upper = soft_bins_of(quantizer, values, symbols)
    levels = -np.sum(spacings) / 2 + np.cumsum(np.concatenate([[0], spacings]))
    for value, symbol, low, high in zip(values, symbols, lower, upper, strict=True):
        below = (levels[symbol] - levels[symbol - 1]) / 2 if symbol > 0 else np.float32(UNBOUNDED)
        above = (levels[symbol + 1] - levels[symbol]) / 2 if symbol < COMPONENTS else np.float32(UNBOUNDED)
        assert low == pytest.approx(value - below, abs=1e-4)
        assert high == pytest.approx(value + above, abs=1e-4)


@pytest.mark.parametrize("step", [0.5, 1.0, 3.0])
def test_a_uniform_quantizers_soft_bins_are_those_of_additive_noise(step):
    values = step * np.linspace(-2.5, 2.5, 51, dtype=np.float32)
    quantizer = quantizer_of(np.full(COMPONENTS, step), np.full(COMPONENTS, step))
    symbols = np.clip(np.round(values / step), -2, 2).astype(int) + 3  # of the seven, all but the outermost
    lower, upper = soft_bins_of(quantizer, values, symbols)
    np.testing.assert_allclose(lower, values - step / 2, atol=1e-5)
    np.testing.assert_allclose(upper, values + step / 2, atol=1e-5)


def test_a_uniform_quantizers_thresholds_are_its_midpoints():
    quantizer = jax.jit(lambda: stanh.uniform(7, 0.75))()
    np.testing.assert_allclose(edges_of(quantizer, "thresholds"), edges_of(quantizer, "midpoints"), atol=1e-6)


def test_a_kind_of_edges_that_is_unknown_is_named():
    with pytest.raises(LicError, match=r"'middles' is unknown; known: midpoints, thresholds"):
        inner_edges(quantizer_of(np.ones(COMPONENTS), np.ones(COMPONENTS)), "middles")


@pytest.mark.parametrize("kind", KINDS)
def test_the_rates_gradients_are_finite_at_the_open_ends(kind):
    """UNBOUNDED stands for infinity because infinity's gradient is NaN."""

    def bits(parameters):
        quantizer, scales = parameters
        masses = gaussian_mass(*hard_bins_of(bin_edges(quantizer, kind), jnp.arange(7)), scales)
        return -jnp.sum(jnp.log(masses + 1e-9))

    quantizer = quantizer_of(np.full(COMPONENTS, 0.1), np.full(COMPONENTS, 0.1))
    *of_quantizer, of_scales = jax.tree.leaves(jax.jit(jax.grad(bits))((quantizer, np.full(7, 0.11, np.float32))))
    assert all(np.all(np.isfinite(leaf)) for leaf in of_quantizer)
    assert any(np.any(leaf != 0) for leaf in of_quantizer)
    assert np.all(np.isfinite(of_scales))
    assert np.all(of_scales[jnp.array([0, 1, 5, 6])] != 0)


def test_an_outermost_soft_bin_runs_to_infinity():
    """… so its mass is the tail's: the published layer, which ends it at the level, has less."""
    quantizer = quantizer_of(np.ones(COMPONENTS), np.ones(COMPONENTS))
    lower, upper = soft_bins_of(quantizer, np.float32([-3, 3]), np.array([0, COMPONENTS]))
    np.testing.assert_allclose(mass_of(lower, upper, np.float32(1)), norm.cdf([-2.5, -2.5]), rtol=1e-5)
