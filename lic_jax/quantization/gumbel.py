"""Sampling between the two levels beside a value: the relaxation of stochastic Gumbel annealing (SGA).

Yang, Bamler & Mandt, "Improving Inference for Neural Image Compression" (NeurIPS 2020), section 3.2, for any levels.
For a value at position p between the levels c_k (p = 0) and c_{k+1} (p = 1), the two levels have the logits −atanh(p)/τ
and −atanh(1 − p)/τ. A Gumbel-softmax of both draws the weight of the upper one. It is a sigmoid of the logits'
difference plus logistic noise, which is the difference of two Gumbel variables:

    weight = sigmoid(((atanh(p) − atanh(1 − p))/τ + noise)/τ)

For τ → 0 the weight rounds to the nearest level.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PRNGKeyArray, ScalarLike

from lic_jax.quantization.counting import count_below

CLIP = 1e-5
"""The arguments of atanh stay at least this far from 0 and from 1."""


def level_below(levels: Float[Array, " levels"], values: Float[Array | np.ndarray, "*shape"]) -> Int[Array, "*shape"]:
    """Returns k in [0, T − 1] with c_k ≤ v ≤ c_{k+1}; for values beyond all levels, k of the outermost pair."""
    return count_below(levels[1:-1], values)


def position_between(
    low: Float[Array, "*shape"], high: Float[Array, "*shape"], values: Float[Array | np.ndarray, "*shape"]
) -> Float[Array, "*shape"]:
    """Returns p = (v − c_k)/(c_{k+1} − c_k), between 1e-5 and 1 − 1e-5; differentiable."""
    return jnp.clip((values - low) / (high - low), CLIP, 1 - CLIP)


def log_odds(position: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """Computes atanh(p) − atanh(1 − p), with one logarithm: ½ ln(p (1 + p) / ((1 − p) (2 − p)))."""
    return jnp.log(position * (1 + position) / ((1 - position) * (2 - position))) / 2


def upper_weight(
    noise: Float[Array, "*#shape"], position: Float[Array, "*#shape"], temperature: ScalarLike
) -> Float[Array, "*#shape"]:
    """Computes the Gumbel-softmax weight in [0, 1] of the upper level.

    Args:
      noise: samples of the standard logistic distribution.
      position: p in (0, 1).
      temperature: τ > 0.
    """
    return jax.nn.sigmoid((log_odds(position) / temperature + noise) / temperature)


def logistic_noise(key: PRNGKeyArray, shape: tuple[int, ...]) -> Float[Array, "*shape"]:
    """Draws the difference of two standard Gumbel variables, in one draw, float32."""
    return jax.random.logistic(key, shape, jnp.float32)
