"""The codec models: transforms and priors as pure functions of one tree of parameters.

    y = g_a(x);  z = h_a(y);  ẑ = Q_z(z);  (μ, σ) = h_s(ẑ);  ŷ = μ + Q_y(y − μ);  x̂ = g_s(ŷ)

That is the mean-scale hyperprior (Minnen et al. 2018). Beside it stands the factorized prior (Ballé et al. 2018), whose
hyper latent has no channels: nothing is sent for it, μ = 0, and a latent's distribution is its channel's. Whoever runs
one of them runs the other.

The quantizers Q are not part of the model: they are arguments of what runs it, so that one frozen model serves many.
(The shallow syntheses are those of Yang & Mandt, ICCV 2023.)
"""

import functools
from collections.abc import Callable
from typing import ClassVar

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float, PRNGKeyArray

from lic_jax.config import HYPER_STRIDE, LATENTS_PER_HYPER, ModelConfig
from lic_jax.entropy.priors.density import FactorizedPrior
from lic_jax.entropy.priors.gaussian import gaussian_mass, index_of_log_index, index_of_log_scale, scale_of_index
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
    return kind(config.latent_channels, config.analysis_channels[:3], config.analysis_kernel, config.block_transform)


def _hyper_synthesis(config: ModelConfig) -> nn.Module:
    if config.hyper_arithmetic == "integer":
        return IntegerHyperSynthesis(config.hyper_synthesis_layers, config.scale_output)
    return HyperSynthesis(config.hyper_synthesis_layers)


def _synthesis(config: ModelConfig) -> nn.Module:
    kernels = config.kernel_sizes
    if config.synthesis == "jpeg_like":
        return JPEGLikeSynthesis(kernels[0])
    if config.synthesis in _SHALLOW_SYNTHESES:
        return _SHALLOW_SYNTHESES[config.synthesis](config.synthesis_channels[0], kernels[:2])
    return _DEEP_SYNTHESES[config.synthesis](config.synthesis_channels[:3], kernels[0])


class CodecModel(nn.Module):
    """The signal path without its quantizers; call a part as `model.apply(params, ..., method="encode")`.

    What a model knows about its latent is its prior: `hyper_encode`, `predict` and the two masses.

    Attributes:
      config: what it is built from.
      prior_parts: the names of the prior's parameters; those of the transforms are "analysis" and "synthesis".
    """

    config: ModelConfig
    prior_parts: ClassVar[tuple[str, ...]] = ()

    def setup(self):
        self.analysis = _analysis(self.config)
        self.synthesis = _synthesis(self.config)

    def encode(
        self, image: Float[Array, "batch height width 3"]
    ) -> tuple[Float[Array, "batch h w latent"], Float[Array, "batch h/4 w/4 hyper"]]:
        """Image in the network's domain → latent y and hyper latent z, neither quantized."""
        latent = self.analysis(image)
        return latent, self.hyper_encode(latent)

    def hyper_encode(self, latent: Float[Array, "batch h w latent"]) -> Float[Array, "batch h/4 w/4 hyper"]:
        """Latent y → hyper latent z, not quantized."""
        raise NotImplementedError

    def predict(
        self, hyper_latent: Float[Array, "batch h/4 w/4 hyper"]
    ) -> tuple[Float[Array, "batch h w latent"], Float[Array, "batch h w latent"]]:
        """Quantized hyper latent ẑ → mean μ of every latent and the index of the distribution of y − μ."""
        raise NotImplementedError

    def hyper_mass(
        self, lower: Float[Array, "*batch hyper"], upper: Float[Array, "*batch hyper"]
    ) -> Float[Array, "*batch hyper"]:
        """The prior probability that a hyper latent lies in (lower, upper]."""
        raise NotImplementedError

    def latent_mass(
        self,
        lower: Float[Array, "*batch latent"],
        upper: Float[Array, "*batch latent"],
        index: Float[Array, "*batch latent"],
    ) -> Float[Array, "*batch latent"]:
        """The prior probability that y − μ lies in (lower, upper], by the index that `predict` gave."""
        raise NotImplementedError

    def decode(self, latent: Float[Array, "batch h w latent"]) -> Float[Array, "batch height width 3"]:
        """Quantized latent ŷ → image in the network's domain."""
        return self.synthesis(latent)

    def __call__(self, image: Float[Array, "batch height width 3"]) -> Float[Array, "batch height width 3"]:
        """The whole path without quantization; touches every parameter, so that `init` makes them all."""
        latent, hyper_latent = self.encode(image)
        mean, index = self.predict(hyper_latent)
        residual = latent - mean
        self.hyper_mass(hyper_latent - 0.5, hyper_latent + 0.5)
        self.latent_mass(residual - 0.5, residual + 0.5, index)
        return self.decode(mean + residual)


