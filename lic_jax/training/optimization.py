"""An optax optimizer on a pytree of any kind.

Optax takes every pytree, but annotates trees as arrays in sequences and mappings. These
two functions hide that from type checkers.
"""

from typing import Any, TypeVar

import optax

Params = TypeVar("Params")


def first_state(optimizer: optax.GradientTransformation, params: Any) -> optax.OptState:
    """The optimizer's state before the first step."""
    return optimizer.init(params)


def updated(
    optimizer: optax.GradientTransformation, gradients: Any, state: optax.OptState, params: Params
) -> tuple[Params, optax.OptState]:
    """The parameters after a step, and the optimizer's next state."""
    tree: Any = params
    updates, state = optimizer.update(gradients, state, tree)
    after: Any = optax.apply_updates(tree, updates)
    return after, state
