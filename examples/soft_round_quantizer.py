"""Your own quantizer: uniform, with a learned step and soft rounding for its decisions.

Soft rounding (Agustsson & Theis, "Universally Quantized Neural Compression", NeurIPS 2020, section 4.1) is
s_α(v) = ⌊v⌋ + ½ + tanh(α r)/(2 tanh(α/2)) with r = v − ⌊v⌋ − ½. It is exactly the identity for α → 0, at every
threshold, where a tanh of the same slope is not.

    LIC_PLUGINS=examples.soft_round_quantizer lic refit ANCHOR PHOTOS --out model.safetensors --quantizer soft_round
"""

import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Float, Integer, ScalarLike

from lic_jax import registry


@struct.dataclass
class SoftRound:
    """T + 1 levels at equal distances about zero.

    Attributes:
      log_step: ln of the distance.
      components: T.
    """

    log_step: Float[Array, "*stack"]
    components: int = struct.field(pytree_node=False)

    @classmethod
    def start(cls, components: int, step: float, reach: float) -> "SoftRound":
        """At the step asked for, or as much wider as so few levels need to reach that far."""
        return cls(jnp.log(jnp.float32(max(step, 2 * reach / (components - 1)))), components)

    @property
    def thresholds(self) -> Float[Array, "*stack T"]:
        """Halfway between the levels."""
        return jnp.exp(self.log_step)[..., None] * (jnp.arange(self.components) - (self.components - 1) / 2)

    @property
    def levels(self) -> Float[Array, "*stack levels"]:
        """Multiples of the step."""
        return jnp.exp(self.log_step)[..., None] * (jnp.arange(self.components + 1) - self.components / 2)

    def upper_weight(
        self, values: Float[Array, "*shape"], index: Integer[Array, "*shape"], inverse_temperature: ScalarLike
    ) -> Float[Array, "*shape"]:
        """½ + tanh(α r)/(2 tanh(α/2)): soft rounding between two levels, α = β · step."""
        step = jnp.exp(self.log_step)
        alpha = inverse_temperature * step
        position = jnp.clip((values - self.thresholds[index]) / step, -0.5, 0.5)
        return 0.5 + jnp.tanh(alpha * position) / (2 * jnp.tanh(alpha / 2))

    def symmetric(self) -> "SoftRound":
        """It is."""
        return self


registry.QUANTIZERS.register("soft_round", SoftRound)