class HyperpriorModel(CodecModel):
    """The mean-scale hyperprior: Gaussians whose means and scales a hyper latent says; the index is the scale's."""

    prior_parts: ClassVar[tuple[str, ...]] = ("hyper_analysis", "hyper_prior", "hyper_synthesis")

    def setup(self):
        super().setup()
        self.hyper_analysis = HyperAnalysis(self.config.hyper_channels)
        self.hyper_prior = FactorizedPrior(self.config.hyper_channels)
        self.hyper_synthesis = _hyper_synthesis(self.config)

    def hyper_encode(self, latent: Float[Array, "batch h w latent"]) -> Float[Array, "batch h/4 w/4 hyper"]:
        return self.hyper_analysis(compand(latent) if self.config.hyper_input == "companded" else latent)

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
        return self.hyper_prior(lower, upper)

    def latent_mass(
        self,
        lower: Float[Array, "*batch latent"],
        upper: Float[Array, "*batch latent"],
        index: Float[Array, "*batch latent"],
    ) -> Float[Array, "*batch latent"]:
        return gaussian_mass(lower, upper, scale_of_index(index))


class FactorizedModel(CodecModel):
    """The factorized prior alone: one learned density a channel; the index is the channel (Ballé et al. 2018)."""

    prior_parts: ClassVar[tuple[str, ...]] = ("latent_prior",)

    def setup(self):
        super().setup()
        self.latent_prior = FactorizedPrior(self.config.latent_channels)

    def hyper_encode(self, latent: Float[Array, "batch h w latent"]) -> Float[Array, "batch h/4 w/4 0"]:
        batch, rows, columns, _ = latent.shape
        return jnp.zeros((batch, rows // LATENTS_PER_HYPER, columns // LATENTS_PER_HYPER, 0))

    def predict(
        self, hyper_latent: Float[Array, "batch h/4 w/4 0"]
    ) -> tuple[Float[Array, "batch h w latent"], Float[Array, "batch h w latent"]]:
        """Mean 0 and the channel of every latent."""
        batch, rows, columns, _ = hyper_latent.shape
        shape = (batch, LATENTS_PER_HYPER * rows, LATENTS_PER_HYPER * columns, self.config.latent_channels)
        return jnp.zeros(shape), jnp.broadcast_to(jnp.arange(shape[-1], dtype=jnp.float32), shape)

    def hyper_mass(self, lower: Float[Array, "*batch 0"], upper: Float[Array, "*batch 0"]) -> Float[Array, "*batch 0"]:
        return jnp.ones_like(lower)

    def latent_mass(
        self,
        lower: Float[Array, "*batch latent"],
        upper: Float[Array, "*batch latent"],
        index: Float[Array, "*batch latent"],
    ) -> Float[Array, "*batch latent"]:
        return self.latent_prior(lower, upper)


_MODELS = {"factorized": FactorizedModel, "hyperprior": HyperpriorModel}


def model_of(config: ModelConfig) -> CodecModel:
    """The model that a configuration describes."""
    return _MODELS[config.prior](config)


_UNOPTIMIZED = {"xla_backend_optimization_level": 0, "xla_llvm_disable_expensive_passes": True}
"""On a CPU, LLVM takes half a minute to optimize what draws each parameter, which runs once."""


def initialize(config: ModelConfig, key: PRNGKeyArray) -> dict:
    """Random parameters for a configuration."""
    return _initializer(config)(key)["params"]


@functools.lru_cache(maxsize=16)
def _initializer(config: ModelConfig) -> Callable[[PRNGKeyArray], dict]:
    """What draws a configuration's parameters, compiled."""
    image = jnp.zeros((1, HYPER_STRIDE, HYPER_STRIDE, 3))
    options = _UNOPTIMIZED if jax.default_backend() == "cpu" else None
    draw = jax.jit(lambda key: model_of(config).init(key, image))
    return draw.lower(jax.random.key(0)).compile(compiler_options=options)


def to_network_domain(pixels: Array) -> Array:
    """uint8 pixels → x/255 − 0.5 in float32."""
    return pixels.astype(jnp.float32) / 255 - 0.5


def to_pixels(image: Float[Array, "*shape"]) -> Array:
    """The network's domain → uint8 pixels, rounded and clipped."""
    return jnp.clip(jnp.round((image + 0.5) * 255), 0, 255).astype(jnp.uint8)
