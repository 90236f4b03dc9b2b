"""Functions whose gradient is not their derivative, so that learning passes steps and bounds."""

import functools
from collections.abc import Callable
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, ScalarLike

Result = TypeVar("Result")


def own_gradient(nondiff_argnums: tuple[int, ...]) -> Callable[[Callable[..., Result]], jax.custom_vjp[Result]]:
    """Decorates a function as `jax.custom_vjp` does; `functools.partial` of that would lose the result's type."""
    decorate: Any = functools.partial(jax.custom_vjp, nondiff_argnums=nondiff_argnums)
    return decorate


@jax.custom_vjp
def lower_bound(values: Float[Array, "*shape"], bound: ScalarLike) -> Float[Array, "*shape"]:
    """Returns max(values, bound); the gradient also passes where it would move a value back up to the bound.

    With the plain maximum a value below the bound is stuck there (Ballé et al., tensorflow-compression `lower_bound`).
    """
    return jnp.maximum(values, bound)


def _lower_bound_forward(values, bound):
    return jnp.maximum(values, bound), (values >= bound)


def _lower_bound_backward(inside, gradient):
    return jnp.where(inside | (gradient < 0), gradient, 0.0), None


lower_bound.defvjp(_lower_bound_forward, _lower_bound_backward)


@jax.custom_jvp
def straight_through(values: Float[Array, "*shape"], hard: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """Returns exactly `hard`, with the gradient of `values` (Bengio et al. 2013; Theis et al. 2017)."""
    return hard


@straight_through.defjvp
def _straight_through_derivative(primals, tangents):
    return straight_through(*primals), tangents[0]
