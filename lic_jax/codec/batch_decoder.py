"""Decodes streams to images in JAX, on any device, many streams at once, also with a deep synthesis."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import UInt8

from lic_jax.codec.programs import Programs
from lic_jax.codec.symbols import SymbolCoding


class BatchDecoder:
    """Decodes streams of any sizes and rates.

    Args:
      coding: reads the segments of the model's streams.
      programs: the model's transforms.
    """

    def __init__(self, coding: SymbolCoding, programs: Programs):
        self._coding, self._programs = coding, programs

    def decompress(self, streams: Sequence[bytes]) -> list[UInt8[np.ndarray, "_height _width 3"]]:
        """Decompresses streams to their images.

        Raises:
          LicError: the bytes are not whole, undamaged streams of this model.
        """
        unpacked = [self._coding.unpack(data) for data in streams]
        quantizers = [self._coding.bundle.quantizers_at(stream.rate_units)[0] for stream in unpacked]
        hyper_latents = [self._coding.hyper_latent(stream, self._coding.hyper_symbols(stream)) for stream in unpacked]
        readers = [self._coding.latent_reader(stream) for stream in unpacked]
        latents: list[np.ndarray] = []
        for stage in range(self._coding.prior.stage_count):
            predictions = self._programs.stage(stage, hyper_latents, latents)
            latents = latents or [np.zeros_like(mean) for mean, _ in predictions]
            for position, (mean, index) in enumerate(predictions):
                own = self._coding.prior.masks(mean.shape)[stage]
                chosen = index[own] if own.ndim else index
                symbols = readers[position].read(chosen.ravel()).reshape(chosen.shape)
                residual = quantizers[position].levels_of(symbols, chosen)
                if own.ndim:
                    latents[position][own] = mean[own] + residual
                else:
                    latents[position] = mean + residual
        for reader in readers:
            reader.close()
        images = self._programs.decode(self._programs.variables, latents)
        return [image[0, : stream.height, : stream.width] for stream, image in zip(unpacked, images, strict=True)]
