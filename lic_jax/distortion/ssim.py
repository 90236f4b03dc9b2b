"""The constants of MS-SSIM (Wang, Simoncelli & Bovik 2003) for the versions in NumPy and in JAX."""

import numpy as np

from lic_jax.distortion.base import PEAK

WINDOW_SIZE = 11
LUMINANCE_FLOOR = (0.01 * PEAK) ** 2
CONTRAST_FLOOR = (0.03 * PEAK) ** 2
SCALE_WEIGHTS = np.array([0.0448, 0.2856, 0.3001, 0.2363, 0.1333])
"""Weights of the scales, finest first; they add up to 1.0001, as in the paper's table."""

_SIGMA = 1.5
_OFFSETS = np.arange(WINDOW_SIZE) - WINDOW_SIZE // 2
_HEIGHTS = np.exp(-0.5 * np.square(_OFFSETS / _SIGMA))
WINDOW = _HEIGHTS / _HEIGHTS.sum()
"""The Gaussian weights of 11 neighbours."""


def weights_of_scales(smaller_side: int) -> np.ndarray:
    """Returns the weights of the scales at which an image still holds a window: five from 161 pixels on, none below 11.

    Fewer than five are divided by their sum.
    """
    count = sum(-(-smaller_side // 2**scale) >= WINDOW_SIZE for scale in range(len(SCALE_WEIGHTS)))
    weights = SCALE_WEIGHTS[:count]
    return weights if count == len(SCALE_WEIGHTS) else weights / weights.sum()
