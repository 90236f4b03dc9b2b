import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from given_values import GivenValues
from hypothesis import Phase, example, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from lic_jax.errors import LicError
from lic_jax.quantization import staircase, stanh
from lic_jax.quantization.stanh import STanH


def float32s(low, high):
    """Without subnormal numbers, which XLA takes for zero."""
    return st.floats(low, high, width=32, allow_subnormal=False)


COMPONENTS = 7
ULP = float(np.finfo(np.float32).eps)

positive = float32s(2**-6, 4)
spacings_and_gaps = st.tuples(
    arrays(np.float32, COMPONENTS, elements=positive), arrays(np.float32, 6, elements=positive)
)


def free(low, high):
    """Free parameters of a quantizer, each anywhere in [low, high]."""
    numbers = float32s(low, high)
    return st.builds(
        STanH,
        arrays(np.float32, COMPONENTS, elements=numbers),
        arrays(np.float32, COMPONENTS - 1, elements=numbers),
        float32s(-100, 100).map(np.float32),
    )


def relative_error(found, reference):
    """max |found − reference| / max |reference|."""
    found, reference = np.asarray(found, np.float64), np.asarray(reference, np.float64)
    return np.max(np.abs(found - reference)) / np.max(np.abs(reference))


from_values = jax.jit(stanh.from_values)  # without the checks, and compiled once


@jax.jit
def values_of(quantizer):
    return {name: getattr(quantizer, name) for name in ("spacings", "thresholds", "levels")}


def quantizer_of(spacings, gaps, middle=0.0):
    thresholds = middle + np.cumsum(np.concatenate([[0], gaps])) - np.sum(gaps) / 2
    return from_values(spacings.astype(np.float32), thresholds.astype(np.float32))


def random_quantizer(seed):
    rng = np.random.default_rng(seed)
    return quantizer_of(rng.uniform(0.5, 1.5, COMPONENTS), rng.uniform(0.5, 1.5, COMPONENTS - 1))


def settled(quantizer):
    """A quantizer whose w, b and c are computed, once and for all: no second computation of them rounds differently."""
    return GivenValues(**{name: np.asarray(array) for name, array in values_of(quantizer).items()})


def hard(quantizer, values):
    """The staircase itself: the level of each value's symbol."""
    return quantizer.levels[staircase.symbols(quantizer, values)]


@pytest.fixture(scope="module", params=[10, 120])
def published(request, reference):
    with np.load(reference / f"stanh_{request.param}_tanh.npz") as file:
        return dict(file)


BETAS = [1, 5, 30, 200]


@functools.partial(jax.jit, static_argnames="exact")
def soft_and_gradients(w, b, x, beta, exact):
    """soft(x) and the gradients of its sum in x, w and b."""

    def total(w, b, x):
        quantizer = GivenValues(spacings=w, thresholds=b) if exact else stanh.from_values(w, b)
        soft = stanh.soft(quantizer, x, beta)
        return jnp.sum(soft), soft

    (grad_w, grad_b, grad_x), soft = jax.grad(total, (0, 1, 2), has_aux=True)(w, b, x)
    return {"soft": soft, "grad_x": grad_x, "grad_w": grad_w, "grad_b": grad_b}


@pytest.mark.parametrize("beta", BETAS)
def test_soft_and_its_gradients_agree_with_the_published_layer(published, beta):
    """The formula alone, on the published w and b to the last bit."""
    found = soft_and_gradients(published["w"], published["b"], published["x"], beta, True)
    for name, values in found.items():
        assert relative_error(values, published[f"{name}/beta={beta}"]) < 1e-5, name


@pytest.mark.parametrize("beta", BETAS)
def test_a_quantizer_made_from_w_and_b_agrees_with_the_published_layer(published, beta):
    """The free parameters give b back to a few float32 roundings, which β multiplies: that much more may differ."""
    thresholds = values_of(from_values(published["w"], published["b"]))["thresholds"]
    rounding = np.max(np.abs(thresholds - published["b"]))
    assert rounding < 4 * ULP * np.max(np.abs(published["b"]))
    found = soft_and_gradients(published["w"], published["b"], published["x"], beta, False)
    for name, values in found.items():
        assert relative_error(values, published[f"{name}/beta={beta}"]) < 1e-5 + beta * rounding, name


def test_levels_and_hard_values_agree_with_the_published_layer(published):
    quantizer = settled(from_values(published["w"], published["b"]))
    assert relative_error(quantizer.levels, published["levels"]) < 1e-6
    assert relative_error(hard(quantizer, published["x"]), published["hard"]) < 1e-6
    assert relative_error(quantizer.spacings, published["w"]) < 1e-6


