"""Your own prior, with two stages: half of the latents help to predict the other half.

The latent's field is a checkerboard. The white squares are coded as a hyperprior has them; then each black one's mean
is moved by a learned fraction, one a channel, of how much its four white neighbours were above their own means. Coding
tables stay those of the hyperprior, so nothing that must be exact depends on floating point.
(After He et al., "Checkerboard Context Model", CVPR 2021, without its networks.)
"""

from typing import ClassVar

import numpy as np

from lic_jax import registry
from lic_jax.config import ModelConfig
from lic_jax.entropy.priors.base import Predict
from lic_jax.entropy.priors.hyperprior import Hyperprior


def white(shape: tuple[int, ...]) -> np.ndarray:
    """The squares that are coded first, in a latent [batch, h, w, C]."""
    rows, columns = np.indices(shape[1:3])
    return np.broadcast_to(((rows + columns) % 2 == 0)[None, :, :, None], shape)


def moved(xp, mean, latent, weights):
    """The mean of the black squares, given ŷ of the white ones and zero elsewhere.

    Args:
      xp: numpy or jax.numpy.
    """
    excess = xp.where(white(mean.shape), latent - mean, 0)
    padded = xp.pad(excess, ((0, 0), (1, 1), (1, 1), (0, 0)))
    around = padded[:, :-2, 1:-1] + padded[:, 2:, 1:-1] + padded[:, 1:-1, :-2] + padded[:, 1:-1, 2:]
    return mean + weights * around / 4


class Checkerboard:
    """White, then black; all else as `Hyperprior`, which it owns."""

    has_hyper_latent: ClassVar[bool] = True
    parts: ClassVar[tuple[str, ...]] = (*Hyperprior.parts, "neighbours")
    receiver_parts: ClassVar[tuple[str, ...]] = (*Hyperprior.receiver_parts, "neighbours")
    halo: ClassVar[int | None] = None
    stage_count: ClassVar[int] = 2
    mean_channels = Hyperprior.mean_channels

    def __init__(self, config: ModelConfig):
        self.config, self._hyperprior = config, Hyperprior(config)
        for name in (
            "hyper_encode",
            "hyper_mass",
            "latent_mass",
            "coding_tables",
            "check_receiver",
            "start_at",
            "to_exact",
            "to_float",
        ):
            setattr(self, name, getattr(self._hyperprior, name))
        self.table_count, self.is_exact = self._hyperprior.table_count, self._hyperprior.is_exact

    def modules(self):
        """Those of the hyperprior, and a weight for each channel."""
        from flax import linen as nn

        class Neighbours(nn.Module):
            channels: int

            @nn.compact
            def __call__(self):
                return self.param("weights", nn.initializers.zeros, (self.channels,))

        return {**self._hyperprior.modules(), "neighbours": Neighbours(self.config.latent_channels)}

    def masks(self, shape: tuple[int, ...]) -> tuple[np.ndarray, ...]:
        """White squares, then black ones."""
        first = white(shape)
        return first, ~first

    def stages(self, modules, hyper_latent) -> tuple[Predict, ...]:
        """The hyperprior's mean and index; for the second stage, the mean moved by what the first one tells."""
        import jax.numpy as jnp

        (predict,) = self._hyperprior.stages(modules, hyper_latent)
        mean, index = predict(None)
        weights = modules.neighbours()
        return (lambda _: (mean, index)), (lambda latent: (moved(jnp, mean, latent, weights), index))

    def receiver_stages(self, params: dict):
        """The same in NumPy."""
        predicted = self._hyperprior.receiver_stages(params)

        def stages(hyper_latent) -> tuple[Predict, ...]:
            mean, index = predicted(hyper_latent)[0](None)
            weights = params["neighbours"]["weights"]
            return (lambda _: (mean, index)), (lambda latent: (moved(np, mean, latent, weights), index))

        return stages

    def receiver_shapes(self) -> dict[str, tuple[int, ...]]:
        """Those of the hyperprior, and the weights."""
        return {**self._hyperprior.receiver_shapes(), "neighbours/weights": (self.config.latent_channels,)}


registry.PRIORS.register("checkerboard", Checkerboard)
