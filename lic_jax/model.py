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
from lic_jax.entropy.gaussian import index_of_log_scale
from lic_jax.transforms.analysis import CNNAnalysis, LinearAnalysis
from lic_jax.transforms.hyper import HyperAnalysis, HyperSynthesis
from lic_jax.transforms.synthesis import JPEGLikeSynthesis, TwoLayerSynthesis

_ANALYSES = {
    "linear": lambda config: LinearAnalysis(config.latent_channels),
    "cnn": lambda config: CNNAnalysis(config.latent_channels, config.analysis_channels),
}

_SYNTHESES = {
    "jpeg_like": lambda config: JPEGLikeSynthesis(),
    "two_layer": lambda config: TwoLayerSynthesis(config.synthesis_channels),
}


class HyperpriorModel(nn.Module):
    """The signal path without its quantizers; call a part as `model.apply(params, ..., method="encode")`."""

    config: ModelConfig

    def setup(self):
        config = self.config
        self.analysis = _ANALYSES[config.analysis](config)
        self.hyper_analysis = HyperAnalysis(config.hyper_channels)
        self.hyper_prior = FactorizedPrior(config.hyper_channels)
        self.hyper_synthesis = HyperSynthesis(config.hyper_channels, config.latent_channels)
        self.synthesis = _SYNTHESES[config.synthesis](config)

    def encode(
        self, image: Float[Array, "batch height width 3"]
    ) -> tuple[Float[Array, "batch h w latent"], Float[Array, "batch h/4 w/4 hyper"]]:
        """Image in the network's domain → latent y and hyper latent z, neither quantized."""
        latent = self.analysis(image)
        return latent, self.hyper_analysis(latent)

    def predict(
        self, hyper_latent: Float[Array, "batch h/4 w/4 hyper"]
    ) -> tuple[Float[Array, "batch h w latent"], Float[Array, "batch h w latent"]]:
        """Quantized hyper latent ẑ → mean μ and real-valued scale index in [0, 63] of every latent."""
        mean, log_scale = self.hyper_synthesis(hyper_latent)
        return mean, index_of_log_scale(log_scale)

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
