"""The mean-scale hyperprior codec model: transforms and priors as pure functions of one tree of parameters.

    y = g_a(x);  z = h_a(y);  ẑ = Q_z(z);  (μ, σ) = h_s(ẑ);  ŷ = μ + Q_y(y − μ);  x̂ = g_s(ŷ)

The quantizers Q are not part of the model: they are arguments of what runs it, so that one frozen model serves many.
(Minnen et al. 2018; the shallow syntheses of Yang & Mandt, ICCV 2023.)
"""

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float, PRNGKeyArray

from lic_jax.config import HYPER_STRIDE, ModelConfig
from lic_jax.entropy.factorized import FactorizedPrior
from lic_jax.entropy.gaussian import index_of_log_index, index_of_log_scale
from lic_jax.transforms.analysis import CNNAnalysis, ELICAnalysis, GDNAnalysis, LinearAnalysis
from lic_jax.transforms.hyper import HyperAnalysis, HyperSynthesis, IntegerHyperSynthesis, compand
from lic_jax.transforms.synthesis import (
    CNNSynthesis,
    ELICSynthesis,
    GDNSynthesis,
    JPEGLikeSynthesis,
    TwoLayerResidualSynthesis,
    TwoLayerSynthesis,
)

_ANALYSES = {"cnn": CNNAnalysis, "gdn": GDNAnalysis, "elic": ELICAnalysis}
_SHALLOW_SYNTHESES = {"two_layer": TwoLayerSynthesis, "two_layer_residual": TwoLayerResidualSynthesis}
_DEEP_SYNTHESES = {"cnn": CNNSynthesis, "gdn": GDNSynthesis, "elic": ELICSynthesis}


def _analysis(config: ModelConfig) -> nn.Module:
    if config.analysis == "linear":
        return LinearAnalysis(config.latent_channels)
    kind = _ANALYSES[config.analysis]
    return kind(config.latent_channels, config.analysis_channels[:3], block_transform=config.block_transform)


def _hyper_synthesis(config: ModelConfig) -> nn.Module:
    kind = IntegerHyperSynthesis if config.hyper_arithmetic == "integer" else HyperSynthesis
    return kind(config.hyper_synthesis_layers)


def _synthesis(config: ModelConfig) -> nn.Module:
    kernels = config.synthesis_kernels
    if config.synthesis == "jpeg_like":
        return JPEGLikeSynthesis(kernels[0])
    if config.synthesis in _SHALLOW_SYNTHESES:
        return _SHALLOW_SYNTHESES[config.synthesis](config.synthesis_channels[0], kernels[:2])
    return _DEEP_SYNTHESES[config.synthesis](config.synthesis_channels[:3], kernels[0])


class HyperpriorModel(nn.Module):
    """The signal path without its quantizers; call a part as `model.apply(params, ..., method="encode")`."""

    config: ModelConfig

    def setup(self):
        config = self.config
        self.analysis = _analysis(config)
        self.hyper_analysis = HyperAnalysis(config.hyper_channels)
        self.hyper_prior = FactorizedPrior(config.hyper_channels)
        self.hyper_synthesis = _hyper_synthesis(config)
        self.synthesis = _synthesis(config)

    def encode(
        self, image: Float[Array, "batch height width 3"]
    ) -> tuple[Float[Array, "batch h w latent"], Float[Array, "batch h/4 w/4 hyper"]]:
        """Image in the network's domain → latent y and hyper latent z, neither quantized."""
        latent = self.analysis(image)
        hyper_input = compand(latent) if self.config.hyper_input == "companded" else latent
        return latent, self.hyper_analysis(hyper_input)

    def predict(
        self, hyper_latent: Float[Array, "batch h/4 w/4 hyper"]
    ) -> tuple[Float[Array, "batch h w latent"], Float[Array, "batch h w latent"]]:
        """Quantized hyper latent ẑ → mean μ and real-valued scale index in [0, 63] of every latent."""
        mean, scale_output = self.hyper_synthesis(hyper_latent)
        if self.config.hyper_arithmetic == "integer":
            return mean, scale_output
        of_output = index_of_log_scale if self.config.scale_output == "log_scale" else index_of_log_index
        return mean, of_output(scale_output)

    def hyper_mass(
        self, lower: Float[Array, "*batch hyper"], upper: Float[Array, "*batch hyper"]
    ) -> Float[Array, "*batch hyper"]:
        """The prior probability that a hyper latent lies in (lower, upper]."""
        return self.hyper_prior(lower, upper)

    def decode(self, latent: Float[Array, "batch h w latent"]) -> Float[Array, "batch height width 3"]:
        """Quantized latent ŷ → image in the network's domain."""
        return self.synthesis(latent)

    def __call__(self, image: Float[Array, "batch height width 3"]) -> Float[Array, "batch height width 3"]:
        """The whole path without quantization; touches every parameter, so that `init` makes them all."""
        latent, hyper_latent = self.encode(image)
        mean, _ = self.predict(hyper_latent)
        self.hyper_mass(hyper_latent - 0.5, hyper_latent + 0.5)
        return self.decode(mean + (latent - mean))


def initialize(config: ModelConfig, key: PRNGKeyArray) -> dict:
    """Random parameters for a configuration."""
    image = jnp.zeros((1, HYPER_STRIDE, HYPER_STRIDE, 3))
    return jax.jit(HyperpriorModel(config).init)(key, image)["params"]


def to_network_domain(pixels: Array) -> Array:
    """uint8 pixels → x/255 − 0.5 in float32."""
    return pixels.astype(jnp.float32) / 255 - 0.5


def to_pixels(image: Float[Array, "*shape"]) -> Array:
    """The network's domain → uint8 pixels, rounded and clipped."""
    return jnp.clip(jnp.round((image + 0.5) * 255), 0, 255).astype(jnp.uint8)
