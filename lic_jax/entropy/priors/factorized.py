"""The factorized prior (Ballé et al. 2018): one learned density for each channel, and only the latent is sent.

The hyper latent has no channels, μ = 0, and a latent's index is its channel.
"""

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from lic_jax.arrays import Float
from lic_jax.config import LATENTS_PER_HYPER, ModelConfig
from lic_jax.entropy.priors.base import ONE_STAGE, CodingTables, Mask, Predict
from lic_jax.entropy.scale_table import SCALE_MIN
from lic_jax.entropy.tables import density_shapes, factorized_tables

if TYPE_CHECKING:
    from flax import linen as nn
    from jaxtyping import Array


class Factorized:
    """One stage, which knows only the channel (`entropy.priors.base.Prior`)."""

    has_hyper_latent: ClassVar[bool] = False
    parts: ClassVar[tuple[str, ...]] = ("latent_prior",)
    receiver_parts: ClassVar[tuple[str, ...]] = ("latent_prior",)
    halo: ClassVar[int | None] = 0
    stage_count: ClassVar[int] = 1
    is_exact: ClassVar[bool] = True

    def __init__(self, config: ModelConfig):
        self.config = config

    @staticmethod
    def mean_channels(channels: int) -> int:
        """Returns 0."""
        return 0

    @property
    def table_count(self) -> int:
        """One table for each channel."""
        return self.config.latent_channels

    def modules(self) -> "dict[str, nn.Module]":
        """Makes the latent's densities."""
        from lic_jax.entropy.priors.density import FactorizedDensity

        return {"latent_prior": FactorizedDensity(self.config.latent_channels)}

    def masks(self, shape: tuple[int, ...]) -> tuple[Mask, ...]:
        """Returns the mask of all positions."""
        return ONE_STAGE

    def hyper_encode(self, modules, latent: "Array") -> "Array":
        """Returns a hyper latent without channels."""
        import jax.numpy as jnp

        batch, rows, columns, _ = latent.shape
        return jnp.zeros((batch, rows // LATENTS_PER_HYPER, columns // LATENTS_PER_HYPER, 0))

    def hyper_mass(self, modules, lower: "Array", upper: "Array") -> "Array":
        """Returns probabilities of 1, because the hyper latent is empty."""
        import jax.numpy as jnp

        return jnp.ones_like(lower)

    def latent_mass(self, modules, lower: "Array", upper: "Array", index: "Array") -> "Array":
        """Computes the probability by the channel's density."""
        return modules.latent_prior(lower, upper)

    def stages(self, modules, hyper_latent: "Array") -> tuple[Predict, ...]:
        """Returns one stage: mean 0 and the channel of every latent."""
        import jax.numpy as jnp

        shape = self._latent_shape(hyper_latent.shape)
        channels = jnp.arange(shape[-1], dtype=jnp.float32)
        return (lambda _: (jnp.zeros(shape), jnp.broadcast_to(channels, shape)),)

    def receiver_stages(
        self, params: dict
    ) -> Callable[[Float[np.ndarray, "1 hyper_h hyper_w 0"]], tuple[Predict, ...]]:
        """Returns the same stage in NumPy."""

        def stages(hyper_latent: np.ndarray) -> tuple[Predict, ...]:
            shape = self._latent_shape(hyper_latent.shape)
            zeros, channels = np.broadcast_to(np.float32(0), shape), np.broadcast_to(np.arange(shape[-1]), shape)
            return (lambda _: (zeros, channels),)

        return stages

    def _latent_shape(self, shape: tuple[int, ...]) -> tuple[int, int, int, int]:
        batch, rows, columns, _ = shape
        return batch, LATENTS_PER_HYPER * rows, LATENTS_PER_HYPER * columns, self.config.latent_channels

    def coding_tables(self, params: dict, quantizer, hyper_quantizer) -> CodingTables:
        """Computes one table for each channel, and none for the hyper latent."""
        none = np.zeros((0, hyper_quantizer.symbol_count), np.int64)
        return CodingTables(none, factorized_tables(params["latent_prior"], quantizer))

    def start_at(self, params: dict, spread: Float[np.ndarray, " latent"]) -> dict:
        """Stretches each channel's density to its spread.

        The densities start as logistic ones, F(v) = sigmoid(v/s), with s their initial scale; their standard deviation
        is s √(π²/3). None starts narrower than the scale table's smallest scale. The first layer's weights are the
        softplus of the stored values.
        """
        from lic_jax.entropy.priors.density import FactorizedDensity

        prior = dict(params["latent_prior"])
        stretch = FactorizedDensity.init_scale * math.pi / math.sqrt(3) / np.maximum(spread, SCALE_MIN)
        weights = np.logaddexp(0, prior["matrix_0"]) * stretch[:, None, None]
        prior["matrix_0"] = (weights + np.log(-np.expm1(-weights))).astype(np.float32)
        return {**params, "latent_prior": prior}

    def to_exact(self, params: dict, hyper_latents: np.ndarray) -> tuple[ModelConfig, dict]:
        """Returns all as it is, because densities give exact tables."""
        return self.config, params

    def to_float(self, params: dict) -> dict:
        """Returns all as it is."""
        return params

    def receiver_shapes(self) -> dict[str, tuple[int, ...]]:
        """Returns the shapes of the latent's densities."""
        shapes = density_shapes(self.config.latent_channels)
        return {f"latent_prior/{name}": shape for name, shape in shapes.items()}

    def check_receiver(self, params: dict) -> None:
        """Checks nothing: every density gives exact tables."""
