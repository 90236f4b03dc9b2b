"""The symbols that a sender chooses, in one shot or by a search."""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from flax import struct
from jaxtyping import Array, Float, Int

from lic_jax.encoding.operating_point import OperatingPoint, code_length


class Latents(NamedTuple):
    """The latent y and the hyper latent z of a batch, continuous or quantized."""

    latent: Float[Array | np.ndarray, "batch h w latent"]
    hyper_latent: Float[Array | np.ndarray, "batch hyper_h hyper_w hyper"]


class Symbols(NamedTuple):
    """The symbols of y − μ and of z."""

    latent: Int[Array | np.ndarray, "batch h w latent"]
    hyper_latent: Int[Array | np.ndarray, "batch hyper_h hyper_w hyper"]


@struct.dataclass
class Choice:
    """The symbols of a batch at a rate, and the receiver's prediction of the latents from ẑ.

    Arrays are NumPy's or JAX's.

    Attributes:
      symbols: the symbols of latent and hyper latent.
      mean: μ, the predicted latent.
      index: the coding table of each latent's symbol, whole numbers of any type.
    """

    symbols: Symbols
    mean: Float[Array | np.ndarray, "batch h w latent"]
    index: Array | np.ndarray

    def latents(self, point: OperatingPoint) -> Latents:
        """Returns ŷ and ẑ, the levels that the symbols stand for."""
        return Latents(
            self.mean + point.latent.level(self.symbols.latent, self.index),
            point.hyper_latent.level(self.symbols.hyper_latent, hyper_table(self.symbols.hyper_latent)),
        )

    def bits(self, point: OperatingPoint) -> Latents:
        """Returns the bits that each symbol costs."""
        return Latents(
            code_length(point.latent, self.index, self.symbols.latent),
            code_length(point.hyper_latent, hyper_table(self.symbols.hyper_latent), self.symbols.hyper_latent),
        )


def hyper_table(hyper_latent: Array | np.ndarray) -> Int[Array, " hyper"]:
    """Returns the coding table of each hyper latent's symbols: the number of its channel."""
    return jnp.arange(hyper_latent.shape[-1])
