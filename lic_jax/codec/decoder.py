"""Bytes → image with NumPy and constriction alone: what a device needs that only decodes.

Symbols are the same on every machine (DESIGN.md section 5, rule 1); pixels may differ by a grey level where a
floating-point sum falls between two of them.
"""

import dataclasses
import functools
from typing import NamedTuple

import numpy as np

from lic_jax.arrays import RGB, Float, Int
from lic_jax.config import HYPER_STRIDE, LATENT_STRIDE, LATENTS_PER_HYPER
from lic_jax.entropy.coders import coding as coder
from lic_jax.entropy.tables import factorized_tables, gaussian_tables
from lic_jax.errors import LicError
from lic_jax.io import container
from lic_jax.transforms.portable import HYPER_HALO, PortablePrediction, PortableTransforms, bands, with_halo
from lic_jax.zoo import shipped
from lic_jax.zoo.bundle import Bundle, load_receiver


class CodingTables(NamedTuple):
    """The integer tables of one rate: a row a channel; the latent's, beside a hyper latent, a row a scale index."""

    hyper_latent: Int[np.ndarray, "hyper symbols"]
    latent: Int[np.ndarray, "indexes symbols"]


class SymbolReader:
    """The part of decoding that must be the same everywhere: bytes → symbols.

    Attributes:
      bundle: the model, its quantizers and its fingerprint.
    """

    def __init__(self, bundle: Bundle):
        self.bundle = bundle
        self.tables = functools.lru_cache(maxsize=32)(self._make_tables)

    def unpack(self, data: bytes) -> container.Stream:
        """A stream's fields.

        Raises:
          LicError: the bytes are no whole, undamaged stream of this model.
        """
        stream = container.unpack(data)
        if stream.fingerprint != self.bundle.fingerprint:
            made_by, this = (_named(fingerprint) for fingerprint in (stream.fingerprint, self.bundle.fingerprint))
            raise LicError(f"the stream was made by model {made_by}, this is {this}; name the right one with --model")
        highest_units = self.bundle.rate_units(self.bundle.highest_rate)
        if stream.rate_units > highest_units:
            raise LicError(f"the stream's rate {stream.rate_units} is above this model's {highest_units}; get it again")
        return stream

    def hyper_symbols(self, stream: container.Stream) -> Int[np.ndarray, "1 h/4 w/4 hyper"]:
        """The hyper latent's symbols."""
        shape = hyper_shape(stream.height, stream.width, self.bundle.config.hyper_channels)
        tables = self.tables(stream.rate_units).hyper_latent
        return coder.decode(stream.hyper_latent, channel_index(shape), tables, stream.coder).reshape(shape)

    def _make_tables(self, rate_units: int) -> CodingTables:
        quantizer, hyper_quantizer = self.bundle.quantizers_at(rate_units)
        params = self.bundle.params
        if not self.bundle.config.has_hyper_latent:
            none = np.zeros((0, hyper_quantizer.symbol_count), np.int64)
            return CodingTables(none, factorized_tables(params["latent_prior"], quantizer))
        return CodingTables(factorized_tables(params["hyper_prior"], hyper_quantizer), gaussian_tables(quantizer))


class SymbolDecoder(SymbolReader):
    """Decodes a model's streams in NumPy as far as to their symbols, which takes no synthesis."""

    def __init__(self, bundle: Bundle):
        super().__init__(bundle)
        self._transforms = self._prepare_transforms()

    def _prepare_transforms(self) -> PortablePrediction:
        return PortablePrediction(self.bundle.config, self.bundle.params)

    def symbols(self, data: bytes) -> tuple[Int[np.ndarray, "1 h/4 w/4 hyper"], Int[np.ndarray, "1 h w latent"]]:
        """The symbols of hyper latent and latent in a stream, the same on every machine."""
        hyper_symbols, _, symbols = self._symbols(self.unpack(data))
        return hyper_symbols, symbols

    def transcode(self, data: bytes, to_coder: str) -> bytes:
        """A stream of the same symbols, coded by another coder.

        Args:
          data: a stream of this model.
          to_coder: one of `entropy.coder.NAMES`.

        Raises:
          LicError: the bytes are not a whole, undamaged stream of this model, or a coder is not installed.
        """
        stream = self.unpack(data)
        tables = self.tables(stream.rate_units)
        hyper_symbols, index, symbols = self._symbols(stream)
        hyper_latent = coder.encode(
            hyper_symbols.ravel(), channel_index(hyper_symbols.shape), tables.hyper_latent, to_coder
        )
        latent = coder.encode(symbols.ravel(), index.ravel(), tables.latent, to_coder)
        return container.pack(dataclasses.replace(stream, hyper_latent=hyper_latent, latent=latent, coder=to_coder))

    def _symbols(self, stream: container.Stream):
        """The symbols of the hyper latent, the indexes of the latent's tables, and its symbols."""
        hyper_symbols = self.hyper_symbols(stream)
        hyper_latent = self.bundle.quantizers_at(stream.rate_units)[1].levels_of(hyper_symbols)
        _, index, symbols = self._mean_index_and_symbols(stream, hyper_latent)
        return hyper_symbols, index, symbols

    def mean_and_table_index(
        self, hyper_latent: Float[np.ndarray, "1 h/4 w/4 hyper"]
    ) -> tuple[Float[np.ndarray, "1 h w latent"] | None, Int[np.ndarray, "1 h w latent"]]:
        """Means of the latent that a hyper latent predicts, and the indexes of its coding tables (uint16).

        Of an image of several bands there are no means: they would take more memory than all else, so each band of the
        synthesis computes its own again.
        """
        _, rows, columns, _ = hyper_latent.shape
        shape = (1, rows * LATENTS_PER_HYPER, columns * LATENTS_PER_HYPER, self.bundle.config.latent_channels)
        index = np.empty(shape, np.uint16)
        hyper_bands = self._transforms.hyper_bands(rows, columns)
        for band in hyper_bands:
            kept, _, _ = band
            mean, of_band = self._transforms.predict(hyper_latent, band)
            index[:, LATENTS_PER_HYPER * kept.start : LATENTS_PER_HYPER * kept.stop] = of_band
        return mean if len(hyper_bands) == 1 else None, index

    def _mean_index_and_symbols(self, stream: container.Stream, hyper_latent: np.ndarray):
        mean, index = self.mean_and_table_index(hyper_latent)
        symbols = coder.decode(stream.latent, index.ravel(), self.tables(stream.rate_units).latent, stream.coder)
        return mean, index, symbols.reshape(index.shape)


