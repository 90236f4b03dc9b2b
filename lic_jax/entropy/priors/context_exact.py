"""The context prior's networks for a receiver: their weights on the grid, and the stages in NumPy."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from lic_jax.arrays import Float
from lic_jax.config import ModelConfig
from lic_jax.entropy.priors import grid
from lic_jax.entropy.priors.context_plan import WINDOW, Step, positions, steps
from lic_jax.transforms.hyper_transforms import transposed_layers
from lic_jax.transforms.phases import transposed_convolution_products

RECTIFIED, SIGNED = grid.ACTIVATION_MAX, grid.SIGNED_MAX


class Sum(NamedTuple):
    """The sums of one layer: a bias, and kernels [..., out] with the largest input that each meets, in units."""

    name: str
    bias: np.ndarray
    kernels: list[np.ndarray]
    largest: list[int]


def _layer_sum(xp, name: str, tree: dict, largest: int) -> Sum:
    return Sum(name, tree["bias"], [xp.swapaxes(tree["kernel"], 2, 3)], [largest])


def _stage_sums(xp, step: Step, tree: dict) -> tuple[Sum, Sum]:
    """Returns the sums of a stage's hidden units, and of its outputs."""
    name = f"context/{step.name}"
    near = (tree["near"][:, :, : step.known_low], tree["near"][:, :, step.known_low :])
    hidden = Sum(name, tree["bias"], [tree["features"], *near], [RECTIFIED, SIGNED, RECTIFIED])
    out = Sum(name, tree["out_bias"], [tree["out"]], [RECTIFIED])
    if step.is_linear:
        out.kernels.append(xp.concatenate([tree["linear"], xp.zeros_like(tree["linear"])], axis=-1))
        out.largest.append(SIGNED)
    return hidden, out


def layer_on_grid(xp, tree: dict, largest: int) -> dict:
    """Rounds the weights of a layer of the hyper synthesis to the grid on which its sums are exact.

    Args:
      xp: numpy or jax.numpy, as in `grid.on_grid`.
      tree: the layer's kernel and bias.
      largest: the largest magnitude of its inputs, in units.
    """
    bias, kernel = grid.on_grid(xp, *_layer_sum(xp, "", tree, largest)[1:])
    return {"kernel": xp.swapaxes(kernel, 2, 3), "bias": bias}


def stage_on_grid(xp, step: Step, tree: dict) -> dict:
    """Rounds the weights of a stage to the grid on which its sums are exact.

    Args:
      xp: numpy or jax.numpy, as in `grid.on_grid`.
      step, tree: the stage and its weights.
    """
    hidden, out = _stage_sums(xp, step, tree)
    bias, features, *near = grid.on_grid(xp, *hidden[1:])
    out_bias, out_kernel, *linear = grid.on_grid(xp, *out[1:])
    rounded = {"features": features, "bias": bias, "out": out_kernel, "out_bias": out_bias}
    rounded["near"] = xp.concatenate(near, axis=2)
    if step.is_linear:
        rounded["linear"] = linear[0][..., : step.channels]
    return rounded


def _layers(config: ModelConfig) -> Iterator[tuple[str, int]]:
    """Yields the layers of the hyper synthesis, with the largest magnitude of their inputs."""
    for number, layer in enumerate(transposed_layers(config.hyper_synthesis_layers)):
        yield layer.name, RECTIFIED if number else SIGNED


def _with_networks(config: ModelConfig) -> list[Step]:
    return [step for step in steps(config.latent_channels) if step.known]


def on_grid(params: dict, config: ModelConfig) -> dict:
    """Rounds the weights of hyper synthesis and stages to the grid on which all sums are exact."""
    layers, stages = params["hyper_synthesis"], params["context"]
    return {
        **params,
        "hyper_synthesis": {name: layer_on_grid(np, layers[name], largest) for name, largest in _layers(config)},
        "context": {step.name: stage_on_grid(np, step, stages[step.name]) for step in _with_networks(config)},
    }


def check(params: dict, config: ModelConfig) -> None:
    """Raises LicError unless all sums are exact."""
    layers, stages = params["hyper_synthesis"], params["context"]
    sums = [_layer_sum(np, f"hyper_synthesis/{name}", layers[name], largest) for name, largest in _layers(config)]
    for step in _with_networks(config):
        sums += _stage_sums(np, step, stages[step.name])
    for name, bias, kernels, largest in sums:
        grid.check(name, bias, kernels, largest)


