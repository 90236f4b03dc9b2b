"""Timing functions of one process side by side: warmed up, in turn, medians."""

import statistics
import time
from collections.abc import Callable, Mapping

import jax


def median_seconds(functions: Mapping[str, Callable[[], object]], rounds: int = 11) -> dict[str, float]:
    """The median wall time of each function, called in turn so that a slow moment of the machine hits all alike."""
    for function in functions.values():
        jax.block_until_ready(function())
    times = {name: [] for name in functions}
    for _ in range(rounds):
        for name, function in functions.items():
            start = time.perf_counter()
            jax.block_until_ready(function())
            times[name].append(time.perf_counter() - start)
    return {name: statistics.median(of_name) for name, of_name in times.items()}


def matrix_flops_per_second(size: int = 1536) -> float:
    """This machine's rate on a float32 matrix product: the ceiling that the floors are computed with."""
    matrix = jax.random.normal(jax.random.key(0), (size, size))
    product = jax.jit(lambda matrix: matrix @ matrix)
    return 2 * size**3 / median_seconds({"product": lambda: product(matrix)})["product"]
