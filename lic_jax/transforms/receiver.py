"""Runs shallow transforms in NumPy alone, for devices without a machine-learning framework."""

from collections.abc import Callable
from functools import partial

import numpy as np

from lic_jax.arrays import Float
from lic_jax.errors import LicError
from lic_jax.transforms.description import (
    BETA_FLOOR,
    GAIN_FLOOR,
    PEDESTAL,
    Gain,
    Layers,
    Norm,
    Sum,
    TransposedConv,
    is_shallow,
)
from lic_jax.transforms.phases import product, transposed_convolution_products, transposed_convolution_windows

Run = Callable[[np.ndarray], np.ndarray]


def synthesis(name: str, layers: Layers, params: dict) -> Run:
    """Prepares a shallow synthesis: latent [1, h, w, C] → image in the network's domain [1, height, width, 3].

    Args:
      name: the synthesis' name, for the error.
      layers: its description.
      params: its weights, float32.

    Raises:
      LicError: the synthesis is deep.
    """
    if not is_shallow(layers):
        raise LicError(
            f"a {name} synthesis needs JAX to decode; install lic-jax with its dependencies, or use a model with a "
            "shallow synthesis such as two_layer"
        )
    return _chain(layers, params)


def _chain(layers: Layers, params: dict) -> Run:
    steps = [_step(layer, params) for layer in layers]

    def run(values: np.ndarray) -> np.ndarray:
        for step in steps:
            values = step(values)
        return values

    return run


def _step(layer, params: dict) -> Run:
    match layer:
        case TransposedConv(name=name, stride=stride):
            return _transposed(params[name], stride)
        case Norm(name=name):
            return partial(_inverse_gdn1, params[name])
        case Gain(name=name):
            return partial(_gain, params[name])
        case Sum(branches):
            runs = [_chain(branch, params) for branch in branches]
            return lambda values: sum((run(values) for run in runs[1:]), start=runs[0](values))
    raise TypeError(f"{layer!r} is not a layer of a shallow transform")


def _transposed(layer: dict, stride: int) -> Run:
    kernel = layer["kernel"]
    if kernel.shape[2] * stride**2 < kernel.shape[3]:
        linear = transposed_convolution_windows(kernel, stride)
    else:
        linear = transposed_convolution_products(np, kernel, stride)
    return lambda inputs: _plus(linear(inputs), layer["bias"])


def _plus(image: np.ndarray, bias: Float[np.ndarray, " channels"]) -> np.ndarray:
    """Adds a number to each channel, in place, by whole rows, because NumPy is slow where the last axis is short."""
    rows = image.reshape(*image.shape[:2], -1)
    rows += np.tile(bias, image.shape[2])
    return rows.reshape(image.shape)


def norm_weights(params: dict) -> tuple[Float[np.ndarray, " channels"], Float[np.ndarray, "channels channels"]]:
    """Returns β and Γ, float32, of the roots that a normalization stores."""
    beta = np.maximum(params["beta_root"], (BETA_FLOOR + PEDESTAL) ** 0.5) ** 2 - PEDESTAL
    gamma = np.maximum(params["gamma_root"], PEDESTAL**0.5) ** 2 - PEDESTAL
    return beta.astype(np.float32), gamma.astype(np.float32)


def _inverse_gdn1(params: dict, inputs: np.ndarray) -> np.ndarray:
    """Computes `transforms.gdn.InverseGDN1` in NumPy."""
    beta, gamma = norm_weights(params)
    factor = _plus(product(np.abs(inputs), gamma), beta)
    factor *= inputs
    return factor


def _gain(params: dict, inputs: np.ndarray) -> np.ndarray:
    """Computes `transforms.gdn.SignedGain` in NumPy."""
    factor = _plus(product(np.abs(inputs), params["gamma"]), params["beta"])
    np.maximum(factor, GAIN_FLOOR, out=factor)
    factor *= inputs
    return factor
