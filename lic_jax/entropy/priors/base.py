"""The contract of a prior: the probabilities by which sender and receiver code a latent.

A prior codes its latent in *stages*. Each stage gives mean and coding table of some positions, as a function of the
hyper latent and of the latents of earlier stages; masks select the positions. A mean-scale hyperprior has one stage; a
context model has several.

A prior is a plain object made from a `ModelConfig`. Its training methods import JAX when they are called; a receiver
uses the rest with NumPy alone.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, Protocol, runtime_checkable

import numpy as np

from lic_jax.arrays import Float, Int
from lic_jax.config import ModelConfig
from lic_jax.registry import PRIORS

if TYPE_CHECKING:
    from flax import linen as nn


Predict = Callable[[Any], tuple[Any, Any]]
"""A stage: ŷ of all earlier stages [batch, h, w, C], zero elsewhere (None before the first stage) → (mean μ, index of
the coding table), both [batch, h, w, C]. The index, and all that it depends on, is exact on every machine."""


Mask = np.ndarray | np.bool_
"""The positions that a stage codes: an array of a latent's shape, or `np.True_` for all of them."""


class CodingTables(NamedTuple):
    """The integer tables of one rate: a row for each channel of the hyper latent, and for each index of the latent."""

    hyper_latent: Int[np.ndarray, "hyper symbols"]
    latent: Int[np.ndarray, "indexes symbols"]


@runtime_checkable
class Prior(Protocol):
    """The prior of a model's latent.

    Attributes:
      has_hyper_latent: whether streams carry a hyper latent.
      parts: the names of its parameters' trees in a model.
      receiver_parts: the parts that a receiver computes with.
      halo: rows of hyper latents on either side that a mean or an index depends on; None where it depends on other
        latents, so that an image cannot be predicted in bands.
      stage_count: the number of stages.
    """

    has_hyper_latent: ClassVar[bool]
    parts: ClassVar[tuple[str, ...]]
    receiver_parts: ClassVar[tuple[str, ...]]
    halo: ClassVar[int | None]
    stage_count: ClassVar[int]

    def __init__(self, config: ModelConfig): ...

    @staticmethod
    def mean_channels(channels: int) -> int:
        """Returns how many of a latent's channels, the first ones, have means; those of all others are zero."""
        ...

    @property
    def table_count(self) -> int:
        """The number of the latent's coding tables."""
        ...

    @property
    def is_exact(self) -> bool:
        """Whether all receivers get the same symbols, because no floating-point sum selects a table."""
        ...

    def modules(self) -> "dict[str, nn.Module]":
        """Makes the Flax modules of its parts, by name."""
        ...

    def masks(self, shape: tuple[int, ...]) -> tuple[Mask, ...]:
        """Returns the positions that each stage codes in a latent of this shape; a single stage has `(np.True_,)`."""
        ...

    def hyper_encode(self, modules: Any, latent: Any) -> Any:
        """Computes the hyper latent z [batch, h/4, w/4, N], not quantized, from the latent y [batch, h, w, C]."""
        ...

    def hyper_mass(self, modules: Any, lower: Any, upper: Any) -> Any:
        """Computes the probability that a hyper latent lies in (lower, upper]."""
        ...

    def latent_mass(self, modules: Any, lower: Any, upper: Any, index: Any) -> Any:
        """Computes the probability that y − μ lies in (lower, upper], by the index from a stage."""
        ...

    def stages(self, modules: Any, hyper_latent: Any) -> tuple[Predict, ...]:
        """Returns the stages of a latent in JAX, given ẑ [batch, h/4, w/4, N]."""
        ...

    def receiver_stages(
        self, params: dict
    ) -> Callable[[Float[np.ndarray, "1 hyper_h hyper_w N"]], tuple[Predict, ...]]:
        """Prepares the same stages in NumPy for a model's weights; every index equals that of `stages`."""
        ...

    def coding_tables(self, params: dict, quantizer: Any, hyper_quantizer: Any) -> CodingTables:
        """Computes the integer tables of a pair of integer quantizers."""
        ...

    def start_at(self, params: dict, spread: Float[np.ndarray, " latent"]) -> dict:
        """Returns random parameters, changed to expect latents of this standard deviation in each channel."""
        ...

    def to_exact(
        self, params: dict, hyper_latents: Float[np.ndarray, "count hyper_h hyper_w N"]
    ) -> tuple[ModelConfig, dict]:
        """Converts trained parameters to those of an exact receiver.

        Args:
          params: all parameters of the model.
          hyper_latents: quantized hyper latents of training crops, to calibrate by.
        """
        ...

    def to_float(self, params: dict) -> dict:
        """Inverts `to_exact`, except for its rounding: returns parameters that can be trained on."""
        ...

    def receiver_shapes(self) -> dict[str, tuple[int, ...]]:
        """Returns the shapes of the parameters that a receiver computes with, by names joined with slashes."""
        ...

    def check_receiver(self, params: dict) -> None:
        """Raises LicError if a receiver's parameters break a rule that shapes do not show."""
        ...


def prior_of(config: ModelConfig) -> Prior:
    """Makes the prior of a configuration."""
    return PRIORS[config.prior](config)


ONE_STAGE = (np.True_,)
"""The masks of a prior that codes all positions at once."""


def through_stages(
    stages: tuple[Predict, ...],
    masks: Callable[[tuple[int, ...]], tuple[Mask, ...]],
    decide: Callable[[Any, Any], Any],
    where: Callable[[Any, Any, Any], Any],
) -> tuple[Any, Any, Any]:
    """Computes ŷ, its means and its indexes, stage after stage.

    Args:
      stages, masks: a prior's stages and masks.
      decide: (mean, index) → the quantized y − μ; positions of other stages are ignored.
      where: `numpy.where` or `jax.numpy.where`.
    """
    mean, index = stages[0](None)
    latent = mean + decide(mean, index)
    if len(stages) == 1:
        return latent, mean, index
    first, *others = masks(mean.shape)
    latent = where(first, latent, 0)
    for predict, own in zip(stages[1:], others, strict=True):
        own_mean, own_index = predict(latent)
        latent = where(own, own_mean + decide(own_mean, own_index), latent)
        mean, index = where(own, own_mean, mean), where(own, own_index, index)
    return latent, mean, index
