"""How much faster is the windowed STanH than the plain sum, and does its cost grow with the number of components?

    python benchmarks/stanh.py

655,360 latents (a 768×512 image with 427 channels, or eight crops and four quantizers), β = 10 per step, uniform
quantizers; the gradient is that of the sum of squares in values, spacings and thresholds.
"""

import jax
import jax.numpy as jnp
from timing import median_seconds

from lic_jax.quantization import stanh
from lic_jax.quantization.windowed import soft_windowed, window_of

LATENTS = 655_360
COMPONENTS = (10, 40, 120, 400)
INVERSE_TEMPERATURE = 10.0


def main() -> None:
    functions = {"plain": {}, "windowed": {}}
    for components in COMPONENTS:
        quantizer = stanh.uniform(components)
        window = window_of(quantizer, INVERSE_TEMPERATURE)
        values = components / 6 * jax.random.normal(jax.random.key(0), (LATENTS,))
        for name, forward in (
            ("plain", lambda quantizer, values: stanh.soft(quantizer, values, INVERSE_TEMPERATURE)),
            (
                "windowed",
                lambda quantizer, values, window=window: soft_windowed(quantizer, values, INVERSE_TEMPERATURE, window),
            ),
        ):
            gradient = jax.grad(
                lambda quantizer, values, forward=forward: jnp.sum(forward(quantizer, values) ** 2), (0, 1)
            )
            for direction, function in (("forward", forward), ("gradient", gradient)):
                compiled = jax.jit(function)
                functions[name][name, direction, components] = lambda compiled=compiled, q=quantizer, v=values: (
                    compiled(q, v)
                )
    # Apart: the plain sum's gradient fills the memory with arrays of T entries a latent.
    seconds = median_seconds(functions["windowed"], rounds=15) | median_seconds(functions["plain"], rounds=5)
    print(f"{LATENTS:,} latents, β = {INVERSE_TEMPERATURE:g}, median ms")
    print(f"{'':9} {'T':>4} {'window':>7} {'plain':>9} {'windowed':>9} {'×':>6}  windowed against T = {COMPONENTS[0]}")
    for direction in ("forward", "gradient"):
        for components in COMPONENTS:
            plain, windowed = (seconds[name, direction, components] for name in ("plain", "windowed"))
            window = window_of(stanh.uniform(components), INVERSE_TEMPERATURE)
            growth = windowed / seconds["windowed", direction, COMPONENTS[0]]
            print(
                f"{direction:9} {components:4} {window:7} {1e3 * plain:9.2f} {1e3 * windowed:9.2f}"
                f" {plain / windowed:6.1f} {growth:6.2f}"
            )


if __name__ == "__main__":
    main()
