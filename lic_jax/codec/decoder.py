"""Decodes streams to images with NumPy and constriction alone, for devices that only decode.

Symbols are the same on every machine (docs/design.md, rule 1). Pixels may differ by a grey level where a floating-point
sum falls between two levels.
"""

from typing import NamedTuple

import numpy as np

from lic_jax.arrays import RGB, Float, Int, Integer
from lic_jax.codec.symbols import SymbolCoding
from lic_jax.config import HYPER_STRIDE, LATENT_STRIDE, LATENTS_PER_HYPER
from lic_jax.distortion.base import to_pixels
from lic_jax.io import container
from lic_jax.transforms import receiver
from lic_jax.transforms.bands import Band, bands, with_halo
from lic_jax.transforms.description import halo
from lic_jax.zoo.bundle import Bundle


class Decoded(NamedTuple):
    """A stream decoded to its symbols.

    Attributes:
      hyper_symbols, symbols: the symbols of hyper latent and latent.
      hyper_latent: ẑ, the side information that predicts the latent.
      table_index: the coding table of each latent.
      mean: μ; None where it is computed anew for each band of a large image.
    """

    hyper_symbols: Int[np.ndarray, "1 hyper_h hyper_w hyper"]
    symbols: Int[np.ndarray, "1 h w latent"]
    hyper_latent: Float[np.ndarray, "1 hyper_h hyper_w hyper"]
    table_index: Integer[np.ndarray, "1 h w latent"]
    mean: Float[np.ndarray, "1 h w latent"] | None


class SymbolDecoder:
    """Decodes a model's streams in NumPy to their symbols, without the synthesis.

    Attributes:
      coding: reads the segments of the model's streams.
    """

    def __init__(self, bundle: Bundle):
        self.coding = SymbolCoding(bundle)
        self._stages = self.coding.prior.receiver_stages(bundle.params)

    def symbols(
        self, data: bytes
    ) -> tuple[Int[np.ndarray, "1 hyper_h hyper_w hyper"], Int[np.ndarray, "1 h w latent"]]:
        """Reads the symbols of hyper latent and latent in a stream, the same on every machine."""
        decoded = self.read(self.coding.unpack(data))
        return decoded.hyper_symbols, decoded.symbols

    def transcode(self, data: bytes, to_coder: str) -> bytes:
        """Recodes the symbols of a stream by another coder.

        Args:
          data: a stream of this model.
          to_coder: a name in `registry.CODERS`.

        Raises:
          LicError: the bytes are not a whole, undamaged stream of this model, or a coder is not installed.
        """
        stream = self.coding.unpack(data)
        decoded = self.read(stream)
        size = stream.height, stream.width
        symbols = decoded.hyper_symbols, decoded.symbols, decoded.table_index
        return self.coding.pack(size, stream.rate_units, *symbols, to_coder)

    def read(self, stream: container.Stream) -> Decoded:
        """Reads the symbols of a stream, ẑ, and the means and table indexes of its latents.

        Raises:
          LicError: a segment is damaged.
        """
        hyper_symbols = self.coding.hyper_symbols(stream)
        hyper_latent = self.coding.hyper_latent(stream, hyper_symbols)
        reader = self.coding.latent_reader(stream)
        if self.coding.prior.stage_count > 1:
            mean, index, symbols = self._read_stages(stream, hyper_latent, reader)
        else:
            mean, index = self.mean_and_table_index(hyper_latent)
            symbols = reader.read(index.ravel()).reshape(index.shape)
        reader.close()
        return Decoded(hyper_symbols, symbols, hyper_latent, index, mean)

    def _read_stages(self, stream: container.Stream, hyper_latent: np.ndarray, reader):
        """Reads stage after stage; each is predicted from the latents before it."""
        quantizer, _ = self.coding.bundle.quantizers_at(stream.rate_units)
        shape = self._latent_shape(hyper_latent)
        latent, mean = np.zeros(shape, np.float32), np.zeros(shape, np.float32)
        index, symbols = np.zeros(shape, np.uint16), np.zeros(shape, np.int16)
        stages = zip(self._stages(hyper_latent), self.coding.prior.masks(shape), strict=True)
        for number, (predict, own) in enumerate(stages):
            own_mean, own_index = predict(latent if number else None)
            index[own], mean[own] = own_index[own], own_mean[own]
            symbols[own] = reader.read(index[own])
            latent[own] = mean[own] + quantizer.levels_of(symbols[own], index[own])
        return mean, index, symbols

    def _latent_shape(self, hyper_latent: np.ndarray) -> tuple[int, int, int, int]:
        _, rows, columns, _ = hyper_latent.shape
        channels = self.coding.bundle.config.latent_channels
        return 1, rows * LATENTS_PER_HYPER, columns * LATENTS_PER_HYPER, channels

    def mean_and_table_index(
        self, hyper_latent: Float[np.ndarray, "1 hyper_h hyper_w hyper"]
    ) -> tuple[Float[np.ndarray, "1 h w latent"] | None, Integer[np.ndarray, "1 h w latent"]]:
        """Computes the latent's means and the indexes of its coding tables (uint16) from a hyper latent.

        For an image of several bands, the means are None: they would take more memory than all else, so each band of
        the synthesis computes its own again.
        """
        _, rows, columns, _ = hyper_latent.shape
        index = np.empty(self._latent_shape(hyper_latent), np.uint16)
        hyper_bands = list(bands(rows, columns * HYPER_STRIDE**2, self.coding.prior.halo or 0))
        mean = None
        for band in hyper_bands:
            mean, band_index = self._predict(hyper_latent, band)
            index[:, LATENTS_PER_HYPER * band.kept.start : LATENTS_PER_HYPER * band.kept.stop] = band_index
        return mean if len(hyper_bands) == 1 else None, index

    def _predict(self, hyper_latent: np.ndarray, band: Band) -> tuple[np.ndarray, np.ndarray]:
        """Computes mean and index of a band's latents, for a prior of one stage."""
        rows = slice(LATENTS_PER_HYPER * band.inside.start, LATENTS_PER_HYPER * band.inside.stop)
        mean, index = self._stages(hyper_latent[:, band.read])[0](None)
        return mean[:, rows], index[:, rows].astype(np.uint16)

    def means(self, decoded: Decoded, rows: slice) -> Float[np.ndarray, "1 rows w latent"]:
        """Returns the means of some rows of latents, computed again if they were not kept.

        They come from integers, so they are exactly the same. For an image of 10,000 columns, bands have 3 rows of
        hyper latents and 4 of halo, so the hyper synthesis runs five times, a seventh of the decoding time.
        """
        if decoded.mean is not None:
            return decoded.mean[:, rows]
        hyper_latent = decoded.hyper_latent
        first, last = rows.start // LATENTS_PER_HYPER, -(-rows.stop // LATENTS_PER_HYPER)
        band = with_halo(first, last, hyper_latent.shape[1], self.coding.prior.halo or 0)
        mean, _ = self._predict(hyper_latent, band)
        start = rows.start - LATENTS_PER_HYPER * first
        return mean[:, start : start + rows.stop - rows.start]


