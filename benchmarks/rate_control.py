"""How closely do streams hit the size or the quality asked for, and what does the search cost?

    python benchmarks/rate_control.py PHOTOGRAPHS

For every photograph of a folder: four sizes in bits per pixel, the same as limits in bytes, and four qualities in dB;
of real files and of what their receivers see. Wishes beyond a photograph's reach are left out. Times are of the
whole `compress`, warm, against one at the middle rate.
"""

import time
import warnings
from pathlib import Path
from statistics import mean
from typing import Annotated, NamedTuple

import tyro

import lic_jax as lic
from lic_jax.errors import LicWarning
from lic_jax.evaluation.metrics import psnr
from lic_jax.io.images import image_paths, read_image

BPP = (0.25, 0.5, 1.0, 1.5)
PSNR_DB = (28.0, 30.0, 32.0, 34.0)


class Hit(NamedTuple):
    """By how much a wish was missed (in its unit, % for sizes), and what the stream took."""

    miss: float
    passes: int
    seconds: float


def main(folder: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="DIR")]) -> None:
    """Compress photographs to sizes and qualities."""
    codec = lic.load()
    passes = counted_passes(codec)
    hits: dict[str, list[Hit]] = {}
    at_a_rate = []
    paths = image_paths(folder)
    for path in paths:
        image = read_image(path)
        largest = codec.compress(image, codec.bundle.highest_rate)
        codec.decompress(largest)
        at_a_rate.append(timed(codec, image)[1])
        bytes_of = {bpp: bpp * image.shape[0] * image.shape[1] / 8 for bpp in BPP}
        wishes = [(f"{bpp} bpp", {"bpp": bpp}, len, size) for bpp, size in bytes_of.items()]
        wishes += [(f"max. {bpp} bpp", {"max_bytes": int(size)}, len, size) for bpp, size in bytes_of.items()]
        decoded_psnr = lambda data, image=image: psnr(codec.decompress(data), image)
        wishes += [(f"{quality} dB", {"psnr": quality}, decoded_psnr, quality) for quality in PSNR_DB]
        for name, wish, measure, wanted in wishes:
            passes.clear()
            data, seconds = timed(codec, image, **wish)
            of_name = hits.setdefault(name, [])
            if data not in (None, largest):
                miss = measure(data) - wanted
                of_name.append(Hit(miss if "psnr" in wish else 100 * miss / wanted, len(passes), seconds))

    print(f"{len(paths)} photographs, {1e3 * mean(at_a_rate):.0f} ms to compress one at a rate; mean (and most)")
    print(f"{'asked for':14} {'in reach':>8} {'missed by':>20} {'passes':>9} {'ms':>6}")
    for name, of_name in hits.items():
        misses, counts, seconds = zip(*of_name, strict=True)
        missed = f"{mean(map(abs, misses)):.3f} ({max(misses, key=abs):+.3f}) {'dB' if 'dB' in name else '% '}"
        print(f"{name:14} {len(of_name):8} {missed:>20} {mean(counts):5.1f} ({max(counts)}) {1e3 * mean(seconds):6.0f}")


def counted_passes(codec: lic.Codec) -> list:
    """A list that grows whenever the codec quantizes and codes."""
    passes, code = [], codec.encoder.code

    def counted(*arguments):
        passes.append(arguments)
        return code(*arguments)

    codec.encoder.code = counted
    return passes


def timed(codec: lic.Codec, image, **wish) -> tuple[bytes | None, float]:
    """The stream, or none where the wish is beyond reach, and the seconds it took."""
    start = time.perf_counter()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", LicWarning)
            data = codec.compress(image, **wish)
    except (LicWarning, lic.LicError):
        data = None
    return data, time.perf_counter() - start


if __name__ == "__main__":
    tyro.cli(main)
