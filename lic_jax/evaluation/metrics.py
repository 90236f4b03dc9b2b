"""Measures how far a decoded image is from its original: MSE, PSNR and MS-SSIM of uint8 RGB, in NumPy and float64.

The paper of MS-SSIM leaves some conventions open; these are TensorFlow's (`tf.image.ssim_multiscale`). Colour channels
are measured apart and averaged, and negative terms count as zero. An odd side repeats its last row or column before it
is halved. Only there pytorch-msssim differs (it averages zeros in), so both agree where sides are multiples of 16.
"""

import math

import numpy as np
from jaxtyping import Float, UInt8

from lic_jax.distortion import base
from lic_jax.distortion.ssim import CONTRAST_FLOOR, LUMINANCE_FLOOR, WINDOW, WINDOW_SIZE, weights_of_scales
from lic_jax.errors import LicError


def _check_pair(image: np.ndarray, reference: np.ndarray) -> None:
    for name, pixels in (("image", image), ("reference", reference)):
        if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3 or pixels.size == 0:
            raise LicError(f"{name} is {pixels.dtype} {list(pixels.shape)}; give uint8 RGB [height, width, 3]")
    if image.shape != reference.shape:
        raise LicError(
            f"image is {image.shape[1]}x{image.shape[0]} and reference is {reference.shape[1]}x{reference.shape[0]}; "
            "give two images of one size"
        )


def mean_squared_error(
    image: UInt8[np.ndarray, "height width 3"], reference: UInt8[np.ndarray, "height width 3"]
) -> float:
    """Computes the mean squared difference over pixels and channels, on the 0–255 scale.

    Raises:
      LicError: an image is not uint8 RGB, or the sizes differ.
    """
    _check_pair(image, reference)
    return float(base.mean_squared_error(image.astype(np.float64), reference.astype(np.float64)))


def psnr(image: UInt8[np.ndarray, "height width 3"], reference: UInt8[np.ndarray, "height width 3"]) -> float:
    """Computes the peak signal-to-noise ratio, 10 log₁₀(255² / MSE), in dB; infinite for identical images."""
    return float(base.psnr(mean_squared_error(image, reference)))


def blockiness(image: UInt8[np.ndarray, "height width 3"], period: int = 16) -> float:
    """Measures how much more neighbouring pixels differ across the lines of a grid than elsewhere.

    The mean absolute difference between neighbours on both sides of a grid line is divided by that of all other
    neighbours. The first is the blocking measure of Wang, Sheikh & Bovik ("No-reference perceptual quality assessment
    of JPEG compressed images", ICIP 2002). Rows and columns are pooled. An image without a grid has about 1, blocks
    have more.

    Args:
      period: pixels from line to line; the first lines are the image's own edges.

    Raises:
      LicError: the image is not uint8 RGB, or no line of the grid runs through it.
    """
    _check_pair(image, image)
    if max(image.shape[:2]) <= period:
        raise LicError(
            f"no line of a grid of {period} pixels runs through this {image.shape[1]}x{image.shape[0]} image; "
            "give a larger image"
        )
    on_lines, elsewhere = [], []
    for axis in (0, 1):
        differences = np.abs(np.diff(np.moveaxis(image, axis, 0).astype(np.int16), axis=0))
        on_line = np.arange(1, len(differences) + 1) % period == 0
        on_lines.append(differences[on_line].ravel())
        elsewhere.append(differences[~on_line].ravel())
    across, along = np.concatenate(on_lines).mean(), np.concatenate(elsewhere).mean()
    if along == 0:
        return 1.0 if across == 0 else math.inf
    return float(across / along)


def _window_means_along_rows(planes: Float[np.ndarray, "channel height width"]) -> np.ndarray:
    """Computes Gaussian-weighted means of 11 neighbours on the last axis, unpadded: [channel, height, width − 10].

    All rows are correlated as one long signal, which is fastest in NumPy; windows that span two rows are cut off.
    """
    means = np.correlate(planes.ravel(), WINDOW, mode="same").reshape(planes.shape)
    margin = WINDOW_SIZE // 2
    return means[..., margin:-margin]


