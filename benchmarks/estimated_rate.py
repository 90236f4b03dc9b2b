"""Are the priors' estimated rates the bytes of real files?

    python benchmarks/estimated_rate.py KODAK

For the fitted rates of the shipped model: mean estimated bytes (−log₂ of the priors' masses, real-valued scale indexes)
against mean bytes of the files without their headers.
"""

from pathlib import Path
from typing import Annotated

import jax.numpy as jnp
import numpy as np
import tyro

from lic_jax.codec.codec import load
from lic_jax.codec.encoder import pad_to_multiple
from lic_jax.io import container
from lic_jax.io.images import image_paths, read_image
from lic_jax.model import CodecModel
from lic_jax.quantization import stanh
from lic_jax.quantization.fixed_point import UNIT
from lic_jax.quantization.fixed_rows import FixedPointRows
from lic_jax.quantization.rows import Widening, middle_of
from lic_jax.training.curve import evaluate_quantizers
from lic_jax.training.refit_objective import Quantizers
from lic_jax.zoo.bundle import Bundle


def fitted_quantizers(bundle: Bundle) -> Quantizers:
    """The bundle's fixed-point quantizers as a stack that the estimates can be computed with."""

    def stack(quantizers):
        return stanh.from_values(
            jnp.stack([quantizer.spacings * UNIT for quantizer in quantizers]),
            jnp.stack([quantizer.thresholds * UNIT for quantizer in quantizers]),
        )

    first, hyper_latent = bundle.latent_quantizers[0], stack(bundle.hyper_quantizers)
    if not isinstance(first, FixedPointRows):
        return Quantizers(stack(bundle.latent_quantizers), hyper_latent, bin_edges=first.bin_edges)
    latent = stack([quantizer.narrowest for quantizer in bundle.latent_quantizers])
    dead_zones, reconstructions = (
        jnp.stack([getattr(quantizer, name) * UNIT for quantizer in bundle.latent_quantizers])
        for name in ("dead_zones", "reconstructions")
    )
    half_gap, spacing = middle_of(latent)
    widening = Widening(dead_zones / half_gap[:, None], reconstructions / spacing[:, None], dead_zones.shape[1])
    return Quantizers(latent, hyper_latent, widening, first.narrowest.bin_edges)


def estimated_bytes(bundle: Bundle, image: np.ndarray) -> np.ndarray:
    """What the priors estimate for an image at every fitted rate."""
    padded = pad_to_multiple(image)[None]
    model = CodecModel(bundle.config)
    bpp, _ = evaluate_quantizers(model, bundle.params, fitted_quantizers(bundle), padded, bundle.lambdas, batch_size=1)
    return bpp * padded.shape[1] * padded.shape[2] / 8


def main(folder: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="DIR")]) -> None:
    """Compare estimated and real rates on a folder of images."""
    codec = load()
    estimated, real = [], []
    for path in image_paths(folder):
        image = read_image(path)
        analysed = codec.analyse(image)
        estimated.append(estimated_bytes(codec.bundle, image))
        rates = range(codec.bundle.highest_rate + 1)
        real.append([len(codec.code(analysed, rate)) - container.HEADER_BYTES for rate in rates])
    means = np.mean(estimated, axis=0), np.mean(real, axis=0)
    print(f"{len(real)} images, mean bytes without the header of {container.HEADER_BYTES}")
    print(" rate  estimated       real  difference")
    for rate, (guess, size) in enumerate(zip(*means, strict=True)):
        print(f"{rate:5}  {guess:9.1f}  {size:9.1f}  {100 * (size / guess - 1):+9.3f} %")


if __name__ == "__main__":
    tyro.cli(main)