class Decoder(SymbolDecoder):
    """Decodes a model's streams in NumPy.

    Raises:
      LicError: the model's synthesis is a deep one, which needs JAX.
    """

    def _prepare_transforms(self) -> PortableTransforms:
        return PortableTransforms(self.bundle.config, self.bundle.params)

    def decompress(self, data: bytes) -> RGB:
        """The image in a stream.

        Raises:
          LicError: the bytes are not a whole, undamaged stream of this model.
        """
        stream = self.unpack(data)
        quantizer, hyper_quantizer = self.bundle.quantizers_at(stream.rate_units)
        hyper_latent = hyper_quantizer.levels_of(self.hyper_symbols(stream))
        mean, index, symbols = self._mean_index_and_symbols(stream, hyper_latent)
        return self._image(stream, hyper_latent, mean, index, symbols, quantizer)

    def _image(self, stream: container.Stream, hyper_latent, mean, index, symbols, quantizer) -> RGB:
        _, rows, columns, _ = symbols.shape
        image = np.empty((rows * LATENT_STRIDE, columns * LATENT_STRIDE, 3), np.uint8)
        halo = self._transforms.synthesis_halo
        for kept, read, inside in bands(rows, columns * LATENT_STRIDE**2, halo):
            band_mean = self._means(hyper_latent, read) if mean is None else mean[:, read]
            residual = quantizer.levels_of(symbols[:, read], index[:, read])
            pixels = self._transforms.synthesize(band_mean + residual)
            own = slice(LATENT_STRIDE * inside.start, LATENT_STRIDE * inside.stop)
            image[LATENT_STRIDE * kept.start : LATENT_STRIDE * kept.stop] = to_pixels(pixels[0, own])
        return image[: stream.height, : stream.width]

    def _means(self, hyper_latent: np.ndarray, rows: slice) -> np.ndarray:
        """The means of some rows of latents, computed again.

        Exactly the same, being integers, at a cost: an image of 10,000 columns, of which a band has 3 rows of hyper
        latents and 4 of halo, runs its hyper synthesis five times over, which by itself is a seventh of decoding.
        """
        first, last = rows.start // LATENTS_PER_HYPER, -(-rows.stop // LATENTS_PER_HYPER)
        mean, _ = self._transforms.predict(hyper_latent, with_halo(first, last, hyper_latent.shape[1], HYPER_HALO))
        start = rows.start - LATENTS_PER_HYPER * first
        return mean[:, start : start + rows.stop - rows.start]


def to_pixels(image: Float[np.ndarray, "*shape"]) -> np.ndarray:
    """The network's domain → uint8 pixels, rounded and clipped."""
    return np.clip(np.rint((image + 0.5) * 255), 0, 255).astype(np.uint8)


def hyper_shape(height: int, width: int, channels: int) -> tuple[int, int, int, int]:
    """The hyper latent's shape for an image."""
    return 1, -(-height // HYPER_STRIDE), -(-width // HYPER_STRIDE), channels


def channel_index(shape: tuple[int, ...]) -> Int[np.ndarray, " n"]:
    """The channel of each element of a flattened channels-last array."""
    return np.tile(np.arange(shape[-1]), int(np.prod(shape[:-1])))


def _named(fingerprint: bytes) -> str:
    """A model as its users know it, if it is one that ships."""
    name = shipped.name_of(fingerprint)
    return f"{name} ({fingerprint.hex()})" if name else fingerprint.hex()


def load_decoder(model: str = shipped.DEFAULT) -> Decoder:
    """The decoder of a shipped model's name or of a file written by `lic refit`.

    Raises:
      LicError: no such model, its file is damaged, or its synthesis needs JAX.
    """
    return Decoder(load_receiver(shipped.path_of(model)))
