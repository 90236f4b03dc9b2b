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


def _sums(params: dict, config: ModelConfig) -> Iterator[Sum]:
    """Yields all sums of the networks, in the order in which `_from_sums` takes them."""
    largest = SIGNED
    for layer in transposed_layers(config.hyper_synthesis_layers):
        tree = params["hyper_synthesis"][layer.name]
        yield Sum(f"hyper_synthesis/{layer.name}", tree["bias"], [np.swapaxes(tree["kernel"], 2, 3)], [largest])
        largest = RECTIFIED
    for step in _with_networks(config):
        tree, name = params["context"][step.name], f"context/{step.name}"
        kernels = [tree["features"], *np.split(tree["near"], [step.known_low], axis=2)]
        yield Sum(name, tree["bias"], kernels, [RECTIFIED, SIGNED, RECTIFIED])
        kernels, most = [tree["out"]], [RECTIFIED]
        if step.is_linear:
            kernels.append(np.concatenate([tree["linear"], np.zeros_like(tree["linear"])], axis=-1))
            most.append(SIGNED)
        yield Sum(name, tree["out_bias"], kernels, most)


def _with_networks(config: ModelConfig) -> list[Step]:
    return [step for step in steps(config.latent_channels) if step.known]


def on_grid(params: dict, config: ModelConfig) -> dict:
    """Rounds the weights of hyper synthesis and stages to the grid on which all sums are exact."""
    rounded = (grid.on_grid(bias, kernels, largest) for _, bias, kernels, largest in _sums(params, config))
    hyper_synthesis, context = {}, {}
    for layer in transposed_layers(config.hyper_synthesis_layers):
        bias, kernel = next(rounded)
        hyper_synthesis[layer.name] = {"kernel": np.swapaxes(kernel, 2, 3), "bias": bias}
    for step in _with_networks(config):
        bias, features, *near = next(rounded)
        out_bias, out, *linear = next(rounded)
        tree = {"features": features, "bias": bias, "out": out, "out_bias": out_bias}
        tree["near"] = np.concatenate(near, axis=2)
        if step.is_linear:
            tree["linear"] = linear[0][..., : step.channels]
        context[step.name] = tree
    return {**params, "hyper_synthesis": hyper_synthesis, "context": context}


def check(params: dict, config: ModelConfig) -> None:
    """Raises LicError unless all sums are exact."""
    for name, bias, kernels, largest in _sums(params, config):
        grid.check(name, bias, kernels, largest)


def shapes(config: ModelConfig, width: int) -> dict[str, tuple[int, ...]]:
    """Returns the shapes of the stages' weights, by names joined with slashes."""
    found: dict[str, tuple[int, ...]] = {}
    features = transposed_layers(config.hyper_synthesis_layers)[-2].features
    for step in _with_networks(config):
        own = {"features": (features, width), "bias": (width,)}
        own |= {"out": (width, 2 * step.channels), "out_bias": (2 * step.channels,)}
        own["near"] = (WINDOW, WINDOW, step.known_low + step.known, width)
        if step.is_linear:
            own["linear"] = (WINDOW, WINDOW, step.known_low, step.channels)
        found |= {f"context/{step.name}/{name}": shape for name, shape in own.items()}
    return found


def hyper_synthesis(params: dict, config: ModelConfig):
    """Prepares the hyper synthesis in NumPy: ẑ → features [1, h, w, F], and (μ, s) without context [1, h, w, 2C]."""
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
    features: Float[np.ndarray, "1 h w features"],
    without_context: Float[np.ndarray, "1 h w out"],
    latent: np.ndarray | None,
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Computes a stage's network at the positions that it codes.

    Args:
      step, params: the stage and its weights; the first stage has none.
      features, without_context: of the hyper synthesis.
      latent: ŷ of the earlier stages [1, h, w, C], zero elsewhere.

    Returns:
      The rows and the columns of the n positions, and μ and s there, [n, channels of the stage] each.
    """
    _, height, width, _ = features.shape
    rows, columns = np.nonzero(positions(step.passes, step.number, height, width))
    own = slice(step.first, step.last)
    mean, scale = (part[0, ..., own][rows, columns] for part in np.split(without_context, 2, axis=-1))
    if params is None or latent is None:
        return rows, columns, mean, scale
    signed = _windows(grid.signed(np, latent[0, ..., : step.known_low]), rows, columns)
    magnitudes = _windows(grid.rectified(np, np.abs(latent[0, ..., : step.known])), rows, columns)
    near = np.split(params["near"], [step.known_low], axis=2)
    hidden = features[0, rows, columns] @ params["features"] + params["bias"]
    hidden = grid.rectified(np, hidden + _product(signed, near[0]) + _product(magnitudes, near[1]))
    more_mean, more_scale = np.split(hidden @ params["out"] + params["out_bias"], 2, axis=-1)
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
