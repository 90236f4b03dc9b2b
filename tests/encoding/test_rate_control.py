import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lic_jax.encoding.rate_control import PASSES, with_bpp, with_psnr, within_bytes
from lic_jax.errors import LicError

HIGHEST = 6 * 256
PIXELS = 100_000
RATES = np.arange(HIGHEST + 1)

slopes = st.lists(st.floats(-1, 1), min_size=8, max_size=8)
"""Eight slopes of a curve, as exponents of 2 about the usual one."""


def rising(exponents):
    """A curve from 0 to about 1 over the rates."""
    heights = np.concatenate([[0], np.cumsum(np.exp2(exponents))]) / len(exponents)
    return np.interp(RATES, np.linspace(0, HIGHEST, len(heights)), heights)


class Image:
    """An image whose streams have the sizes and the PSNR of two curves; it counts how often it is coded."""

    def __init__(self, log_bytes, psnr=None):
        self.sizes = 31 + 4 * np.round((np.exp(log_bytes) - 31) / 4).astype(int)
        self.psnr = psnr
        self.coded = []

    def code(self, rate_units):
        assert 0 <= rate_units <= HIGHEST and isinstance(rate_units, int)
        self.coded.append(rate_units)
        return rate_units.to_bytes(2, "big") + bytes(self.sizes[rate_units] - 2)

    def psnr_of(self, stream):
        return self.psnr[int.from_bytes(stream[:2], "big")]


@settings(max_examples=50)
@given(slopes, st.floats(8, 12), st.floats(0, 1))
def test_a_size_within_the_range_is_hit(exponents, smallest, share):
    image = Image(smallest + 2.1 * rising(exponents))
    bpp = 8 * image.sizes[0] ** (1 - share) * image.sizes[-1] ** share / PIXELS
    found = with_bpp(image.code, HIGHEST, bpp, PIXELS)
    assert 8 * len(found.stream) / PIXELS == pytest.approx(bpp, rel=0.01)
    assert found.warning is None and len(image.coded) <= PASSES


@settings(max_examples=50)
@given(slopes, st.floats(0, 0.1), st.floats(0.005, 0.2), st.floats(0, 1))
def test_a_quality_is_hit_on_a_curve_that_falls_in_places(exponents, amplitude, frequency, share):
    psnr = 25 + 10 * rising(exponents) + amplitude * np.sin(frequency * RATES)
    image = Image(8 + RATES / 700, psnr)
    target = (1 - share) * psnr[0] + share * psnr[-1]
    found = with_psnr(image.code, HIGHEST, target, image.psnr_of)
    assert image.psnr_of(found.stream) == pytest.approx(target, abs=0.05)
    assert found.warning is None and len(image.coded) <= PASSES


@settings(max_examples=50)
@given(slopes, st.floats(6, 12), st.floats(0, 1))
def test_the_largest_stream_that_fits(exponents, smallest, share):
    """Or one that is 1 % smaller, on the curves that eight passes are not enough for."""
    image = Image(smallest + 2.1 * rising(exponents))
    max_bytes = int(image.sizes[0] ** (1 - share) * image.sizes[-1] ** share)
    stream = within_bytes(image.code, HIGHEST, max_bytes).stream
    best = image.sizes[image.sizes <= max_bytes].max()
    assert 0.99 * best <= len(stream) <= max_bytes
    assert len(image.coded) <= PASSES


@settings(max_examples=50)
@given(st.integers(0, 2**32 - 1), st.floats(0, 3), st.floats(0, 1))
def test_whatever_the_curve_the_best_of_eight_passes_is_given(seed, roughness, share):
    """Nothing that was coded is lost, and nothing is promised that is not so."""
    rng = np.random.default_rng(seed)
    image = Image(8 + roughness * rng.uniform(0, 1, len(RATES)), rng.uniform(20, 20 + 10 * roughness, len(RATES)))
    max_bytes = int((1 - share) * image.sizes.min() + share * image.sizes.max())
    try:
        stream = within_bytes(image.code, HIGHEST, max_bytes).stream
        assert len(stream) == max(size for size in image.sizes[image.coded] if size <= max_bytes)
    except LicError as error:
        assert str(image.sizes[image.coded].min()) in str(error)
    assert len(image.coded) <= PASSES

    image.coded.clear()
    target = 20 + 10 * roughness * share
    found = with_psnr(image.code, HIGHEST, target, image.psnr_of)
    missed_by = abs(image.psnr_of(found.stream) - target)
    assert missed_by == min(abs(image.psnr[image.coded] - target))
    assert (found.warning is None) == (missed_by <= 0.05)
    assert len(image.coded) <= PASSES


@settings(max_examples=30)
@given(slopes, st.floats(1.02, 10))
def test_beyond_the_range_the_end_is_given_and_the_range_named(exponents, factor):
    image = Image(8 + 2.1 * rising(exponents))
    lowest, highest = 8 * image.sizes[[0, -1]] / PIXELS
    for bpp, nearest in (lowest / factor, 0), (highest * factor, HIGHEST):
        image.coded.clear()
        found = with_bpp(image.code, HIGHEST, bpp, PIXELS)
        assert found.stream == image.code(nearest)
        assert f"{lowest:.3g} bpp to {highest:.3g} bpp" in found.warning
        assert len(image.coded) <= 1 + 4


def test_any_size_beyond_the_largest_has_room_for_it():
    image = Image(8 + RATES / 700)
    assert len(within_bytes(image.code, HIGHEST, 10**9).stream) == image.sizes[-1]
    assert len(within_bytes(image.code, HIGHEST, image.sizes[0]).stream) == image.sizes[0]
    with pytest.raises(LicError, match=f"smallest stream has {image.sizes[0]}"):
        within_bytes(image.code, HIGHEST, image.sizes[0] - 1)


def test_an_image_that_all_rates_keep_whole():
    """Its PSNR is infinite, whatever the rate."""
    image = Image(4 + RATES / 1500, np.full(len(RATES), math.inf))
    found = with_psnr(image.code, HIGHEST, 40, image.psnr_of)
    assert found.stream == image.code(0) or "100.00 dB" in found.warning


@pytest.mark.parametrize("value", [0, -1, math.nan, math.inf])
def test_what_is_no_size_and_no_quality_is_refused(value):
    for search, argument in ((with_bpp, PIXELS), (with_psnr, None)):
        with pytest.raises(LicError, match=f"is {value}; give a positive number"):
            search(None, HIGHEST, value, argument)
    with pytest.raises(LicError, match="max_bytes"):
        within_bytes(None, HIGHEST, value)
