"""What does the exact hyper synthesis cost in rate, against the floating-point one that it was made from?

    python benchmarks/integer_rate.py runs/anchor/anchor.safetensors KODAK

Estimated rates of whole photographs at every fitted rate of the shipped model: with the anchor's own hyper synthesis
and real-valued scale indexes, and with the shipped integers. Everything else is the same.
"""

from pathlib import Path
from typing import Annotated

import numpy as np
import tyro
from estimated_rate import fitted_quantizers
from tqdm import tqdm

from lic_jax import zoo
from lic_jax.config import ModelConfig
from lic_jax.images import image_paths, read_image
from lic_jax.model import HyperpriorModel
from lic_jax.one_shot import pad_to_multiple
from lic_jax.training.curve import evaluate_quantizers
from lic_jax.zoo.bundle import in_stored_precision, load_bundle
from lic_jax.zoo.weights import load_weights


def main(
    anchor: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="ANCHOR")],
    folder: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="DIR")],
) -> None:
    """Compare the rates of a float and an integer hyper synthesis on a folder of images."""
    bundle = load_bundle(zoo.path_of())
    tree, metadata = load_weights(anchor)
    codecs = (
        (HyperpriorModel(ModelConfig.from_json(metadata["config"])), in_stored_precision(tree)),
        (HyperpriorModel(bundle.config), bundle.params),
    )
    quantizers = fitted_quantizers(bundle)
    rates = []
    for path in tqdm(image_paths(folder), unit="image"):
        image = pad_to_multiple(read_image(path))[None]
        rates.append([evaluate_quantizers(*codec, quantizers, image, bundle.lambdas, 1)[0] for codec in codecs])
    print(f"{len(rates)} images\nrate    float bpp  integer bpp   difference")
    for rate, (of_float, of_integers) in enumerate(np.mean(rates, axis=0).T):
        print(f"{rate:4} {of_float:12.4f} {of_integers:12.4f} {100 * (of_integers / of_float - 1):+11.3f}%")


if __name__ == "__main__":
    tyro.cli(main)
