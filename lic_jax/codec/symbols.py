"""Codes symbols into a stream's segments and reads them: the part that must be the same everywhere. NumPy alone."""

import functools

import numpy as np

from lic_jax.arrays import Float, Int, Integer
from lic_jax.config import HYPER_STRIDE
from lic_jax.entropy.coders.coding import SegmentReader, decode, encode, encode_parts
from lic_jax.entropy.priors.base import CodingTables, Mask, prior_of
from lic_jax.errors import LicError
from lic_jax.io import container
from lic_jax.registry import DEFAULT_CODER
from lic_jax.zoo import shipped
from lic_jax.zoo.bundle import Bundle


class SymbolCoding:
    """Writes and reads the segments of one model's streams.

    Attributes:
      bundle: the model, its quantizers and its fingerprint.
    """

    def __init__(self, bundle: Bundle):
        self.bundle = bundle
        self.prior = prior_of(bundle.config)
        self.tables = functools.lru_cache(maxsize=32)(self._make_tables)

    def _make_tables(self, rate_units: int) -> CodingTables:
        return self.prior.coding_tables(self.bundle.params, *self.bundle.quantizers_at(rate_units))

    def unpack(self, data: bytes) -> container.Stream:
        """Reads a stream's fields.

        Raises:
          LicError: the bytes are not a whole, undamaged stream of this model.
        """
        stream = container.unpack(data)
        if stream.fingerprint != self.bundle.fingerprint:
            made_by, this = (_named(fingerprint) for fingerprint in (stream.fingerprint, self.bundle.fingerprint))
            raise LicError(f"the stream was made by model {made_by}, this is {this}; name the right one with --model")
        highest_units = self.bundle.rate_units(self.bundle.highest_rate)
        if stream.rate_units > highest_units:
            raise LicError(
                f"the stream's rate {stream.rate_units} is above this model's {highest_units}; get the file again"
            )
        return stream

    def pack(
        self,
        size: tuple[int, int],
        rate_units: int,
        hyper_symbols: Int[np.ndarray, "1 hyper_h hyper_w hyper"],
        symbols: Int[np.ndarray, "1 h w latent"],
        index: Integer[np.ndarray, "1 h w latent"],
        coder: str = DEFAULT_CODER,
    ) -> bytes:
        """Codes symbols into a stream.

        Args:
          size: (height, width) of the image.
          rate_units: the rate in units of 1/256.
          hyper_symbols, symbols: the symbols of hyper latent and latent.
          index: the coding table of each latent.
          coder: a name in `registry.CODERS`.
        """
        hyper_tables, tables = self.tables(rate_units)
        parts = [(_chosen(symbols, own), _chosen(index, own)) for own in self.prior.masks(symbols.shape)]
        segments = (
            encode(hyper_symbols.ravel(), channel_index(hyper_symbols.shape), hyper_tables, coder),
            encode_parts(parts, tables, coder),
        )
        return container.pack(container.Stream(self.bundle.fingerprint, *size, rate_units, *segments, coder))

    def hyper_symbols(self, stream: container.Stream) -> Int[np.ndarray, "1 hyper_h hyper_w hyper"]:
        """Reads the hyper latent's symbols in a stream."""
        shape = hyper_shape(stream.height, stream.width, self.bundle.config.hyper_channels)
        tables = self.tables(stream.rate_units).hyper_latent
        return decode(stream.hyper_latent, channel_index(shape), tables, stream.coder).reshape(shape)

    def latent_reader(self, stream: container.Stream) -> SegmentReader:
        """Opens the latent's segment of a stream, to be read stage by stage."""
        return SegmentReader(stream.latent, self.tables(stream.rate_units).latent, stream.coder)

    def hyper_latent(
        self, stream: container.Stream, hyper_symbols: Int[np.ndarray, "1 hyper_h hyper_w hyper"]
    ) -> Float[np.ndarray, "1 hyper_h hyper_w hyper"]:
        """Returns ẑ, the levels of a stream's hyper symbols."""
        return self.bundle.quantizers_at(stream.rate_units)[1].levels_of(hyper_symbols)


def _chosen(array: Integer[np.ndarray, "1 h w latent"], mask: Mask) -> Integer[np.ndarray, " n"]:
    """Returns the elements at a mask's positions; all, without a copy, if the mask is one True."""
    return array[mask] if mask.ndim else array.ravel()


def hyper_shape(height: int, width: int, channels: int) -> tuple[int, int, int, int]:
    """Returns the hyper latent's shape for an image."""
    return 1, -(-height // HYPER_STRIDE), -(-width // HYPER_STRIDE), channels


def channel_index(shape: tuple[int, ...]) -> Int[np.ndarray, " n"]:
    """Returns the channel of each element of a flattened channels-last array."""
    return np.tile(np.arange(shape[-1]), int(np.prod(shape[:-1])))


def _named(fingerprint: bytes) -> str:
    """Describes a model by its fingerprint, and by its name if it ships."""
    name = shipped.name_of(fingerprint)
    return f"{name} ({fingerprint.hex()})" if name else fingerprint.hex()
