"""A prior that sees what is known already: groups of channels, each coded in a few passes over the positions.

Scales, the means of the stronger channels, and features follow from a hyper latent, as in a hyperprior. Each stage
after the first has a network that changes them. It sees the features, and the latents of earlier stages in a window of
3×3: the magnitudes of all, the signs of those of lowest frequency.
After Minnen & Singh, "Channel-Wise Autoregressive Entropy Models" (ICIP 2020), He et al., "Checkerboard Context Model"
(CVPR 2021) and "ELIC" (CVPR 2022, section 3.2), with networks small enough for a light decoder, exact on every machine.
"""

import dataclasses
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from lic_jax.arrays import Float
from lic_jax.config import ModelConfig
from lic_jax.entropy.priors import context_exact, context_plan, grid
from lic_jax.entropy.priors.base import Mask, Predict
from lic_jax.entropy.priors.context_plan import GROUPS, Step, masks, steps
from lic_jax.entropy.priors.hyperprior import Hyperprior, with_scale_bias
from lic_jax.entropy.scale_table import LOG_SCALE_STEP, SCALE_COUNT, SCALE_MIN
from lic_jax.entropy.tables import density_shapes
from lic_jax.transforms.description import parameter_shapes

if TYPE_CHECKING:
    from flax import linen as nn
    from jaxtyping import Array

WIDTH = 64
"""Hidden units of each stage."""

_INDEXES_PER_UNIT = 8.0
"""The scale index of a network's output s is 8 s: about a scale's natural logarithm, from the smallest scale."""


