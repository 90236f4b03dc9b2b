"""Starts searches for an image's symbols, and checks their results on real files.

The searches themselves are in `lic_jax.encoding`.
"""

from collections.abc import Callable, Sequence
from functools import cached_property

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, UInt8

from lic_jax.codec.batch_decoder import BatchDecoder
from lic_jax.codec.encoder import Analysed, Encoder
from lic_jax.codec.programs import Programs
from lic_jax.codec.symbols import SymbolCoding
from lic_jax.distortion.base import Distortion, to_network_domain
from lic_jax.encoding import tiles
from lic_jax.encoding.choice import Choice, Latents
from lic_jax.encoding.method import SearchSettings
from lic_jax.encoding.operating_point import OperatingPoint, Staircase
from lic_jax.encoding.search import Found, Start, local_gains, search
from lic_jax.registry import DISTORTIONS


class Searcher:
    """Searches for better symbols of images at a given rate.

    Args:
      coding: the segments of the model's streams.
      programs: the model's transforms.
      encoder: makes the choice that a search starts from.
      decoder: decodes the result to check it.
    """

    def __init__(self, coding: SymbolCoding, programs: Programs, encoder: Encoder, decoder: BatchDecoder):
        self._coding, self._programs, self._encoder, self._decoder = coding, programs, encoder, decoder
        self._bundle = coding.bundle

    def improve(
        self, batch: Sequence[Analysed], one_shot: Sequence[Choice], rate_units: int, settings: SearchSettings
    ) -> list[Choice]:
        """Searches for better choices; keeps one shot's choice where the real file would be no better."""
        if settings.iterations == 0:
            return list(one_shot)
        starts = [
            Start(analysed.pixels, Latents(analysed.latent, analysed.hyper_latent), choice)
            for analysed, choice in zip(batch, one_shot, strict=True)
        ]
        point = self.operating_point(rate_units, settings)
        tiled = [tiles.tiles_of(start) for start in starts]
        parts = [tiles.cut(start, tile) for start, own in zip(starts, tiled, strict=True) for tile in own]
        found = iter(search(self._programs.model, self._programs.variables, parts, point, settings))
        return [
            self._better(analysed, choice, own, [next(found) for _ in own], rate_units, point)
            for analysed, choice, own in zip(batch, one_shot, tiled, strict=True)
        ]

    def _better(
        self,
        analysed: Analysed,
        one_shot: Choice,
        own_tiles: Sequence[tiles.Tile],
        found: Sequence[Found],
        rate_units: int,
        point: OperatingPoint,
    ) -> Choice:
        """Returns the choice found for an image's tiles, or one shot's choice where that is no better.

        The costs of tiles are not the image's, so an image of several tiles is compared by its files.
        """
        if len(found) == 1:
            (whole,) = found
            if _is_surely_better(whole, analysed.height * analysed.width):
                return whole.choice
            after = whole.choice
        else:
            parts = [self._latents_of(tile.choice, rate_units) for tile in found]
            (after,) = self._encoder.choose([_with(tiles.join(parts, own_tiles), analysed)], rate_units)
        return min(one_shot, after, key=lambda choice: self._file_cost(analysed, choice, rate_units, point))

    def chosen(self, analysed: Analysed, choice: Choice, rate_units: int) -> Analysed:
        """Returns an image as if the analysis had made the latents of a choice."""
        return _with(self._latents_of(choice, rate_units), analysed)

    def _latents_of(self, choice: Choice, rate_units: int) -> Latents:
        """Returns y and z that quantize to these symbols, and to nearly the same symbols at neighbouring rates."""
        quantizer, hyper_quantizer = self._bundle.quantizers_at(rate_units)
        symbols, hyper_symbols, index = map(np.asarray, (*choice.symbols, choice.index))
        residual = quantizer.middles_of(symbols, index)
        return Latents(choice.mean + residual, hyper_quantizer.middles_of(hyper_symbols))

    def _file_cost(self, analysed: Analysed, choice: Choice, rate_units: int, point: OperatingPoint) -> float:
        """Computes bpp + λ · distortion of an image's file; programs for one image at a time are compiled anyway."""
        data = self._encoder.pack(analysed, choice, rate_units)
        bpp = 8 * len(data) / (analysed.height * analysed.width)
        (decoded,) = self._decoder.decompress([data])
        return bpp + float(point.rd_lambda) * _distance(point.distortion, decoded, analysed.pixels)

    def operating_point(self, rate_units: int, settings: SearchSettings | None = None) -> OperatingPoint:
        """Makes the operating point of a rate: levels, bits and λ."""
        tables = self._coding.tables(rate_units)
        quantizer, hyper_quantizer = self._bundle.quantizers_at(rate_units)
        staircase, hyper_staircase = (
            Staircase.of(quantizer, tables.latent),
            Staircase.of(hyper_quantizer, tables.hyper_latent),
        )
        rd_lambda = self._bundle.rd_lambda_at(rate_units)
        distortion: str | Distortion = self._bundle.distortion
        if settings is not None:
            rd_lambda = rd_lambda if settings.rd_lambda is None else settings.rd_lambda
            distortion = settings.distortion or distortion
        function: Callable = DISTORTIONS[distortion] if isinstance(distortion, str) else distortion
        return OperatingPoint(staircase, hyper_staircase, jnp.float32(rd_lambda), self._gains, function)

    @cached_property
    def _gains(self) -> Float[Array, " latent"]:
        return local_gains(self._programs.model, self._programs.variables)


def _distance(
    distortion: Distortion, image: UInt8[np.ndarray, "height width 3"], reference: UInt8[np.ndarray, "height width 3"]
) -> float:
    return float(distortion(*(to_network_domain(jnp.asarray(pixels[None])) for pixels in (image, reference)))[0])


def _with(latents: Latents, analysed: Analysed) -> Analysed:
    """Returns an image with these latents."""
    return analysed._replace(latent=latents.latent, hyper_latent=latents.hyper_latent)


def _is_surely_better(found: Found, pixels: int) -> bool:
    """Returns whether a search's gain, by the coding tables' bits, exceeds all differences between bits and files.

    A file has up to about 16 bytes more than its bits and the header. Its pixels may be rounded otherwise by another
    program.
    """
    before, after = found.one_shot_cost.objective, found.cost.objective
    return before - after > 256 / pixels + 1e-3 * before
