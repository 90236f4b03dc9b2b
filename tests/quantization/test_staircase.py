"""What follows from thresholds and levels alone, with STanH as the quantizer that has them."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from given_values import GivenValues
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from lic_jax.errors import LicError
from lic_jax.quantization import relaxation, staircase, stanh
from lic_jax.quantization.bins import bin_edges
from lic_jax.quantization.fixed_point import BIN_EDGES, RATE_UNITS, UNIT, at_rate
from lic_jax.quantization.rows import QuantizerOfRows

COMPONENTS = (1, 2, 3, 8)
"""Each number has its own compiled programs."""

MOST = max(COMPONENTS)
VALUES = 64
UNITS_OF_FLOAT32 = 1e-5
"""What float32 may round, of sums of a few dozen."""


def float32s(low, high):
    """Without subnormal numbers, which XLA takes for zero."""
    return st.floats(low, high, width=32, allow_subnormal=False)


@st.composite
def quantizers(draw, components=None):
    """Uneven spacings, thresholds off their middle."""
    components = components or draw(st.sampled_from(COMPONENTS))
    steps = functools.partial(arrays, np.float32, elements=float32s(2**-6, 4))
    spacings, gaps = draw(steps(shape=components)), draw(steps(shape=components - 1))
    thresholds = draw(float32s(-20, 10)) + np.cumsum(np.concatenate([[0], gaps]))
    return stanh.from_values(spacings, thresholds.astype(np.float32))


values_of = arrays(np.float32, VALUES, elements=float32s(-40, 40))
inverse_temperatures = float32s(0.25, 500)


symbols_of = jax.jit(staircase.symbols)
sum_of_tanh = jax.jit(stanh.soft)


@jax.jit
def hard_of(quantizer, values):
    return quantizer.levels[staircase.symbols(quantizer, values)]


@jax.jit
def nearest_of(quantizer, values):
    index, _ = QuantizerOfRows(quantizer).soft(values, 1.0)
    return index


@jax.jit
def soft_of(quantizer, values, beta):
    ones = lambda low, high: jnp.ones_like(low)
    return relaxation.expected(QuantizerOfRows(quantizer), values, beta, ones, "thresholds").values


@functools.partial(jax.jit, static_argnames="components")
def padded_and_back(quantizer, components):
    wide = stanh.padded(quantizer, components)
    return wide, stanh.trimmed(wide, quantizer.components)


def edges_and_levels(quantizer):
    return np.asarray(quantizer.thresholds, np.float64), np.asarray(quantizer.levels, np.float64)


def away_from(thresholds, values, distance=1e-4):
    """Values whose decision no rounding changes."""
    return np.min(np.abs(values[:, None].astype(np.float64) - thresholds), axis=1) > distance


@settings(max_examples=60)
@given(quantizers(), values_of)
def test_a_symbol_counts_the_thresholds_below_and_no_value_is_out_of_order(quantizer, values):
    thresholds, _ = edges_and_levels(quantizer)
    symbols = np.asarray(symbols_of(quantizer, values))
    assert symbols.dtype == np.int32
    counted = np.sum(values[:, None] > thresholds, axis=1)
    decided = away_from(thresholds, values)
    np.testing.assert_array_equal(symbols[decided], counted[decided])
    assert np.all(np.diff(symbols[np.argsort(values)]) >= 0)
    assert symbols.min() >= 0 and symbols.max() <= quantizer.components


@settings(max_examples=60)
@given(quantizers(), values_of)
def test_no_threshold_is_nearer_than_the_nearest(quantizer, values):
    """… and it is one of the two beside the value's symbol."""
    thresholds, _ = edges_and_levels(quantizer)
    index = np.asarray(nearest_of(quantizer, values))
    assert index.min() >= 0 and index.max() < quantizer.components
    distances = np.abs(values[:, None] - thresholds)
    found = np.take_along_axis(distances, index[:, None], axis=1)[:, 0]
    assert np.all(found <= distances.min(axis=1) + UNITS_OF_FLOAT32)
    symbols = np.asarray(symbols_of(quantizer, values))
    assert np.all((index == symbols) | (index == symbols - 1))


def test_values_beyond_all_thresholds_are_nearest_to_the_outermost():
    quantizer = stanh.uniform(5)
    values = np.array([-np.inf, -1e30, 1e30, np.inf], np.float32)
    np.testing.assert_array_equal(nearest_of(quantizer, values), [0, 0, 4, 4])
    np.testing.assert_array_equal(soft_of(quantizer, values, 3.0), [-2.5, -2.5, 2.5, 2.5])


@settings(max_examples=60)
@given(quantizers(), values_of, inverse_temperatures)
def test_soft_grows_with_the_value_and_stays_between_the_levels_beside_it(quantizer, values, beta):
    values = np.sort(values)
    _, levels = edges_and_levels(quantizer)
    soft = np.asarray(soft_of(quantizer, values, beta))
    index = np.asarray(nearest_of(quantizer, values))
    assert np.all(soft >= levels[index] - UNITS_OF_FLOAT32)
    assert np.all(soft <= levels[index + 1] + UNITS_OF_FLOAT32)
    assert np.all(np.diff(soft) >= -UNITS_OF_FLOAT32)