class Context:
    """Seven stages: the lowest frequencies from coarse to fine, all others on a checkerboard (`priors.base.Prior`)."""

    has_hyper_latent: ClassVar[bool] = True
    parts: ClassVar[tuple[str, ...]] = ("hyper_analysis", "hyper_prior", "hyper_synthesis", "context")
    receiver_parts: ClassVar[tuple[str, ...]] = ("hyper_prior", "hyper_synthesis", "context")
    halo: ClassVar[int | None] = None
    stage_count: ClassVar[int] = sum(passes for _, passes in GROUPS)

    def __init__(self, config: ModelConfig):
        self.config, self._hyperprior = config, Hyperprior(config)
        own = self._hyperprior
        self.hyper_encode, self.hyper_mass, self.latent_mass = own.hyper_encode, own.hyper_mass, own.latent_mass
        self.coding_tables, self.table_count, self.is_exact = own.coding_tables, own.table_count, own.is_exact

    @property
    def _steps(self) -> tuple[Step, ...]:
        return steps(self.config.latent_channels)

    @staticmethod
    def mean_channels(channels: int) -> int:
        """Returns the channels of the first two groups."""
        return context_plan.mean_channels(channels)

    def modules(self) -> "dict[str, nn.Module]":
        """Makes a hyperprior's modules with a hyper synthesis on the grid, and the stages' networks."""
        from lic_jax.entropy.priors import context_module

        return {
            **self._hyperprior.modules(),
            "hyper_synthesis": context_module.HyperSynthesis(self.config.hyper_synthesis_layers, self.is_exact),
            "context": context_module.Context(WIDTH, self.is_exact),
        }

    def masks(self, shape: tuple[int, ...]) -> tuple[Mask, ...]:
        """Returns the positions and channels of each stage, for a whole batch."""
        _, rows, columns, channels = shape
        return masks(rows, columns, channels)

    def stages(self, modules, hyper_latent: "Array") -> tuple[Predict, ...]:
        """Returns the seven stages; their index is real-valued in training, and whole on the grid."""
        outputs = modules.hyper_synthesis(hyper_latent)
        return tuple(partial(self._predict, modules, *outputs, step) for step in self._steps)

    def _predict(
        self, modules, features: "Array", without_context: "Array", step: Step, latent: "Array | None"
    ) -> "tuple[Array, Array]":
        import jax.numpy as jnp

        from lic_jax.entropy.priors import context_module
        from lic_jax.entropy.priors.gaussian import inside_table
        from lic_jax.gradients import straight_through

        channels = self.config.latent_channels
        parts = jnp.split(without_context, [without_context.shape[-1] - channels], axis=-1)
        mean, scale = (part[..., step.first : step.last] for part in parts)
        if step.known:
            more = jnp.split(modules.context(step, features, latent), [step.means], axis=-1)
            mean, scale = mean + more[0], scale + more[1]
        mean = grid.coarse(jnp, mean, context_module.stepped)
        index = inside_table(_INDEXES_PER_UNIT * scale)
        if self.is_exact:
            index = straight_through(index, _whole_index(jnp, scale))
        beside = lambda part: jnp.pad(part, ((0, 0),) * 3 + ((step.first, channels - step.first - part.shape[-1]),))
        return beside(mean), beside(index)

    def receiver_stages(
        self, params: dict
    ) -> Callable[[Float[np.ndarray, "1 hyper_h hyper_w N"]], tuple[Predict, ...]]:
        """Prepares the same stages in NumPy; each computes the positions that it codes, and leaves zeros elsewhere."""
        run = context_exact.hyper_synthesis(params["hyper_synthesis"], self.config)
        channels = self.config.latent_channels

        def predict(
            features: np.ndarray, without_context: np.ndarray, step: Step, latent: np.ndarray | None
        ) -> tuple[np.ndarray, np.ndarray]:
            rows, columns, own_mean, scale = context_exact.predict(
                step, params["context"].get(step.name), channels, features, without_context, latent
            )
            shape = (*features.shape[:3], channels)
            mean, index = np.zeros(shape, np.float32), np.zeros(shape, np.uint16)
            mean[0, rows, columns, step.first : step.first + step.means] = grid.coarse(np, own_mean)
            index[0, rows, columns, step.first : step.last] = _whole_index(np, scale)
            return mean, index

        def stages(hyper_latent: np.ndarray) -> tuple[Predict, ...]:
            outputs = run(hyper_latent)
            return tuple(partial(predict, *outputs, step) for step in self._steps)

        return stages

    def start_at(self, params: dict, spread: Float[np.ndarray, " latent"]) -> dict:
        """Starts all scales at the spread of their channels, by the hyper synthesis' last bias."""
        scale = np.log(spread / SCALE_MIN) / LOG_SCALE_STEP / _INDEXES_PER_UNIT
        return {**params, "hyper_synthesis": with_scale_bias(params["hyper_synthesis"], scale)}

    def to_exact(self, params: dict, hyper_latents: np.ndarray) -> tuple[ModelConfig, dict]:
        """Rounds all weights to the grid; nothing has to be calibrated."""
        return dataclasses.replace(self.config, hyper_arithmetic="integer"), context_exact.on_grid(params, self.config)

    def to_float(self, params: dict) -> dict:
        """Returns the parameters as they are: weights on the grid train on."""
        return params

    def receiver_shapes(self) -> dict[str, tuple[int, ...]]:
        """Returns the shapes of the hyper latent's densities, of the hyper synthesis and of all stages."""
        channels = self.config.hyper_channels
        features = parameter_shapes(self.config.hyper_synthesis_layers, channels)
        return {
            **{f"hyper_prior/{name}": shape for name, shape in density_shapes(channels).items()},
            **{f"hyper_synthesis/{name}": shape for name, shape in features.items()},
            **context_exact.shapes(self.config, WIDTH),
        }

    def check_receiver(self, params: dict) -> None:
        """Raises LicError unless every sum is exact."""
        context_exact.check(params, self.config)


def _whole_index(xp, scale):
    """Computes the whole scale index of a network's output s: 8 s, rounded."""
    nearest = xp.floor(np.float32(_INDEXES_PER_UNIT) * scale + np.float32(0.5))
    return xp.clip(nearest, 0, np.float32(SCALE_COUNT - 1))
