"""What does a step of iterative encoding cost, against the synthesis whose gradient it needs?

    python benchmarks/iterative_encoding.py

One step of each search on a 768×512 image with the shipped model at its middle rate, and the synthesis alone: forward,
and forward and back. The unit is forward and twice that, which is what a gradient's arithmetic amounts to where weights
have gradients, too; those of latents take less. And all of compressing the image, in one shot and with one pass of
rounding. Same process, in turn, warm, medians.
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from timing import median_seconds

from lic_jax.codec.codec import load
from lic_jax.encoding.choice import Latents
from lic_jax.encoding.cost import decode
from lic_jax.encoding.search import Start, assess, batch_of, begin, improve, nearest_choice, update
from lic_jax.quantization.fixed_point import RATE_UNITS
from lic_jax.registry import SEARCHES

HEIGHT, WIDTH = 512, 768


def main() -> None:
    codec = load()
    pixels = np.random.default_rng(0).integers(0, 256, (HEIGHT // 8, WIDTH // 8, 3), np.uint8)
    image = np.ascontiguousarray(pixels.repeat(8, axis=0).repeat(8, axis=1))
    rate = codec.bundle.highest_rate // 2
    rate_units = rate * RATE_UNITS
    analysed = codec.analyse(image)
    (choice,) = codec.encoder.choose([analysed], rate_units)
    start = Start(image, Latents(analysed.latent, analysed.hyper_latent), choice)
    images, point = batch_of([start], (HEIGHT // 64, WIDTH // 64)), codec.searcher.operating_point(rate_units)
    problem = (codec._programs.model, codec._programs.variables, images, point)
    synthesis = jax.jit(decode, static_argnums=0)
    latents = choice.latents(point)

    @partial(jax.jit, static_argnums=0)
    def gradient(model, variables, images, latent):
        return jax.grad(lambda latent: jnp.sum(decode(model, variables, images, latent) ** 2))(latent)

    functions = {
        "synthesis, forward": lambda: synthesis(*problem[:3], latents.latent),
        "forward and back": lambda: gradient(*problem[:3], latents.latent),
        "the levels nearest": lambda: nearest_choice(*problem, latents),
        "what a choice costs": lambda: assess(*problem, images.one_shot),
        "a pass of rounding": lambda: improve(*problem, images.one_shot),
    }
    for name in ("refinement", "sga"):
        functions[f"a step of {name}"] = stepper(SEARCHES[name], problem)
    functions["to compress, one shot"] = lambda: codec.compress(image, rate)
    functions["to compress, one pass"] = lambda: codec.compress(image, rate, iterations=1, method="rounding")
    seconds = median_seconds(functions, rounds=7)
    unit = 3 * seconds["synthesis, forward"]
    print(f"768×512, median ms; × is against synthesis forward and twice that, {1e3 * unit:.0f} ms")
    for name, time in seconds.items():
        print(f"{name:24} {1e3 * time:8.1f} {time / unit:6.2f}×", flush=True)
    ratio = seconds["to compress, one pass"] / seconds["to compress, one shot"]
    print(f"to compress with one pass of rounding takes {ratio:.2f} times as long as in one shot")


def stepper(descent, problem):
    """A function that goes on from its last state, as a search does."""
    _, _, images, point = problem
    state = [begin(descent, images, point)]

    def step():
        state[0] = update(descent, *problem, state[0], 0.5, 200)
        return state[0]

    return step


if __name__ == "__main__":
    main()
