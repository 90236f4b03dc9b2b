"""1 − MS-SSIM as a distortion, in JAX; `evaluation.metrics.ms_ssim` measures the same on pixels, in NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from lic_jax.distortion.base import PEAK
from lic_jax.distortion.ssim import CONTRAST_FLOOR, LUMINANCE_FLOOR, WINDOW, weights_of_scales
from lic_jax.errors import LicError
from lic_jax.gradients import straight_through

_LEAST = 1e-6
"""Gradients treat terms as at least this, because the gradient of a power is infinite at zero."""


def ms_ssim_loss(
    image: Float[Array, "batch height width 3"], reference: Float[Array, "batch height width 3"]
) -> Float[Array, " batch"]:
    """Computes 1 − MS-SSIM of each image, from 0 (equal) to 1; arguments in the network's domain.

    The multi-scale structural similarity of Wang, Simoncelli & Bovik (2003) with TensorFlow's conventions: colour
    channels apart, then averaged; windows inside the image; the scales that fit, with their weights divided by their
    sum. Its λ must be some 100 to 1,000 times that of MSE.

    Raises:
      LicError: a side is shorter than 11 pixels.
    """
    weights = weights_of_scales(min(image.shape[1:3]))
    if not len(weights):
        raise LicError(f"images of {image.shape[2]}×{image.shape[1]} hold no 11×11 window; give larger images")
    planes, reference_planes = ((PEAK * (part + 0.5)).astype(jnp.float32) for part in (image, reference))
    product = bounded_product = jnp.ones((image.shape[0], 3))
    for scale, weight in enumerate(weights):
        similarity, contrast = _similarity(planes, reference_planes)
        term = similarity if scale == len(weights) - 1 else contrast
        product = product * jnp.maximum(jax.lax.stop_gradient(term), 0) ** weight
        bounded_product = bounded_product * jnp.maximum(term, _LEAST) ** weight
        planes, reference_planes = _halve(planes), _halve(reference_planes)
    return 1 - jnp.mean(straight_through(bounded_product, product), axis=-1)


def _window_means(planes: Float[Array, "batch rows columns 3"]) -> Array:
    """Computes Gaussian-weighted means over the 11×11 windows inside the image."""
    channels = planes.shape[-1]
    for shape in ((len(WINDOW), 1), (1, len(WINDOW))):
        kernel = jnp.asarray(np.tile(WINDOW.reshape(*shape, 1, 1), (1, 1, 1, channels)), planes.dtype)
        planes = jax.lax.conv_general_dilated(
            planes, kernel, (1, 1), "VALID", dimension_numbers=("NHWC", "HWIO", "NHWC"), feature_group_count=channels
        )
    return planes


def _similarity(image: Array, reference: Array) -> tuple[Float[Array, "batch 3"], Float[Array, "batch 3"]]:
    """Computes SSIM and its contrast–structure factor of each channel, averaged over the windows.

    First the reference's mean is subtracted from both images, because variances are differences of squares, which
    float32 rounds.
    """
    centre = jax.lax.stop_gradient(jnp.mean(reference, axis=(1, 2), keepdims=True))
    image, reference = image - centre, reference - centre
    mean, reference_mean = _window_means(image), _window_means(reference)
    covariance = _window_means(image * reference) - mean * reference_mean
    variances = _window_means(image**2 + reference**2) - mean**2 - reference_mean**2
    mean, reference_mean = mean + centre, reference_mean + centre
    luminance = (2 * mean * reference_mean + LUMINANCE_FLOOR) / (mean**2 + reference_mean**2 + LUMINANCE_FLOOR)
    contrast = (2 * covariance + CONTRAST_FLOOR) / (variances + CONTRAST_FLOOR)
    return jnp.mean(luminance * contrast, axis=(1, 2)), jnp.mean(contrast, axis=(1, 2))


def _halve(planes: Float[Array, "batch rows columns 3"]) -> Array:
    """Averages 2×2 pixels; an odd side first repeats its last row or column."""
    _, height, width, _ = planes.shape
    even = jnp.pad(planes, ((0, 0), (0, height % 2), (0, width % 2), (0, 0)), mode="edge")
    rows = even[:, 0::2] + even[:, 1::2]
    return (rows[:, :, 0::2] + rows[:, :, 1::2]) / 4