def shapes(config: ModelConfig, width: int) -> dict[str, tuple[int, ...]]:
    """Returns the shapes of the stages' weights, by names joined with slashes."""
    found: dict[str, tuple[int, ...]] = {}
    features = transposed_layers(config.hyper_synthesis_layers)[-2].features
    for step in _with_networks(config):
        own = {"features": (features, width), "bias": (width,)}
        own |= {"out": (width, step.outputs), "out_bias": (step.outputs,)}
        own["near"] = (WINDOW, WINDOW, step.known_low + step.known, width)
        if step.is_linear:
            own["linear"] = (WINDOW, WINDOW, step.known_low, step.channels)
        found |= {f"context/{step.name}/{name}": shape for name, shape in own.items()}
    return found


def hyper_synthesis(params: dict, config: ModelConfig):
    """Prepares the hyper synthesis in NumPy: ẑ → features [1, h, w, F], and (μ, s) without context."""
    trees = [(params[layer.name], layer.stride) for layer in transposed_layers(config.hyper_synthesis_layers)]
    layers = [(transposed_convolution_products(np, tree["kernel"], stride), tree["bias"]) for tree, stride in trees]

    *hidden_layers, (last, last_bias) = layers

    def run(hyper_latent: Float[np.ndarray, "1 hyper_h hyper_w hyper"]) -> tuple[np.ndarray, np.ndarray]:
        features = grid.signed(np, hyper_latent)
        for products, bias in hidden_layers:
            features = grid.rectified(np, products(features) + bias)
        return features, grid.fine(np, last(features) + last_bias)

    return run


def predict(
    step: Step,
    params: dict | None,
    channels: int,
    features: Float[np.ndarray, "1 h w features"],
    without_context: Float[np.ndarray, "1 h w out"],
    latent: np.ndarray | None,
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Computes a stage's network at the positions that it codes.

    Args:
      step, params: the stage and its weights; the first stage has none.
      channels: C.
      features, without_context: of the hyper synthesis.
      latent: ŷ of the earlier stages [1, h, w, C], zero elsewhere.

    Returns:
      The rows and the columns of the n positions, and μ [n, means of the stage] and s [n, channels of the stage] there.
    """
    _, height, width, _ = features.shape
    rows, columns = np.nonzero(positions(step.passes, step.number, height, width))
    own = slice(step.first, step.last)
    parts = np.split(without_context, [without_context.shape[-1] - channels], axis=-1)
    mean, scale = (part[0, ..., own][rows, columns] for part in parts)
    if params is None or latent is None:
        return rows, columns, mean, scale
    signed = _windows(grid.signed(np, latent[0, ..., : step.known_low]), rows, columns)
    magnitudes = _windows(grid.rectified(np, np.abs(latent[0, ..., : step.known])), rows, columns)
    near = np.split(params["near"], [step.known_low], axis=2)
    hidden = features[0, rows, columns] @ params["features"] + params["bias"]
    hidden = grid.rectified(np, hidden + _product(signed, near[0]) + _product(magnitudes, near[1]))
    more_mean, more_scale = np.split(hidden @ params["out"] + params["out_bias"], [step.means], axis=-1)
    if step.is_linear:
        more_mean = more_mean + _product(signed, params["linear"])
    return rows, columns, mean + grid.fine(np, more_mean), scale + grid.fine(np, more_scale)


def _windows(
    field: Float[np.ndarray, "h w channels"], rows: np.ndarray, columns: np.ndarray
) -> Float[np.ndarray, "n window"]:
    """Gathers the window around each position, zero beyond the field."""
    padded = np.pad(field, ((1, 1), (1, 1), (0, 0)))
    taps = [padded[rows + row, columns + column] for row in range(WINDOW) for column in range(WINDOW)]
    return np.concatenate(taps, axis=-1)


def _product(windows: Float[np.ndarray, "n window"], kernel: np.ndarray) -> Float[np.ndarray, "n out"]:
    return windows @ kernel.reshape(-1, kernel.shape[-1])
