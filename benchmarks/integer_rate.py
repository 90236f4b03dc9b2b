"""What does the exact hyper synthesis cost in rate, against the floating-point one that it was made from?

    python benchmarks/integer_rate.py runs/anchor/anchor.safetensors KODAK --csv results/integer_rate.csv

Estimated rates of whole photographs at every fitted rate of the shipped model: with the anchor's own hyper synthesis
and real-valued scale indexes, and with the shipped integers. Everything else is the same.
"""

from pathlib import Path
from typing import Annotated, NamedTuple

import numpy as np
import tyro
from estimated_rate import fitted_quantizers
from tqdm import tqdm

from lic_jax.codec.encoder import pad_to_multiple
from lic_jax.config import ModelConfig
from lic_jax.io.images import image_paths, read_image
from lic_jax.io.tables import write_csv
from lic_jax.model import CodecModel
from lic_jax.training.curve import evaluate_quantizers
from lic_jax.zoo import shipped
from lic_jax.zoo.bundle import in_stored_precision, load_bundle
from lic_jax.zoo.weights import load_weights


class Row(NamedTuple):
    """A rate: means over the images."""

    rate: int
    float_bpp: float
    integer_bpp: float
    difference_percent: float


def main(
    anchor: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="ANCHOR")],
    folder: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="DIR")],
    csv: Path | None = None,
) -> None:
    """Compare the rates of a float and an integer hyper synthesis on a folder of images."""
    bundle = load_bundle(shipped.path_of())
    tree, metadata = load_weights(anchor)
    codecs = (
        (CodecModel(ModelConfig.from_json(metadata["config"])), in_stored_precision(tree)),
        (CodecModel(bundle.config), bundle.params),
    )
    quantizers = fitted_quantizers(bundle)
    rates = []
    for path in tqdm(image_paths(folder), unit="image"):
        image = pad_to_multiple(read_image(path))[None]
        rates.append([evaluate_quantizers(*codec, quantizers, image, bundle.lambdas, 1)[0] for codec in codecs])
    means = enumerate(np.mean(rates, axis=0).T)
    rows = [
        Row(rate, of_float, of_integers, 100 * (of_integers / of_float - 1)) for rate, (of_float, of_integers) in means
    ]
    print(f"{len(rates)} images\nrate    float bpp  integer bpp   difference")
    for row in rows:
        print(f"{row.rate:4} {row.float_bpp:12.4f} {row.integer_bpp:12.4f} {row.difference_percent:+11.3f}%")
    if csv is not None:
        write_csv(csv, rows)


if __name__ == "__main__":
    tyro.cli(main)
