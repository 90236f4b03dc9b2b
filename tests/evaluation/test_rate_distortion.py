from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from experiments.lab.published import published_curves
from lic_jax.errors import LicError
from lic_jax.evaluation.rate_distortion import Point, bd_rate, is_monotone

PUBLISHED = Path(__file__).resolve().parents[2].parent / "shared" / "reference" / "published_rd.csv"

BPP = np.array([0.12, 0.25, 0.5, 0.9, 1.4])
PSNR = np.array([27.0, 29.5, 32.5, 35.4, 38.1])

curves = st.lists(
    st.tuples(st.floats(0.05, 0.5), st.floats(0.5, 3.0)), min_size=4, max_size=9
).map(  # steps of the log rate and of the PSNR: every such curve rises, and 20 to 21.5 dB are common to all
    lambda steps: (0.1 * np.exp(np.cumsum([s[0] for s in steps])), 20 + np.cumsum([0, *(s[1] for s in steps[1:])]))
)


def kodak_curve(codec):
    if not PUBLISHED.is_file():
        pytest.skip(f"the published curves, {PUBLISHED}, are absent")
    curve = published_curves(PUBLISHED, [codec])[codec]
    return [point.bpp for point in curve], [point.psnr_db for point in curve]


@pytest.mark.parametrize(
    ("codec", "percent", "decimals"),
    [
        ("JPEG", 143, 0),
        ("JPEG 2000", 56, 0),
        ("WebP", 44, 0),
        ("shallow-ntc JPEG-like synthesis", 21.5, 1),
        ("shallow-ntc two-layer synthesis", 5.9, 1),
        ("shallow-ntc two-layer synthesis + SGA", -4.9, 1),
        ("mbt2018-mean (CompressAI)", -3.3, 1),
        ("mbt2018-mean variable rate (CompressAI)", -1.4, 1),
        ("AV1", -6.2, 1),
        ("VVC (VTM)", -18.0, 1),
        ("STanH on Zou22 (anchor and derivations)", -21.8, 1),
        ("ELIC 2022", -26.6, 1),
    ],
)
def test_published_curves_have_their_published_bd_rates(codec, percent, decimals):
    assert is_monotone(*kodak_curve(codec))
    assert round(bd_rate(*kodak_curve(codec), *kodak_curve("BPG 4:4:4")), decimals) == percent


@settings(max_examples=50)
@given(curves, st.floats(0.2, 5.0))
def test_a_constant_factor_in_rate_is_the_bd_rate(curve, factor):
    bpp, psnr_db = curve
    assert bd_rate(factor * bpp, psnr_db, bpp, psnr_db) == pytest.approx(100 * (factor - 1), abs=1e-6)


@settings(max_examples=50)
@given(curves, curves)
def test_swapping_the_curves_inverts_the_ratio(curve, reference):
    forward, backward = bd_rate(*curve, *reference), bd_rate(*reference, *curve)
    assert (1 + forward / 100) * (1 + backward / 100) == pytest.approx(1)


@settings(max_examples=50)
@given(curves, curves, st.randoms(use_true_random=False))
def test_points_come_in_any_order(curve, reference, random):
    order = list(range(len(curve[0])))
    random.shuffle(order)
    shuffled = [values[order] for values in curve]
    assert bd_rate(*shuffled, *reference) == bd_rate(*curve, *reference)
    assert is_monotone(*shuffled)


@pytest.mark.parametrize("reference_range", [(28.0, 38.0), (20.0, 30.5), (33.0, 45.0), (31.0, 32.0)])
def test_only_the_common_qualities_count(reference_range):
    """Akima splines keep straight lines, and of two lines the mean difference is that in the middle of the overlap."""
    psnr_db, reference_psnr_db = np.linspace(28, 38, 6), np.linspace(*reference_range, 9)
    log_rate, reference_log_rate = np.poly1d([0.17, -6.0]), np.poly1d([0.13, -4.9])
    middle = (max(28, reference_range[0]) + min(38, reference_range[1])) / 2
    expected = 100 * np.expm1(log_rate(middle) - reference_log_rate(middle))
    actual = bd_rate(
        np.exp(log_rate(psnr_db)), psnr_db, np.exp(reference_log_rate(reference_psnr_db)), reference_psnr_db
    )
    assert actual == pytest.approx(expected)


@pytest.mark.parametrize(
    ("bpp", "psnr_db", "message"),
    [
        (BPP[:3], PSNR[:3], "the curve has 3 points"),
        (BPP, PSNR[:4], r"rates of shape \[5\] and PSNRs of shape \[4\]"),
        (BPP, PSNR + 20, "do not overlap"),
        (BPP, PSNR - 20, "do not overlap"),
        (BPP, PSNR - (PSNR[-1] - PSNR[0]), "do not overlap"),
        (BPP, PSNR[[0, 2, 1, 3, 4]], "does not rise in PSNR"),
        (BPP[[0, 1, 1, 2, 3]], PSNR, "does not rise in PSNR"),
        (BPP - BPP[0], PSNR, "not a positive, finite number"),
        (BPP, [27, 29.5, 32.5, 35.4, np.inf], "not a positive, finite number"),
        ([0.1, np.nan, 0.3, 0.4, 0.5], PSNR, "not a positive, finite number"),
    ],
)
def test_curves_without_a_bd_rate_are_refused(bpp, psnr_db, message):
    with pytest.raises(LicError, match=message):
        bd_rate(bpp, psnr_db, BPP, PSNR)


def test_the_error_says_which_curve_is_at_fault():
    with pytest.raises(LicError, match="the reference curve has 2 points"):
        bd_rate(BPP, PSNR, BPP[:2], PSNR[:2])


@pytest.mark.parametrize(
    ("bpp", "psnr_db", "monotone"),
    [
        ([0.2, 0.1, 0.3], [30, 28, 32], True),
        ([0.2, 0.1, 0.3], [30, 30, 32], False),
        ([0.2, 0.2, 0.3], [30, 31, 32], False),
        ([0.1, 0.2, 0.3], [30, 33, 32], False),
        ([0.1], [30], True),
    ],
)
def test_is_monotone(bpp, psnr_db, monotone):
    assert is_monotone(bpp, psnr_db) is monotone


def test_a_measured_point_counts_every_byte():
    original = np.full((4, 6, 3), 100, np.uint8)
    point = Point.measured(bytes(9), original + np.uint8(10), original)
    assert point.bpp == 3.0
    assert point.psnr_db == pytest.approx(28.1308, abs=1e-4)
    assert 0 < point.ms_ssim < 1
