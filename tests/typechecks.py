"""How the tests check calls against signatures: every array's shape and number type, at every call."""

import typing

from beartype import BeartypeConf, beartype
from jaxtyping import AbstractArray

_beartype = beartype(conf=BeartypeConf(is_pep484_tower=True))


def check(function):
    """Checks a function's arrays. All else is for pyright: at run time a NumPy integer is as good as Python's.

    What makes an object is left out: JAX and optax put labels or placeholders into a pytree where its arrays were.
    """
    if function.__name__ == "__init__":
        return function
    if not isinstance(function, type):
        hints = function.__annotations__
        function.__annotations__ = {name: hint if _has_shape(hint) else typing.Any for name, hint in hints.items()}
    return _beartype(function)


def _has_shape(hint) -> bool:
    return (isinstance(hint, type) and issubclass(hint, AbstractArray)) or any(map(_has_shape, typing.get_args(hint)))
