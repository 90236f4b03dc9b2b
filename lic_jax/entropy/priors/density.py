"""One learned, fully factorized density for each channel (Ballé et al. 2018, appendix 6.1).

It is the prior of the hyper latent and, in a model without one, of the latent itself.
"""

import itertools
import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float


class FactorizedDensity(nn.Module):
    """A monotone network for each channel, whose sigmoid is the cumulative distribution.

    Attributes:
      channels: the number of channels; each has its own density.
      filters: widths of the hidden layers.
      init_scale: the initial density spreads over about this range.
    """

    channels: int
    filters: Sequence[int] = (3, 3)
    init_scale: float = 10.0

    def setup(self):
        widths = (1, *self.filters, 1)
        scale = self.init_scale ** (1 / (len(self.filters) + 1))
        layers = []
        for index, (width_in, width_out) in enumerate(itertools.pairwise(widths)):
            start = math.log(math.expm1(1 / scale / width_out))
            matrix = self.param(
                f"matrix_{index}", nn.initializers.constant(start), (self.channels, width_out, width_in)
            )
            bias = self.param(
                f"bias_{index}",
                lambda key, shape: jax.random.uniform(key, shape, minval=-0.5, maxval=0.5),
                (self.channels, width_out),
            )
            factor = None
            if index < len(self.filters):
                factor = self.param(f"factor_{index}", nn.initializers.zeros, (self.channels, width_out))
            layers.append((matrix, bias, factor))
        self.layers = layers

    def cumulative_logits(self, values: Float[Array, "*batch channel"]) -> Float[Array, "*batch channel"]:
        """Computes the logit of P(z ≤ value), channel by channel; it increases with the value."""
        hidden = values[..., None]
        for matrix, bias, factor in self.layers:
            hidden = jnp.sum(jax.nn.softplus(matrix) * hidden[..., None, :], axis=-1) + bias
            if factor is not None:
                hidden = hidden + jnp.tanh(factor) * jnp.tanh(hidden)
        return hidden[..., 0]

    def __call__(
        self, lower: Float[Array, "*batch channel"], upper: Float[Array, "*batch channel"]
    ) -> Float[Array, "*batch channel"]:
        """Computes P(lower < z ≤ upper), with each interval mirrored into the tail that keeps precision."""
        low, high = self.cumulative_logits(lower), self.cumulative_logits(upper)
        sign = -jnp.sign(jax.lax.stop_gradient(low + high))
        sign = jnp.where(sign == 0, 1.0, sign)
        return jnp.abs(jax.nn.sigmoid(sign * high) - jax.nn.sigmoid(sign * low))
