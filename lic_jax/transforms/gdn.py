"""Simplified generalized divisive normalization, its inverse, and a gain of either sign in its place.

GDN is Ballé, Laparra & Simoncelli (2016); the simplified form, without a square and a root, is Johnston et al.,
"Computationally Efficient Neural Image Compression" (2019), section 3.
"""

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float

from lic_jax.gradients import lower_bound
from lic_jax.transforms.description import BETA_FLOOR, GAIN_FLOOR, PEDESTAL


class Normalization(nn.Module):
    """The norm β + Γ|x| of each channel, which GDN1 and its inverse share.

    β ≥ 1e-6 and Γ ≥ 0 hold by the reparameterization of Ballé (2018): the stored value r stands for
    max(r, bound)² − 2⁻³⁶. Γ is applied as x @ Γ: Γ[j, i] weighs channel j in the norm of channel i.
    """

    initial_gamma: float = 0.1

    @nn.compact
    def norm(self, inputs: Float[Array, "*batch channel"]) -> Float[Array, "*batch channel"]:
        channels = inputs.shape[-1]
        beta_root = self.param("beta_root", lambda key: jnp.sqrt(jnp.ones(channels) + PEDESTAL))
        gamma_root = self.param("gamma_root", lambda key: jnp.sqrt(self.initial_gamma * jnp.eye(channels) + PEDESTAL))
        beta = lower_bound(beta_root, (BETA_FLOOR + PEDESTAL) ** 0.5) ** 2 - PEDESTAL
        gamma = lower_bound(gamma_root, PEDESTAL**0.5) ** 2 - PEDESTAL
        return beta + jnp.abs(inputs) @ gamma


class GDN1(Normalization):
    """Simplified GDN: x / (β + Γ|x|)."""

    def __call__(self, inputs: Float[Array, "*batch channel"]) -> Float[Array, "*batch channel"]:
        return inputs / self.norm(inputs)


class InverseGDN1(Normalization):
    """The approximate inverse of GDN1, one step of its fixed-point iteration: x · (β + Γ|x|)."""

    def __call__(self, inputs: Float[Array, "*batch channel"]) -> Float[Array, "*batch channel"]:
        return inputs * self.norm(inputs)


class SignedGain(nn.Module):
    """The gain x · max(β + Γ|x|, 1/256), with Γ of either sign; Γ is applied as x @ Γ, and starts at zero."""

    @nn.compact
    def __call__(self, inputs: Float[Array, "*batch channel"]) -> Float[Array, "*batch channel"]:
        channels = inputs.shape[-1]
        beta = self.param("beta", nn.initializers.ones, (channels,))
        gamma = self.param("gamma", nn.initializers.zeros, (channels, channels))
        return inputs * lower_bound(beta + jnp.abs(inputs) @ gamma, GAIN_FLOOR)
