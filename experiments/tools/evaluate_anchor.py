"""What does an anchor promise on whole photographs, before quantizers are fitted to it?

    python -m experiments.tools.evaluate_anchor runs/anchor/anchor.safetensors PHOTOGRAPHS --csv first.csv

Estimated rates and PSNR of the photographs that trainings hold out, with uniform quantizers, of the steps best at
high rate, one for each λ. A training's own validation is on crops, whose latents are nearly all beside a border: a
prior that looks further shows its gain on whole photographs alone. `image_by_image` compares two of these tables.
"""

import dataclasses
from pathlib import Path
from typing import NamedTuple

import numpy as np
import tyro
from tqdm import tqdm

from experiments.lab.command_line import run
from experiments.lab.curves import estimated_points
from experiments.lab.provenance import write_table
from lic_jax.codec.encoder import pad_to_multiple
from lic_jax.config import ModelConfig
from lic_jax.errors import LicError
from lic_jax.evaluation.measurement import MEAN
from lic_jax.io.images import image_paths, read_image
from lic_jax.training.data import split_held_out
from lic_jax.training.refit import start_quantizers
from lic_jax.training.settings import RefitSettings
from lic_jax.zoo.weights import load_weights


@dataclasses.dataclass(frozen=True)
class Settings:
    """The settings of this question.

    Attributes:
      anchor: weights written by `lic train`.
      images: the folder it was trained on.
      csv: the table to write.
      lambdas: a uniform quantizer for each.
      held_out: the fraction of the photographs that trainings hold out.
    """

    anchor: tyro.conf.Positional[Path]
    images: tyro.conf.Positional[Path]
    csv: Path
    lambdas: tuple[float, ...] = (0.00125, 0.005, 0.02, 0.08)
    held_out: float = 0.05


class EstimatedRow(NamedTuple):
    """A photograph at one λ, or the mean over all; `bpp` is estimated, the hyper latent's included."""

    image: str
    rate: int
    bpp: float
    psnr_db: float


def main(settings: Settings) -> None:
    params, metadata = load_weights(settings.anchor)
    if not {"config", "rd_lambda"} <= metadata.keys():
        raise LicError(
            f"{settings.anchor} does not say which λ it was trained for; give weights written by `lic train`"
        )
    config = ModelConfig.from_json(metadata["config"])
    quantizers = start_quantizers(config, RefitSettings(lambdas=settings.lambdas), float(metadata["rd_lambda"]))
    _, paths = split_held_out(image_paths(settings.images), settings.held_out)
    points = {}
    for path in tqdm(paths, unit="image"):
        image = pad_to_multiple(read_image(path))
        points[path.name] = estimated_points(config, params, quantizers, image, settings.lambdas)
    points[MEAN] = np.mean(list(points.values()), axis=0).tolist()
    rows = [EstimatedRow(image, rate, *point) for image, curve in points.items() for rate, point in enumerate(curve)]
    write_table(settings.csv, rows, settings)
    for rd_lambda, (bpp, psnr_db) in zip(settings.lambdas, points[MEAN], strict=True):
        print(f"λ {rd_lambda:7g}: {bpp:.3f} bpp, {psnr_db:.2f} dB")
    print(f"{settings.csv} written: {len(paths)} photographs")


if __name__ == "__main__":
    run(main, Settings, __doc__)
