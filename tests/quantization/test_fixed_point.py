import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lic_jax.errors import LicError
from lic_jax.quantization import staircase, stanh
from lic_jax.quantization.fixed_point import (
    RATE_UNITS,
    UNIT,
    FixedPointQuantizer,
    at_rate,
    to_fixed_point,
)


@st.composite
def quantizers(draw, components=None):
    """Integer quantizers as they could be fitted: any spacings up to 16 steps, any order-keeping thresholds."""
    components = components or draw(st.integers(1, 60))
    steps = st.lists(st.integers(1, 2**16), min_size=components, max_size=components)
    first = draw(st.integers(-(2**18), 2**18))
    return FixedPointQuantizer(np.array(draw(steps)), first + np.cumsum(draw(steps)))


@settings(max_examples=100)
@given(st.lists(st.tuples(st.floats(-10, 100), st.floats(-100, 100)), min_size=1, max_size=30))
def test_any_values_become_positive_spacings_and_increasing_thresholds(pairs):
    """Not only a quantizer's: values that lost their order or their sign are put right."""
    spacings, thresholds = np.array(pairs).T
    quantizer = to_fixed_point(spacings, thresholds)
    assert quantizer.spacings.dtype == quantizer.thresholds.dtype == np.int64
    assert np.all(quantizer.spacings >= 1)
    assert np.all(np.diff(quantizer.thresholds) >= 1)


@settings(max_examples=100)
@given(st.integers(1, 400), st.floats(0.01, 4), st.integers(0, 999))
def test_the_middle_level_of_a_symmetric_quantizer_is_zero(half, step, seed):
    """Whatever float32 makes of its spacings, also between two rates: a decoder finds zeros by their level."""
    rng = np.random.default_rng(seed)
    found = []
    for _ in range(2):
        side = step * rng.uniform(0.5, 1.5, half)
        spacings = np.concatenate([side[::-1], side]) + rng.uniform(-0.3, 0.3, 2 * half) * UNIT
        found.append(to_fixed_point(spacings, np.cumsum(spacings) - np.sum(spacings) / 2))
    for rate_units in (0, 77, 256):
        assert at_rate(found, rate_units).doubled_levels()[half] == 0


@settings(max_examples=100)
@given(quantizers())
def test_rounding_is_to_the_nearest_unit_and_integers_stay(quantizer):
    noise = np.random.default_rng(0).uniform(-0.49, 0.49, (2, quantizer.symbol_count - 1)) * UNIT
    found = to_fixed_point(quantizer.spacings * UNIT + noise[0], quantizer.thresholds * UNIT + noise[1])
    np.testing.assert_array_equal(found.spacings, quantizer.spacings)
    np.testing.assert_array_equal(found.thresholds, quantizer.thresholds)


@settings(max_examples=100)
@given(quantizers())
def test_levels_and_thresholds_are_float32_exactly(quantizer):
    levels = quantizer.levels()
    assert levels.dtype == np.float32
    assert len(levels) == quantizer.symbol_count
    spacings = [int(spacing) for spacing in quantizer.spacings]
    doubled = [2 * sum(spacings[:k]) - sum(spacings) for k in range(len(spacings) + 1)]
    assert [int(level * 2**13) for level in levels.tolist()] == doubled
    assert np.all((levels * np.float32(2**13)).astype(np.int64) == doubled)
    thresholds = (quantizer.thresholds * UNIT).astype(np.float32)
    np.testing.assert_array_equal(thresholds.astype(np.float64) / UNIT, quantizer.thresholds)


@settings(max_examples=100)
@given(quantizers(), st.integers(0, 2**32 - 1))
def test_a_symbol_counts_the_thresholds_below(quantizer, seed):
    thresholds = (quantizer.thresholds * UNIT).astype(np.float32)
    spread = np.random.default_rng(seed).uniform(thresholds[0] - 1, thresholds[-1] + 1, 30).astype(np.float32)
    values = np.concatenate([spread, thresholds, np.nextafter(thresholds, np.float32(np.inf)), [-np.inf, np.inf]])
    symbols = quantizer.symbols(values.reshape(1, -1))
    assert symbols.dtype == np.int32
    np.testing.assert_array_equal(symbols[0], np.sum(values[:, None] > thresholds, axis=1))


