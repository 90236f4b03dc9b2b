"""Turns an anchor into the model that a codec loads: integers for the receiver, fitted quantizers, one file."""

from collections.abc import Sequence
from pathlib import Path

import jax
import numpy as np
from jaxtyping import UInt8

from lic_jax.config import ModelConfig
from lic_jax.distortion.base import psnr
from lic_jax.entropy.priors.base import prior_of
from lic_jax.errors import LicError
from lic_jax.model import CodecModel
from lic_jax.quantization import staircase
from lic_jax.quantization.base import IntegerQuantizer
from lic_jax.quantization.fixed_point import FixedPointQuantizer
from lic_jax.quantization.fixed_rows import to_fixed_rows
from lic_jax.quantization.rows import offsets
from lic_jax.training import data
from lic_jax.training.curve import evaluate_quantizers
from lic_jax.training.refit import encode, fit_quantizers, start_quantizers
from lic_jax.training.refit_objective import Quantizers
from lic_jax.training.settings import RefitSettings
from lic_jax.zoo import shipped
from lic_jax.zoo.bundle import in_stored_precision, save_bundle
from lic_jax.zoo.weights import load_weights

_offsets_of_stack = jax.jit(jax.vmap(offsets))


def in_fixed_point(quantizers: Quantizers) -> tuple[tuple[IntegerQuantizer, ...], tuple[FixedPointQuantizer, ...]]:
    """Converts a stack of K fitted pairs to a codec's integers: (the latent's quantizers, the hyper latent's)."""
    latent, hyper_latent = (
        staircase.in_fixed_point(stack, quantizers.bin_edges) for stack in (quantizers.latent, quantizers.hyper_latent)
    )
    if quantizers.widening is None:
        return latent, hyper_latent
    row_offsets = _offsets_of_stack(quantizers.latent, quantizers.widening)
    return tuple(map(to_fixed_rows, latent, *map(np.asarray, row_offsets))), hyper_latent


def in_integers(
    config: ModelConfig, params: dict, crops: UInt8[np.ndarray, "count height width 3"], batch_size: int = 8
) -> tuple[ModelConfig, dict]:
    """Converts an anchor to that of an exact receiver, calibrated on crops: (configuration, parameters)."""
    model = CodecModel(config)
    batches = np.array_split(crops, -(-len(crops) // batch_size))
    hyper_latents = np.concatenate([np.rint(np.asarray(encode(model, params, batch)[2])) for batch in batches])
    return model.prior.to_exact(params, hyper_latents)


def refit_anchor(
    settings: RefitSettings, anchor: str | Path, images: Path, out: Path, held_out_fraction: float = 0.05
) -> str:
    """Fits quantizers to an anchor's weights on a folder of photographs and writes the codec's model.

    Args:
      anchor: weights written by a training, which are first rounded to stored precision; or a codec's model, whose own
        quantizers are ignored.
      images: the folder that the anchor was trained on, or another.
      out: the file to write.
      held_out_fraction: the fraction of photographs to report on; the training held out the same ones.

    Returns:
      A table of estimated rate and PSNR on the photographs held out, and of the gain over uniform quantizers.

    Raises:
      LicError: the anchor or the folder cannot be used.
    """
    if len(set(settings.lambdas)) < len(settings.lambdas):
        raise LicError(f"lambdas {settings.lambdas} repeat; give each λ once")
    tree, _ = load_weights(shipped.path_of(anchor))
    config, anchor_lambda = shipped.config_of(anchor), shipped.rd_lambda_of(anchor)
    params = in_stored_precision(tree.get("params", tree))
    photographs, held_out = data.load_folder(images, held_out_fraction, settings.crop_size)
    if not prior_of(config).is_exact:
        config, params = in_integers(
            config, params, data.fixed_crops(photographs, settings.crop_size, 512, settings.seed)
        )
    model = CodecModel(config)
    batches = data.crop_batches(photographs, settings.crop_size, settings.batch_size, settings.seed)
    quantizers = fit_quantizers(model, params, batches, settings, anchor_lambda, settings.seed)
    save_bundle(out, config, params, anchor_lambda, settings.lambdas, *in_fixed_point(quantizers), settings.distortion)

    crops = data.fixed_crops(held_out, settings.crop_size, max(32, len(held_out)), settings.seed)
    measured = [
        evaluate_quantizers(model, params, candidates, crops, settings.lambdas, settings.batch_size)
        for candidates in (start_quantizers(config, settings, anchor_lambda), quantizers)
    ]
    return f"{len(crops)} crops held out, rates estimated:\n{_comparison(settings.lambdas, *measured)}"


def _comparison(lambdas: Sequence[float], start: tuple, fitted: tuple) -> str:
    """Formats (bpp, mean squared error) of fitted quantizers as a table, with the gain over their uniform start."""
    start_objective, objective = (bpp + np.asarray(lambdas) * mse for bpp, mse in (start, fitted))
    gain = 100 * (objective / start_objective - 1)
    lines = ["rate         λ     bpp  PSNR dB  objective  against uniform"]
    for rate, (rd_lambda, bpp, mse) in enumerate(zip(lambdas, *fitted, strict=True)):
        quality = float(psnr(mse))
        lines.append(
            f"{rate:4}  {rd_lambda:8g}  {bpp:6.3f}  {quality:7.2f}  {objective[rate]:9.4f}  {gain[rate]:+14.1f}%"
        )
    return "\n".join(lines)
