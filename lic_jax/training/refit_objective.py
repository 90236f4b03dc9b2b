"""The objective of a refit: the codec's, as a function of one pair of quantizers, with soft or hard decisions."""

import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Float, ScalarLike

from lic_jax.distortion.base import Distortion, RateDistortion
from lic_jax.distortion.mse import mse
from lic_jax.model import CodecModel
from lic_jax.quantization.base import FittedQuantizer
from lic_jax.quantization.fixed_point import EdgeKind
from lic_jax.quantization.relaxation import SoftDecision, bits, expected
from lic_jax.quantization.rows import QuantizerOfRows, Widening


@struct.dataclass
class Quantizers:
    """The two quantizers of a rate.

    Attributes:
      latent: the quantizer of the residual y − μ.
      hyper_latent: the quantizer of the hyper latent.
      widening: how the latent's quantizer differs from row to row of its coding tables; None if it does not.
      bin_edges: the edges of a symbol's bin in the coding tables.
    """

    latent: FittedQuantizer
    hyper_latent: FittedQuantizer
    widening: Widening | None = None
    bin_edges: EdgeKind = struct.field(pytree_node=False, default="thresholds")

    def latent_at(self, row: Float[Array, "*shape"]) -> QuantizerOfRows:
        """Returns the latent's quantizer for latents coded with these rows of the coding tables."""
        return QuantizerOfRows.of(self.latent, self.widening, row)


def soft_objective(
    model: CodecModel,
    params: dict,
    quantizers: Quantizers,
    image: Float[Array, "batch height width 3"],
    latent: Float[Array, "batch h w latent"],
    hyper_latent: Float[Array, "batch hyper_h hyper_w hyper"],
    rd_lambda: ScalarLike,
    inverse_temperature: ScalarLike,
    hyper_inverse_temperature: ScalarLike | None = None,
    relaxation: SoftDecision = expected,
    distortion: Distortion = mse,
) -> tuple[RateDistortion, Float[Array, ""]]:
    """Computes the objective of one pair of quantizers with soft decisions, and the latent's mean |soft − hard|.

    For β → ∞ it is the codec's own objective. The hyper latent has the same β unless another is given.
    """
    variables, edges = {"params": params}, quantizers.bin_edges
    hyper_beta = inverse_temperature if hyper_inverse_temperature is None else hyper_inverse_temperature
    hyper_mass = lambda low, high: model.apply(variables, low, high, method="hyper_mass")
    hyper = relaxation(QuantizerOfRows(quantizers.hyper_latent), hyper_latent, hyper_beta, hyper_mass, edges)

    def soften(mean: Array, index: Array):
        mass = lambda low, high: model.apply(variables, low, high, index, method="latent_mass")
        return relaxation(quantizers.latent_at(index), latent - mean, inverse_temperature, mass, edges)

    decide = lambda mean, index: soften(mean, index).values
    quantized, mean, index = model.apply(variables, hyper.values, decide, method="predict")
    softened = soften(mean, index)
    decoded = model.apply(variables, quantized, method="decode")
    return _cost(image, decoded, hyper.bits, softened.bits, rd_lambda, distortion), softened.gap


def hard_objective(
    model: CodecModel,
    params: dict,
    quantizers: Quantizers,
    image: Float[Array, "batch height width 3"],
    latent: Float[Array, "batch h w latent"],
    hyper_latent: Float[Array, "batch hyper_h hyper_w hyper"],
    rd_lambda: ScalarLike,
    distortion: Distortion = mse,
) -> RateDistortion:
    """Computes the objective with a codec's hard decisions; rates are estimated from the priors."""
    variables = {"params": params}
    bin_of = lambda quantizer, symbols: (quantizer.edge(symbols + side, quantizers.bin_edges) for side in range(2))
    hyper_quantizer = QuantizerOfRows(quantizers.hyper_latent)
    hyper_symbols = hyper_quantizer.symbols(hyper_latent)
    hyper_mass = model.apply(variables, *bin_of(hyper_quantizer, hyper_symbols), method="hyper_mass")

    def decide(mean: Array, index: Array) -> Array:
        quantizer = quantizers.latent_at(index)
        return quantizer.level(quantizer.symbols(latent - mean))

    quantized, mean, index = model.apply(variables, hyper_quantizer.level(hyper_symbols), decide, method="predict")
    quantizer = quantizers.latent_at(index)
    mass = model.apply(variables, *bin_of(quantizer, quantizer.symbols(latent - mean)), index, method="latent_mass")
    decoded = model.apply(variables, quantized, method="decode")
    return _cost(image, decoded, bits(hyper_mass), bits(mass), rd_lambda, distortion)


def _cost(image, decoded, hyper_bits, latent_bits, rd_lambda, distortion: Distortion) -> RateDistortion:
    pixels = image.shape[1] * image.shape[2]
    hyper_bpp = jnp.mean(jnp.sum(hyper_bits, axis=(1, 2, 3))) / pixels
    bpp = hyper_bpp + jnp.mean(jnp.sum(latent_bits, axis=(1, 2, 3))) / pixels
    distance = jnp.mean(distortion(decoded, image))
    return RateDistortion(bpp + rd_lambda * distance, bpp, hyper_bpp, distance, jnp.mean(mse(decoded, image)))
