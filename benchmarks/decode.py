"""How long does decoding take, and where? Bytes → uint8 pixels of one image, beside Pillow's JPEG, WebP and AVIF.

    python benchmarks/decode.py [IMAGE]     # by default scikit-image's astronaut, tiled to 768×512

One process, warm. The floor is the arithmetic of hyper synthesis and synthesis at this machine's measured matrix rate.
"""

import io
import sys
import time

import jax
import numpy as np
from PIL import Image, features
from timing import matrix_flops_per_second, median_seconds

from lic_jax.codec.codec import load
from lic_jax.codec.decoder import Decoder
from lic_jax.entropy.coders import coding as coder
from lic_jax.evaluation.complexity import complexity
from lic_jax.io.images import read_image


def main() -> None:
    image = read_image(sys.argv[1]) if len(sys.argv) > 1 else sample()
    codec = load()
    decoder = Decoder(codec.bundle)
    data = codec.compress(image)
    height, width, _ = image.shape
    print(f"{width}×{height}, {8 * len(data) / (width * height):.2f} bpp, JAX on {jax.default_backend()}")
    classical = {"JPEG": {"quality": 85}, "WEBP": {"quality": 85}}
    if features.check("avif"):
        classical["AVIF"] = {"quality": 70}
    functions = {"lic, NumPy": lambda: decoder.decompress(data), "lic, JAX": lambda: codec.decompress(data)}
    for name, settings in classical.items():
        stream = io.BytesIO()
        Image.fromarray(image).save(stream, name, **settings)
        functions[f"Pillow {name}"] = lambda stream=stream: np.asarray(Image.open(stream).convert("RGB"))
    seconds = median_seconds(functions)
    for name, value in seconds.items():
        print(f"{name:14} {1e3 * value:8.1f} ms   {value / seconds['Pillow JPEG']:6.1f} × JPEG")

    costs = complexity(codec.bundle.config)
    pixels = -(-height // 64) * -(-width // 64) * 64**2
    rate = matrix_flops_per_second()
    floor = (costs["hyper_synthesis"].flops + costs["synthesis"].flops) * pixels / rate
    print(f"floor          {1e3 * floor:8.1f} ms   at {rate / 1e9:.0f} GFLOP/s", end="; ")
    print(", ".join(f"{name} {value / floor:.1f} times above it" for name, value in list(seconds.items())[:2]))
    print("stages of the NumPy decoder, median ms:")
    for name, value in stages(decoder, data).items():
        print(f"  {name:16} {1e3 * value:8.1f}")


def sample() -> np.ndarray:
    try:
        import skimage.data
    except ImportError as error:
        raise SystemExit("the sample needs scikit-image; install lic-jax[experiments], or give an image") from error
    return np.tile(skimage.data.astronaut(), (1, 2, 1))[:, :768]


def stages(decoder: Decoder, data: bytes, rounds: int = 9) -> dict[str, float]:
    """The median seconds of entropy decoding, hyper synthesis and synthesis, and of what is left."""
    spent = {}

    def timed(name, function):
        def run(*arguments):
            start = time.perf_counter()
            result = function(*arguments)
            spent[name][-1] += time.perf_counter() - start
            return result

        return run

    names = ("entropy decoding", "hyper synthesis", "synthesis")
    spent.update({name: [] for name in (*names, "all")})
    symbols, read = decoder.symbol_decoder, coder.SegmentReader.read
    predict, synthesize = symbols._predict, decoder._synthesize
    symbols._predict = timed(names[1], predict)
    decoder._synthesize = timed(names[2], synthesize)
    coder.SegmentReader.read = timed(names[0], read)
    for _ in range(rounds):
        for name in spent:
            spent[name].append(0.0)
        timed("all", decoder.decompress)(data)
    symbols._predict, decoder._synthesize, coder.SegmentReader.read = predict, synthesize, read
    medians = {name: float(np.median(values)) for name, values in spent.items()}
    return {**{name: medians[name] for name in names}, "rest": medians["all"] - sum(medians[name] for name in names)}


if __name__ == "__main__":
    main()
