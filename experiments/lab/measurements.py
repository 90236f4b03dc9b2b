"""Trained models and JPEG on photographs that were held out: real streams, measured once and kept."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
from tqdm import tqdm

from experiments.lab.kept import Origin, files_digest, find_or_make, kept_path
from experiments.lab.photographs import spread
from experiments.lab.trainings import EqualTraining, model_name, synthesis_flops, trained_model
from lic_jax.codec.codec import Codec
from lic_jax.config import ModelConfig
from lic_jax.errors import LicError
from lic_jax.evaluation.classical import CLASSICAL, decode
from lic_jax.evaluation.complexity import complexity
from lic_jax.evaluation.metrics import blockiness, mean_squared_error, ms_ssim, psnr
from lic_jax.io.images import RGB, image_paths, read_image
from lic_jax.io.tables import read_csv, write_csv
from lic_jax.training import data
from lic_jax.zoo.bundle import load_bundle


class MeasuredPoint(NamedTuple):
    """A model at one fitted rate: means over the photographs. `bpp` counts the bytes of real streams.

    `objective` is bpp + λ·MSE; FLOPs are per pixel, multiply and add counted apart; decoding is the synthesis and the
    hyper synthesis, the latter after its hidden channels that never fire were left out.
    """

    model: str
    rd_lambda: float
    bpp: float
    psnr_db: float
    ms_ssim: float
    blockiness: float
    objective: float
    synthesis_flops: float
    decoding_flops: float


class ReferencePoint(NamedTuple):
    """A classical codec at one quality: means over the same photographs, real files."""

    codec: str
    quality: int
    bpp: float
    psnr_db: float
    ms_ssim: float
    blockiness: float


def held_out_paths(training: EqualTraining, images: Path) -> list[Path]:
    """The photographs to measure on, spread evenly over those that trainings leave out.

    Raises:
      LicError: no such folder, or no photograph is held out.
    """
    _, paths = data.split_held_out(image_paths(images), training.held_out)
    if not paths:
        raise LicError(f"no photograph of {images} is held out; raise --held-out or give a folder of more")
    return spread(paths, training.measured)


def held_out_photographs(training: EqualTraining, images: Path) -> dict[str, RGB]:
    """The same photographs, read, by name."""
    return {path.name: read_image(path) for path in held_out_paths(training, images)}


def measured_points(training: EqualTraining, config: ModelConfig, images: Path) -> list[MeasuredPoint]:
    """A model at its fitted rates; it is trained and measured if it was not before."""
    model = trained_model(training, config, images)
    origin = Origin(files_digest([model]), training.measured, files_digest(held_out_paths(training, images)))
    return find_or_make(
        kept_path(model.parent, "measured", origin, ".csv"),
        lambda: _measure(Codec(load_bundle(model)), model_name(config), held_out_photographs(training, images)),
        write_csv,
        lambda path: read_csv(path, MeasuredPoint),
    )


def _measure(codec: Codec, name: str, photographs: dict) -> list[MeasuredPoint]:
    costs = complexity(codec.bundle.config)
    flops = costs["synthesis"].flops, (costs["synthesis"] + costs["hyper_synthesis"]).flops
    measured = []
    for image in tqdm(photographs.values(), desc=f"measure {name}", unit="image"):
        analysed = codec.analyse(image)
        streams = [codec.code(analysed, rate) for rate in range(len(codec.bundle.lambdas))]
        measured.append([_quality(stream, codec.decompress(stream), image) for stream in streams])
    points = []
    for rd_lambda, (*quality, mse) in zip(codec.bundle.lambdas, np.mean(measured, axis=0).tolist(), strict=True):
        points.append(MeasuredPoint(name, rd_lambda, *quality, quality[0] + rd_lambda * mse, *flops))
    return points


def _quality(stream: bytes, decoded: np.ndarray, image: np.ndarray) -> tuple[float, ...]:
    """(bpp, PSNR, MS-SSIM, blockiness, mean squared error) of one stream."""
    bpp = 8 * len(stream) / (image.shape[0] * image.shape[1])
    return bpp, psnr(decoded, image), ms_ssim(decoded, image), blockiness(decoded), mean_squared_error(decoded, image)


def jpeg_points(training: EqualTraining, images: Path) -> list[ReferencePoint]:
    """JPEG 4:4:4 on the same photographs."""
    photographs = held_out_photographs(training, images)
    points = []
    for quality in CLASSICAL["jpeg"].qualities:
        streams = {name: CLASSICAL["jpeg"].encode(image, quality) for name, image in photographs.items()}
        rows = [_quality(stream, decode(stream), photographs[name]) for name, stream in streams.items()]
        points.append(ReferencePoint("jpeg", quality, *np.mean(rows, axis=0).tolist()[:4]))
    return points


def measured_models(
    training: EqualTraining, configs: list[ModelConfig], images: Path
) -> dict[str, list[MeasuredPoint]]:
    """Each model's curve by its name, trained one after the other."""
    curves = {}
    for index, config in enumerate(configs, 1):
        name = model_name(config)
        print(f"[{index}/{len(configs)}] {name}: {synthesis_flops(config):,.0f} FLOPs per pixel", flush=True)
        curves[name] = measured_points(training, config, images)
    return curves