@pytest.mark.parametrize("components", [1, 60])
def test_agreement_with_the_quantizer_in_floating_point(components):
    """Levels to T units; symbols of values farther than a unit from every threshold."""
    rng = np.random.default_rng(components)
    spacings = rng.uniform(0.3, 1.6, components).astype(np.float32)
    thresholds = np.cumsum(rng.uniform(0.3, 1.6, components)).astype(np.float32) - components / 2
    values = rng.uniform(thresholds[0] - 2, thresholds[-1] + 2, 5000).astype(np.float32)
    values = values[np.min(np.abs(values[:, None] - thresholds), axis=1) > UNIT]
    assert len(values) > 4900

    @jax.jit
    def floating(spacings, thresholds):
        quantizer = stanh.from_values(spacings, thresholds)
        return quantizer.spacings, quantizer.thresholds, quantizer.levels, staircase.symbols(quantizer, values)

    spacings, thresholds, levels, symbols = floating(spacings, thresholds)
    fixed = to_fixed_point(np.asarray(spacings), np.asarray(thresholds))
    np.testing.assert_allclose(fixed.levels(), levels, atol=UNIT * components)
    np.testing.assert_array_equal(fixed.symbols(values), symbols)


@settings(max_examples=20)
@given(quantizers(10), quantizers(10))
def test_interpolation_goes_from_one_end_to_the_other_without_turning(first, second):
    path = [first.mixed_with(second, units) for units in range(RATE_UNITS + 1)]
    for name in ("spacings", "thresholds"):
        start, end = getattr(first, name), getattr(second, name)
        values = np.array([getattr(quantizer, name) for quantizer in path])
        np.testing.assert_array_equal(values[0], start)
        np.testing.assert_array_equal(values[-1], end)
        assert np.all(np.diff(values, axis=0) * np.sign(end - start) >= 0)
        straight = np.linspace(start, end, RATE_UNITS + 1)
        assert np.max(np.abs(values - straight)) < 1  # rounded down to a unit
    assert all(np.all(quantizer.spacings >= 1) and np.all(np.diff(quantizer.thresholds) >= 1) for quantizer in path)


def test_whole_rates_are_the_fitted_quantizers_and_rates_between_lie_between():
    rng = np.random.default_rng(0)
    fitted = [to_fixed_point(rng.uniform(0.5, 2, 8), np.cumsum(rng.uniform(0.5, 2, 8)) - 4) for _ in range(3)]
    for index, quantizer in enumerate(fitted):
        assert at_rate(fitted, index * RATE_UNITS) is quantizer
    between = at_rate(fitted, RATE_UNITS + 64)
    np.testing.assert_array_equal(between.thresholds, (3 * fitted[1].thresholds + fitted[2].thresholds) // 4)
    np.testing.assert_array_equal(between.spacings, (3 * fitted[1].spacings + fitted[2].spacings) // 4)


@pytest.mark.parametrize(
    ("spacings", "thresholds"), [([1, 0, 1], [1, 2, 3]), ([1, 1, 1], [1, 3, 3]), ([1, -1, 1], [1, 2, 3])]
)
def test_stored_integers_out_of_order_are_refused(spacings, thresholds):
    with pytest.raises(LicError, match="out of order"):
        FixedPointQuantizer(np.array(spacings), np.array(thresholds))


@pytest.mark.parametrize(
    ("spacings", "thresholds"),
    [
        ([1, 1], [1, 2, 3]),  # three thresholds make four symbols, two spacings three levels
        ([2**30, 2**30], [1, 2]),  # levels beyond float32's exact integers
        ([1, 1], [1, 2**40]),  # a threshold beyond them
    ],
)
def test_stored_integers_that_are_no_usable_quantizer_are_refused(unchecked, spacings, thresholds):
    with pytest.raises(LicError):
        FixedPointQuantizer(np.array(spacings), np.array(thresholds))
