"""The README's picture, from the measurements in results/: Kodak, our codec beside JPEG, WebP and AVIF.

lic evaluate KODAK --csv results/kodak.csv
lic evaluate KODAK --model small --csv results/kodak_small.csv
python -m experiments.tools.plot_kodak --kodak KODAK     # measures the others first
python -m experiments.tools.plot_kodak                   # draws from the CSVs alone
"""

import dataclasses
import itertools
from pathlib import Path

from experiments.lab.command_line import run
from experiments.lab.curves import CodecPoint, draw_curves, print_bd_rates, reference_curves
from experiments.lab.provenance import write_table
from lic_jax.evaluation.measurement import MEAN, MeasuredRow
from lic_jax.evaluation.rate_distortion import is_monotone
from lic_jax.io.images import image_paths, read_image
from lic_jax.io.tables import read_csv

MODELS = {"lic_jax": "kodak.csv", "small": "kodak_small.csv"}
"""The tables of the shipped models; the first one's is the curve."""


@dataclasses.dataclass(frozen=True)
class Settings:
    """Where the measurements lie.

    Attributes:
      kodak: the photographs; given, JPEG, WebP and AVIF are measured anew.
      results: the folder of the CSVs and of the picture.
    """

    kodak: Path | None = None
    results: Path = Path("results")


def our_points(path: Path, codec: str) -> list[CodecPoint]:
    """A model's mean over the photographs at each rate, from the table that `lic evaluate` wrote."""
    return [
        CodecPoint(codec, "fitted" if row.rate == round(row.rate) else "interpolated", *row[1:5])
        for row in read_csv(path, MeasuredRow)
        if row.image == MEAN
    ]


def main(settings: Settings) -> None:
    reference = settings.results / "kodak_reference.csv"
    if settings.kodak is not None:
        photographs = {path.name: read_image(path) for path in image_paths(settings.kodak)}
        write_table(reference, reference_curves(photographs), settings)
    models = {codec: our_points(settings.results / table, codec) for codec, table in MODELS.items()}
    points = [*read_csv(reference, CodecPoint), *itertools.chain.from_iterable(models.values())]
    draw_curves(points, settings.results / "kodak.png", "Kodak: one model, every rate")
    for codec, ours in models.items():
        rates, quality = [point.bpp for point in ours], [point.psnr_db for point in ours]
        monotone = "strictly monotone" if is_monotone(rates, quality) else "NOT monotone"
        print(f"{codec}: {len(ours)} points from {min(rates):.3f} to {max(rates):.3f} bpp, {monotone}")
        print_bd_rates(points, codec)


if __name__ == "__main__":
    run(main, Settings, __doc__)