@settings(max_examples=50)
@given(spacings_and_gaps, arrays(np.float32, 20, elements=float32s(-20, 20)), float32s(0.125, 1e4))
def test_soft_turns_hard_as_fast_as_its_tanhs_saturate(parameters, values, beta):
    """1 − |tanh u| = 2/(1 + exp 2|u|), so |soft − hard| ≤ Σ w_i/(1 + exp(2β |v − b_i|)): it vanishes with β → ∞."""
    quantizer = settled(quantizer_of(*parameters))
    distances = np.abs(values[:, None].astype(np.float64) - quantizer.thresholds)
    bound = np.sum(quantizer.spacings / (1 + np.exp(np.minimum(2.0 * beta * distances, 700))), axis=-1)
    error = np.abs(stanh.soft(quantizer, values, beta) - hard(quantizer, values))
    assert np.all(error <= bound + 1e-5 * np.sum(quantizer.spacings))


def gap_of(quantizer, values, beta):
    """mean |s_β(v) − hard(v)|."""
    return jnp.mean(jnp.abs(stanh.soft(quantizer, values, beta) - hard(quantizer, values)))


def test_the_gap_vanishes_as_beta_grows():
    quantizer, values = random_quantizer(0), np.linspace(-6, 6, 997, dtype=np.float32)
    gap = jax.jit(gap_of)
    gaps = np.array([gap(quantizer, values, beta) for beta in (0.5, 2.0, 10.0, 100.0, 1e6)])
    assert np.all(np.diff(gaps) < 0)
    assert gaps[0] > 0.1
    assert gaps[-1] < 1e-5


@settings(max_examples=50)
@given(spacings_and_gaps, arrays(np.float32, 20, elements=float32s(-20, 20)))
def test_a_symbol_counts_the_thresholds_below(parameters, values):
    quantizer = settled(quantizer_of(*parameters))
    values[:COMPONENTS] = quantizer.thresholds  # a value at a threshold still has the symbol below
    symbols = np.asarray(staircase.symbols(quantizer, values))
    assert symbols.dtype == np.int32
    np.testing.assert_array_equal(symbols, np.sum(values[:, None] > quantizer.thresholds, axis=-1))


def test_values_beyond_all_thresholds_get_the_outermost_levels():
    quantizer = settled(random_quantizer(1))
    values = np.array([-np.inf, -1e30, 1e30, np.inf], np.float32)
    ends = quantizer.levels[[0, 0, -1, -1]]
    np.testing.assert_array_equal(staircase.symbols(quantizer, values), [0, 0, COMPONENTS, COMPONENTS])
    np.testing.assert_array_equal(hard(quantizer, values), ends)
    np.testing.assert_allclose(stanh.soft(quantizer, values, 1.0), ends, rtol=1e-6)


@functools.partial(jax.jit, static_argnames="components")
def uniformly_quantized(values, components, step):
    return hard(stanh.uniform(components, step), values)


@pytest.mark.parametrize("step", [0.25, 1.0, 3.0])
def test_an_even_uniform_quantizer_rounds_and_an_odd_one_has_a_threshold_at_zero(step):
    rng = np.random.default_rng(0)
    values = rng.integers(-20, 20, 2000) / 2 + rng.uniform(0.001, 0.499, 2000)  # halves, the ties, are left out
    values = (step * values).astype(np.float32)
    even = uniformly_quantized(values, 20, step)
    odd = uniformly_quantized(values, 21, step)
    np.testing.assert_allclose(even, step * np.round(values / step), atol=1e-5 * step)
    np.testing.assert_allclose(odd, step * (np.floor(values / step) + 0.5), atol=1e-5 * step)