def _window_means(planes: Float[np.ndarray, "channel height width"]) -> np.ndarray:
    """Computes Gaussian-weighted means over 11×11 windows inside the image: [channel, height − 10, width − 10]."""
    across = _window_means_along_rows(planes)
    return _window_means_along_rows(across.swapaxes(1, 2)).swapaxes(1, 2)


def _whole_plane_means(planes: Float[np.ndarray, "channel height width"]) -> Float[np.ndarray, "channel 1 1"]:
    """Computes the plain mean of each channel, for images smaller than a window."""
    return planes.mean(axis=(1, 2), keepdims=True)


def _similarity(
    image: Float[np.ndarray, "channel height width"], reference: Float[np.ndarray, "channel height width"], means
) -> tuple[Float[np.ndarray, " channel"], Float[np.ndarray, " channel"]]:
    """Computes SSIM and its contrast–structure factor, each averaged over the places of the local `means`."""
    mean, reference_mean = means(image), means(reference)
    mean_product = mean * reference_mean
    mean_squares = np.square(mean) + np.square(reference_mean)
    covariance = means(image * reference) - mean_product
    variances = means(np.square(image) + np.square(reference)) - mean_squares
    luminance = (2 * mean_product + LUMINANCE_FLOOR) / (mean_squares + LUMINANCE_FLOOR)
    contrast = (2 * covariance + CONTRAST_FLOOR) / (variances + CONTRAST_FLOOR)
    return (luminance * contrast).mean(axis=(1, 2)), contrast.mean(axis=(1, 2))


def _halve(planes: Float[np.ndarray, "channel height width"]) -> np.ndarray:
    """Averages 2×2 pixels; an odd side first repeats its last row or column."""
    _, height, width = planes.shape
    even = np.pad(planes, ((0, 0), (0, height % 2), (0, width % 2)), mode="symmetric")
    rows = even[:, 0::2] + even[:, 1::2]
    return (rows[..., 0::2] + rows[..., 1::2]) / 4


def ms_ssim(image: UInt8[np.ndarray, "height width 3"], reference: UInt8[np.ndarray, "height width 3"]) -> float:
    """Computes the multi-scale structural similarity, from 0 to 1 (identical).

    Π_j cs_j^{w_j} · ssim_5^{w_5} per channel, averaged over channels: cs_j is the contrast–structure factor after j − 1
    halvings, in 11×11 Gaussian windows of σ = 1.5 inside the image (Wang, Simoncelli & Bovik 2003; K₁ = 0.01,
    K₂ = 0.03, the weights of their table, which add up to 1.0001).

    An image with a side under 161 pixels is measured at the scales that fit, with their weights divided by their sum.
    With a side under 11, SSIM uses the whole image's mean, variance and covariance. Compare these values only with
    values of the same image size.

    Raises:
      LicError: an image is not uint8 RGB, or the sizes differ.
    """
    _check_pair(image, reference)
    planes, reference_planes = (
        np.ascontiguousarray(pixels.transpose(2, 0, 1), dtype=np.float64) for pixels in (image, reference)
    )
    weights = weights_of_scales(min(image.shape[:2]))
    if not len(weights):
        whole_image, _ = _similarity(planes, reference_planes, _whole_plane_means)
        return float(np.maximum(whole_image, 0).mean())

    product = np.ones(3)
    for weight in weights[:-1]:
        _, contrast = _similarity(planes, reference_planes, _window_means)
        product *= np.maximum(contrast, 0) ** weight
        planes, reference_planes = _halve(planes), _halve(reference_planes)
    coarsest, _ = _similarity(planes, reference_planes, _window_means)
    product *= np.maximum(coarsest, 0) ** weights[-1]
    return float(product.mean())