class Decoder:
    """Decodes a model's streams to images in NumPy.

    Attributes:
      bundle: the model, its quantizers and its fingerprint.
      symbol_decoder: reads the symbols.

    Raises:
      LicError: the model's synthesis is a deep one, which needs JAX.
    """

    def __init__(self, bundle: Bundle):
        self.bundle = bundle
        self.symbol_decoder = SymbolDecoder(bundle)
        layers = bundle.config.synthesis_layers
        self._synthesize = receiver.synthesis(bundle.config.synthesis, layers, bundle.params.get("synthesis", {}))
        self._halo = halo(layers)

    def decompress(self, data: bytes) -> RGB:
        """Decompresses a stream to its image.

        Raises:
          LicError: the bytes are not a whole, undamaged stream of this model.
        """
        stream = self.symbol_decoder.coding.unpack(data)
        decoded = self.symbol_decoder.read(stream)
        quantizer, _ = self.bundle.quantizers_at(stream.rate_units)
        _, rows, columns, _ = decoded.symbols.shape
        image = np.empty((rows * LATENT_STRIDE, columns * LATENT_STRIDE, 3), np.uint8)
        for kept, read, inside in bands(rows, columns * LATENT_STRIDE**2, self._halo):
            residual = quantizer.levels_of(decoded.symbols[:, read], decoded.table_index[:, read])
            pixels = self._synthesize(self.symbol_decoder.means(decoded, read) + residual)
            own = slice(LATENT_STRIDE * inside.start, LATENT_STRIDE * inside.stop)
            image[LATENT_STRIDE * kept.start : LATENT_STRIDE * kept.stop] = to_pixels(pixels[0, own])
        return image[: stream.height, : stream.width]

    def symbols(
        self, data: bytes
    ) -> tuple[Int[np.ndarray, "1 hyper_h hyper_w hyper"], Int[np.ndarray, "1 h w latent"]]:
        """Does the same as `SymbolDecoder.symbols`."""
        return self.symbol_decoder.symbols(data)

    def transcode(self, data: bytes, to_coder: str) -> bytes:
        """Does the same as `SymbolDecoder.transcode`."""
        return self.symbol_decoder.transcode(data, to_coder)
