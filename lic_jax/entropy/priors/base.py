"""The contract of a prior: what sender and receiver know of a latent before its symbols are read.

A prior gives its latent in *stages*. Each stage says with which mean and coding table some positions are coded, as a
function of the hyper latent and of the latents of earlier stages; masks say which positions. A mean-scale hyperprior
has one stage; a context model has several.

A prior is a plain object made from a `ModelConfig`. The methods that a sender trains with import JAX when they are
called: a receiver reads the rest in NumPy alone.
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
the coding table), both [batch, h, w, C]. The index is exact on every machine, and so is all that it depends on."""


Mask = np.ndarray | np.bool_
"""The positions that a stage codes: an array of a latent's shape, or `np.True_` for all of them."""


class CodingTables(NamedTuple):
    """The integer tables of one rate: for the hyper latent a row a channel, for the latent a row an index."""

    hyper_latent: Int[np.ndarray, "hyper symbols"]
    latent: Int[np.ndarray, "indexes symbols"]


@runtime_checkable
class Prior(Protocol):
    """What a model knows of its latent.

    Attributes:
      has_hyper_latent: whether streams carry a hyper latent.
      parts: the names of its parameters' trees in a model.
      receiver_parts: those that a receiver computes with.
      halo: rows of hyper latents that a mean or an index can see on either side; None where a latent can see others, so
        that an image cannot be predicted in bands.
      stage_count: how many stages it has.
    """

    has_hyper_latent: ClassVar[bool]
    parts: ClassVar[tuple[str, ...]]
    receiver_parts: ClassVar[tuple[str, ...]]
    halo: ClassVar[int | None]
    stage_count: ClassVar[int]

    def __init__(self, config: ModelConfig): ...

    @property
    def table_count(self) -> int:
        """How many coding tables the latent has."""
        ...

    @property
    def is_exact(self) -> bool:
        """Whether all receivers get the same symbols: no floating-point sum decides about a table."""
        ...

    def modules(self) -> "dict[str, nn.Module]":
        """The Flax modules of its parts, by name."""
        ...

    def masks(self, shape: tuple[int, ...]) -> tuple[Mask, ...]:
        """For each stage the positions that it codes, in a latent of this shape; of one stage, `(np.True_,)`."""
        ...

    def hyper_encode(self, modules: Any, latent: Any) -> Any:
        """Latent y [batch, h, w, C] → hyper latent z [batch, h/4, w/4, N], not quantized."""
        ...

    def hyper_mass(self, modules: Any, lower: Any, upper: Any) -> Any:
        """The probability that a hyper latent lies in (lower, upper]."""
        ...

    def latent_mass(self, modules: Any, lower: Any, upper: Any, index: Any) -> Any:
        """The probability that y − μ lies in (lower, upper], by the index that a stage gave."""
        ...

    def stages(self, modules: Any, hyper_latent: Any) -> tuple[Predict, ...]:
        """The stages of a latent in JAX, given ẑ [batch, h/4, w/4, N]."""
        ...

    def receiver_stages(
        self, params: dict
    ) -> Callable[[Float[np.ndarray, "1 hyper_h hyper_w N"]], tuple[Predict, ...]]:
        """The same in NumPy, prepared for a model's weights; every index equals that of `stages`."""
        ...

    def coding_tables(self, params: dict, quantizer: Any, hyper_quantizer: Any) -> CodingTables:
        """The integer tables of a pair of integer quantizers."""
        ...

    def receiver_shapes(self) -> dict[str, tuple[int, ...]]:
        """The shapes of the parameters that a receiver computes with, by names joined with slashes."""
        ...

    def check_receiver(self, params: dict) -> None:
        """Raises LicError where a receiver's parameters break a rule that shapes do not show."""
        ...


def prior_of(config: ModelConfig) -> Prior:
    """The prior of a configuration."""
    return PRIORS[config.prior](config)


ONE_STAGE = (np.True_,)
"""The masks of a prior that codes all positions at once."""


def through_stages(
    stages: tuple[Predict, ...],
    masks: Callable[[tuple[int, ...]], tuple[Mask, ...]],
    decide: Callable[[Any, Any], Any],
    where: Callable[[Any, Any, Any], Any],
) -> tuple[Any, Any, Any]:
    """ŷ, its means and its indexes, each stage decided with the earlier ones known.

    Args:
      stages, masks: of a prior.
      decide: (mean, index) → the quantized y − μ; positions of other stages are passed over.
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
