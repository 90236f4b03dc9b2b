"""How long does decoding take? Bytes → uint8 pixels, at several sizes of an image's file, beside classical codecs.

    python benchmarks/decode.py [IMAGE]     # by default scikit-image's astronaut, tiled to 768×512
    python benchmarks/decode.py IMAGE --model small --picture results/decode.png

Each decoder runs in a process of its own, warmed up: in one process their threads would disturb each other. They take
turns, so that a slow moment of the machine hits all alike. JPEG, WebP and AVIF have about as many bytes. The floor is
the arithmetic of hyper synthesis, context and synthesis at this machine's measured matrix rate.
"""

import argparse
import contextlib
import io
import multiprocessing
import statistics
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
from PIL import Image

from lic_jax.evaluation.classical import CLASSICAL

BPP = (0.1, 0.25, 0.5, 1.0)
DECODERS = ("C, one thread", "C, threads", "NumPy", "JAX")
ROUNDS = 5


def main() -> None:
    arguments = parser().parse_args()
    image = np.asarray(Image.open(arguments.image).convert("RGB")) if arguments.image else sample()
    height, width, _ = image.shape
    with contextlib.ExitStack() as stack:
        spawn = multiprocessing.get_context("spawn")
        pools = {
            name: stack.enter_context(ProcessPoolExecutor(1, mp_context=spawn)) for name in (*DECODERS, *CLASSICAL)
        }
        encoder = pools["JAX"]
        table = []
        for bpp in BPP:
            stream = encoder.submit(compressed, arguments.model, image, bpp).result()
            seconds = medians(pools, arguments.model, image, stream)
            table.append((8 * len(stream) / (height * width), seconds))
        floor = encoder.submit(floor_seconds, arguments.model, height, width).result()
    print(f"{width}×{height}, model {arguments.model}; milliseconds, median of {ROUNDS} turns")
    print(f"{'bpp':>16} " + " ".join(f"{bpp:8.2f}" for bpp, _ in table))
    for name in (*DECODERS, *CLASSICAL):
        print(f"{name:>16} " + " ".join(f"{1e3 * seconds[name]:8.1f}" for _, seconds in table))
    if "avif" in CLASSICAL:
        for name in DECODERS[:3]:
            ratios = " ".join(f"{seconds[name] / seconds['avif']:8.1f}" for _, seconds in table)
            print(f"{name + ' / avif':>16.16} {ratios}")
    print(f"floor of the dense arithmetic, on one thread: {1e3 * floor:.1f} ms")
    if arguments.picture:
        draw(table, arguments.picture)


def parser() -> argparse.ArgumentParser:
    found = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    found.add_argument("image", nargs="?", help="a photograph")
    found.add_argument("--model", default="default", help="a shipped model, or a file of `lic refit`")
    found.add_argument("--picture", type=Path, help="where to draw time against bpp")
    return found


def sample() -> np.ndarray:
    try:
        import skimage.data
    except ImportError as error:
        raise SystemExit("the sample needs scikit-image; install lic-jax[experiments], or give an image") from error
    return np.tile(skimage.data.astronaut(), (1, 2, 1))[:, :768]


def medians(pools, model: str, image: np.ndarray, stream: bytes) -> dict[str, float]:
    """The median of several turns of every decoder, each turn the fastest of a few."""
    files = {name: beside(name, image, len(stream)) if name in CLASSICAL else stream for name in pools}
    for name, pool in pools.items():
        pool.submit(seconds_of, name, model, files[name]).result()
    turns = [
        {name: pool.submit(seconds_of, name, model, files[name]).result() for name, pool in pools.items()}
        for _ in range(ROUNDS)
    ]
    return {name: statistics.median(turn[name] for turn in turns) for name in pools}


def beside(name: str, image: np.ndarray, size: int) -> bytes:
    """The file of a classical codec whose size is nearest."""
    files = [CLASSICAL[name].encode(image, quality) for quality in range(5, 96, 10)]
    return min(files, key=lambda file: abs(len(file) - size))


_decoders = {}
"""What a process has loaded."""


def seconds_of(name: str, model: str, data: bytes, repeats: int = 5) -> float:
    """Runs in a process of its own: the median time of a few decodings."""
    if name not in _decoders:
        _decoders[name] = loaded(name, model)
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        _decoders[name](data)
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def loaded(name: str, model: str):
    if name in CLASSICAL:
        return lambda data: np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))
    if name == "JAX":
        from lic_jax.codec.codec import load

        return load(model).decompress
    from lic_jax.codec.decoder import Decoder
    from lic_jax.codec.native_decoder import NativeDecoder
    from lic_jax.zoo import shipped
    from lic_jax.zoo.bundle import load_receiver

    bundle = load_receiver(shipped.path_of(model))
    if name == "NumPy":
        return Decoder(bundle).decompress
    return NativeDecoder(bundle, threads=1 if name == "C, one thread" else None).decompress


def compressed(model: str, image: np.ndarray, bpp: float) -> bytes:
    from lic_jax.codec.codec import load

    if model not in _decoders:
        _decoders[model] = load(model)
    codec = _decoders[model]
    sizes = [codec.compress(image, rate) for rate in (0, codec.bundle.highest_rate)]
    least, most = (8 * len(data) / image[..., 0].size for data in sizes)
    return codec.compress(image, bpp=bpp) if least < bpp < most else sizes[bpp >= most]


def floor_seconds(model: str, height: int, width: int) -> float:
    from timing import matrix_flops_per_second

    from lic_jax.evaluation.complexity import complexity, decoding
    from lic_jax.zoo import shipped

    pixels = -(-height // 64) * -(-width // 64) * 64**2
    return decoding(complexity(shipped.config_of(model))).flops * pixels / matrix_flops_per_second()


def draw(table, path: Path) -> None:
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(7.2, 4.8), layout="constrained")
    for name in (*DECODERS, *CLASSICAL):
        style = "--" if name in CLASSICAL else "-o"
        axes.plot([bpp for bpp, _ in table], [1e3 * seconds[name] for _, seconds in table], style, label=name)
    axes.set(
        xlabel="rate in bits per pixel", ylabel="milliseconds", yscale="log", title="Decoding 768×512 pixels, warm"
    )
    axes.grid(color="0.9", which="both")
    axes.legend(frameon=False, ncols=2)
    figure.savefig(path, dpi=120)


if __name__ == "__main__":
    main()
