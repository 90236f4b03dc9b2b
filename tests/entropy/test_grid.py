import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lic_jax.entropy.priors import grid
from lic_jax.errors import LicError

LARGEST = (grid.SIGNED_MAX, grid.ACTIVATION_MAX)


@st.composite
def layers(draw):
    """Weights of any spread, for signed and for rectified inputs."""
    rng = np.random.default_rng(draw(st.integers(0, 999)))
    taps, out = draw(st.integers(1, 400)), draw(st.integers(1, 8))
    spread = np.exp(rng.uniform(-8, 2, out))
    kernels = [rng.normal(size=(count, out)) * spread for count in (taps, draw(st.integers(1, 50)))]
    return rng.normal(size=out) * spread, kernels


@settings(max_examples=50, deadline=None)
@given(layers(), st.integers(0, 99))
def test_sums_on_the_grid_are_the_same_in_any_order(layer, seed):
    """Against sums of whole numbers, for the largest inputs and for random ones."""
    bias, *kernels = grid.on_grid(np, layer[0], layer[1], LARGEST)
    grid.check("a layer", bias, kernels, LARGEST)
    rng = np.random.default_rng(seed)
    for inputs in (
        [most * np.sign(kernel[:, 0] + 0.1) for most, kernel in zip(LARGEST, kernels, strict=True)],
        [rng.integers(-most, most + 1, len(kernel)) for most, kernel in zip(LARGEST, kernels, strict=True)],
    ):
        terms = np.concatenate(
            [values[:, None] * np.float64(kernel) for values, kernel in zip(inputs, kernels, strict=True)]
        )
        exact = terms.sum(axis=0) * grid.UNIT + bias
        products = np.float32(terms * grid.UNIT)
        for order in (np.arange(len(terms)), rng.permutation(len(terms))):
            total = bias.copy()
            for product in products[order]:
                total = total + product
            np.testing.assert_array_equal(total, exact)


@settings(max_examples=50, deadline=None)
@given(layers())
def test_rounded_weights_are_near_and_stay_as_they_are(layer):
    bias, *kernels = grid.on_grid(np, layer[0], layer[1], LARGEST)
    for kernel, rounded in zip(layer[1], kernels, strict=True):
        assert np.all(
            np.abs(rounded - kernel) <= 0.02 * np.max([np.abs(k).max(axis=0) for k in layer[1]], axis=0) + 1e-7
        )
        np.testing.assert_array_equal(rounded.astype(np.float16), rounded)
    for again, rounded in zip(grid.on_grid(np, bias, kernels, LARGEST), (bias, *kernels), strict=True):
        np.testing.assert_array_equal(again, rounded)


def test_activations_are_multiples_of_a_sixteenth_within_bounds():
    values = np.linspace(-200, 200, 9999, dtype=np.float32)
    for rounded, least, most in (
        (grid.rectified(np, values), 0, 255 / 16),
        (grid.signed(np, values), -2047 / 16, 2047 / 16),
    ):
        assert np.all(rounded * 16 == np.rint(rounded * 16)) and (rounded.min(), rounded.max()) == (least, most)
        assert np.max(np.abs(rounded - np.clip(values, least, most))) <= 1 / 32


@pytest.mark.parametrize("change", [1e-9, np.nan, 2.0**20])
def test_weights_off_the_grid_are_refused(change):
    bias, kernel = grid.on_grid(np, np.zeros(2), [np.ones((3, 2))], [255])
    kernel[1, 1] += np.float32(change) if change != 1e-9 else np.float32(1e-6)
    with pytest.raises(LicError, match="stage_0 breaks the bounds of exact sums; copy the weights file again"):
        grid.check("stage_0", bias, [kernel], [255])
