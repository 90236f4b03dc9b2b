"""Integer coding tables: how many of 2²⁴ equal parts of the coder's range each symbol owns.

Sender and receiver derive them alike, from integers (thresholds) and float32 weights, in arithmetic that is exact
everywhere (`entropy.exact`). A symbol k owns the prior's mass between its edges, F(e_{k+1}) − F(e_k); the outermost
bins reach to infinity. Every symbol owns at least one part, so that every symbol can be coded.
"""

import itertools

import numpy as np

from lic_jax.arrays import Float, Int
from lic_jax.entropy import exact
from lic_jax.entropy.scale_table import LOG_SCALE_STEP, SCALE_COUNT, SCALE_MIN
from lic_jax.errors import LicError
from lic_jax.quantization.base import IntegerQuantizer

PRECISION_BITS = 24
TOTAL = 1 << PRECISION_BITS


def tables_of_cdf(inner: Float[np.ndarray, "tables T"]) -> Int[np.ndarray, "tables levels"]:
    """Computes the frequencies of T + 1 symbols from the cumulative probabilities at the T edges between them.

    Each row sums to 2²⁴ and no entry is below 1.

    Raises:
      LicError: a probability is infinite or undefined.
    """
    tables, components = inner.shape
    if not np.all(np.isfinite(inner)):
        raise LicError("the prior has infinite or undefined weights; the model is damaged, copy it again")
    scaled = np.floor(inner * float(TOTAL - components - 1)).astype(np.int64)
    scaled = np.maximum.accumulate(scaled, axis=1) + np.arange(1, components + 1)
    edges = np.concatenate([np.zeros((tables, 1), np.int64), scaled, np.full((tables, 1), TOTAL)], axis=1)
    return np.diff(edges, axis=1)


def scale_table() -> Float[np.ndarray, "64"]:
    """Returns the 64 scales of the Gaussian prior, exactly the same float64 everywhere."""
    return SCALE_MIN * exact.exp(np.arange(SCALE_COUNT) * LOG_SCALE_STEP)


def gaussian_tables(quantizer: IntegerQuantizer) -> Int[np.ndarray, "64 levels"]:
    """Computes one table for each scale index, for y − μ under a zero-mean Gaussian."""
    edges = quantizer.coding_edges() / scale_table()[:, None]
    inside = np.abs(edges) < exact.CDF_LIMIT  # a small share; beyond, the probability is 0 or 1 exactly
    cdf = np.where(edges > 0, 1.0, 0.0)
    cdf[inside] = exact.normal_cdf(edges[inside])
    return tables_of_cdf(cdf)


def density_shapes(channels: int, widths: tuple[int, ...] = (3, 3)) -> dict[str, tuple[int, ...]]:
    """Returns the shapes of a factorized density's parameters by name (`priors.density.FactorizedDensity`)."""
    shapes: dict[str, tuple[int, ...]] = {}
    for layer, (width_in, width_out) in enumerate(itertools.pairwise((1, *widths, 1))):
        shapes[f"matrix_{layer}"] = (channels, width_out, width_in)
        shapes[f"bias_{layer}"] = (channels, width_out)
        if layer < len(widths):
            shapes[f"factor_{layer}"] = (channels, width_out)
    return shapes


def factorized_tables(
    prior: dict[str, Float[np.ndarray, "..."]], quantizer: IntegerQuantizer
) -> Int[np.ndarray, "channel levels"]:
    """Computes one table for each channel, for a latent or hyper latent under its factorized prior.

    Args:
      prior: the parameters of `priors.density.FactorizedDensity`: matrix_i, bias_i, factor_i.
      quantizer: the quantizer of the same latent.
    """
    channels = prior["bias_0"].shape[0]
    edges = quantizer.coding_edges()
    hidden = [np.broadcast_to(edges, (channels, edges.shape[1]))]
    for layer in range(sum(name.startswith("matrix_") for name in prior)):
        matrix = exact.softplus(prior[f"matrix_{layer}"])
        bias = prior[f"bias_{layer}"].astype(np.float64)
        outputs = []
        for row in range(matrix.shape[1]):
            total = bias[:, row, None]
            for column, values in enumerate(hidden):
                total = total + matrix[:, row, column, None] * values
            outputs.append(total)
        if f"factor_{layer}" in prior:
            factor = exact.tanh(prior[f"factor_{layer}"])
            outputs = [values + factor[:, row, None] * exact.tanh(values) for row, values in enumerate(outputs)]
        hidden = outputs
    return tables_of_cdf(exact.sigmoid(hidden[0]))


def information(tables: Int[np.ndarray, "*shape"]) -> Float[np.ndarray, "*shape"]:
    """Returns the bits that each symbol costs: −log₂(frequency/2²⁴)."""
    return PRECISION_BITS - np.log2(tables)
