"""Schedules of the inverse temperature β, whose growth turns the soft quantizer hard.

A schedule is a pair of pure functions over an explicit state, like an optax transformation: `init()` gives the state,
`update(state, step, gap, key)` gives the β of this step and the next state. `gap` is the last step's mean |soft − hard|
(`relaxation.Softened`). Schedules of the step alone ignore it, and are optax schedules.

Each function here makes a schedule from a `Range`. A new one is one function and one line in `registry.SCHEDULES`.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int, PRNGKeyArray

State = Float[Array, ""]


class Range(NamedTuple):
    """The range over which β grows.

    Attributes:
      start: the first β.
      end: the last β, for schedules of the step alone.
      steps: steps of the fit.
      gap_rate: β grows by this times the gap each step, for schedules that use the gap.
    """

    start: float = 10.0
    end: float = 100.0
    steps: int = 300
    gap_rate: float = 15.0


class Schedule(NamedTuple):
    """An annealing schedule; see the module's docstring."""

    init: Callable[[], State]
    update: Callable[[State, Int[Array, ""], Float[Array, ""], PRNGKeyArray], tuple[Float[Array, ""], State]]


def by_step(beta_at: optax.Schedule) -> Schedule:
    """Makes a schedule of the step alone from an optax schedule."""
    at = lambda step: jnp.asarray(beta_at(step), jnp.float32)

    def update(state, step, gap, key):
        del state, gap, key
        return at(step), at(step + 1)

    return Schedule(lambda: at(0), update)


def constant(span: Range) -> Schedule:
    """Makes a schedule with the same β at every step."""
    return by_step(optax.constant_schedule(span.start))


def linear(span: Range) -> Schedule:
    """Makes a schedule from start to end in equal increments, then constant."""
    return by_step(optax.linear_schedule(span.start, span.end, span.steps))


def exponential(span: Range) -> Schedule:
    """Makes a schedule from start to end by equal factors, then constant."""
    growth = span.end / span.start
    return by_step(optax.exponential_decay(span.start, span.steps, growth, end_value=span.end))


def gap_driven(span: Range) -> Schedule:
    """Makes the schedule β ← β + rate · gap: fast while the relaxation is far from the quantizer, then slow."""

    def update(state, step, gap, key):
        del step, key
        return state, state + span.gap_rate * gap

    return Schedule(lambda: jnp.asarray(span.start, jnp.float32), update)


def stochastic_gap(span: Range) -> Schedule:
    """Makes a schedule that draws β uniformly from [1, β_max], β_max ← β_max + rate · gap (Presta et al. 2025)."""

    def update(state, step, gap, key):
        del step
        return jax.random.uniform(key, (), jnp.float32, 1.0, state), state + span.gap_rate * gap

    return Schedule(lambda: jnp.asarray(span.start, jnp.float32), update)
