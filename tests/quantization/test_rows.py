"""Quantizers that differ from row to row: each row is a quantizer like any other, as fitted and as stored."""

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lic_jax.entropy.scale_table import SCALE_COUNT
from lic_jax.entropy.tables import TOTAL, gaussian_tables
from lic_jax.errors import LicError
from lic_jax.quantization import staircase, stanh
from lic_jax.quantization.fixed_point import UNIT, FixedPointQuantizer, at_rate, to_fixed_point
from lic_jax.quantization.fixed_rows import FixedPointRows, to_fixed_rows
from lic_jax.quantization.rows import QuantizerOfRows, Widening, no_widening, offsets

ROWS = SCALE_COUNT


@st.composite
def quantizers(draw):
    """Whatever a file may hold: uneven spacings, thresholds off their middle, and any offsets."""
    components = 2 * draw(st.integers(1, 6))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    thresholds = np.cumsum(rng.integers(1, 9000, components)) - rng.integers(0, 20_000)
    narrowest = FixedPointQuantizer(rng.integers(1, 9000, components), thresholds)
    return FixedPointRows(narrowest, *rng.integers(0, 6000, (2, ROWS)))


@given(quantizers(), quantizers(), st.integers(0, 255))
@settings(max_examples=60)
def test_every_row_is_a_quantizer_like_any_other(quantizer, other, units):
    """Decisions, levels, middles and edges are those of the row's own quantizer, between rates too."""
    if quantizer.symbol_count == other.symbol_count:
        quantizer = at_rate((quantizer, other), units)
    rng = np.random.default_rng(units)
    values = np.concatenate([rng.normal(0, 4, 200), [-1e4, 1e4]]).astype(np.float32)
    edges, levels = quantizer.coding_edges(), quantizer.row_levels()
    for row in (0, 17, ROWS - 1):
        alone, rows = quantizer.at_row(row), np.full(len(values), row)
        symbols = quantizer.symbols(values, rows)
        np.testing.assert_array_equal(symbols, alone.symbols(values))
        assert np.all(np.diff(symbols[np.argsort(values)]) >= 0)
        np.testing.assert_array_equal(quantizer.levels_of(symbols, rows), alone.levels()[symbols])
        np.testing.assert_array_equal(quantizer.middles_of(symbols, rows), alone.cell_middles()[symbols])
        np.testing.assert_array_equal(edges[row], alone.thresholds * UNIT)
        np.testing.assert_array_equal(levels[row], alone.levels())


@given(quantizers())
@settings(max_examples=10)
def test_tables_are_those_of_each_row_alone(quantizer):
    tables = gaussian_tables(quantizer)
    assert np.all(tables >= 1) and np.all(tables.sum(axis=1) == TOTAL)
    for row in (0, 40):
        np.testing.assert_array_equal(tables[row], gaussian_tables(quantizer.at_row(row))[row])


def test_rows_that_do_not_differ_are_the_plain_quantizer():
    plain = to_fixed_point(np.linspace(0.5, 2, 8), np.linspace(-3, 4, 8))
    quantizer = to_fixed_rows(plain, np.full(ROWS, 0.1), np.full(ROWS, -0.2))
    assert not quantizer.dead_zones.any() and not quantizer.reconstructions.any()
    unmoved = to_fixed_rows(plain, np.zeros(ROWS), np.zeros(ROWS))
    np.testing.assert_array_equal(gaussian_tables(unmoved), gaussian_tables(plain))
    np.testing.assert_array_equal(unmoved.row_levels()[5], plain.levels())


@pytest.mark.parametrize("kind", ["thresholds", "midpoints"])
def test_what_is_fitted_is_what_is_stored(kind):
    rng = np.random.default_rng(1)
    quantizer = stanh.from_values(rng.uniform(0.4, 2, 10), np.cumsum(rng.uniform(0.4, 2, 10)) - 6)
    widening = Widening(jnp.array([0.9, -0.5, 0.1]), jnp.array([-0.3, 0.6, 0.0]), ROWS)
    stored = to_fixed_rows(
        to_fixed_point(np.asarray(quantizer.spacings), np.asarray(quantizer.thresholds), kind),
        *map(np.asarray, offsets(quantizer, widening)),
    )
    rows, values = rng.integers(0, ROWS, 500), rng.normal(0, 3, 500).astype(np.float32)
    fitted = QuantizerOfRows.of(quantizer, widening, jnp.asarray(rows, jnp.float32))
    symbols = np.asarray(fitted.symbols(values))
    assert np.mean(symbols != stored.symbols(values, rows)) < 0.01  # where rounding to 2⁻¹² moved a threshold
    np.testing.assert_allclose(fitted.level(symbols), stored.levels_of(symbols, rows), atol=2e-3)
    inner = np.clip(symbols, 1, 10)
    np.testing.assert_allclose(fitted.edge(inner, kind), stored.coding_edges()[rows, inner - 1], atol=2e-3)


def test_no_widening_changes_nothing():
    quantizer, values = stanh.uniform(6, 0.7), jnp.linspace(-5, 5, 301)
    of_rows = QuantizerOfRows.of(quantizer, no_widening(ROWS, 8), jnp.full(values.shape, 12.0))
    symbols = staircase.symbols(quantizer, values)
    np.testing.assert_array_equal(of_rows.symbols(values), symbols)
    np.testing.assert_array_equal(of_rows.level(symbols), quantizer.levels[symbols])


@pytest.mark.parametrize(
    ("components", "dead_zones", "message"),
    [(3, [0, 1], "3 components"), (4, [0, -1], "out of bounds"), (4, [0], "1 dead zones and 2")],
)
def test_damaged_rows_are_named(unchecked, components, dead_zones, message):
    narrowest = FixedPointQuantizer(np.full(components, 4096), 4096 * np.arange(components))
    with pytest.raises(LicError, match=message):
        FixedPointRows(narrowest, np.array(dead_zones), np.zeros(2, np.int64))
