"""Stochastic Gumbel annealing (SGA): y and z of an image are optimized through sampled quantization.

Yang, Bamler & Mandt, "Improving Inference for Neural Image Compression" (NeurIPS 2020), as Yang & Mandt (ICCV 2023)
run it, between STanH's levels; the uniform quantizer is their special case.
"""

from functools import partial

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from lic_jax.encoding import descent
from lic_jax.encoding.cost import ImageBatch, relaxed_objective
from lic_jax.encoding.operating_point import OperatingPoint
from lic_jax.model import CodecModel
from lic_jax.quantization.gumbel import logistic_noise, upper_weight
from lic_jax.quantization.noise import NOISE

PUBLISHED_STEPS = 3000
PUBLISHED_LEARNING_RATE = 5e-3

HIGHEST_TEMPERATURE, LOWEST_TEMPERATURE = 0.5, 1e-8


def temperature(progress: Float[Array, "*shape"] | float) -> Float[Array, "*shape"]:
    """Returns τ after a fraction of the steps: clip(0.5 · exp(0.1 − 1.5 · progress), 1e-8, 0.5).

    For 3,000 steps this is the published τ(t) = clip(0.5 · exp(−r (t − t₀)), 1e-8, 0.5), r = 5e-4, t₀ = 200. For N
    steps r = 1.5/N and t₀ = N/15, so τ always ends at 0.123. With the published r, a search of 200 steps would stay
    at τ = 0.5, where samples are mostly noise.
    """
    falling = HIGHEST_TEMPERATURE * jnp.exp(0.1 - 1.5 * progress)
    return jnp.clip(falling, LOWEST_TEMPERATURE, HIGHEST_TEMPERATURE)


def learning_rate(progress: Float[Array, ""] | float, steps: Int[Array, ""] | int) -> Float[Array, ""]:
    """Returns Adam's learning rate in distances between levels: 5e-3 · √(3000/steps), a tenth of it in the last tenth.

    5e-3 is published for 3,000 steps. Fewer must be longer: at 5e-3, 100 steps move a latent half a level at most.
    """
    rate = PUBLISHED_LEARNING_RATE * jnp.sqrt(PUBLISHED_STEPS / steps)
    return jnp.where(progress < 0.9, rate, rate / 10)


def begin(images: ImageBatch, point: OperatingPoint) -> descent.DescentState:
    """Starts from the analysis' latents, whatever the rate."""
    del point
    return descent.begin(images.analysed)


def update(
    model: CodecModel,
    variables: dict,
    images: ImageBatch,
    point: OperatingPoint,
    state: descent.DescentState,
    progress: Float[Array, ""],
    steps: Int[Array, ""],
) -> descent.DescentState:
    """Takes a step of SGA.

    The noise is drawn anew each step and is the same for all images of a batch. So an image's result does not depend
    on the other images in its batch.

    Args:
      progress: the fraction of the steps that are done.
      steps: the expected number of steps.
    """
    tau = temperature(progress)
    key = jax.random.fold_in(jax.random.key(0, impl=NOISE), state.step)
    weigh, weigh_hyper = (
        partial(upper_weight, logistic_noise(key, values.shape[1:]), temperature=tau)
        for key, values in zip(jax.random.split(key), state.latents, strict=True)
    )
    objective = lambda latents: (
        relaxed_objective(model, variables, images, point, latents, weigh, weigh_hyper).objective
    )
    return descent.descend(objective, point, state, learning_rate(progress, steps))


DESCENT = descent.Descent(begin, update)
