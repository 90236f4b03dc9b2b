"""The mean-scale hyperprior (Minnen et al. 2018): Gaussians whose means and scales follow from a hyper latent.

The hyper latent is side information, coded before the latent. A latent's index is that of its scale in a table of 64
(`entropy.scale_table`).
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from lic_jax.arrays import Float
from lic_jax.config import ModelConfig
from lic_jax.entropy.priors import integers
from lic_jax.entropy.priors.base import ONE_STAGE, CodingTables, Mask, Predict
from lic_jax.entropy.scale_table import LOG_SCALE_STEP, SCALE_COUNT, SCALE_MIN
from lic_jax.entropy.tables import density_shapes, factorized_tables, gaussian_tables
from lic_jax.transforms.hyper_transforms import standard_analysis

if TYPE_CHECKING:
    from flax import linen as nn
    from jaxtyping import Array


class Hyperprior:
    """One stage: mean and scale index of every latent follow from ẑ (`entropy.priors.base.Prior`)."""

    has_hyper_latent: ClassVar[bool] = True
    parts: ClassVar[tuple[str, ...]] = ("hyper_analysis", "hyper_prior", "hyper_synthesis")
    receiver_parts: ClassVar[tuple[str, ...]] = ("hyper_prior", "hyper_synthesis")
    halo: ClassVar[int | None] = 2
    stage_count: ClassVar[int] = 1

    def __init__(self, config: ModelConfig):
        self.config = config

    @staticmethod
    def mean_channels(channels: int) -> int:
        """Returns the number of all channels."""
        return channels

    @property
    def table_count(self) -> int:
        """One table for each scale."""
        return SCALE_COUNT

    @property
    def is_exact(self) -> bool:
        """Whether the hyper synthesis computes in integers."""
        return self.config.hyper_arithmetic == "integer"

    def modules(self) -> "dict[str, nn.Module]":
        """Makes the hyper analysis, the hyper latent's densities, and the hyper synthesis in floats or in integers."""
        from lic_jax.entropy.priors.density import FactorizedDensity
        from lic_jax.entropy.priors.integer_module import IntegerHyperSynthesis
        from lic_jax.transforms.module import as_module

        layers = self.config.hyper_synthesis_layers
        return {
            "hyper_analysis": as_module(standard_analysis(self.config)),
            "hyper_prior": FactorizedDensity(self.config.hyper_channels),
            "hyper_synthesis": IntegerHyperSynthesis(layers, self.config.scale_output)
            if self.is_exact
            else as_module(layers),
        }

    def masks(self, shape: tuple[int, ...]) -> tuple[Mask, ...]:
        """Returns the mask of all positions."""
        return ONE_STAGE

    def hyper_encode(self, modules, latent: "Array") -> "Array":
        """Computes z = h_a(y)."""
        from lic_jax.entropy.priors.gaussian import compand

        return modules.hyper_analysis(compand(latent) if self.config.hyper_input == "companded" else latent)

    def hyper_mass(self, modules, lower: "Array", upper: "Array") -> "Array":
        """Computes the probability by the density of each channel."""
        return modules.hyper_prior(lower, upper)

    def latent_mass(self, modules, lower: "Array", upper: "Array", index: "Array") -> "Array":
        """Computes the probability by the Gaussian of the index, which may be real-valued."""
        from lic_jax.entropy.priors.gaussian import gaussian_mass, scale_of_index

        return gaussian_mass(lower, upper, scale_of_index(index))

    def stages(self, modules, hyper_latent: "Array") -> tuple[Predict, ...]:
        """Returns one stage; its index is real-valued in [0, 63] in training, and whole in integer arithmetic."""
        return (lambda _: self._predict(modules, hyper_latent),)

    def _predict(self, modules, hyper_latent: "Array") -> "tuple[Array, Array]":
        import jax.numpy as jnp

        from lic_jax.entropy.priors.gaussian import index_of_log_index, index_of_log_scale

        if self.is_exact:
            return modules.hyper_synthesis(hyper_latent)
        mean, scale_output = jnp.split(modules.hyper_synthesis(hyper_latent), 2, axis=-1)
        to_index = index_of_log_scale if self.config.scale_output == "log_scale" else index_of_log_index
        return mean, to_index(scale_output)

    def receiver_stages(
        self, params: dict
    ) -> Callable[[Float[np.ndarray, "1 hyper_h hyper_w N"]], tuple[Predict, ...]]:
        """Prepares the integer hyper synthesis in NumPy."""
        predict = integers.integer_hyper_synthesis(np, params["hyper_synthesis"], self.config)
        return lambda hyper_latent: (lambda _: predict(hyper_latent),)

    def coding_tables(self, params: dict, quantizer, hyper_quantizer) -> CodingTables:
        """Computes the densities' table of each channel, and the Gaussians' table of each scale."""
        return CodingTables(factorized_tables(params["hyper_prior"], hyper_quantizer), gaussian_tables(quantizer))

    def start_at(self, params: dict, spread: Float[np.ndarray, " latent"]) -> dict:
        """Starts all scales at the spread of their channels, by the hyper synthesis' last bias."""
        scale = np.log(spread)
        if self.config.scale_output == "log_index":
            index = np.log(spread / SCALE_MIN) / LOG_SCALE_STEP
            scale = np.log(np.clip(index, 1, SCALE_COUNT - 1))
        return {**params, "hyper_synthesis": with_scale_bias(params["hyper_synthesis"], scale)}

    def to_exact(
        self, params: dict, hyper_latents: Float[np.ndarray, "count hyper_h hyper_w N"]
    ) -> tuple[ModelConfig, dict]:
        """Converts the hyper synthesis to integers."""
        config, converted = integers.to_integers(params["hyper_synthesis"], self.config, hyper_latents)
        return config, {**params, "hyper_synthesis": converted}

    def to_float(self, params: dict) -> dict:
        """Converts a hyper synthesis in integers to the floats that they stand for."""
        return {**params, "hyper_synthesis": integers.from_integers(params["hyper_synthesis"], self.config)}

    def receiver_shapes(self) -> dict[str, tuple[int, ...]]:
        """Returns the shapes of the hyper latent's densities and of the integer hyper synthesis."""
        channels = self.config.hyper_channels
        shapes = integers.parameter_shapes(self.config.hyper_synthesis_layers, channels)
        return {
            **{f"hyper_prior/{name}": shape for name, shape in density_shapes(channels).items()},
            **{f"hyper_synthesis/{name}": shape for name, shape in shapes.items()},
        }

    def check_receiver(self, params: dict) -> None:
        """Raises LicError unless every sum of the hyper synthesis is exact."""
        integers.check_integers(params["hyper_synthesis"])


def with_scale_bias(hyper_synthesis: dict, scale: Float[np.ndarray, " latent"]) -> dict:
    """Returns a hyper synthesis that begins with means near 0 and scale outputs near `scale`, by its last layer."""
    last = max(hyper_synthesis)
    predicted = hyper_synthesis[last]
    means = np.zeros(len(predicted["bias"]) - len(scale))
    bias = np.concatenate([means, scale]).astype(predicted["bias"].dtype)
    return {**hyper_synthesis, last: {"kernel": 0.1 * predicted["kernel"], "bias": bias}}
