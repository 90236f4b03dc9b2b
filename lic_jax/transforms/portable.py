"""The receiver's transforms in NumPy alone, for devices without a machine-learning framework.

Large images are computed in bands of rows, so that intermediate values do not grow with the image: a band takes a few
more rows on both sides than it keeps, as many as its outputs can see.
"""

from collections.abc import Callable, Iterator
from functools import partial

import numpy as np

from lic_jax.arrays import Float, Int
from lic_jax.config import HYPER_STRIDE, LATENT_STRIDE, LATENTS_PER_HYPER, SHALLOW_SYNTHESES, ModelConfig
from lic_jax.entropy.priors.integers import integer_hyper_synthesis
from lic_jax.errors import LicError
from lic_jax.transforms.phases import (
    first_tap,
    product,
    transposed_convolution_products,
    transposed_convolution_windows,
)

BAND_PIXELS = 1 << 21
"""A band has about so many pixels: two megapixels, 200 MB of intermediate values."""

HYPER_HALO = 2
"""Rows of hyper latents that a mean or scale index can see on either side."""

_PEDESTAL = 2.0**-36


def bands(rows: int, row_pixels: int, halo: int) -> Iterator[tuple[slice, slice, slice]]:
    """Splits rows into bands: (rows to keep, rows to read, where the kept are among the read).

    Args:
      rows: of the transform's input.
      row_pixels: image pixels that a row of input stands for.
      halo: rows on either side that an output can see.
    """
    height = max(1, BAND_PIXELS // row_pixels)
    for start in range(0, rows, height):
        yield with_halo(start, min(start + height, rows), rows, halo)


def with_halo(start: int, stop: int, rows: int, halo: int) -> tuple[slice, slice, slice]:
    """A band: (rows to keep, rows to read, where the kept are among the read)."""
    first, last = max(0, start - halo), min(rows, stop + halo)
    return slice(start, stop), slice(first, last), slice(start - first, stop - first)


class PortablePrediction:
    """Prediction from the hyper latent of one model, prepared for NumPy."""

    def __init__(self, config: ModelConfig, params: dict):
        self._config = config
        self._predict = partial(_zero_and_channel, config.latent_channels)
        if config.has_hyper_latent:
            self._predict = integer_hyper_synthesis(np, params["hyper_synthesis"], config)

    def hyper_bands(self, height: int, width: int) -> list[tuple[slice, slice, slice]]:
        """The bands of hyper latent rows that `predict` is called with."""
        return list(bands(height, width * HYPER_STRIDE**2, HYPER_HALO))

    def predict(
        self, hyper_latent: Float[np.ndarray, "1 h/4 w/4 hyper"], band: tuple[slice, slice, slice]
    ) -> tuple[Float[np.ndarray, "1 rows w latent"], Int[np.ndarray, "1 rows w latent"]]:
        """Mean and coding table's index (uint16) of a band's latents."""
        _, read, kept = band
        rows = slice(LATENTS_PER_HYPER * kept.start, LATENTS_PER_HYPER * kept.stop)
        mean, index = (output[:, rows] for output in self._predict(hyper_latent[:, read]))
        return mean, index.astype(np.uint16)


class PortableTransforms(PortablePrediction):
    """Prediction from the hyper latent and synthesis of one model, prepared for NumPy.

    Raises:
      LicError: the model's synthesis is a deep one.
    """

    def __init__(self, config: ModelConfig, params: dict):
        if config.synthesis not in SHALLOW_SYNTHESES:
            raise LicError(
                f"a {config.synthesis} synthesis needs JAX to decode; install lic-jax with its dependencies, or use a "
                f"model with one of {', '.join(SHALLOW_SYNTHESES)}"
            )
        super().__init__(config, params)
        self.synthesize = _synthesis(config, params["synthesis"])

    @property
    def synthesis_halo(self) -> int:
        """Rows of latents that a pixel can see on either side."""
        layers = zip(self._config.kernel_sizes, self._config.synthesis_strides, strict=True)
        reach = 0
        for kernel_size, stride in reversed(list(layers)):  # from pixels back to latents
            before = first_tap(kernel_size, stride)
            reach = (reach + max(kernel_size - 1 - before, stride - 1 + before)) // stride
        return reach


def _zero_and_channel(channels: int, hyper_latent: Float[np.ndarray, "1 rows columns 0"]):
    """As `model.FactorizedModel.predict`."""
    _, rows, columns, _ = hyper_latent.shape
    shape = (1, LATENTS_PER_HYPER * rows, LATENTS_PER_HYPER * columns, channels)
    return np.broadcast_to(np.float32(0), shape), np.broadcast_to(np.arange(channels), shape)


def _synthesis(config: ModelConfig, layers: dict) -> Callable:
    """Latent [1, h, w, latent] → image in the network's domain [1, height, width, 3]."""
    if config.synthesis == "jpeg_like":
        return _transposed(layers["layer_0"], LATENT_STRIDE)
    first, last = _transposed(layers["layer_0"], 8), _transposed(layers["layer_1"], 2)
    inverse_gdn = partial(_inverse_gdn1, layers["inverse_gdn"])
    if config.synthesis == "two_layer":
        return lambda latent: last(inverse_gdn(first(latent)))
    residual = _transposed(layers["residual"], 8)
    return lambda latent: last(inverse_gdn(first(latent)) + residual(latent))


def _transposed(layer: dict, stride: int) -> Callable:
    kernel = layer["kernel"]
    if kernel.shape[2] * stride**2 < kernel.shape[3]:
        linear = transposed_convolution_windows(kernel, stride)
    else:
        linear = transposed_convolution_products(np, kernel, stride)

    return lambda inputs: _plus(linear(inputs), layer["bias"])


def _plus(image: np.ndarray, bias: Float[np.ndarray, " channels"]) -> np.ndarray:
    """Adds a number a channel, in place where it can, by whole rows: NumPy is slow where the last axis is short."""
    rows = image.reshape(*image.shape[:2], -1)
    rows += np.tile(bias, image.shape[2])
    return rows.reshape(image.shape)


def _inverse_gdn1(params: dict, inputs: np.ndarray) -> np.ndarray:
    """As `transforms.gdn.InverseGDN1`."""
    beta = np.maximum(params["beta_root"], (1e-6 + _PEDESTAL) ** 0.5) ** 2 - _PEDESTAL
    gamma = np.maximum(params["gamma_root"], _PEDESTAL**0.5) ** 2 - _PEDESTAL
    beta, gamma = beta.astype(np.float32), gamma.astype(np.float32)
    gain = _plus(product(np.abs(inputs), gamma), beta)
    gain *= inputs
    return gain
