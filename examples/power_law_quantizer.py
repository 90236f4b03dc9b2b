"""Your own quantizer: companded by a power law, so that large values have wider steps.

Values are mapped by c(v) = sign(v) · |v|^γ and rounded there, as AAC and MP3 do with γ = ¾. Step and γ are learned: two
numbers a rate.
"""

import jax
import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Float, Integer, ScalarLike

from lic_jax import registry


@struct.dataclass
class PowerLaw:
    """T + 1 levels, T even: step · sign(u) · |u|^(1/γ), u = k − T/2; 1/γ > 1, so steps never narrow outwards."""

    log_step: Float[Array, "*stack"]
    free_exponent: Float[Array, "*stack"]
    components: int = struct.field(pytree_node=False)

    @classmethod
    def start(cls, components: int, step: float, reach: float) -> "PowerLaw":
        """As little bent as reaches so far."""
        half = max(components / 2 - 1, 1.5)
        bend = max(float(jnp.log(reach / step) / jnp.log(half)) - 1, 1e-3)
        return cls(jnp.log(jnp.float32(step)), jnp.log(jnp.expm1(jnp.float32(bend))), components)

    def _expand(self, companded: Float[Array, " n"]) -> Float[Array, "*stack n"]:
        exponent = 1 + jax.nn.softplus(self.free_exponent)[..., None]
        size = jnp.maximum(jnp.abs(companded), 1e-6) ** exponent
        return jnp.exp(self.log_step)[..., None] * jnp.sign(companded) * size

    @property
    def thresholds(self) -> Float[Array, "*stack T"]:
        """Halfway between the levels, companded."""
        return self._expand(jnp.arange(self.components) - (self.components - 1) / 2)

    @property
    def levels(self) -> Float[Array, "*stack levels"]:
        """Whole numbers, companded."""
        return self._expand(jnp.arange(self.components + 1) - self.components / 2)

    def upper_weight(
        self, values: Float[Array, "*shape"], index: Integer[Array, "*shape"], inverse_temperature: ScalarLike
    ) -> Float[Array, "*shape"]:
        """A sigmoid at the threshold."""
        return jax.nn.sigmoid(2 * inverse_temperature * (values - self.thresholds[index]))

    def symmetric(self) -> "PowerLaw":
        """It is."""
        return self


registry.QUANTIZERS.register("power_law", PowerLaw)
