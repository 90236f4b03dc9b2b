"""Evaluation: how well a codec does.

- `metrics`: measures MSE, PSNR, MS-SSIM and blockiness of decoded images
- `rate_distortion`: compares rate–distortion curves by the Bjøntegaard delta
- `measurement`: measures a codec on a folder: bytes and times, an image and rate a row
- `classical`: compresses with JPEG and WebP, to compare with
- `complexity`: counts a model's parameters and its operations per pixel
"""

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
