"""Gradient descent on an image's own y and z: Adam, in units of the distance between levels."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from flax import struct
from jaxtyping import Array, Float, Int, ScalarLike

from lic_jax.encoding.choice import Latents
from lic_jax.encoding.operating_point import OperatingPoint

_ADAM = optax.scale_by_adam()


@struct.dataclass
class DescentState:
    """A descent at one moment.

    Attributes:
      step: steps done.
      latents: y and z, continuous.
      moments: Adam's moments.
    """

    step: Int[Array, ""]
    latents: Latents
    moments: optax.OptState


class Descent(NamedTuple):
    """A search between the levels, as pure functions. Its state has a field `latents`.

    Attributes:
      begin: (images, point) → state.
      update: (model, variables, images, point, state, progress, steps) → state.
    """

    begin: Callable
    update: Callable


def begin(latents: Latents) -> DescentState:
    """Returns the first state of a descent from these latents."""
    return DescentState(jnp.zeros((), jnp.int32), latents, _ADAM.init(latents))


def descend(
    objective: Callable[[Latents], Float[Array, " batch"]],
    point: OperatingPoint,
    state: DescentState,
    learning_rate: ScalarLike,
) -> DescentState:
    """Takes a step down.

    Images do not affect one another: each gradient is of the image's own objective, and Adam is elementwise.

    Args:
      objective: latents → the objective of each image.
      point: the rate; its quantizers' spacing is the unit of the learning rate.
      state: the present state.
      learning_rate: about how far a latent moves in this step.
    """
    gradients = jax.grad(lambda latents: jnp.sum(objective(latents)))(state.latents)
    directions, moments = _ADAM.update(gradients, state.moments)
    spacings = Latents(point.latent.spacing, point.hyper_latent.spacing)
    move = lambda values, direction, spacing: values - learning_rate * spacing * direction
    return DescentState(state.step + 1, jax.tree.map(move, state.latents, directions, spacings), moments)
