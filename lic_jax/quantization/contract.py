"""Checks whether a fitted quantizer keeps its contract (`quantization.base.FittedQuantizer`) before a fit uses it."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from lic_jax.errors import LicError

_MEMBERS = ("start", "thresholds", "levels", "upper_weight", "symmetric")
_COMPONENTS, _STEP, _REACH = 6, 0.5, 4.0
_BETA = 5.0


@functools.lru_cache(maxsize=64)
def check_quantizer(name: str, kind: type) -> None:
    """Refuses a quantizer that breaks a rule of its contract: at its start, and for a stack of two starts.

    Args:
      name: its name, for the error.
      kind: its class.

    Raises:
      LicError: a member is missing or fails, an array has another shape, thresholds or levels do not increase,
        `upper_weight` is not 0.5 at a threshold, a gradient is not finite, or `symmetric` is not symmetric.
    """
    with jax.ensure_compile_time_eval():  # a fit may be prepared inside a program
        _check(name, kind)


def _check(name: str, kind: type) -> None:
    try:
        quantizer: Any = kind.start(_COMPONENTS, _STEP, _REACH) if hasattr(kind, "start") else None
    except Exception as error:  # somebody else's code can raise anything
        raise _broken(name, f"start(components, step, reach) fails ({type(error).__name__}: {error})") from error
    for member in _MEMBERS:
        if not hasattr(quantizer, member):
            raise _broken(name, f"it has no {member}; a quantizer has {', '.join(_MEMBERS)}")
    try:
        stack = jax.tree.map(lambda leaf: jnp.stack([leaf, leaf]), quantizer)
        values, index = jnp.asarray(quantizer.thresholds), jnp.arange(_COMPONENTS)
        weights, gradients = _weights_and_gradients(quantizer, values, index)
        even = np.asarray(quantizer.symmetric().thresholds)
        shapes = {
            (member, of): np.shape(getattr(each, member))
            for of, each in (("one", quantizer), ("two", stack))
            for member in ("thresholds", "levels")
        }
    except Exception as error:
        raise _broken(name, f"its code fails ({type(error).__name__}: {error}); correct it") from error
    for (member, of), found in shapes.items():
        length = _COMPONENTS + (member == "levels")
        expected = (length,) if of == "one" else (2, length)
        if found != expected:
            raise _broken(
                name,
                f"{member} of {of} with T = {_COMPONENTS} components have shape {found}, not {expected}; "
                "a stack of K quantizers has K in front of every leaf",
            )
    for member in ("thresholds", "levels"):
        if not np.all(np.diff(getattr(quantizer, member)) > 0):
            raise _broken(name, f"{member} do not increase; sort or accumulate them")
    if not np.allclose(weights, 0.5, atol=1e-3):
        raise _broken(name, f"upper_weight at the thresholds is {np.round(weights, 3)}, not 0.5; centre it there")
    if not all(np.all(np.isfinite(leaf)) for leaf in jax.tree.leaves(gradients)):
        raise _broken(name, "upper_weight has a gradient that is not finite; avoid 0/0 and infinity in it")
    if not np.allclose(even, -even[::-1], atol=1e-4):
        raise _broken(name, "symmetric() has thresholds that are not alike on both sides of zero; mirror them")


def _weights_and_gradients(quantizer: Any, values: jax.Array, index: jax.Array) -> tuple[np.ndarray, Any]:
    """Computes the weights at the thresholds, and the gradients of their sum in the parameters and the values."""

    def total(quantizer, values):
        weights = quantizer.upper_weight(values, index, _BETA)
        return jnp.sum(weights), weights

    gradients, weights = jax.grad(total, (0, 1), has_aux=True)(quantizer, values)
    return np.asarray(weights), gradients


def _broken(name: str, rule: str) -> LicError:
    return LicError(f"quantizer {name!r} breaks its contract: {rule}")
