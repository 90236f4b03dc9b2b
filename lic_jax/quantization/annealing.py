"""How the inverse temperature β grows while the soft quantizer turns hard.

A schedule is a pair of pure functions over an explicit state, like an optax transformation: `init()` gives the state,
`update(state, step, gap, key)` gives the β of this step and the next state. `gap` is mean |s_β(v) − hard(v)| as last
seen (quantization.stanh.gap); schedules that do not look at it ignore it.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray

State = Float[Array, ""]


class Schedule(NamedTuple):
    """An annealing schedule; see the module's docstring."""

    init: Callable[[], State]
    update: Callable[[State, Int[Array, ""], Float[Array, ""], PRNGKeyArray], tuple[Float[Array, ""], State]]


def _of_step(beta_at: Callable[[Int[Array, ""]], Float[Array, ""]]) -> Schedule:
    """A schedule that looks at nothing but the step."""

    def update(state, step, gap, key):
        del gap, key
        beta = jnp.asarray(beta_at(step), jnp.float32)
        return beta, beta

    return Schedule(lambda: jnp.asarray(beta_at(0), jnp.float32), update)


def constant(beta: float) -> Schedule:
    """β at every step."""
    return _of_step(lambda step: beta)


def linear(start: float, end: float, steps: int) -> Schedule:
    """From `start` to `end` in equal increments over `steps`, then constant."""
    return _of_step(lambda step: start + (end - start) * jnp.clip(step / steps, 0, 1))


def exponential(start: float, end: float, steps: int) -> Schedule:
    """From `start` to `end` by equal factors over `steps`, then constant."""
    return _of_step(lambda step: start * (end / start) ** jnp.clip(step / steps, 0, 1))


def gap_driven(rate: float = 15.0, start: float = 10.0) -> Schedule:
    """β ← β + rate · gap: fast while the relaxation is far from the quantizer, slow when it has come close."""

    def update(state, step, gap, key):
        del step, key
        return state, state + rate * gap

    return Schedule(lambda: jnp.asarray(start, jnp.float32), update)


def stochastic_gap(rate: float = 15.0, start: float = 10.0) -> Schedule:
    """β drawn uniformly from [1, β_max] each step, β_max ← β_max + rate · gap (Presta et al. 2025)."""

    def update(state, step, gap, key):
        del step
        return jax.random.uniform(key, (), jnp.float32, 1.0, state), state + rate * gap

    return Schedule(lambda: jnp.asarray(start, jnp.float32), update)
