"""What does a step of iterative encoding cost, against the synthesis whose gradient it needs?

    python benchmarks/iterative_encoding.py

One step of each search on a 768×512 image with the shipped model at its middle rate, and the synthesis alone: forward,
and forward plus twice that, which is what a gradient's arithmetic amounts to. Same process, in turn, warm, medians.
"""

import jax
import numpy as np
from timing import median_seconds

from lic_jax.codec import load
from lic_jax.encoding.objective import decode
from lic_jax.encoding.search import METHODS, batch_of, begin, look, update
from lic_jax.quantization.fixed_point import RATE_UNITS

HEIGHT, WIDTH = 512, 768


def main() -> None:
    codec = load()
    pixels = np.random.default_rng(0).integers(0, 256, (HEIGHT // 8, WIDTH // 8, 3), np.uint8)
    image = np.ascontiguousarray(pixels.repeat(8, axis=0).repeat(8, axis=1))
    rate_units = codec.bundle.highest_rate // 2 * RATE_UNITS
    starts = codec._starts([codec.analyse(image)], rate_units)
    images, point = batch_of(starts, (HEIGHT // 64, WIDTH // 64)), codec._operating_point(rate_units)
    problem = (codec._model, codec._variables, images, point)
    synthesis = jax.jit(decode, static_argnums=0)
    functions = {
        "synthesis, forward": lambda: synthesis(*problem[:3], images.one_shot.latent),
        "a look at the solution": lambda: look(*problem, images.one_shot),
    }
    for name, method in METHODS.items():
        functions[f"a step of {name}"] = stepper(method, problem)
    seconds = median_seconds(functions, rounds=7)
    unit = 3 * seconds["synthesis, forward"]
    print(f"768×512, median ms; × is against synthesis forward and twice that, {1e3 * unit:.0f} ms")
    for name, time in seconds.items():
        print(f"{name:24} {1e3 * time:8.1f} {time / unit:6.2f}×", flush=True)


def stepper(method, problem):
    """A function that goes on from its last state, as a search does."""
    _, _, images, _ = problem
    state = [begin(method, images)]

    def step():
        state[0] = update(method, *problem, state[0], 0.5, 200)
        return state[0]

    return step


if __name__ == "__main__":
    main()
