import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lic_jax.quantization.counting import count_below

counts = jax.jit(count_below)


@settings(max_examples=40)
@given(st.integers(0, 2**32 - 1), st.sampled_from([1, 8, 9, 254]), st.sampled_from([0.0, 1.0, 4.0]))
def test_it_is_numpys_search_exactly(seed, components, irregularity):
    """At thresholds and beside them, evenly spaced ones and ones whose gaps differ by many orders of magnitude."""
    rng = np.random.default_rng(seed)
    gaps = np.exp(irregularity * rng.normal(size=components))
    thresholds = np.cumsum(gaps.astype(np.float32)) - np.float32(gaps[: components // 2].sum())
    beside = np.concatenate([thresholds, *(np.nextafter(thresholds, np.float32(side)) for side in (-np.inf, np.inf))])
    reach = 2 * np.abs(thresholds).max() + 1
    values = np.concatenate([beside, rng.uniform(-reach, reach, 300), [-1e30, 1e30, -np.inf, np.inf]])
    values = values.astype(np.float32)
    values[np.abs(values) < np.finfo(np.float32).tiny] = 0  # as XLA does
    np.testing.assert_array_equal(counts(jnp.asarray(thresholds), values), np.searchsorted(thresholds, values))


@pytest.mark.parametrize("components", [5, 40])
def test_a_stack_under_vmap_is_a_loop_and_has_no_gradient(components):
    rng = np.random.default_rng(0)
    thresholds = np.sort(rng.normal(size=(3, components)), axis=1).astype(np.float32)
    values = rng.normal(size=(2, 50)).astype(np.float32)
    together = jax.jit(jax.vmap(count_below, in_axes=(0, None)))(thresholds, values)
    for row, found in zip(thresholds, together, strict=True):
        np.testing.assert_array_equal(found, np.searchsorted(row, values))
    slope = jax.grad(lambda thresholds, values: jnp.sum(values * count_below(thresholds, values)), argnums=(0, 1))
    in_thresholds, in_values = slope(thresholds[0], values)
    assert not np.any(in_thresholds)
    np.testing.assert_array_equal(in_values, together[0])
