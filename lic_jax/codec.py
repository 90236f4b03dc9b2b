"""Image ↔ bytes: the model's transforms, its quantizers at a rate, the entropy coder and the container, in a row."""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, UInt8

from lic_jax import bitstream, zoo
from lic_jax.config import HYPER_STRIDE
from lic_jax.entropy import coder
from lic_jax.entropy.tables import factorized_tables, gaussian_tables
from lic_jax.errors import LicError
from lic_jax.model import HyperpriorModel, to_network_domain, to_pixels
from lic_jax.zoo.bundle import Bundle, load_bundle


class Analysed(NamedTuple):
    """An image after analysis: what every rate of it starts from."""

    height: int
    width: int
    latent: Float[Array, "1 h w latent"]
    hyper_latent: Float[Array, "1 h/4 w/4 hyper"]


class CodingTables(NamedTuple):
    """The integer tables of one rate."""

    hyper_latent: Int[np.ndarray, "hyper symbols"]
    latent: Int[np.ndarray, "64 symbols"]


def pad_to_multiple(image: UInt8[np.ndarray, "height width 3"], multiple: int = HYPER_STRIDE) -> np.ndarray:
    """Pads at the bottom and right: reflected, or the edge repeated along an axis that is too short to reflect."""
    for axis in (0, 1):
        missing = -image.shape[axis] % multiple
        padding = [(0, 0)] * 3
        padding[axis] = (0, missing)
        image = np.pad(image, padding, mode="reflect" if missing < image.shape[axis] else "edge")
    return image


class Codec:
    """A codec for 8-bit RGB images: one model, every rate between its fitted ones.

    Attributes:
      bundle: the model, its quantizers and its fingerprint.
    """

    def __init__(self, bundle: Bundle):
        self.bundle = bundle
        self._variables = {"params": jax.tree.map(jnp.asarray, bundle.params)}
        model = HyperpriorModel(bundle.config)
        self._encode = jax.jit(lambda variables, image: model.apply(variables, image, method="encode"))
        self._predict = jax.jit(lambda variables, hyper: _mean_and_index(model, variables, hyper))
        self._decode = jax.jit(lambda variables, latent: to_pixels(model.apply(variables, latent, method="decode")))
        self._tables = functools.lru_cache(maxsize=32)(self._make_tables)

    def analyse(self, image: UInt8[np.ndarray, "height width 3"]) -> Analysed:
        """Runs analysis and hyper analysis; every rate of the image starts from the result.

        Raises:
          LicError: not a uint8 RGB array, or of a size outside the format.
        """
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
            shape = list(image.shape)
            raise LicError(f"an image must be uint8 [height, width, 3], not {image.dtype} {shape}; convert it")
        height, width, _ = image.shape
        bitstream.check_size(height, width)
        padded = to_network_domain(pad_to_multiple(image)[None])
        return Analysed(height, width, *self._encode(self._variables, padded))

    def code(self, analysed: Analysed, rate: float | None = None) -> bytes:
        """Quantizes and codes an analysed image at a rate, the middle one by default."""
        rate_units = self._rate_units(rate)
        quantizer, hyper_quantizer = self.bundle.quantizers_at(rate_units)
        tables = self._tables(rate_units)

        hyper_symbols = hyper_quantizer.symbols(np.asarray(analysed.hyper_latent))
        hyper_segment = coder.encode(hyper_symbols.ravel(), _channel_index(hyper_symbols.shape), tables.hyper_latent)

        mean, index = self._predict(self._variables, hyper_quantizer.levels()[hyper_symbols])
        symbols = quantizer.symbols(np.asarray(analysed.latent) - np.asarray(mean))
        segment = coder.encode(symbols.ravel(), np.asarray(index).ravel(), tables.latent)
        return bitstream.pack(
            bitstream.Stream(
                self.bundle.fingerprint, analysed.height, analysed.width, rate_units, hyper_segment, segment
            )
        )

    def compress(self, image: UInt8[np.ndarray, "height width 3"], rate: float | None = None) -> bytes:
        """An image as a stream.

        Args:
          image: uint8 RGB, any size from 1×1 up.
          rate: from 0, the smallest file, to `bundle.highest_rate`; fractions lie between fitted rates. By default the
            middle fitted rate.

        Raises:
          LicError: the image or the rate is outside what the codec can do.
        """
        self._rate_units(rate)
        return self.code(self.analyse(image), rate)

    def decompress(self, data: bytes) -> UInt8[np.ndarray, "height width 3"]:
        """The image in a stream.

        Raises:
          LicError: the bytes are not a whole, undamaged stream of this model.
        """
        stream = bitstream.unpack(data)
        if stream.fingerprint != self.bundle.fingerprint:
            raise LicError(
                f"the stream was made by model {stream.fingerprint.hex()}, this is {self.bundle.fingerprint.hex()}; "
                "name the right one with --model"
            )
        highest_units = self.bundle.rate_units(self.bundle.highest_rate)
        if stream.rate_units > highest_units:
            raise LicError(f"the stream's rate {stream.rate_units} is above this model's {highest_units}; get it again")
        quantizer, hyper_quantizer = self.bundle.quantizers_at(stream.rate_units)
        tables = self._tables(stream.rate_units)

        hyper_shape = _hyper_shape(stream.height, stream.width, self.bundle.config.hyper_channels)
        hyper_symbols = coder.decode(stream.hyper_latent, _channel_index(hyper_shape), tables.hyper_latent)
        hyper_latent = hyper_quantizer.levels()[hyper_symbols.reshape(hyper_shape)]

        mean, index = self._predict(self._variables, hyper_latent)
        symbols = coder.decode(stream.latent, np.asarray(index).ravel(), tables.latent)
        latent = mean + quantizer.levels()[symbols.reshape(mean.shape)]
        return np.asarray(self._decode(self._variables, latent))[0, : stream.height, : stream.width]

    def _rate_units(self, rate: float | None) -> int:
        return self.bundle.rate_units(self.bundle.highest_rate // 2 if rate is None else rate)

    def _make_tables(self, rate_units: int) -> CodingTables:
        quantizer, hyper_quantizer = self.bundle.quantizers_at(rate_units)
        return CodingTables(
            factorized_tables(self.bundle.params["hyper_prior"], hyper_quantizer), gaussian_tables(quantizer)
        )


def _mean_and_index(model: HyperpriorModel, variables: dict, hyper_latent: Array) -> tuple[Array, Array]:
    """μ and the scale index, rounded for coding. Sender and receiver run this one program on the same ẑ."""
    mean, index = model.apply(variables, hyper_latent, method="predict")
    return mean, jnp.round(index).astype(jnp.uint8)


def _hyper_shape(height: int, width: int, channels: int) -> tuple[int, int, int, int]:
    return 1, -(-height // HYPER_STRIDE), -(-width // HYPER_STRIDE), channels


def _channel_index(shape: tuple[int, ...]) -> Int[np.ndarray, " n"]:
    """The channel of each element of a flattened channels-last array."""
    return np.tile(np.arange(shape[-1]), int(np.prod(shape[:-1])))


def load(model: str = zoo.DEFAULT) -> Codec:
    """The codec of a shipped model's name or of a file written by `lic refit`.

    Raises:
      LicError: no such model, or its file is damaged.
    """
    return Codec(load_bundle(zoo.path_of(model)))
