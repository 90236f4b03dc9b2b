"""What do the two entropy coders cost? Sizes of whole streams, and the time that coding their symbols takes.

    python benchmarks/coders.py [FOLDER]     # by default one image, scikit-image's astronaut tiled to 768×512

The shipped model's streams, of the same symbols. Sizes are summed over the folder's images; times are of the first one,
both segments, medians of one warm process. Needs the extra tfc.
"""

import sys
from pathlib import Path
from typing import NamedTuple

import numpy as np
from decode import sample
from timing import median_seconds

from lic_jax.codec.codec import load
from lic_jax.codec.decoder import Decoder
from lic_jax.codec.symbols import channel_index
from lic_jax.entropy.coders import coding as coder
from lic_jax.io.images import SUFFIXES, read_image


class Segment(NamedTuple):
    """What a coder codes: symbols, the indexes of their tables, and these."""

    symbols: np.ndarray
    table_index: np.ndarray
    tables: np.ndarray


def main() -> None:
    images = photographs(Path(sys.argv[1])) if len(sys.argv) > 1 else [sample()]
    codec = load()
    decoder = Decoder(codec.bundle)
    analysed = [codec.analyse(image) for image in images]
    height, width, _ = images[0].shape
    print(f"{len(images)} images, bytes; times in ms of the first, {width}×{height}")
    print(f"{'':4} {'bytes':^39} {'ms to encode':^25} {'ms to decode':^25}")
    names = "".join(f"{name:>13}" for name in coder.NAMES)
    print(f"rate{names} {'difference':>12}{names}{names}")
    for rate in range(codec.bundle.highest_rate + 1):
        streams = [codec.code(of_image, rate) for of_image in analysed]
        sizes = [sum(len(decoder.transcode(stream, name)) for stream in streams) for name in coder.NAMES]
        seconds = coding_seconds(segments(decoder, streams[0]))
        times = "".join(f"{1e3 * seconds[name, way]:13.1f}" for way in ("encode", "decode") for name in coder.NAMES)
        print(f"{rate:4}{sizes[0]:13,}{sizes[1]:13,} {100 * (sizes[1] / sizes[0] - 1):+11.3f}%{times}", flush=True)


def photographs(folder: Path) -> list[np.ndarray]:
    return [read_image(path) for path in sorted(folder.iterdir()) if path.suffix.lower() in SUFFIXES]


def segments(decoder: Decoder, data: bytes) -> tuple[Segment, Segment]:
    """The hyper latent's and the latent's."""
    rate_units = decoder.unpack(data).rate_units
    hyper_symbols, symbols = decoder.symbols(data)
    _, hyper_quantizer = decoder.bundle.quantizers_at(rate_units)
    _, index = decoder.mean_and_table_index(hyper_quantizer.levels_of(hyper_symbols))
    tables = decoder.tables(rate_units)
    return (
        Segment(hyper_symbols.ravel(), channel_index(hyper_symbols.shape), tables.hyper_latent),
        Segment(symbols.ravel(), index.ravel(), tables.latent),
    )


def coding_seconds(both: tuple[Segment, Segment]) -> dict[tuple[str, str], float]:
    """Median seconds of encoding and decoding both segments, by (coder, direction)."""
    functions = {}
    for name in coder.NAMES:
        codes = [coder.encode(*segment, name) for segment in both]
        functions[name, "encode"] = lambda name=name: [coder.encode(*segment, name) for segment in both]
        functions[name, "decode"] = lambda name=name, codes=codes: [
            coder.decode(code, segment.table_index, segment.tables, name)
            for code, segment in zip(codes, both, strict=True)
        ]
    return median_seconds(functions)


if __name__ == "__main__":
    main()
