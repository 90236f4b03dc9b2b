"""What stands in for decisions becomes the decisions, and has gradients before."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lic_jax.entropy.priors.gaussian import gaussian_mass
from lic_jax.quantization import relaxation, stanh
from lic_jax.quantization.fixed_point import BIN_EDGES
from lic_jax.quantization.rows import QuantizerOfRows, Widening
from lic_jax.registry import SOFT_DECISIONS, STAND_INS

ROWS = 5
BETAS = (1.0, 3.0, 10.0, 100.0, 1e5)
WIDENINGS = {
    "rows alike": None,
    "rows apart": Widening(jnp.array([0.8, -0.5, 0.3]), jnp.array([0.5, -0.4, 0.2]), ROWS),
}

rng = np.random.default_rng(0)
VALUES = np.sort(rng.normal(0, 4, 400)).astype(np.float32)
INDEXES = rng.integers(0, ROWS, 400).astype(np.float32)
mass = lambda lower, upper: gaussian_mass(lower, upper, 2.0 + 0.5 * INDEXES)


@pytest.fixture(params=[6, 24], ids="T = {}".format)
def quantizer(request):
    """Uneven, and not symmetric; more components than the sum of tanh looks at, or fewer."""
    steps = np.random.default_rng(1).uniform(0.5, 1.5, (2, request.param)).astype(np.float32)
    return stanh.from_values(steps[0], np.cumsum(steps[1]) - np.sum(steps[1]) / 2)


@functools.partial(jax.jit, static_argnames=("name", "edges"))
def softened(name, quantizer, widening, beta, edges="thresholds"):
    return SOFT_DECISIONS[name](QuantizerOfRows.of(quantizer, widening, INDEXES), VALUES, beta, mass, edges)


@functools.partial(jax.jit, static_argnames="edges")
def decided(quantizer, widening, edges="thresholds"):
    """(level, bits) of each value as a codec has them, and how far the value is from all thresholds."""
    of_rows = QuantizerOfRows.of(quantizer, widening, INDEXES)
    symbols = of_rows.symbols(VALUES)
    cost = relaxation.bits(mass(of_rows.edge(symbols, edges), of_rows.edge(symbols + 1, edges)))
    thresholds = jax.vmap(lambda index: of_rows.threshold(jnp.full(VALUES.shape, index)))(
        jnp.arange(quantizer.components)
    )
    return of_rows.level(symbols), cost, jnp.min(jnp.abs(VALUES - thresholds), axis=0)


@pytest.mark.parametrize("edges", BIN_EDGES)
@pytest.mark.parametrize("widening", WIDENINGS.values(), ids=WIDENINGS)
@pytest.mark.parametrize("name", SOFT_DECISIONS)
def test_soft_decisions_become_hard_as_beta_grows(name, widening, edges, quantizer):
    levels, costs, distances = decided(quantizer, widening, edges)
    errors, cost_errors = [], []
    for beta in BETAS:
        soft = softened(name, quantizer, widening, beta, edges)
        errors.append(np.mean(np.abs(soft.values - levels)))
        cost_errors.append(np.mean(np.abs(soft.bits - costs)))
    assert errors[0] > 0.05 and np.all(np.diff(errors) < 0)
    clear = np.asarray(distances) > 1e-3
    assert np.mean(clear) > 0.98
    np.testing.assert_allclose(soft.values[clear], levels[clear], atol=1e-5)
    if name == "expected":
        assert cost_errors[0] > 0.05 and np.all(np.diff(cost_errors) < 0)
        np.testing.assert_allclose(soft.bits[clear], costs[clear], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", SOFT_DECISIONS)
def test_the_gap_is_the_distance_from_the_decisions_and_vanishes(name, quantizer):
    levels, _, _ = decided(quantizer, None)
    gaps = []
    for beta in BETAS:
        soft = softened(name, quantizer, None, beta)
        gaps.append(float(soft.gap))
        assert gaps[-1] == pytest.approx(float(np.mean(np.abs(soft.values - levels))), abs=1e-5)
    assert gaps[0] > 0.05 and gaps[-1] < 1e-3 and np.all(np.diff(gaps) < 0)


@pytest.mark.parametrize("beta", [3.0, 30.0])
def test_the_papers_value_is_the_sum_of_tanh(beta, quantizer):
    found = softened("staircase", quantizer, None, beta).values
    np.testing.assert_allclose(found, stanh.soft(quantizer, VALUES, beta), atol=1e-4)


def test_the_papers_bins_are_those_of_additive_noise_where_the_quantizer_is_uniform():
    soft = softened("staircase", stanh.uniform(60, 0.7), None, 3.0)
    np.testing.assert_allclose(soft.bits, relaxation.bits(mass(soft.values - 0.35, soft.values + 0.35)), rtol=1e-4)


@pytest.mark.parametrize("widening", WIDENINGS.values(), ids=WIDENINGS)
def test_a_value_is_decided_at_the_nearest_threshold_of_its_row(widening, quantizer):
    """In the dead zone, too, whichever side of the middle it lies on."""
    of_rows = QuantizerOfRows.of(quantizer, widening, jnp.asarray(INDEXES))
    index, weight = of_rows.soft(VALUES, 2.0)
    thresholds = np.stack([of_rows.threshold(jnp.full(VALUES.shape, one)) for one in range(quantizer.components)])
    distances = np.abs(VALUES - thresholds)
    found = np.take_along_axis(distances, np.asarray(index)[None], axis=0)[0]
    np.testing.assert_allclose(found, np.min(distances, axis=0), atol=1e-5)
    of_index = np.take_along_axis(thresholds, np.asarray(index)[None], axis=0)[0]
    np.testing.assert_allclose(weight, (1 + np.tanh(2.0 * (VALUES - of_index))) / 2, atol=1e-5)


@functools.partial(jax.jit, static_argnames="name")
def gradients_of(name, quantizer, widening, values, beta):
    @functools.partial(jax.grad, argnums=(0, 1, 2, 3), allow_int=True)
    def gradients(quantizer, widening, values, beta):
        of_rows = QuantizerOfRows.of(quantizer, widening, INDEXES)
        soft = SOFT_DECISIONS[name](of_rows, values, beta, mass, "thresholds")
        return jnp.mean(soft.bits) + jnp.mean(soft.values**2) + soft.gap

    return gradients(quantizer, widening, values, beta)


@pytest.mark.parametrize("widening", WIDENINGS.values(), ids=WIDENINGS)
@pytest.mark.parametrize("name", SOFT_DECISIONS)
def test_gradients_of_soft_decisions_are_finite(name, widening, quantizer):
    """In quantizer, rows, values and β; at thresholds and far outside of them, too."""
    values = np.array(VALUES)
    values[: quantizer.components] = quantizer.thresholds
    values[-3:] = (-300, 0, 300)
    for beta in (0.5, 3.0, 1e5):
        found = gradients_of(name, quantizer, widening, values, beta)
        assert all(np.all(np.isfinite(leaf)) for leaf in jax.tree.leaves(found))
        if beta < 10:
            assert all(np.any(leaf != 0) for leaf in jax.tree.leaves(found))


STEPS = np.array([[0.5], [2.0]], np.float32)  # one an image
NOISY = np.random.default_rng(2).normal(0, 5, (2, 5000)).astype(np.float32)


@pytest.mark.parametrize("name", STAND_INS)
def test_a_stand_in_gives_what_the_rate_and_what_the_synthesis_sees(name):
    """The rate's are the values and uniform noise of a step's width; the synthesis' are no further away than that."""
    for_rate, for_synthesis = jax.jit(STAND_INS[name])(jax.random.key(0), NOISY, STEPS)
    assert for_rate.shape == for_synthesis.shape == NOISY.shape
    assert for_rate.dtype == for_synthesis.dtype == jnp.float32
    noise = (np.asarray(for_rate) - NOISY) / STEPS
    assert np.all(np.abs(noise) <= 0.5 + 1e-5)
    np.testing.assert_allclose(np.mean(noise, axis=1), 0, atol=0.02)
    np.testing.assert_allclose(np.std(noise, axis=1), 12**-0.5, atol=0.01)
    assert np.all(np.abs(np.asarray(for_synthesis) - NOISY) <= STEPS * (0.5 + 1e-5))


