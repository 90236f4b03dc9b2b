"""Mean squared error, the default distortion."""

from typing import Any

from lic_jax.distortion.base import PEAK, mean_squared_error


def mse(image: Any, reference: Any) -> Any:
    """Computes the mean squared error of each image on the 0–255 scale; arguments in the network's domain."""
    return PEAK**2 * mean_squared_error(image, reference)
