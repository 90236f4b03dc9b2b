"""What iterative encoding minimizes: an image's own bits + λ · error, as the receiver will have them.

Bits are read off the integer coding tables, so a hard solution's estimate differs from its file by some bytes of
coder overhead; the hyper synthesis runs in the receiver's own integers, with straight-through gradients.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from jaxtyping import Array, Float, Int, UInt8

from lic_jax.config import HYPER_STRIDE
from lic_jax.entropy.tables import information
from lic_jax.model import CodecModel, to_network_domain
from lic_jax.quantization.fixed_point import UNIT, FixedPointQuantizer
from lic_jax.quantization.fixed_rows import FixedPointRows
from lic_jax.quantization.gumbel import level_below, position_between
from lic_jax.quantization.rounding import straight_through
from lic_jax.quantization.rows import moved_inward
from lic_jax.transforms.buckets import cut_at_borders, zero_beyond


class Latents(NamedTuple):
    """y and z of a batch, continuous or quantized."""

    latent: Float[Array, "batch h w latent"]
    hyper_latent: Float[Array, "batch h/4 w/4 hyper"]


class Symbols(NamedTuple):
    """The symbols of y − μ and of z."""

    latent: Int[Array, "batch h w latent"]
    hyper_latent: Int[Array, "batch h/4 w/4 hyper"]


@struct.dataclass
class Staircase:
    """A quantizer at a rate, with what its symbols cost.

    Thresholds play no part here: whoever counts the bits of both may choose either level.

    Attributes:
      levels: in units of the anchor's quantization step; where rows differ, those of the narrowest.
      code_lengths: bits of each symbol, a row a coding table.
      reconstructions: how far each row moves its levels away from the middle one (`quantization.rows`), if it does.
    """

    levels: Float[Array, " T+1"]
    code_lengths: Float[Array, "tables T+1"]
    reconstructions: Float[Array, " tables"] | None = None

    @classmethod
    def of(cls, quantizer: FixedPointQuantizer | FixedPointRows, tables: Int[np.ndarray, "tables T+1"]) -> "Staircase":
        """A codec's quantizer and the integer tables that its symbols are coded with."""
        code_lengths = jnp.asarray(information(tables), jnp.float32)
        if isinstance(quantizer, FixedPointQuantizer):
            return cls(jnp.asarray(quantizer.levels()), code_lengths)
        reconstructions = jnp.asarray(quantizer.reconstructions * UNIT, jnp.float32)
        return cls(jnp.asarray(quantizer.narrowest.levels()), code_lengths, reconstructions)

    def level(self, symbols: Int[Array, "*shape"], index: Array) -> Float[Array, "*shape"]:
        """The level of each symbol in the row that its index, a whole number of any type, says."""
        if self.reconstructions is None:
            return self.levels[symbols]
        sides = jnp.sign(2 * symbols + 1 - len(self.levels))
        return self.levels[symbols] + sides * self.reconstructions[_row(index)]

    def below(self, values: Float[Array, "*shape"], index: Array) -> Int[Array, "*shape"]:
        """The symbol of the lower of the two levels beside each value, or of the outermost two."""
        if self.reconstructions is None:
            return level_below(self.levels, values)
        middle = len(self.levels) // 2
        moved = moved_inward(values, self.levels[middle], self.reconstructions[_row(index)])
        below = level_below(self.levels, moved)
        is_low = values < self.levels[middle]  # many move just to the middle level: from which side is lost there
        return jnp.where(is_low, jnp.minimum(below, middle - 1), jnp.maximum(below, middle))

    def nearest(self, values: Float[Array, "*shape"], index: Array) -> Int[Array, "*shape"]:
        """The symbol of the level nearest to each value, wherever the thresholds are."""
        below = self.below(values, index)
        return below + (self.level(below + 1, index) - values < values - self.level(below, index))

    @property
    def spacing(self) -> Float[Array, ""]:
        """The distance between neighbouring levels, typically: that of the levels around the middle one."""
        middle = len(self.levels) // 2
        return (self.levels[middle + 1] - self.levels[middle - 1]) / 2


