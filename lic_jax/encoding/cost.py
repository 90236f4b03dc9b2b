"""The objective of iterative encoding: an image's own bits + λ · error, as the receiver will have them.

Bits are read off the integer coding tables, so an estimate differs from the file by some bytes of coder overhead. The
hyper synthesis runs in the receiver's own integers, with straight-through gradients.
"""

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from jaxtyping import Array, Bool, Float, Int, UInt8

from lic_jax.config import HYPER_STRIDE
from lic_jax.distortion.base import RateDistortion, to_network_domain, to_pixels
from lic_jax.distortion.mse import mse
from lic_jax.encoding.choice import Choice, Latents, Symbols, hyper_table
from lic_jax.encoding.operating_point import OperatingPoint, Staircase, code_length
from lic_jax.model import CodecModel, Decide
from lic_jax.quantization.gumbel import position_between
from lic_jax.transforms.buckets import cut_at_borders, zero_beyond


@struct.dataclass
class ImageBatch:
    """Images and their latents, in arrays of one size that may be larger than the images.

    Attributes:
      pixels: zeros beyond the image.
      sizes: height and width of each image in pixels.
      analysed: y and z from the analysis.
      one_shot: the choice of encoding in one shot.
    """

    pixels: UInt8[Array, "batch height width 3"]
    sizes: Int[Array, "batch 2"]
    analysed: Latents
    one_shot: Choice

    @property
    def extents(self) -> Int[Array, "batch 2"]:
        """Each image's size in blocks of 64×64 pixels."""
        return -(-self.sizes // HYPER_STRIDE)

    @property
    def grid(self) -> tuple[int, int]:
        """The arrays' size in blocks."""
        return self.pixels.shape[1] // HYPER_STRIDE, self.pixels.shape[2] // HYPER_STRIDE

    def cut(
        self, array: Float[Array | np.ndarray, "batch rows columns channels"]
    ) -> Float[Array, "batch rows columns channels"]:
        """Sets an array to zero beyond its images' blocks."""
        return zero_beyond(array, self.extents, self.grid)


def squared_error(images: ImageBatch, decoded: Float[Array, "batch height width 3"]) -> Float[Array, " batch"]:
    """Sums the squared error over each image's own pixels and channels, in the network's domain, clipped to it."""
    batch, height, _, _ = images.pixels.shape
    error = jnp.clip(decoded, -0.5, 0.5) - to_network_domain(images.pixels)
    rows = jnp.where(_inside(images), error, 0).reshape(batch, height, -1)
    return jnp.sum(jnp.sum(rows**2, axis=2), axis=1)  # row by row: one sum over everything runs in one thread


def _inside(images: ImageBatch) -> Bool[Array, "batch height width 1"]:
    """Marks the pixels that belong to each image."""
    _, height, width, _ = images.pixels.shape
    rows, columns = jnp.arange(height) < images.sizes[:, :1], jnp.arange(width) < images.sizes[:, 1:]
    return (rows[:, :, None] & columns[:, None])[..., None]


def distance(
    images: ImageBatch, point: OperatingPoint, decoded: Float[Array, "batch height width 3"]
) -> Float[Array, " batch"]:
    """Computes the distortion that λ weighs, for each image.

    Beyond an image both arrays are equal, and a mean over the array is rescaled to the image's own pixels. For other
    distortions than means over pixels this is an estimate; `codec.searcher` compares the true ones in the end.
    """
    _, height, width, _ = images.pixels.shape
    reference = to_network_domain(images.pixels)
    own = jnp.where(_inside(images), jnp.clip(decoded, -0.5, 0.5), reference)
    share = jnp.prod(images.sizes.astype(jnp.float32), axis=1) / (height * width)
    return point.distortion(own, reference) / share


def rate_distortion(
    images: ImageBatch, point: OperatingPoint, bits: Latents, decoded: Float[Array, "batch height width 3"]
) -> RateDistortion:
    """Computes each image's rate and distortion: bits over its blocks, error over its pixels.

    Args:
      bits: the bits of each element of latent and hyper latent.
      decoded: the images, in the network's domain.
    """
    pixel_count = jnp.prod(images.sizes.astype(jnp.float32), axis=1)
    own, hyper_bpp = (jnp.sum(images.cut(part), axis=(1, 2, 3)) / pixel_count for part in bits)
    bpp = own + hyper_bpp
    error = 255.0**2 / 3 * squared_error(images, decoded) / pixel_count
    distortion = error if point.distortion is mse else distance(images, point, decoded)
    return RateDistortion(bpp + point.rd_lambda * distortion, bpp, hyper_bpp, distortion, error)


def decode(
    model: CodecModel, variables: dict, images: ImageBatch, latent: Float[Array | np.ndarray, "batch h w latent"]
) -> Float[Array, "batch height width 3"]:
    """Decodes ŷ to the image, in the network's domain."""
    with cut_at_borders(images.extents, images.grid):
        return model.apply(variables, images.cut(latent), method="decode")


def predict(
    model: CodecModel,
    variables: dict,
    images: ImageBatch,
    hyper_latent: Float[Array, "batch hyper_h hyper_w hyper"],
    decide: Decide,
) -> tuple[Float[Array, "batch h w latent"], Float[Array, "batch h w latent"], Array]:
    """Computes ŷ, μ and the index of each latent's coding table from ẑ, as the receiver does."""
    with cut_at_borders(images.extents, images.grid):
        return model.apply(variables, images.cut(hyper_latent), decide, method="predict")


def nearest_choice(
    model: CodecModel, variables: dict, images: ImageBatch, point: OperatingPoint, latents: Latents
) -> Choice:
    """Chooses the levels nearest to z, then those nearest to y − μ with the resulting μ."""
    table = hyper_table(latents.hyper_latent)
    hyper_symbols = point.hyper_latent.nearest(latents.hyper_latent, table)
    nearest = lambda mean, index: point.latent.nearest(latents.latent - mean, index)
    decide = lambda mean, index: point.latent.level(nearest(mean, index), index)
    _, mean, index = predict(model, variables, images, point.hyper_latent.level(hyper_symbols, table), decide)
    index = index.astype(jnp.uint16)
    return Choice(Symbols(nearest(mean, index), hyper_symbols), mean, index)


def settled(model: CodecModel, variables: dict, images: ImageBatch, point: OperatingPoint, choice: Choice) -> Choice:
    """Updates a choice's means and indexes after its symbols changed; a prior of one stage leaves them unchanged."""
    if model.prior.stage_count == 1:
        return choice
    hyper_symbols = choice.symbols.hyper_latent
    hyper_latent = point.hyper_latent.level(hyper_symbols, hyper_table(hyper_symbols))
    decide = lambda mean, index: point.latent.level(choice.symbols.latent, index)
    _, mean, index = predict(model, variables, images, hyper_latent, decide)
    return dataclasses.replace(choice, mean=mean, index=index.astype(jnp.uint16))


def cost_of(
    images: ImageBatch, point: OperatingPoint, choice: Choice, decoded: Float[Array, "batch height width 3"]
) -> RateDistortion:
    """Computes a choice's cost for its receiver, without the container's bytes and the coder's overhead.

    Args:
      decoded: the choice's image in the network's domain; its pixels are rounded here.
    """
    return rate_distortion(images, point, choice.bits(point), to_network_domain(to_pixels(decoded)))


def assess(
    model: CodecModel, variables: dict, images: ImageBatch, point: OperatingPoint, choice: Choice
) -> RateDistortion:
    """Computes `cost_of` a choice by decoding it."""
    latent = jax.lax.optimization_barrier(choice.latents(point).latent)  # fusing it with the bits doubles the time
    return cost_of(images, point, choice, decode(model, variables, images, latent))


Weigh = Callable[[Float[Array, "*shape"]], Float[Array, "*shape"]]
"""Maps a value's position between two levels, in (0, 1), to the upper level's weight in [0, 1]."""


def relaxed_objective(
    model: CodecModel,
    variables: dict,
    images: ImageBatch,
    point: OperatingPoint,
    latents: Latents,
    weigh: Weigh,
    weigh_hyper: Weigh,
) -> RateDistortion:
    """Computes the objective with each latent a weighted mean of the two levels beside it, and its bits likewise.

    It is differentiable in the latents wherever the weights are.
    """
    table = hyper_table(latents.hyper_latent)
    hyper_latent, hyper_bits = _relaxed(point.hyper_latent, latents.hyper_latent, table, weigh_hyper)
    relax = lambda mean, index: _relaxed(point.latent, latents.latent - mean, index, weigh)
    decide = lambda mean, index: relax(mean, index)[0]
    latent, mean, index = predict(model, variables, images, hyper_latent, decide)
    _, bits = relax(mean, index)
    decoded = decode(model, variables, images, latent)
    return rate_distortion(images, point, Latents(bits, hyper_bits), decoded)


def _relaxed(staircase: Staircase, values: Array | np.ndarray, index: Array, weigh: Weigh) -> tuple[Array, Array]:
    below = staircase.below(jax.lax.stop_gradient(values), index)
    low, high = staircase.level(below, index), staircase.level(below + 1, index)
    weight = weigh(position_between(low, high, values))
    mean = lambda low, high: low + weight * (high - low)
    level = mean(low, high)
    bits = mean(code_length(staircase, index, below), code_length(staircase, index, below + 1))
    return level, bits
