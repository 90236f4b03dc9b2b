"""The hyper synthesis in integers: the same scale indexes and means on every machine (docs/design.md, rule 1).

Integers are held in float32. Activations have 8 bits, and weights at most 8 and a sign. Every output channel is scaled
so that Σ|w| · 255 + |bias| < 2²⁴, so float32 holds all partial sums exactly. Neither their order nor fused operations
change a bit, and bfloat16 and TF32 products are exact, too. Activations are requantized by powers of two and floor.

    a_0 = ⌊clip(ẑ · input_scale + ½, −128, 127)⌋
    a_l = ⌊clip((W_l a_{l−1} + b_l) · scale_l, 0, 255)⌋              hidden layers; the clip is their ReLU
    (μ, s) = (W a + b) · scale                                        last layer
    index = ⌊clip(s, 0, 63)⌋                                          if trained for the scale's logarithm
    index = #{k = 0 … 62 : s ≥ ln(k + ½)}                             if trained for the index' logarithm

Every scale is a power of two. The bias contains the ½ that makes a floor a rounding, and the offset that makes a
scale's logarithm its index. The logarithm of an index is compared with constants, which is exact; exp would not be.
No framework is imported here: the array module is an argument.
"""

import dataclasses
import itertools
from collections.abc import Callable, Sequence
from functools import partial

import numpy as np

from lic_jax.config import ModelConfig
from lic_jax.entropy import exact
from lic_jax.entropy.scale_table import LOG_SCALE_STEP, SCALE_COUNT, SCALE_MIN
from lic_jax.errors import LicError
from lic_jax.transforms.description import Layers, uses
from lic_jax.transforms.hyper_transforms import transposed_layers
from lic_jax.transforms.phases import transposed_convolution_products

ACTIVATION_MAX = 255
INPUT_MAX = 128
WEIGHT_MAX = 255
SUM_LIMIT = 1 << 24

_BYTE_MAX = 127
"""The largest weight of a hyper synthesis of a single, large layer, so that a file holds its weights as bytes."""

LOG_INDEX_THRESHOLDS = exact.log(np.arange(SCALE_COUNT - 1) + 0.5).astype(np.float32)
"""ln(k + ½), k = 0 … 62, rounded to float32: the values of s at which the whole number nearest to exp(s) steps up."""

_HEADROOM = 2.0
"""Activations may grow by this factor beyond the calibration's largest before they are clipped."""

_BALANCING_SWEEPS = 20

_LEAST_ACTIVATION = 1e-3
"""A hidden channel that stays below this never fires."""


def integer_layer(xp, params: dict, stride: int) -> Callable:
    """Makes a layer: integers as float32, [batch, rows, columns, in] → their sums, times a power of two.

    Args:
      xp: numpy or jax.numpy.
      params: kernel [k, k, out, in], bias [out] and scale [out], float32.
    """
    sums = transposed_convolution_products(xp, params["kernel"], stride)
    return lambda inputs: (sums(inputs) + params["bias"]) * params["scale"]


def without_gradient(step: Callable, smooth: Callable, values):
    """Applies a step function without a gradient, for a receiver."""
    return step(values)


def through_integer_layers(
    xp, input_scale, layers: Sequence[Callable], scale_output: str, hyper_latent, quantize: Callable = without_gradient
):
    """Computes (μ, scale index) from ẑ, both exact.

    Args:
      xp: numpy or jax.numpy.
      input_scale: [N], float32.
      layers: each an `integer_layer`.
      scale_output: how the index is read off the last layer, as in the configuration.
      hyper_latent: [batch, h/4, w/4, N], levels of a fixed-point quantizer: multiples of 2⁻¹³ below 2¹¹.
      quantize: (a step function, the smooth function that it follows, values) → the step function's values; training
        passes one with gradients.

    Returns:
      μ float32 and the scale index, integers in [0, 63] as float32, [batch, h, w, C] each.
    """
    half = np.float32(0.5)
    floor = partial(quantize, xp.floor, lambda values: values)
    hidden = floor(xp.clip(hyper_latent * input_scale + half, -INPUT_MAX, INPUT_MAX - 1))
    *hidden_layers, last_layer = layers
    for layer in hidden_layers:
        hidden = floor(xp.clip(layer(hidden), 0, ACTIVATION_MAX))
    mean, scale = xp.split(last_layer(hidden), 2, axis=-1)
    if scale_output == "log_scale":
        return mean, floor(xp.clip(scale, 0, SCALE_COUNT - 1))
    return mean, quantize(partial(_nearest_to_exp, xp), partial(_bounded_exp, xp), scale)