@struct.dataclass
class OperatingPoint:
    """A rate: the quantizers of y − μ and z, and λ."""

    latent: Staircase
    hyper_latent: Staircase
    rd_lambda: Float[Array, ""]

    @property
    def bits_per_error(self) -> Float[Array, ""]:
        """What a squared error of 1 in the network's domain, summed over pixels and channels, weighs in bits."""
        return self.rd_lambda * 255.0**2 / 3


@struct.dataclass
class ImageBatch:
    """Images in arrays of one size, which may be larger than they are, and their latents.

    Attributes:
      pixels: zeros beyond the image.
      sizes: height and width of each image in pixels.
      analysed: y and z as the analysis made them.
      one_shot: ŷ and ẑ, what encoding in one shot makes of those.
    """

    pixels: UInt8[Array, "batch height width 3"]
    sizes: Int[Array, "batch 2"]
    analysed: Latents
    one_shot: Latents

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


def squared_error(images: ImageBatch, decoded: Float[Array, "batch height width 3"]) -> Float[Array, " batch"]:
    """Summed over an image's own pixels and channels, in the network's domain; clipped there, as pixels will be."""
    rows, columns = (jnp.arange(size) for size in images.pixels.shape[1:3])
    inside = (rows < images.sizes[:, :1])[:, :, None] & (columns < images.sizes[:, 1:])[:, None, :]
    error = jnp.clip(decoded, -0.5, 0.5) - to_network_domain(images.pixels)
    return jnp.sum(jnp.where(inside, jnp.sum(error**2, axis=3), 0), axis=(1, 2))


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


def _row(index: Array) -> Int[Array, "*shape"]:
    return jax.lax.stop_gradient(index).astype(jnp.int32)


def hyper_table(hyper_latent: Array) -> Int[Array, "#batch #rows #columns hyper"]:
    """Which coding table a hyper latent's symbols have: their channel's."""
    return jnp.arange(hyper_latent.shape[-1])


def code_length(
    staircase: Staircase, index: Float[Array, "*shape"], symbols: Int[Array, "*shape"]
) -> Float[Array, "*shape"]:
    """Bits of symbols, by whole table indexes; differentiable in the index, as half the difference of its neighbours.

    A scale index' neighbours are the tables of a smaller and of a larger scale.
    """
    table = staircase.code_lengths
    row = _row(index)
    length = table[row, symbols]
    if not jnp.issubdtype(index.dtype, jnp.floating):
        return length
    higher, lower = jnp.minimum(row + 1, len(table) - 1), jnp.maximum(row - 1, 0)
    slope = (table[higher, symbols] - table[lower, symbols]) / 2
    return straight_through(slope * index, length)


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


@struct.dataclass
class Solution:
    """Symbols, the levels ŷ and ẑ that they stand for, and what they cost."""

    symbols: Symbols
    latents: Latents
    cost: RateDistortion


def nearest_solution(
    model: CodecModel, variables: dict, images: ImageBatch, point: OperatingPoint, latents: Latents
) -> Solution:
    """The levels nearest to z, and to y − μ once μ follows from them.

    The cost is what a receiver will find, but for the container's bytes and the coder's overhead of some more.
    """
    table = hyper_table(latents.hyper_latent)
    hyper_symbols = point.hyper_latent.nearest(latents.hyper_latent, table)
    hyper_latent = point.hyper_latent.level(hyper_symbols, table)
    mean, index = predict(model, variables, images, hyper_latent)
    symbols = point.latent.nearest(latents.latent - mean, index)
    bits = Latents(code_length(point.latent, index, symbols), code_length(point.hyper_latent, table, hyper_symbols))
    latent = mean + point.latent.level(symbols, index)
    decoded = decode(model, variables, images, latent)
    shown = jnp.round((jnp.clip(decoded, -0.5, 0.5) + 0.5) * 255) / 255 - 0.5
    cost = rate_distortion(images, point, bits, shown)
    return Solution(Symbols(symbols, hyper_symbols), Latents(latent, hyper_latent), cost)


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
