"""The codec's model: transforms and a prior as pure functions of one tree of parameters.

    y = g_a(x);  z = h_a(y);  ẑ = Q_z(z);  (μ, σ) = h_s(ẑ);  ŷ = μ + Q_y(y − μ);  x̂ = g_s(ŷ)

The image x becomes the latent y and the hyper latent z, which predicts y. The quantizers Q are not part of the model:
they are arguments of the functions that run it, so that one frozen model serves many quantizers.
"""

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float, PRNGKeyArray

from lic_jax.config import HYPER_STRIDE, ModelConfig
from lic_jax.entropy.priors.base import Prior, prior_of, through_stages
from lic_jax.transforms.module import as_module

Decide = Callable[[Array, Array], Array]
"""(mean μ, index of the coding table) → the quantized y − μ, for every latent."""


class CodecModel(nn.Module):
    """The signal path without its quantizers; call a part as `model.apply(variables, ..., method="encode")`.

    Attributes:
      config: the model's configuration.
    """

    config: ModelConfig

    if TYPE_CHECKING:

        def apply(self, *args: Any, **keywords: Any) -> Any:
            # Flax's returns a part's outputs, or a pair with changed variables: of this model nothing changes.
            ...

    @property
    def prior(self) -> Prior:
        """The prior of the model's latent."""
        return prior_of(self.config)

    def setup(self):
        self.analysis = as_module(self.config.analysis_layers)
        self.synthesis = as_module(self.config.synthesis_layers)
        for name, module in self.prior.modules().items():
            setattr(self, name, module)

    def encode(
        self, image: Float[Array, "batch height width 3"]
    ) -> tuple[Float[Array, "batch h w latent"], Float[Array, "batch hyper_h hyper_w hyper"]]:
        """Computes latent y and hyper latent z, not quantized, from an image in the network's domain."""
        latent = self.analysis(image)
        return latent, self.hyper_encode(latent)

    def hyper_encode(self, latent: Float[Array, "batch h w latent"]) -> Float[Array, "batch hyper_h hyper_w hyper"]:
        """Computes z, not quantized, from y."""
        return self.prior.hyper_encode(self, latent)

    def predict(
        self, hyper_latent: Float[Array, "batch hyper_h hyper_w hyper"], decide: Decide
    ) -> tuple[Float[Array, "batch h w latent"], Float[Array, "batch h w latent"], Array]:
        """Computes ŷ, its means μ and the indexes of its coding tables from ẑ, stage after stage."""
        prior = self.prior
        return through_stages(prior.stages(self, hyper_latent), prior.masks, decide, jnp.where)

    def predict_stage(
        self,
        hyper_latent: Float[Array, "batch hyper_h hyper_w hyper"],
        latent: Float[Array, "batch h w latent"] | None,
        stage: int,
    ) -> tuple[Float[Array, "batch h w latent"], Array]:
        """Computes mean and index of one stage, given ŷ of the earlier stages."""
        return self.prior.stages(self, hyper_latent)[stage](latent)

    def hyper_mass(
        self, lower: Float[Array, "*batch hyper"], upper: Float[Array, "*batch hyper"]
    ) -> Float[Array, "*batch hyper"]:
        """Computes the prior probability that a hyper latent lies in (lower, upper]."""
        return self.prior.hyper_mass(self, lower, upper)

    def latent_mass(
        self, lower: Float[Array, "*batch latent"], upper: Float[Array, "*batch latent"], index: Array
    ) -> Float[Array, "*batch latent"]:
        """Computes the prior probability that y − μ lies in (lower, upper], by the index from `predict`."""
        return self.prior.latent_mass(self, lower, upper, index)

    def decode(self, latent: Float[Array, "batch h w latent"]) -> Float[Array, "batch height width 3"]:
        """Computes the image in the network's domain from the quantized latent ŷ."""
        return self.synthesis(latent)

    def __call__(self, image: Float[Array, "batch height width 3"]) -> Float[Array, "batch height width 3"]:
        """Runs the whole path without quantization; touches every parameter, so that `init` makes them all."""
        latent, hyper_latent = self.encode(image)
        unquantized, mean, index = self.predict(hyper_latent, lambda mean, _: latent - mean)
        residual = latent - mean
        self.hyper_mass(hyper_latent - 0.5, hyper_latent + 0.5)
        self.latent_mass(residual - 0.5, residual + 0.5, index)
        return self.decode(unquantized)


_UNOPTIMIZED = {"xla_backend_optimization_level": 0, "xla_llvm_disable_expensive_passes": True}
"""Compiler options for a CPU, where LLVM takes half a minute to optimize the drawing of parameters, which runs once."""


def initialize(config: ModelConfig, key: PRNGKeyArray) -> dict:
    """Draws random parameters for a configuration."""
    return _initializer(config)(key)["params"]


@functools.lru_cache(maxsize=16)
def _initializer(config: ModelConfig) -> Callable[[PRNGKeyArray], dict]:
    """Compiles the drawing of a configuration's parameters."""
    image = jnp.zeros((1, HYPER_STRIDE, HYPER_STRIDE, 3))
    options = _UNOPTIMIZED if jax.default_backend() == "cpu" else None
    draw = jax.jit(lambda key: CodecModel(config).init(key, image))
    return draw.lower(jax.random.key(0)).compile(compiler_options=options)
