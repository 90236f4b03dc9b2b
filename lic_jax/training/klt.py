"""The KLT start: a codec's linear transforms begin as the best block transform of the training photographs.

The model starts as a good classical transform codec, so its first hour goes into learning more than that. The analysis
starts as Vᵀ/Δ and the synthesis as V·Δ. V holds the first principal axes of 16×16×3 patches (the Karhunen–Loève
transform), and Δ is the step of a uniform quantizer that is optimal at high rate for λ.
"""

import math
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, UInt8

from lic_jax.config import LATENT_STRIDE, ModelConfig
from lic_jax.entropy.priors.base import prior_of
from lic_jax.errors import LicError
from lic_jax.transforms.description import PEDESTAL, is_shallow, kernel_sizes
from lic_jax.transforms.phases import first_tap

PATCH = LATENT_STRIDE


def optimal_step(rd_lambda: float) -> float:
    """Returns the quantization step that is optimal at high rate, Δ = sqrt(18/(λ ln 2))/255, in the network's domain.

    At high rate, a uniform quantizer has the rate h − log₂ Δ and the distortion Δ²/12. With 3 latents a pixel, one for
    each colour sample, this Δ minimizes bpp + λ·255²·MSE.
    """
    return math.sqrt(18 / (rd_lambda * math.log(2))) / 255


def principal_axes(
    photographs: Sequence[UInt8[np.ndarray, "_height _width 3"]],
    count: int,
    seed: int,
    patches_per_photograph: int = 100,
) -> tuple[Float[np.ndarray, "768 count"], Float[np.ndarray, " count"]]:
    """Computes the principal axes of random patches, strongest first, and the root mean square along each."""
    rng = np.random.default_rng(seed)
    moment, total = np.zeros((PATCH * PATCH * 3,) * 2), 0
    for photograph in photographs:
        tops = rng.integers(photograph.shape[0] - PATCH + 1, size=patches_per_photograph)
        lefts = rng.integers(photograph.shape[1] - PATCH + 1, size=patches_per_photograph)
        patches = np.stack(
            [photograph[top : top + PATCH, left : left + PATCH] for top, left in zip(tops, lefts, strict=True)]
        )
        patches = patches.reshape(patches_per_photograph, -1) / 255 - 0.5
        moment += patches.T @ patches
        total += patches_per_photograph
    variances, axes = np.linalg.eigh(moment / total)
    strongest = np.argsort(variances)[::-1][:count]
    axes = axes[:, strongest]
    axes *= np.sign(axes[np.argmax(np.abs(axes), axis=0), np.arange(count)])
    return axes, np.sqrt(np.maximum(variances[strongest], 1e-12))


def _centre(kernel_size: int, stride: int) -> slice:
    """Returns the taps of a transposed convolution that land on an input position's own block."""
    first = first_tap(kernel_size, stride)
    return slice(first, first + stride)


def _jpeg_like_kernel(basis: np.ndarray, kernel: np.ndarray) -> np.ndarray:
    start = np.zeros_like(kernel)
    centre = _centre(len(kernel), PATCH)
    start[centre, centre] = basis
    return start


def _two_layer_kernels(basis: np.ndarray, first: np.ndarray, last: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Makes the two kernels: the first layer makes 2×2 pixel blocks as 12 channels, the last puts them in place.

    Hidden channels beyond 12 start with their random first layer, scaled down to the basis, and do not reach the image.
    """
    half, latent = PATCH // 2, basis.shape[-1]
    blocks = basis.reshape(half, 2, half, 2, 3, latent).transpose(0, 2, 1, 3, 4, 5).reshape(half, half, 12, latent)
    first = (first * np.std(basis) / np.std(first)).astype(np.float32)
    first[:, :, :12] = 0
    centre = _centre(len(first), half)
    first[centre, centre, :12] = blocks
    corner = _centre(len(last), 2).start
    last = np.zeros_like(last)
    for row in range(2):
        for column in range(2):
            for colour in range(3):
                last[corner + row, corner + column, colour, (row * 2 + column) * 3 + colour] = 1
    return first, last


def klt_start(params: dict, config: ModelConfig, photographs: list, rd_lambda: float, seed: int) -> dict:
    """Returns `params` with the linear parts set to the KLT start.

    The parts are the analysis' block transform if it has one, a shallow synthesis, and the scale bias of the hyper
    synthesis or the spread of the factorized prior. Deep parts keep their random start.

    Raises:
      LicError: the synthesis has fewer than 12 hidden channels and so cannot hold the block transform.
    """
    axes, spread = principal_axes(photographs, config.latent_channels, seed)
    step = optimal_step(rd_lambda)
    params = _prior_start(params, config, spread / step)
    basis = axes.reshape(PATCH, PATCH, 3, config.latent_channels)
    if "linear" in params["analysis"]:
        params["analysis"]["linear"]["kernel"] = (basis / step).astype(np.float32)
        if "convolution_3" in params["analysis"]:
            last = params["analysis"]["convolution_3"]
            last["kernel"] = np.zeros_like(last["kernel"])
    if is_shallow(config.synthesis_layers):
        _start_synthesis(params["synthesis"], config, basis * step)
    return params


def prior_start(params: dict, config: ModelConfig, photographs: list, rd_lambda: float, seed: int) -> dict:
    """Sets only the prior to the KLT start, for a training whose transforms come from another anchor."""
    _, spread = principal_axes(photographs, config.latent_channels, seed)
    return _prior_start(params, config, spread / optimal_step(rd_lambda))


def _prior_start(params: dict, config: ModelConfig, spread: np.ndarray) -> dict:
    """Returns a copy whose prior expects latents of this spread."""
    return prior_of(config).start_at({part: _copy(tree) for part, tree in params.items()}, spread)


def _start_synthesis(synthesis: dict, config: ModelConfig, basis: np.ndarray) -> None:
    if len(kernel_sizes(config.synthesis_layers)) == 1:
        synthesis["layer_0"]["kernel"] = _jpeg_like_kernel(basis, synthesis["layer_0"]["kernel"])
        return
    if config.synthesis_channels[0] < 12:
        raise LicError(
            f"synthesis_channels {config.synthesis_channels[0]} are too few for the KLT start; use 12 or more"
        )
    first, last = _two_layer_kernels(basis, synthesis["layer_0"]["kernel"], synthesis["layer_1"]["kernel"])
    synthesis["layer_0"]["kernel"], synthesis["layer_1"]["kernel"] = first, last
    if "inverse_gdn" in synthesis:
        root = synthesis["inverse_gdn"]["gamma_root"]
        synthesis["inverse_gdn"]["gamma_root"] = np.full_like(root, PEDESTAL**0.5)
    if "residual" in synthesis:
        synthesis["residual"]["kernel"] = np.zeros_like(synthesis["residual"]["kernel"])


def _copy(tree):
    return {name: _copy(leaf) for name, leaf in tree.items()} if isinstance(tree, dict) else np.array(tree)