def test_mixed_shows_the_synthesis_multiples_of_the_step_and_noise_shows_it_the_noise():
    _, rounded = relaxation.mixed(jax.random.key(0), NOISY, STEPS)
    np.testing.assert_array_equal(rounded, STEPS * np.round(NOISY / STEPS))
    for_rate, for_synthesis = relaxation.noise(jax.random.key(0), NOISY, STEPS)
    np.testing.assert_array_equal(for_rate, for_synthesis)
    np.testing.assert_array_equal(for_rate, relaxation.mixed(jax.random.key(0), NOISY, STEPS)[0])


@pytest.mark.parametrize("name", STAND_INS)
def test_a_stand_in_draws_by_its_key_alone(name):
    draw = lambda seed: STAND_INS[name](jax.random.key(seed), NOISY, STEPS)[0]
    np.testing.assert_array_equal(draw(0), draw(0))
    assert np.mean(np.asarray(draw(0) == draw(1))) < 0.01


@pytest.mark.parametrize("name", STAND_INS)
def test_gradients_pass_a_stand_in_as_if_it_were_not_there(name):
    for output in range(2):
        total = lambda values, of=output: jnp.sum(STAND_INS[name](jax.random.key(0), values, STEPS)[of])
        np.testing.assert_array_equal(jax.grad(total)(NOISY), 1)


def test_bits_are_bounded_and_still_pull_a_mass_up():
    masses = jnp.array([0.0, 1e-12, 0.25, 1.0])
    np.testing.assert_allclose(relaxation.bits(masses), [-np.log2(1e-9)] * 2 + [2, 0], atol=1e-5)
    slopes = jax.grad(lambda masses: jnp.sum(relaxation.bits(masses)))(masses)
    assert np.all(np.isfinite(slopes)) and np.all(slopes < 0)
