"""Bins: the interval of the prior whose mass codes each symbol.

Symbol k of a quantizer with inner edges e_1 < … < e_T has the bin (e_k, e_{k+1}], with e_0 = −∞ and e_{T+1} = +∞.
The inner edges are the thresholds, where symbols really change, or the midpoints between levels (Presta et al. 2025).
"""

import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from lic_jax.errors import unknown_name
from lic_jax.quantization.base import FittedQuantizer
from lic_jax.quantization.fixed_point import BIN_EDGES, EdgeKind

UNBOUNDED = 1e6
"""Stands for infinity: every latent is smaller, and gradients there are zeros, not NaN."""


def inner_edges(quantizer: FittedQuantizer, kind: EdgeKind = "thresholds") -> Float[Array, " T"]:
    """Returns the T edges between the T + 1 bins, increasing."""
    if kind == "thresholds":
        return quantizer.thresholds
    if kind == "midpoints":
        levels = quantizer.levels
        return (levels[1:] + levels[:-1]) / 2
    raise unknown_name("kind of bin edges", kind, BIN_EDGES)


def bin_edges(quantizer: FittedQuantizer, kind: EdgeKind = "thresholds") -> Float[Array, " edges"]:
    """Returns e_0 … e_{T+1}, the outermost two at ±`UNBOUNDED`."""
    return jnp.pad(inner_edges(quantizer, kind), 1, constant_values=(-UNBOUNDED, UNBOUNDED))


def soft_bins(
    quantizer: FittedQuantizer, soft_values: Float[Array, "*shape"], symbols: Int[Array, "*shape"]
) -> tuple[Float[Array, "*shape"], Float[Array, "*shape"]]:
    """Returns the bin of a soft value v in cell k: [v − (c_k − c_{k−1})/2, v + (c_{k+1} − c_k)/2].

    The bins of the outermost levels have no outer end. A uniform quantizer has v ± step/2, like additive noise.
    """
    half = jnp.pad(jnp.diff(quantizer.levels) / 2, 1, constant_values=UNBOUNDED)
    return soft_values - half[symbols], soft_values + half[symbols + 1]
