"""Image ↔ bytes: the model's transforms, its quantizers at a rate, the entropy coder and the container, in a row.

All in JAX, for whatever device it has; `lic_jax.decoder` is the receiver alone, in NumPy.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, UInt8

from lic_jax import bitstream, zoo
from lic_jax.config import HYPER_STRIDE
from lic_jax.decoder import SymbolReader, channel_index
from lic_jax.entropy import coder
from lic_jax.errors import LicError
from lic_jax.model import HyperpriorModel, to_network_domain, to_pixels
from lic_jax.zoo.bundle import Bundle, load_bundle


class Analysed(NamedTuple):
    """An image after analysis: what every rate of it starts from."""

    height: int
    width: int
    latent: Float[Array, "1 h w latent"]
    hyper_latent: Float[Array, "1 h/4 w/4 hyper"]


def pad_to_multiple(image: UInt8[np.ndarray, "height width 3"], multiple: int = HYPER_STRIDE) -> np.ndarray:
    """Pads at the bottom and right: reflected, or the edge repeated along an axis that is too short to reflect."""
    for axis in (0, 1):
        missing = -image.shape[axis] % multiple
        padding = [(0, 0)] * 3
        padding[axis] = (0, missing)
        image = np.pad(image, padding, mode="reflect" if missing < image.shape[axis] else "edge")
    return image


class Codec(SymbolReader):
    """A codec for 8-bit RGB images: one model, every rate between its fitted ones.

    Attributes:
      bundle: the model, its quantizers and its fingerprint.
    """

    def __init__(self, bundle: Bundle):
        super().__init__(bundle)
        self._variables = {"params": jax.tree.map(jnp.asarray, bundle.params)}
        model = HyperpriorModel(bundle.config)
        self._encode = jax.jit(lambda variables, image: model.apply(variables, image, method="encode"))
        self._predict = jax.jit(lambda variables, hyper: _mean_and_index(model, variables, hyper))
        self._decode = jax.jit(lambda variables, latent: to_pixels(model.apply(variables, latent, method="decode")))

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
        tables = self.tables(rate_units)

        hyper_symbols = hyper_quantizer.symbols(np.asarray(analysed.hyper_latent))
        hyper_segment = coder.encode(hyper_symbols.ravel(), channel_index(hyper_symbols.shape), tables.hyper_latent)

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
        stream = self.unpack(data)
        quantizer, hyper_quantizer = self.bundle.quantizers_at(stream.rate_units)
        hyper_latent = hyper_quantizer.levels()[self.hyper_symbols(stream)]
        mean, index = self._predict(self._variables, hyper_latent)
        symbols = coder.decode(stream.latent, np.asarray(index).ravel(), self.tables(stream.rate_units).latent)
        latent = mean + quantizer.levels()[symbols.reshape(mean.shape)]
        return np.asarray(self._decode(self._variables, latent))[0, : stream.height, : stream.width]

    def _rate_units(self, rate: float | None) -> int:
        return self.bundle.rate_units(self.bundle.highest_rate // 2 if rate is None else rate)


def _mean_and_index(model: HyperpriorModel, variables: dict, hyper_latent: Array) -> tuple[Array, Array]:
    """μ and the scale index as the coder takes it; both are exact (`transforms.integer`)."""
    mean, index = model.apply(variables, hyper_latent, method="predict")
    return mean, index.astype(jnp.uint8)


def load(model: str = zoo.DEFAULT) -> Codec:
    """The codec of a shipped model's name or of a file written by `lic refit`.

    Raises:
      LicError: no such model, or its file is damaged.
    """
    return Codec(load_bundle(zoo.path_of(model)))
