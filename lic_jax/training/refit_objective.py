"""What a refit minimizes: the codec's objective as a function of one pair of quantizers, soft or as a codec decides."""

import jax
import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Float, Int

from lic_jax.entropy.bins import EdgeKind
from lic_jax.model import CodecModel
from lic_jax.quantization import stanh
from lic_jax.quantization.rows import QuantizerOfRows, Widening
from lic_jax.quantization.stanh import STanH
from lic_jax.training.anchor_objective import RateDistortion, bits, mean_squared_error


@struct.dataclass
class Quantizers:
    """The two quantizers of a rate.

    Attributes:
      latent: of the residual y − μ.
      hyper_latent: of the hyper latent.
      widening: how the latent's differs from row to row of its coding tables; not at all if None.
      bin_edges: what the coding tables take for the edges of a symbol's bin.
    """

    latent: STanH
    hyper_latent: STanH
    widening: Widening | None = None
    bin_edges: EdgeKind = struct.field(pytree_node=False, default="thresholds")

    def latent_at(self, row: Float[Array, "*shape"]) -> QuantizerOfRows:
        """The latent's quantizer where it is coded with these rows."""
        return QuantizerOfRows.of(self.latent, self.widening, row)


def _soft_symbols(
    quantizer: QuantizerOfRows, values: Float[Array, "*shape"], inverse_temperature: Float[Array, ""]
) -> tuple[Int[Array, "*shape"], Float[Array, "*shape"]]:
    """The threshold nearest to each value and, by its tanh, how far beyond it the value is: (i, p in [0, 1]).

    A value is symbol i with weight 1 − p and symbol i + 1 with weight p. All other tanh are saturated at the inverse
    temperatures of a refit, so the mean of the two levels is s_β.
    """
    components = quantizer.quantizer.components
    above = jnp.clip(jax.lax.stop_gradient(quantizer.symbols(values)), 1, components - 1)
    nearer_below = values - quantizer.threshold(above - 1) < quantizer.threshold(above) - values
    nearest = jnp.where(nearer_below, above - 1, above)
    return nearest, (1 + jnp.tanh(inverse_temperature * (values - quantizer.threshold(nearest)))) / 2


def _expected_level(quantizer: QuantizerOfRows, index: Int[Array, "*shape"], weight: Float[Array, "*shape"]) -> Array:
    """The mean of levels i and i + 1, the second with this weight."""
    low = quantizer.level(index)
    return low + weight * (quantizer.level(index + 1) - low)


def _expected_bits(mass_between, quantizer: QuantizerOfRows, kind: EdgeKind, index, weight) -> Array:
    """The mean code length of symbols i and i + 1."""
    low, middle, high = (quantizer.edge(index + offset, kind) for offset in range(3))
    return (1 - weight) * bits(mass_between(low, middle)) + weight * bits(mass_between(middle, high))


def soft_objective(
    model: CodecModel,
    params: dict,
    quantizers: Quantizers,
    image: Float[Array, "batch height width 3"],
    latent: Float[Array, "batch h w latent"],
    hyper_latent: Float[Array, "batch h/4 w/4 hyper"],
    rd_lambda: Float[Array, ""],
    inverse_temperature: Float[Array, ""],
    hyper_inverse_temperature: Float[Array, ""] | float | None = None,
) -> tuple[RateDistortion, Float[Array, ""]]:
    """The objective of one pair of quantizers with soft decisions, and the latent's mean |s_β(v) − hard(v)|.

    For β → ∞ it is the codec's own objective. The hyper latent has the same β unless another is given.
    """
    variables = {"params": params}
    hyper_quantizer = QuantizerOfRows(quantizers.hyper_latent)
    hyper_beta = inverse_temperature if hyper_inverse_temperature is None else hyper_inverse_temperature
    hyper_index, hyper_weight = _soft_symbols(hyper_quantizer, hyper_latent, hyper_beta)
    soft_hyper = _expected_level(hyper_quantizer, hyper_index, hyper_weight)
    hyper_mass = lambda low, high: model.apply(variables, low, high, method="hyper_mass")
    hyper_bits = _expected_bits(hyper_mass, hyper_quantizer, quantizers.bin_edges, hyper_index, hyper_weight)

    mean, table_index = model.apply(variables, soft_hyper, method="predict")
    quantizer = quantizers.latent_at(table_index)
    index, weight = _soft_symbols(quantizer, latent - mean, inverse_temperature)
    soft_residual = _expected_level(quantizer, index, weight)
    mass = lambda low, high: model.apply(variables, low, high, table_index, method="latent_mass")
    latent_bits = _expected_bits(mass, quantizer, quantizers.bin_edges, index, weight)
    decoded = model.apply(variables, mean + soft_residual, method="decode")
    gap = jnp.mean(jnp.abs(weight - jnp.round(weight)) * quantizers.latent.spacings[index])
    return _rate_distortion(image, decoded, hyper_bits, latent_bits, rd_lambda), gap


def hard_objective(
    model: CodecModel,
    params: dict,
    quantizers: Quantizers,
    image: Float[Array, "batch height width 3"],
    latent: Float[Array, "batch h w latent"],
    hyper_latent: Float[Array, "batch h/4 w/4 hyper"],
    rd_lambda: Float[Array, ""],
) -> RateDistortion:
    """The objective with the decisions that a codec takes; rates are estimated from the priors."""
    variables = {"params": params}
    bin_of = lambda quantizer, symbols: (quantizer.edge(symbols + side, quantizers.bin_edges) for side in range(2))
    hyper_quantizer = QuantizerOfRows(quantizers.hyper_latent)
    hyper_symbols = hyper_quantizer.symbols(hyper_latent)
    hyper_mass = model.apply(variables, *bin_of(hyper_quantizer, hyper_symbols), method="hyper_mass")
    hard_hyper = stanh.dequantize(quantizers.hyper_latent, hyper_symbols)
    mean, table_index = model.apply(variables, hard_hyper, method="predict")
    quantizer = quantizers.latent_at(table_index)
    symbols = quantizer.symbols(latent - mean)
    mass = model.apply(variables, *bin_of(quantizer, symbols), table_index, method="latent_mass")
    decoded = model.apply(variables, mean + quantizer.level(symbols), method="decode")
    return _rate_distortion(image, decoded, bits(hyper_mass), bits(mass), rd_lambda)


def _rate_distortion(image, decoded, hyper_bits, latent_bits, rd_lambda) -> RateDistortion:
    pixels = image.shape[1] * image.shape[2]
    hyper_bpp = jnp.mean(jnp.sum(hyper_bits, axis=(1, 2, 3))) / pixels
    bpp = hyper_bpp + jnp.mean(jnp.sum(latent_bits, axis=(1, 2, 3))) / pixels
    mse = jnp.mean(mean_squared_error(decoded, image))
    return RateDistortion(bpp + rd_lambda * mse, bpp, hyper_bpp, mse)
