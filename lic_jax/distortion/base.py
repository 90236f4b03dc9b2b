"""Shared definitions of rate and distortion: the network's domain, MSE, PSNR.

The functions take NumPy's arrays or JAX's and return the same kind.
"""

import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np

PEAK = 255.0
"""The largest sample value. Errors are measured on the scale from 0 to 255."""

Distortion = Callable[[Any, Any], Any]
"""(image, reference), both [batch, height, width, 3] in the network's domain → a number for each image, 0 for equal
images; differentiable. λ weighs it against the rate: bpp + λ · distortion."""


class RateDistortion(NamedTuple):
    """The cost of images: bpp + λ · distortion. Rates are estimates from the priors, not bytes.

    Attributes:
      objective: bpp + λ · distortion.
      bpp: bits per pixel, hyper latent included.
      hyper_bpp: bits per pixel of the hyper latent.
      distortion: the distortion, which λ multiplies.
      mse: mean squared error on the 0–255 scale, also where another distortion is minimized.
    """

    objective: Any
    bpp: Any
    hyper_bpp: Any
    distortion: Any
    mse: Any


def array_module(array: Any) -> ModuleType:
    """Returns `jax.numpy` for JAX's arrays and tracers, else `numpy`."""
    return sys.modules["jax.numpy"] if type(array).__module__.startswith("jax") else np


def to_network_domain(pixels: Any) -> Any:
    """Converts uint8 pixels x to the network's domain, x/255 − 0.5 in float32."""
    return pixels.astype(np.float32) / PEAK - 0.5


def to_pixels(image: Any) -> Any:
    """Converts the network's domain to uint8 pixels, rounded and clipped."""
    xp = array_module(image)
    return xp.clip(xp.rint((image + 0.5) * PEAK), 0, PEAK).astype(np.uint8)


def mean_squared_error(image: Any, reference: Any) -> Any:
    """Computes the mean squared difference over the last three axes, in the units of its arguments."""
    return array_module(image).mean((image - reference) ** 2, axis=(-3, -2, -1))


def psnr(mse: Any) -> Any:
    """Computes the peak signal-to-noise ratio in dB of a mean squared error on the 0–255 scale; infinite for 0."""
    xp = array_module(mse)
    with np.errstate(divide="ignore"):
        return 10 * xp.log10(PEAK**2 / xp.asarray(mse))


def mse_of_psnr(psnr_db: Any) -> Any:
    """Computes the mean squared error on the 0–255 scale that has this PSNR in dB: the inverse of `psnr`."""
    return PEAK**2 * 10 ** (-psnr_db / 10)
