"""Plain gradient refinement: y and z descend the objective through soft quantization, without noise.

It is SGA's relaxation (`quantization.gumbel`) without sampling, at one temperature. It suits tens of steps, too few
to average noise away.
"""

from functools import partial

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from lic_jax.encoding import descent
from lic_jax.encoding.cost import ImageBatch, relaxed_objective
from lic_jax.encoding.operating_point import OperatingPoint
from lic_jax.model import CodecModel
from lic_jax.quantization.gumbel import upper_weight

TEMPERATURE = 0.7
"""Soft enough for gradients to pass, hard enough for values to stay near levels."""

REACH = 0.5
"""How far a latent may move in all steps together, in units of the distance between levels."""


def begin(images: ImageBatch, point: OperatingPoint) -> descent.DescentState:
    """Starts halfway between the analysis' latents and their levels in one shot.

    So the nearest levels are those of one shot, whose fitted thresholds do not lie halfway between levels.
    """
    levels = images.one_shot.latents(point)
    return descent.begin(jax.tree.map(lambda first, second: (first + second) / 2, images.analysed, levels))


def update(
    model: CodecModel,
    variables: dict,
    images: ImageBatch,
    point: OperatingPoint,
    state: descent.DescentState,
    progress: Float[Array, ""],
    steps: Int[Array, ""],
) -> descent.DescentState:
    """Takes a step of refinement.

    Args:
      progress: the fraction of the steps that are done.
      steps: the expected number of steps. The learning rate falls linearly, so that they add up to about `REACH`.
    """
    weigh = partial(upper_weight, jnp.zeros((), jnp.float32), temperature=TEMPERATURE)
    objective = lambda latents: relaxed_objective(model, variables, images, point, latents, weigh, weigh).objective
    return descent.descend(objective, point, state, 2 * REACH / steps * (1 - progress))


DESCENT = descent.Descent(begin, update)
