"""Generalized divisive normalization (Ballé, Laparra & Simoncelli 2016), its simplified form, and their inverses."""

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float

from lic_jax.gradients import lower_bound

_PEDESTAL = 2.0**-36


class Normalization(nn.Module):
    """The norm (β + Γ|x|^power)^(1/power) of each channel, which all four share.

    β ≥ 1e-6 and Γ ≥ 0 hold by the reparameterization of Ballé (2018): the stored value r stands for
    max(r, bound)² − 2⁻³⁶. Γ is applied as x @ Γ: Γ[j, i] weighs channel j in the norm of channel i.
    """

    power: int
    initial_gamma: float = 0.1

    @nn.compact
    def norm(self, inputs: Float[Array, "*batch channel"]) -> Float[Array, "*batch channel"]:
        channels = inputs.shape[-1]
        beta_root = self.param("beta_root", lambda key: jnp.sqrt(jnp.ones(channels) + _PEDESTAL))
        gamma_root = self.param("gamma_root", lambda key: jnp.sqrt(self.initial_gamma * jnp.eye(channels) + _PEDESTAL))
        beta = lower_bound(beta_root, (1e-6 + _PEDESTAL) ** 0.5) ** 2 - _PEDESTAL
        gamma = lower_bound(gamma_root, _PEDESTAL**0.5) ** 2 - _PEDESTAL
        if self.power == 1:
            return beta + jnp.abs(inputs) @ gamma
        return jnp.sqrt(beta + inputs**2 @ gamma)


class GDN(Normalization):
    """Generalized divisive normalization: x / √(β + Γx²) (Ballé, Laparra & Simoncelli 2016)."""

    power: int = 2

    def __call__(self, inputs: Float[Array, "*batch channel"]) -> Float[Array, "*batch channel"]:
        return inputs / self.norm(inputs)


class InverseGDN(Normalization):
    """The approximate inverse of GDN, one step of its fixed-point iteration: x · √(β + Γx²)."""

    power: int = 2

    def __call__(self, inputs: Float[Array, "*batch channel"]) -> Float[Array, "*batch channel"]:
        return inputs * self.norm(inputs)


class GDN1(Normalization):
    """Simplified GDN: x / (β + Γ|x|).

    Johnston et al., "Computationally Efficient Neural Image Compression" (2019), section 3.
    """

    power: int = 1

    def __call__(self, inputs: Float[Array, "*batch channel"]) -> Float[Array, "*batch channel"]:
        return inputs / self.norm(inputs)


class InverseGDN1(Normalization):
    """The approximate inverse of GDN1, one step of its fixed-point iteration: x · (β + Γ|x|)."""

    power: int = 1

    def __call__(self, inputs: Float[Array, "*batch channel"]) -> Float[Array, "*batch channel"]:
        return inputs * self.norm(inputs)
