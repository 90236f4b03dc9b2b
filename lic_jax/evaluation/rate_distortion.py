"""Rate–distortion curves: their points, and the Bjøntegaard delta between two curves."""

from typing import NamedTuple, cast

import numpy as np
from jaxtyping import Float, UInt8
from numpy.typing import ArrayLike

from lic_jax.errors import LicError
from lic_jax.evaluation.metrics import ms_ssim, psnr

_FEWEST_POINTS = 4


class Point(NamedTuple):
    """One image (or the average of a set) at one operating point of a codec."""

    bpp: float
    psnr_db: float
    ms_ssim: float

    @classmethod
    def measured(
        cls, stream: bytes, decoded: UInt8[np.ndarray, "height width 3"], original: UInt8[np.ndarray, "height width 3"]
    ) -> "Point":
        """Measures the point of a stream: its rate counts all of its bytes, headers included, per pixel."""
        height, width, _ = original.shape
        return cls(8 * len(stream) / (height * width), psnr(decoded, original), ms_ssim(decoded, original))


def _sorted_by_rate(
    bpp: ArrayLike, psnr_db: ArrayLike
) -> tuple[Float[np.ndarray, " points"], Float[np.ndarray, " points"]]:
    rates, qualities = np.asarray(bpp, np.float64), np.asarray(psnr_db, np.float64)
    if rates.ndim != 1 or rates.shape != qualities.shape:
        raise LicError(
            f"a curve has rates of shape {list(rates.shape)} and PSNRs of shape {list(qualities.shape)}; "
            "give two lists of one length"
        )
    order = np.argsort(rates, kind="stable")
    return rates[order], qualities[order]


def _increases(values: Float[np.ndarray, " points"]) -> bool:
    return bool(np.all(np.diff(values) > 0))


def is_monotone(bpp: ArrayLike, psnr_db: ArrayLike) -> bool:
    """Returns whether more bits always buy more quality: sorted by rate, both strictly increase.

    Raises:
      LicError: the lists differ in length.
    """
    rates, qualities = _sorted_by_rate(bpp, psnr_db)
    return _increases(rates) and _increases(qualities)


def _curve(
    name: str, bpp: ArrayLike, psnr_db: ArrayLike
) -> tuple[Float[np.ndarray, " points"], Float[np.ndarray, " points"]]:
    """Returns a curve sorted by rate, after checking that its BD-rate is defined."""
    rates, qualities = _sorted_by_rate(bpp, psnr_db)
    if len(rates) < _FEWEST_POINTS:
        raise LicError(f"{name} has {len(rates)} points; a BD-rate needs {_FEWEST_POINTS} or more")
    if not (np.all(np.isfinite(rates)) and np.all(np.isfinite(qualities)) and rates[0] > 0):
        raise LicError(f"{name} has a rate or a PSNR that is not a positive, finite number; leave that point out")
    if not (_increases(rates) and _increases(qualities)):
        raise LicError(f"{name} does not rise in PSNR with every rise in rate; leave out the points that fall behind")
    return rates, qualities


def bd_rate(bpp: ArrayLike, psnr_db: ArrayLike, reference_bpp: ArrayLike, reference_psnr_db: ArrayLike) -> float:
    """Computes the Bjøntegaard delta rate in percent: how many more bits than the reference the same PSNR costs.

    100 · (exp(mean over PSNR of ln R(PSNR) − ln R_ref(PSNR)) − 1). Both curves are Akima splines of the log rate, and
    the mean is over the PSNRs that both reach, however few (Herglotz et al. 2022, "Beyond Bjøntegaard"; package
    `bjontegaard`). Negative means fewer bits.

    Args:
      bpp, psnr_db: the curve, at least four points in any order.
      reference_bpp, reference_psnr_db: the reference curve; it may have another number of points.

    Raises:
      LicError: a curve has too few points or is not monotone, or the two have no PSNR in common.
    """
    # Imported here, because it imports matplotlib.pyplot, which takes long.
    from bjontegaard import bd_rate as bjontegaard_delta_rate

    rates, qualities = _curve("the curve", bpp, psnr_db)
    reference_rates, reference_qualities = _curve("the reference curve", reference_bpp, reference_psnr_db)
    if qualities[-1] <= reference_qualities[0] or reference_qualities[-1] <= qualities[0]:
        raise LicError(
            f"the curve's PSNRs, {qualities[0]:.2f} to {qualities[-1]:.2f} dB, do not overlap the reference's, "
            f"{reference_qualities[0]:.2f} to {reference_qualities[-1]:.2f} dB; give curves that overlap"
        )
    delta = bjontegaard_delta_rate(
        reference_rates,
        reference_qualities,
        rates,
        qualities,
        method="akima",
        require_matching_points=False,
        min_overlap=0,
    )
    return float(cast(float, delta))  # a tuple only where the interpolators are asked for, too