def _nearest_to_exp(xp, values):
    """Computes the whole number nearest to exp(v), at most 63, by comparisons alone."""
    return xp.searchsorted(LOG_INDEX_THRESHOLDS, values, side="right").astype(np.float32)


def _bounded_exp(xp, values):
    return xp.exp(xp.minimum(values, np.float32(np.log(SCALE_COUNT - 1))))


def integer_hyper_synthesis(xp, params: dict, config: ModelConfig) -> Callable:
    """Makes `through_integer_layers` a function of ẑ, with input_scale [N] and layer_0, layer_1, … of a tree."""
    layers = [
        integer_layer(xp, params[layer.name], layer.stride)
        for layer in transposed_layers(config.hyper_synthesis_layers)
    ]
    return partial(through_integer_layers, xp, params["input_scale"], layers, config.scale_output)


def to_integers(params: dict, config: ModelConfig, hyper_latents) -> tuple[ModelConfig, dict]:
    """Converts a trained hyper synthesis to integers, by calibration.

    Hidden channels that never fire on the calibration's hyper latents are removed: they cost a receiver as much as the
    others, and contribute nothing.

    Args:
      params: the float parameters: layer_i with kernel and bias.
      config: the model.
      hyper_latents: quantized hyper latents of training crops, [count, h/4, w/4, N], for the scale of activations.

    Returns:
      The configuration with integer arithmetic and the remaining hidden channels, and the parameters.
    """
    hidden = np.asarray(hyper_latents, np.float64)
    reach = _HEADROOM * np.maximum(np.abs(hidden).max(axis=(0, 1, 2)), 1.0)
    input_scale = 2.0 ** np.floor(np.log2((INPUT_MAX - 1) / reach))
    integers = {"input_scale": input_scale.astype(np.float32)}
    activations = np.clip(np.floor(hidden * input_scale + 0.5), -INPUT_MAX, INPUT_MAX - 1).astype(np.float32)
    kept, step, largest = np.arange(len(input_scale)), 1 / input_scale, INPUT_MAX
    *hidden_layers, last_layer = transposed_layers(config.hyper_synthesis_layers)
    widths = []
    for layer in hidden_layers:
        kernel, bias = _kernel_and_bias(params[layer.name], kept, step)
        outputs = transposed_convolution_products(np, kernel.astype(np.float32), layer.stride)(activations) + bias
        highest = outputs.max(axis=(0, 1, 2))
        alive = np.flatnonzero(highest > _LEAST_ACTIVATION)
        if not len(alive):
            alive = np.array([np.argmax(highest)])
        unit = _HEADROOM * np.maximum(highest[alive], _LEAST_ACTIVATION) / ACTIVATION_MAX
        integers[layer.name] = _layer(
            kernel[:, :, alive] / unit[:, None], bias[alive] / unit + 0.5, largest, WEIGHT_MAX
        )
        activations = np.floor(np.clip(outputs[..., alive] / unit + 0.5, 0, ACTIVATION_MAX)).astype(np.float32)
        kept, step, largest = alive, unit, ACTIVATION_MAX
        widths.append(len(alive))
    kernel, bias = _kernel_and_bias(params[last_layer.name], kept, step)
    unit, offset = _unit_and_offset(config)
    largest_weight = WEIGHT_MAX if hidden_layers else _BYTE_MAX
    integers[last_layer.name] = _layer(kernel / unit[:, None], bias / unit + offset, largest, largest_weight)
    return dataclasses.replace(config, hyper_arithmetic="integer", hyper_synthesis_channels=tuple(widths)), integers


def from_integers(integers: dict, config: ModelConfig) -> dict:
    """Converts integers back to floats, for more training: inverts `to_integers`, except for its rounding.

    The units in which a hidden channel was trained are lost. Here its weights before and behind it are equally large.

    Args:
      integers: the parameters of a hyper synthesis in integers.
      config: the model, with the remaining hidden channels.
    """
    kernels, biases = [], []
    input_scale = np.asarray(integers["input_scale"], np.float64)
    for index in range(len(transposed_layers(config.hyper_synthesis_layers))):
        layer = integers[f"layer_{index}"]
        kernel, bias, scale = (np.asarray(layer[name], np.float64) for name in ("kernel", "bias", "scale"))
        kernels.append(kernel * scale[:, None] * input_scale)
        biases.append(bias * scale - 0.5)
        input_scale = np.ones(())
    unit, offset = _unit_and_offset(config)
    kernels[-1] *= unit[:, None]
    biases[-1] = (biases[-1] + 0.5 - offset) * unit
    _balance(kernels, biases)
    return {
        f"layer_{index}": {"kernel": kernel.astype(np.float32), "bias": bias.astype(np.float32)}
        for index, (kernel, bias) in enumerate(zip(kernels, biases, strict=True))
    }


