"""How well a codec does: metrics, rate–distortion curves and the classical codecs to compare with."""

from lic_jax.evaluation.classical import CLASSICAL, ClassicalCodec, jpeg, measure, webp
from lic_jax.evaluation.metrics import blockiness, mean_squared_error, ms_ssim, psnr
from lic_jax.evaluation.rate_distortion import Point, bd_rate, is_monotone

__all__ = [
    "CLASSICAL",
    "ClassicalCodec",
    "Point",
    "bd_rate",
    "blockiness",
    "is_monotone",
    "jpeg",
    "mean_squared_error",
    "measure",
    "ms_ssim",
    "psnr",
    "webp",
]