@settings(max_examples=60)
@given(quantizers(), values_of, inverse_temperatures)
def test_soft_is_hard_but_for_what_one_tanh_lacks(quantizer, values, beta):
    """… which vanishes as β grows; halfway between two levels at their threshold."""
    thresholds, levels = edges_and_levels(quantizer)
    symbols, index = (np.asarray(of(quantizer, values)) for of in (symbols_of, nearest_of))
    decided = away_from(thresholds, values)
    lacking = np.diff(levels)[index] / (1 + np.exp(np.minimum(2.0 * beta * np.abs(values - thresholds[index]), 700)))
    error = np.abs(np.asarray(soft_of(quantizer, values, beta)) - levels[symbols])
    slack = UNITS_OF_FLOAT32 + 1e-5 * beta  # thresholds are rounded, and β multiplies that
    np.testing.assert_allclose(error[decided], lacking[decided], atol=slack * 4)
    at_thresholds = soft_of(quantizer, quantizer.thresholds, beta)
    np.testing.assert_allclose(at_thresholds, (levels[1:] + levels[:-1]) / 2, atol=slack * 4)


@settings(max_examples=60)
@given(quantizers(), values_of, inverse_temperatures)
def test_soft_is_the_sum_of_tanh_where_the_others_are_saturated(quantizer, values, beta):
    thresholds, levels = edges_and_levels(quantizer)
    tanh_lacks = np.diff(levels) * (1 - np.tanh(beta * np.abs(values[:, None] - thresholds))) / 2
    others = (
        np.sum(tanh_lacks, axis=1)
        - np.take_along_axis(tanh_lacks, np.asarray(nearest_of(quantizer, values))[:, None], axis=1).ravel()
    )
    difference = np.abs(soft_of(quantizer, values, beta) - sum_of_tanh(quantizer, values, beta))
    assert np.all(difference <= others + 4 * (UNITS_OF_FLOAT32 + 1e-5 * beta))


@settings(max_examples=40)
@given(st.data(), st.sampled_from(COMPONENTS), st.sampled_from(BIN_EDGES), values_of)
def test_in_fixed_point_every_staircase_of_a_stack_keeps_its_levels_and_decisions(data, components, edges, values):
    """Thresholds to half a unit; levels to half a unit for each spacing between them and the middle."""
    alone = [data.draw(quantizers(components)) for _ in range(3)]
    stack = jax.tree.map(lambda *leaves: jnp.stack(leaves), *alone)
    stored = staircase.in_fixed_point(stack, edges)
    assert len(stored) == len(alone)
    for integers, quantizer in zip(stored, alone, strict=True):
        thresholds, levels = edges_and_levels(quantizer)
        assert (integers.symbol_count, integers.bin_edges) == (components + 1, edges)
        np.testing.assert_allclose(integers.thresholds * UNIT, thresholds, atol=UNIT / 2 + UNITS_OF_FLOAT32)
        np.testing.assert_allclose(integers.levels(), levels, atol=UNIT / 2 * (components + 1) + UNITS_OF_FLOAT32)
        decided = away_from(thresholds, values, UNIT)
        found, expected = integers.symbols(values), np.asarray(symbols_of(quantizer, values))
        np.testing.assert_array_equal(found[decided], expected[decided])
        assert abs(integers.centre) <= 1  # STanH's ends are as far from zero on both sides


def test_a_staircase_off_centre_keeps_its_centre():
    shifted = GivenValues(thresholds=jnp.array([[0.5, 1.5, 3.0]]), levels=jnp.array([[0.25, 1.0, 2.0, 4.75]]))
    (stored,) = staircase.in_fixed_point(shifted, "midpoints")
    assert stored.centre * UNIT == 2.5
    np.testing.assert_array_equal(stored.levels(), shifted.levels[0])
    np.testing.assert_array_equal(stored.thresholds * UNIT, shifted.thresholds[0])


