import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lic_jax.quantization import annealing

STEPS = 40
SCHEDULES = {
    "constant": annealing.constant(annealing.Range(start=7.0)),
    "linear": annealing.linear(annealing.Range(2.0, 30.0, 30)),
    "exponential": annealing.exponential(annealing.Range(2.0, 30.0, 30)),
    "gap_driven": annealing.gap_driven(annealing.Range(start=10.0, gap_rate=15.0)),
    "stochastic_gap": annealing.stochastic_gap(annealing.Range(start=10.0, gap_rate=15.0)),
}
STARTS = {"constant": 7.0, "linear": 2.0, "exponential": 2.0, "gap_driven": 10.0, "stochastic_gap": 10.0}
GAPS = jnp.linspace(0.3, 0.0, STEPS)
KEYS = jax.random.split(jax.random.key(0), STEPS)


def run(schedule, gaps=GAPS, keys=KEYS):
    """β and the state after each step, by a loop that a training would have inside `jax.lax.scan`."""

    def body(state, inputs):
        step, gap, key = inputs
        beta, state = schedule.update(state, step, gap, key)
        return state, (beta, state)

    _, (betas, states) = jax.jit(lambda: jax.lax.scan(body, schedule.init(), (jnp.arange(len(gaps)), gaps, keys)))()
    return np.asarray(betas), np.asarray(states)


@pytest.mark.parametrize("name", SCHEDULES)
def test_a_scan_is_a_python_loop(name):
    schedule = SCHEDULES[name]
    betas, states = run(schedule)
    state = schedule.init()
    for step in range(STEPS):
        beta, state = schedule.update(state, step, GAPS[step], KEYS[step])
        np.testing.assert_allclose(beta, betas[step], rtol=1e-6)
        np.testing.assert_allclose(state, states[step], rtol=1e-6)


@pytest.mark.parametrize("name", SCHEDULES)
def test_a_schedule_starts_where_it_says_and_is_float32(name):
    schedule = SCHEDULES[name]
    state = schedule.init()
    beta, after = schedule.update(state, 0, jnp.float32(0.0), jax.random.key(0))
    assert state.dtype == beta.dtype == after.dtype == jnp.float32
    assert state.shape == beta.shape == after.shape == ()
    assert state == STARTS[name]
    assert beta == STARTS[name] or name == "stochastic_gap"


@pytest.mark.parametrize("name", ["linear", "exponential", "gap_driven"])
def test_beta_grows_from_its_start(name):
    betas, _ = run(SCHEDULES[name])
    assert betas[0] == STARTS[name]
    assert np.all(np.diff(betas[:30]) > 0)
    assert np.all(np.diff(betas) >= 0)


def test_a_constant_stays():
    betas, _ = run(SCHEDULES["constant"])
    np.testing.assert_array_equal(betas, 7.0)


def test_linear_grows_by_equal_steps_and_exponential_by_equal_factors_to_the_end():
    for name, scale in (("linear", lambda beta: beta), ("exponential", np.log)):
        betas, _ = run(SCHEDULES[name])
        increments = np.diff(scale(betas))
        np.testing.assert_allclose(increments[:30], (scale(30.0) - scale(2.0)) / 30, rtol=1e-3)
        np.testing.assert_allclose(betas[30:], 30.0, rtol=1e-6)


def test_gap_driven_adds_rate_times_gap():
    betas, states = run(SCHEDULES["gap_driven"])
    np.testing.assert_allclose(states, 10.0 + 15.0 * np.cumsum(GAPS), rtol=1e-5)
    np.testing.assert_allclose(betas, np.concatenate([[10.0], states[:-1]]), rtol=1e-6)


def test_stochastic_gap_draws_between_one_and_its_growing_maximum():
    gaps, keys = jnp.full(2000, 0.01), jax.random.split(jax.random.key(1), 2000)
    betas, states = run(SCHEDULES["stochastic_gap"], gaps, keys)
    maxima = np.concatenate([[10.0], states[:-1]])
    np.testing.assert_allclose(states, 10.0 + 15.0 * np.cumsum(gaps), rtol=1e-4)
    assert np.all((betas >= 1) & (betas <= maxima))
    position = (betas - 1) / (maxima - 1)
    histogram = np.histogram(position, 10, (0, 1))[0]
    assert np.all(np.abs(histogram - 200) < 5 * 200**0.5)  # uniform, to five standard deviations


def test_only_the_stochastic_schedule_looks_at_its_key_and_only_the_gap_schedules_at_the_gap():
    others = jax.random.split(jax.random.key(9), STEPS)
    for name, schedule in SCHEDULES.items():
        betas, _ = run(schedule)
        assert np.array_equal(betas, run(schedule, keys=others)[0]) == (name != "stochastic_gap")
        assert np.array_equal(betas, run(schedule, gaps=GAPS + 0.1)[0]) == ("gap" not in name)
