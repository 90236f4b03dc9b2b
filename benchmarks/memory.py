"""How much memory and time does decoding a large image take? The peak resident set of a process that does nothing else.

    python benchmarks/memory.py [HEIGHT WIDTH]     # by default 10000 10000

The stream is of the shipped model, but no image was encoded: its symbols are drawn from the coding tables themselves,
so that it is as long as a stream of an image that the priors describe perfectly.
"""

import multiprocessing
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np

from lic_jax.codec.decoder import Decoder
from lic_jax.codec.loading import load_decoder
from lic_jax.codec.symbols import channel_index, hyper_shape
from lic_jax.entropy.coders import coding as coder
from lic_jax.entropy.tables import TOTAL
from lic_jax.io import container
from lic_jax.io.images import write_image
from lic_jax.zoo import shipped
from lic_jax.zoo.bundle import load_receiver

RATE = 3
_PIECE = 1 << 22


def main() -> None:
    height, width = map(int, sys.argv[1:] or ("10000", "10000"))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "large.lic")
        size = in_a_fresh_process(write_random_stream, path, height, width)
        print(f"{width}×{height} pixels, {size:,} bytes, {8 * size / (height * width):.2f} bpp")
        for stage, seconds, megabytes in in_a_fresh_process(decoding, path):
            print(f"{stage:20} {seconds:8.1f} s   peak so far {megabytes:8,.0f} MB")


def in_a_fresh_process(function: Callable, *arguments):
    """Calls it in a process of its own: a peak, once reached, stays, and a child begins with its parent's."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(function, *arguments).result()


def write_random_stream(path: Path, height: int, width: int) -> int:
    """Writes a stream of the shipped model; gives its bytes."""
    return path.write_bytes(
        random_stream(Decoder(load_receiver(shipped.path_of(shipped.DEFAULT))), height, width, RATE)
    )


def random_stream(decoder: Decoder, height: int, width: int, rate: float, seed: int = 0) -> bytes:
    """A stream of an image of this size that the decoder's model finds as likely as any."""
    rng, bundle = np.random.default_rng(seed), decoder.bundle
    rate_units = bundle.rate_units(rate)
    symbol_decoder, prior = decoder.symbol_decoder, decoder.symbol_decoder.coding.prior
    tables, (quantizer, hyper_quantizer) = symbol_decoder.coding.tables(rate_units), bundle.quantizers_at(rate_units)
    shape = hyper_shape(height, width, bundle.config.hyper_channels)
    channel = channel_index(shape)
    hyper_symbols = random_symbols(rng, channel, tables.hyper_latent)
    hyper_latent = hyper_quantizer.levels_of(hyper_symbols.reshape(shape))
    parts = []
    if prior.stage_count == 1:
        index = symbol_decoder.mean_and_table_index(hyper_latent)[1].ravel()
        parts.append((random_symbols(rng, index, tables.latent), index))
    else:
        latent = np.zeros((1, 4 * shape[1], 4 * shape[2], bundle.config.latent_channels), np.float32)
        stages = zip(prior.receiver_stages(bundle.params)(hyper_latent), prior.masks(latent.shape), strict=True)
        for number, (predict, own) in enumerate(stages):
            mean, index = predict(latent if number else None)
            parts.append((random_symbols(rng, index[own], tables.latent), index[own]))
            latent[own] = mean[own] + quantizer.levels_of(*parts[-1])
    segments = coder.encode(hyper_symbols, channel, tables.hyper_latent), coder.encode_parts(parts, tables.latent)
    return container.pack(container.Stream(bundle.fingerprint, height, width, rate_units, *segments))


def random_symbols(rng: np.random.Generator, table_index: np.ndarray, tables: np.ndarray) -> np.ndarray:
    """A symbol a table index, drawn with the table's frequencies: int16."""
    ends = np.cumsum(tables, axis=1)
    symbols = np.empty(len(table_index), np.int16)
    for start in range(0, len(table_index), _PIECE):
        piece = table_index[start : start + _PIECE]
        for table in np.unique(piece):
            positions = np.flatnonzero(piece == table)
            shares = rng.integers(TOTAL, size=len(positions))
            symbols[start + positions] = np.searchsorted(ends[table], shares, side="right")
    return symbols


def decoding(path: Path) -> list[tuple[str, float, float]]:
    """(what, seconds, peak in megabytes) of decoding a stream and of writing the image as a PNG."""
    decoder, data = load_decoder(), path.read_bytes()
    rows = [("loading", 0.0, peak_megabytes())]
    start = time.perf_counter()
    image = decoder.decompress(data)
    rows.append(("decoding to pixels", time.perf_counter() - start, peak_megabytes()))
    start = time.perf_counter()
    write_image(path.with_suffix(".png"), image)
    rows.append(("writing a PNG", time.perf_counter() - start, peak_megabytes()))
    return rows


def peak_megabytes() -> float:
    """The largest resident set that this process has had."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6


if __name__ == "__main__":
    main()
