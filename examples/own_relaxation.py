"""Your own relaxations: one to train an anchor, one to refit quantizers.

The anchor's: rounding to a random side, in proportion to how near it is (stochastic rounding), with straight-through
gradients. The refit's: soft decisions whose bits are those of the likelier symbol alone.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray, ScalarLike

from lic_jax import registry
from lic_jax.gradients import straight_through
from lic_jax.quantization.fixed_point import EdgeKind
from lic_jax.quantization.noise import additive_noise
from lic_jax.quantization.relaxation import Mass, Softened, bits, expected
from lic_jax.quantization.rows import QuantizerOfRows


def stochastic_rounding(
    key: PRNGKeyArray, values: Float[Array, "*shape"], step: Float[Array, "*broadcast"] | float
) -> tuple[Float[Array, "*shape"], Float[Array, "*shape"]]:
    """Noise for the rate; for the synthesis one of the two multiples of the step beside each value."""
    noise_key, side_key = jax.random.split(key)
    below = jnp.floor(values / step)
    goes_up = jax.random.uniform(side_key, values.shape) < values / step - below
    return additive_noise(noise_key, values, step), straight_through(values, step * (below + goes_up))


def likelier_symbol(
    quantizer: QuantizerOfRows,
    values: Float[Array, "*shape"],
    inverse_temperature: ScalarLike,
    mass: Mass,
    edges: EdgeKind,
) -> Softened:
    """The soft staircase's value at the price of the symbol that a codec would write."""
    softened = expected(quantizer, values, inverse_temperature, mass, edges)
    symbols = quantizer.symbols(values)
    cost = bits(mass(quantizer.edge(symbols, edges), quantizer.edge(symbols + 1, edges)))
    return softened._replace(bits=cost)


registry.STAND_INS.register("stochastic_rounding", stochastic_rounding)
registry.SOFT_DECISIONS.register("likelier_symbol", likelier_symbol)