@settings(max_examples=100)
@given(free(-1e4, 1e4))
def test_any_free_parameters_give_ordered_thresholds_and_levels(quantizer):
    values = settled(quantizer)
    assert np.all(values.spacings >= 0)
    for steps in (np.diff(values.thresholds), np.diff(values.levels)):
        assert np.all(np.isfinite(steps))
        assert np.all(steps >= 0)
    rounding = ULP * (np.ptp(values.thresholds) + abs(quantizer.middle))
    assert abs(values.thresholds[(COMPONENTS - 1) // 2] - quantizer.middle) <= rounding


def increases(quantizer):
    values = settled(quantizer)
    return all(np.all(steps > 0) for steps in (values.spacings, np.diff(values.thresholds), np.diff(values.levels)))


@settings(max_examples=100)
@given(free(-6, 20))
def test_thresholds_and_levels_increase_strictly_in_the_range_that_training_visits(quantizer):
    assert increases(quantizer)


@settings(max_examples=50, phases=(Phase.explicit, Phase.generate))
@given(free(-1e3, 500))
@example(STanH(np.full(7, -100, np.float32), np.full(6, -100, np.float32), np.float32(3)))
def test_any_free_parameters_give_positive_spacings_and_gaps(quantizer):
    """Within ±4096, where a spacing of 2⁻¹² is more than float32 rounds off."""
    assert increases(quantizer)


@settings(max_examples=50)
@given(spacings_and_gaps, float32s(-50, 50))
def test_from_values_gives_the_values_back(parameters, middle):
    spacings, gaps = parameters
    thresholds = np.float32(middle) + np.cumsum(np.concatenate([[0], gaps]), dtype=np.float32)
    quantizer = from_values(spacings, thresholds)
    found = settled(quantizer)
    assert quantizer.components == COMPONENTS
    np.testing.assert_allclose(found.spacings, spacings, rtol=1e-6)
    np.testing.assert_allclose(found.thresholds, thresholds, atol=2e-6 * np.max(np.abs(thresholds)))
    assert np.isclose(found.levels[-1], np.sum(spacings) / 2, rtol=1e-5)
    np.testing.assert_allclose(np.diff(found.levels), spacings, atol=2e-6 * np.sum(spacings))


@pytest.mark.parametrize(
    ("spacings", "thresholds", "named"),
    [
        ([1.0, 0.0, 1.0], [-1.0, 0.0, 1.0], "spacings.*0"),
        ([1.0, -2.5, 1.0], [-1.0, 0.0, 1.0], "spacings.*-2.5"),
        ([1.0, 1.0, 1.0], [-1.0, 1.0, 1.0], "thresholds.*0"),
        ([1.0, 1.0, 1.0], [-1.0, 1.0, 0.5], "thresholds.*-0.5"),
        ([1.0, np.nan, 1.0], [-1.0, 0.0, 1.0], "spacings"),
    ],
)
def test_values_that_are_no_quantizer_are_named(spacings, thresholds, named):
    with pytest.raises(LicError, match=named):
        stanh.from_values(np.array(spacings, np.float32), np.array(thresholds, np.float32))


def test_a_quantizer_has_at_least_one_step():
    one = stanh.uniform(1)
    np.testing.assert_allclose(hard(one, jnp.array([-3.0, -0.1, 0.1, 3.0])), [-0.5, -0.5, 0.5, 0.5])
    with pytest.raises(LicError, match="0 components"):
        stanh.uniform(0)


def outputs_and_gradients(quantizer, values):
    def loss(quantizer):
        soft, decided = stanh.soft(quantizer, values, 3.0), hard(quantizer, values)
        return jnp.mean((soft - decided + values) ** 2), {
            "soft": soft,
            "hard": decided,
            "symbols": staircase.symbols(quantizer, values),
            "gap": gap_of(quantizer, values, 3.0),
        }

    gradients, outputs = jax.grad(loss, has_aux=True)(quantizer)
    return outputs | {f"gradient in {name}": getattr(gradients, name) for name in STanH.__dataclass_fields__}


def test_a_stack_under_jit_vmap_and_grad_is_a_loop():
    quantizers = [random_quantizer(seed) for seed in range(3)]
    values = np.random.default_rng(4).uniform(-6, 6, (3, 50)).astype(np.float32)
    stack = jax.tree.map(lambda *leaves: np.stack(leaves), *quantizers)
    stacked = jax.jit(jax.vmap(outputs_and_gradients))(stack, values)
    single = jax.jit(outputs_and_gradients)
    for index, quantizer in enumerate(quantizers):
        for name, expected in single(quantizer, values[index]).items():
            assert np.any(expected != 0), name
            np.testing.assert_allclose(stacked[name][index], expected, rtol=1e-4, atol=2e-6, err_msg=name)


def test_a_stack_of_values_makes_a_stack_of_quantizers():
    quantizers = [settled(random_quantizer(seed)) for seed in range(3)]
    stack = from_values(
        np.stack([quantizer.spacings for quantizer in quantizers]),
        np.stack([quantizer.thresholds for quantizer in quantizers]),
    )
    assert stack.components == COMPONENTS
    found = settled(stack)
    for index, quantizer in enumerate(quantizers):
        for name in ("spacings", "thresholds", "levels"):
            np.testing.assert_allclose(getattr(found, name)[index], getattr(quantizer, name), rtol=1e-5, atol=2e-6)


def test_the_gradient_in_values_is_that_of_the_formula_and_hard_has_none():
    quantizer, values = settled(random_quantizer(6)), np.linspace(-5, 5, 101, dtype=np.float32)
    slope = jax.grad(lambda values: jnp.sum(stanh.soft(quantizer, values, 2.0)))(values)
    tanhs = np.tanh(2.0 * (values[:, None].astype(np.float64) - quantizer.thresholds))
    np.testing.assert_allclose(slope, np.sum(quantizer.spacings * (1 - tanhs**2), axis=-1), atol=4e-6)
    flat = jax.grad(lambda values: jnp.sum(hard(quantizer, values)))(values)
    np.testing.assert_array_equal(flat, 0)
