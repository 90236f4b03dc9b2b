"""Generalized divisive normalization (Ballé, Laparra & Simoncelli 2016), its simplified form, and their inverses."""

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float


@jax.custom_vjp
def lower_bound(values: Float[Array, "*shape"], bound: float) -> Float[Array, "*shape"]:
    """max(values, bound), whose gradient also passes where it would move a value back up to the bound.

    With the plain maximum a value below the bound is stuck there (Ballé et al., tensorflow-compression `lower_bound`).
    """
    return jnp.maximum(values, bound)


def _lower_bound_forward(values, bound):
    return jnp.maximum(values, bound), (values >= bound)


def _lower_bound_backward(inside, gradient):
    return jnp.where(inside | (gradient < 0), gradient, 0.0), None


lower_bound.defvjp(_lower_bound_forward, _lower_bound_backward)


class InverseGDN1(nn.Module):
    """The inverse of simplified generalized divisive normalization: x · (β + Γ|x|).

    Johnston et al., "Computationally Efficient Neural Image Compression" (2019), section 3. β ≥ 1e-6 and Γ ≥ 0 hold by
    the reparameterization of Ballé (2018): the stored value r stands for max(r, bound)² − 2⁻³⁶.
    """

    initial_gamma: float = 0.1

    @nn.compact
    def __call__(self, inputs: Float[Array, "*batch channel"]) -> Float[Array, "*batch channel"]:
        channels = inputs.shape[-1]
        pedestal = 2.0**-36
        beta_root = self.param("beta_root", lambda key: jnp.sqrt(jnp.ones(channels) + pedestal))
        gamma_root = self.param("gamma_root", lambda key: jnp.sqrt(self.initial_gamma * jnp.eye(channels) + pedestal))
        beta = lower_bound(beta_root, (1e-6 + pedestal) ** 0.5) ** 2 - pedestal
        gamma = lower_bound(gamma_root, pedestal**0.5) ** 2 - pedestal
        return inputs * (beta + jnp.abs(inputs) @ gamma)