@settings(max_examples=60)
@given(quantizers(MOST), quantizers(MOST), st.integers(0, RATE_UNITS))
def test_between_two_rates_levels_and_thresholds_are_on_the_line_between_theirs(first, second, units):
    """… ordered, and the two quantizers' own at the ends."""
    stack = jax.tree.map(lambda *leaves: jnp.stack(leaves), first, second)
    ends = staircase.in_fixed_point(stack, BIN_EDGES[0])
    found = ends[0].mixed_with(ends[1], units)
    fraction = units / RATE_UNITS
    for values_at, rounding in (
        (lambda quantizer: quantizer.levels(), MOST + 1),
        (lambda quantizer: quantizer.thresholds * UNIT, 1),
        (lambda quantizer: quantizer.spacings * UNIT, 1),
    ):
        start, end, between = (np.asarray(values_at(one), np.float64) for one in (*ends, found))
        np.testing.assert_allclose(between, (1 - fraction) * start + fraction * end, atol=rounding * UNIT)
        if units in (0, RATE_UNITS):
            np.testing.assert_array_equal(between, (start, end)[units // RATE_UNITS])
    assert np.all(np.diff(found.levels()) > 0) and np.all(np.diff(found.thresholds) > 0)
    assert at_rate(ends, 0) is ends[0] and at_rate(ends, RATE_UNITS) is ends[1]


@settings(max_examples=30)
@given(quantizers(), st.sampled_from([0, 1, 25]), values_of)
def test_padding_is_the_same_staircase_with_symbols_moved_by_half_of_what_is_added(quantizer, added, values):
    components = quantizer.components
    wide, back = padded_and_back(quantizer, components + 2 * added)
    assert (wide.components, back.components) == (components + 2 * added, components)
    thresholds, levels = edges_and_levels(quantizer)
    wide_thresholds, wide_levels = edges_and_levels(wide)
    own = slice(added, added + components)
    np.testing.assert_allclose(wide_thresholds[own], thresholds, atol=4 * UNITS_OF_FLOAT32)
    np.testing.assert_allclose(wide_levels[added : added + components + 1], levels, atol=UNIT * added + 1e-5)
    np.testing.assert_allclose(np.diff(wide_levels)[own], np.diff(levels), atol=4 * UNITS_OF_FLOAT32)
    assert np.all(np.diff(wide_levels) > 0) and np.all(np.diff(wide_thresholds) > 0)
    decided = away_from(thresholds, values)
    symbols, wide_symbols = np.asarray(symbols_of(quantizer, values)), np.asarray(symbols_of(wide, values))
    np.testing.assert_array_equal(wide_symbols[decided], symbols[decided] + added)
    hard, wide_hard = np.asarray(hard_of(quantizer, values)), np.asarray(hard_of(wide, values))
    np.testing.assert_allclose(wide_hard[decided], hard[decided], atol=UNIT * added + UNITS_OF_FLOAT32)
    np.testing.assert_allclose(back.thresholds, thresholds, atol=4 * UNITS_OF_FLOAT32)
    np.testing.assert_allclose(back.spacings, quantizer.spacings, atol=4 * UNITS_OF_FLOAT32)
    np.testing.assert_allclose(back.levels, levels, atol=4 * UNITS_OF_FLOAT32)


def test_a_stack_is_padded_as_each_of_it_is():
    alone = [stanh.uniform_with_tails(6, step, 9.0) for step in (0.4, 1.0)]
    wide, _ = padded_and_back(jax.tree.map(lambda *leaves: jnp.stack(leaves), *alone), 20)
    for index, quantizer in enumerate(alone):
        of_one, _ = padded_and_back(quantizer, 20)
        np.testing.assert_allclose(wide.thresholds[index], of_one.thresholds, rtol=1e-6)
        np.testing.assert_allclose(wide.levels[index], of_one.levels, atol=UNITS_OF_FLOAT32)


@settings(max_examples=30)
@given(st.integers(2, 200), st.floats(0.05, 4), st.floats(1, 200))
def test_a_start_is_uniform_as_far_as_it_can_be(components, step, reach):
    """Its thresholds reach what is asked for if 3/4 of them may be uniform; none beyond that but far away."""
    start = stanh.uniform_with_tails(components, step, reach)
    assert start.components == components
    thresholds = np.asarray(start.thresholds)
    near = np.abs(thresholds) < stanh.FAR - 1
    inner = np.diff(thresholds[near])[len(thresholds[near]) // 4 : -(len(thresholds[near]) // 4) or None]
    np.testing.assert_allclose(inner, step, rtol=1e-3)
    assert np.all(np.abs(thresholds[near]) <= max(reach, step) * 1.001 + step)
    np.testing.assert_allclose(thresholds, -thresholds[::-1], atol=1e-2)
    if 3 * components * step > 8 * reach:
        assert thresholds[near].max() >= reach - step


@pytest.mark.parametrize("components", [4, 7])
def test_a_quantizer_is_not_padded_to_fewer_or_by_an_odd_number(components):
    with pytest.raises(LicError, match=f"6 components cannot be padded to {components}"):
        stanh.padded(stanh.uniform(6), components)


@pytest.mark.parametrize("kind", BIN_EDGES)
def test_a_symbols_bin_is_between_its_two_edges(kind):
    """Of the quantizer itself and so of rows that do not differ; the outermost bins are open."""
    quantizer = stanh.from_values(jnp.array([0.5, 1.0, 2.0, 0.7]), jnp.array([-2.0, -0.5, 0.4, 3.0]))
    edges, of_rows = bin_edges(quantizer, kind), QuantizerOfRows(quantizer)
    symbols = jnp.arange(quantizer.components + 1)
    for side in range(2):
        np.testing.assert_array_equal(of_rows.edge(symbols + side, kind), edges[symbols + side])
