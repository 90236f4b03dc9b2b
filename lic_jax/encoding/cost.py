"""What iterative encoding minimizes: an image's own bits + λ · error, as the receiver will have them.

Bits are those of the integer coding tables, so a choice's estimate differs from its file by some bytes of coder
overhead; the hyper synthesis runs in the receiver's own integers, with straight-through gradients.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Float, Int, UInt8

from lic_jax.config import HYPER_STRIDE
from lic_jax.encoding.choice import Choice, Latents, Symbols, hyper_table
from lic_jax.encoding.operating_point import OperatingPoint, Staircase, code_length
from lic_jax.model import CodecModel, to_network_domain
from lic_jax.quantization.gumbel import position_between
from lic_jax.transforms.buckets import cut_at_borders, zero_beyond


@struct.dataclass
class ImageBatch:
    """Images in arrays of one size, which may be larger than they are, and their latents.

    Attributes:
      pixels: zeros beyond the image.
      sizes: height and width of each image in pixels.
      analysed: y and z as the analysis made them.
      one_shot: what encoding in one shot makes of those.
    """

    pixels: UInt8[Array, "batch height width 3"]
    sizes: Int[Array, "batch 2"]
    analysed: Latents
    one_shot: Choice

    @property
    def extents(self) -> Int[Array, "batch 2"]:
        """Each image's size in blocks."""
        return -(-self.sizes // HYPER_STRIDE)

    @property
    def grid(self) -> tuple[int, int]:
        """The arrays' size in blocks."""
        return self.pixels.shape[1] // HYPER_STRIDE, self.pixels.shape[2] // HYPER_STRIDE

    def cut(self, array: Float[Array, "batch rows columns channels"]) -> Float[Array, "batch rows columns channels"]:
        """An array with zeros beyond its images' blocks."""
        return zero_beyond(array, self.extents, self.grid)


class RateDistortion(NamedTuple):
    """What each image of a batch costs: bpp + λ · MSE, MSE on the 0–255 scale over its own pixels."""

    objective: Float[Array, " batch"]
    bpp: Float[Array, " batch"]
    mse: Float[Array, " batch"]


def psnr_of(mse: float) -> float:
    """In dB, of a mean squared error on the 0–255 scale."""
    return 10 * math.log10(255.0**2 / max(mse, 1e-10))


def squared_error(images: ImageBatch, decoded: Float[Array, "batch height width 3"]) -> Float[Array, " batch"]:
    """Summed over an image's own pixels and channels, in the network's domain; clipped there, as pixels will be."""
    batch, height, width, _ = images.pixels.shape
    inside = (jnp.arange(height) < images.sizes[:, :1])[:, :, None] & (jnp.arange(width) < images.sizes[:, 1:])[:, None]
    error = jnp.clip(decoded, -0.5, 0.5) - to_network_domain(images.pixels)
    rows = jnp.where(inside[..., None], error, 0).reshape(batch, height, -1)
    return jnp.sum(jnp.sum(rows**2, axis=2), axis=1)  # row by row: a sum of everything has one thread


def rate_distortion(
    images: ImageBatch, point: OperatingPoint, bits: Latents, decoded: Float[Array, "batch height width 3"]
) -> RateDistortion:
    """Bits over an image's blocks, error over its pixels.

    Args:
      bits: of latent and hyper latent, element by element.
      decoded: in the network's domain.
    """
    pixel_count = jnp.prod(images.sizes.astype(jnp.float32), axis=1)
    bpp = sum(jnp.sum(images.cut(of_part), axis=(1, 2, 3)) for of_part in bits) / pixel_count
    mse = 255.0**2 / 3 * squared_error(images, decoded) / pixel_count
    return RateDistortion(bpp + point.rd_lambda * mse, bpp, mse)


def decode(
    model: CodecModel, variables: dict, images: ImageBatch, latent: Float[Array, "batch h w latent"]
) -> Float[Array, "batch height width 3"]:
    """ŷ → the image, in the network's domain."""
    with cut_at_borders(images.extents, images.grid):
        return model.apply(variables, images.cut(latent), method="decode")


def predict(
    model: CodecModel, variables: dict, images: ImageBatch, hyper_latent: Float[Array, "batch h/4 w/4 hyper"]
) -> tuple[Float[Array, "batch h w latent"], Float[Array, "batch h w latent"]]:
    """ẑ → μ and the index of each latent's coding table, as the receiver has them."""
    with cut_at_borders(images.extents, images.grid):
        return model.apply(variables, images.cut(hyper_latent), method="predict")


def nearest_choice(
    model: CodecModel, variables: dict, images: ImageBatch, point: OperatingPoint, latents: Latents
) -> Choice:
    """The levels nearest to z, and to y − μ once μ follows from them."""
    table = hyper_table(latents.hyper_latent)
    hyper_symbols = point.hyper_latent.nearest(latents.hyper_latent, table)
    mean, index = predict(model, variables, images, point.hyper_latent.level(hyper_symbols, table))
    index = index.astype(jnp.uint16)
    return Choice(Symbols(point.latent.nearest(latents.latent - mean, index), hyper_symbols), mean, index)


def cost_of(
    images: ImageBatch, point: OperatingPoint, choice: Choice, decoded: Float[Array, "batch height width 3"]
) -> RateDistortion:
    """What a receiver of a choice will find, but for the container's bytes and the coder's overhead of some more.

    Args:
      decoded: the choice's image in the network's domain; its pixels are rounded here.
    """
    shown = jnp.round((jnp.clip(decoded, -0.5, 0.5) + 0.5) * 255) / 255 - 0.5
    return rate_distortion(images, point, choice.bits(point), shown)


def assess(
    model: CodecModel, variables: dict, images: ImageBatch, point: OperatingPoint, choice: Choice
) -> RateDistortion:
    """`cost_of` a choice, by one decoding."""
    latent = jax.lax.optimization_barrier(choice.latents(point).latent)  # fused with the bits, it takes twice the time
    return cost_of(images, point, choice, decode(model, variables, images, latent))


Weigh = Callable[[Float[Array, "*shape"]], Float[Array, "*shape"]]
"""From a value's position between two levels, in (0, 1), to the upper one's weight in [0, 1]."""


def relaxed_objective(
    model: CodecModel,
    variables: dict,
    images: ImageBatch,
    point: OperatingPoint,
    latents: Latents,
    weigh: Weigh,
    weigh_hyper: Weigh,
) -> RateDistortion:
    """The objective where each latent is a mean of the two levels beside it, and costs the mean of their bits.

    Differentiable in the latents as far as the weights are.
    """
    table = hyper_table(latents.hyper_latent)
    hyper_latent, hyper_bits = _relaxed(point.hyper_latent, latents.hyper_latent, table, weigh_hyper)
    mean, index = predict(model, variables, images, hyper_latent)
    residual, bits = _relaxed(point.latent, latents.latent - mean, index, weigh)
    decoded = decode(model, variables, images, mean + residual)
    return rate_distortion(images, point, Latents(bits, hyper_bits), decoded)


def _relaxed(staircase: Staircase, values: Array, index: Array, weigh: Weigh) -> tuple[Array, Array]:
    below = staircase.below(jax.lax.stop_gradient(values), index)
    low, high = staircase.level(below, index), staircase.level(below + 1, index)
    weight = weigh(position_between(low, high, values))
    mean = lambda low, high: low + weight * (high - low)
    level = mean(low, high)
    bits = mean(code_length(staircase, index, below), code_length(staircase, index, below + 1))
    return level, bits