def _balance(kernels: list[np.ndarray], biases: list[np.ndarray]) -> None:
    """Scales hidden channels, which are rectified, to equally large weights before and behind them; in place."""
    size = lambda kernel, axes: np.maximum(np.sqrt(np.mean(kernel**2, axis=axes)), 1e-12)
    for _ in range(_BALANCING_SWEEPS):
        for index, (before, behind) in enumerate(itertools.pairwise(kernels)):
            ratio = np.sqrt(size(behind, (0, 1, 2)) / size(before, (0, 1, 3)))
            before *= ratio[:, None]
            biases[index] *= ratio
            behind /= ratio


def _unit_and_offset(config: ModelConfig) -> tuple[np.ndarray, np.ndarray]:
    """Returns the units of the last layer's outputs (μ, s), and the offsets added so that s becomes an index."""
    mean_then_scale = lambda mean, scale: np.repeat([mean, scale], config.latent_channels)
    if config.scale_output == "log_scale":
        offset = 0.5 - np.log(SCALE_MIN) / LOG_SCALE_STEP
        return mean_then_scale(1.0, LOG_SCALE_STEP), mean_then_scale(0.0, offset)
    return mean_then_scale(1.0, 1.0), mean_then_scale(0.0, 0.0)


def _kernel_and_bias(layer: dict, kept: np.ndarray, step: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns kernel and bias in float64, for the remaining inputs, in units of their integers."""
    return np.asarray(layer["kernel"], np.float64)[..., kept] * step, np.asarray(layer["bias"], np.float64)


def _layer(kernel: np.ndarray, bias: np.ndarray, largest: int, largest_weight: int) -> dict:
    """Rounds kernel and bias to integers, with the finest power of two that keeps weights and sums in bounds."""
    weight_max = np.maximum(np.abs(kernel).max(axis=(0, 1, 3)), 1e-12)
    sum_max = np.abs(kernel).sum(axis=(0, 1, 3)) * largest + np.abs(bias) + 1e-12
    taps = kernel[:, :, 0].size
    room = SUM_LIMIT - 1 - largest * taps  # each weight may grow by a half, the bias by one
    exponent = np.floor(np.minimum(np.log2(largest_weight / weight_max), np.log2(room / sum_max)))
    scale = 2.0**exponent
    return {
        "kernel": np.rint(kernel * scale[:, None]).astype(np.float32),
        "bias": np.rint(bias * scale).astype(np.float32),
        "scale": (1 / scale).astype(np.float32),
    }


def parameter_shapes(layers: Layers, channels: int) -> dict[str, tuple[int, ...]]:
    """Returns the shapes of a hyper synthesis' integers, by names joined with slashes.

    Args:
      layers: its description.
      channels: the hyper latent's channels.
    """
    shapes: dict[str, tuple[int, ...]] = {"input_scale": (channels,)}
    for use in uses(layers, channels):
        for name, shape in {**use.parameter_shapes, "scale": (use.out_channels,)}.items():
            shapes["/".join((*use.path, name))] = shape
    return shapes


def check_integers(params: dict) -> None:
    """Raises LicError unless parameters, in the types they are used in, obey the bounds that make every sum exact."""
    for name, layer in params.items():
        scale = layer if name == "input_scale" else layer["scale"]
        powers = np.all(np.isfinite(scale)) and np.all(np.frexp(scale)[0] == 0.5)
        exact = scale.dtype == np.float32 and powers
        if exact and name != "input_scale":
            largest = INPUT_MAX if name == "layer_0" else ACTIVATION_MAX
            kernel, bias = layer["kernel"], layer["bias"]
            sums = np.abs(kernel).sum(axis=(0, 1, 3), dtype=np.float64) * largest + np.abs(bias)
            whole = np.all(kernel == np.rint(kernel)) and np.all(bias == np.rint(bias))
            exact = whole and np.abs(kernel).max() <= WEIGHT_MAX and sums.max() < SUM_LIMIT
        if not exact:
            raise LicError(f"the hyper synthesis' {name} breaks the bounds of exact sums; copy the weights file again")
