"""Streams of one model after searches of several kinds and lengths: what they reach and how long they take."""

import dataclasses
import time
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from lic_jax.codec.codec import Codec
from lic_jax.evaluation.metrics import mean_squared_error, psnr
from lic_jax.io.images import RGB
from lic_jax.training.deployment import in_fixed_point
from lic_jax.training.refit import start_quantizers
from lic_jax.training.settings import RefitSettings
from lic_jax.zoo.bundle import Bundle

ONE_SHOT = "one shot"

TIMED = 30
"""Searches of at most this many iterations are timed whole."""


class Search(NamedTuple):
    """A method and how many iterations it has."""

    method: str
    iterations: int


class Measurement(NamedTuple):
    """One image after one search at one rate; `objective` is bpp + λ·MSE."""

    rate: float
    bpp: float
    psnr_db: float
    objective: float


def compress(codec: Codec, image: RGB, search: Search, rate: float) -> bytes:
    """The image's stream."""
    if search.method == ONE_SHOT:
        return codec.compress(image, rate)
    return codec.compress(image, rate, iterations=search.iterations, method=search.method)


def measure(codec: Codec, image: RGB, search: Search, rate: float) -> Measurement:
    """Compresses and decompresses an image."""
    data = compress(codec, image, search, rate)
    decoded = codec.decompress(data)
    bpp = 8 * len(data) / (image.shape[0] * image.shape[1])
    rd_lambda = codec.bundle.rd_lambda_at(codec.bundle.rate_units(rate))
    objective = bpp + rd_lambda * mean_squared_error(decoded, image)
    return Measurement(rate, bpp, psnr(decoded, image), objective)


def seconds_of(codec: Codec, image: RGB, method: str, counts: Sequence[int], rate: float) -> dict[Search, float]:
    """Times the whole encoding of an image, warm, for each number of a method's iterations.

    Iterations take equally long, so the time of more than `TIMED` of them is extrapolated from `TIMED` and twice as
    many: nobody waits for thousands, and all times are measured in one go.
    """

    def timed(iterations: int) -> float:
        times = []
        for _ in range(3):
            start = time.perf_counter()
            compress(codec, image, Search(method, iterations), rate)
            times.append(time.perf_counter() - start)
        return float(np.median(times))

    compress(codec, image, Search(method, min((*counts, 1))), rate)
    seconds = {count: timed(count) for count in counts if count <= TIMED}
    longer = [count for count in counts if count > TIMED]
    if longer:
        few, more = timed(TIMED), timed(2 * TIMED)
        seconds |= {count: few + (count - TIMED) * (more - few) / TIMED for count in longer}
    return {Search(method, count): seconds[count] for count in counts}


def with_uniform_quantizers(bundle: Bundle) -> Bundle:
    """A model with uniform quantizers, each with the step that is best at high rate for its λ."""
    settings = RefitSettings(lambdas=bundle.lambdas, row_knots=0)
    latent, hyper_latent = in_fixed_point(start_quantizers(bundle.config, settings, bundle.rd_lambda))
    return dataclasses.replace(bundle, latent_quantizers=latent, hyper_quantizers=hyper_latent, fingerprint=b"unif")
