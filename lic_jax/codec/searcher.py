"""What a search makes of an image's symbols, proven on real files.

`lic_jax.encoding` searches; here is where a search starts, and the proof that its result is worth it.
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
    """Spends time on images at a given rate.

    Args:
      coding: of the model's segments.
      programs: the model's transforms.
      encoder: makes the choice that a search starts from.
      decoder: proves the result.
    """

    def __init__(self, coding: SymbolCoding, programs: Programs, encoder: Encoder, decoder: BatchDecoder):
        self._coding, self._programs, self._encoder, self._decoder = coding, programs, encoder, decoder
        self._bundle = coding.bundle

    def improve(
        self, batch: Sequence[Analysed], one_shot: Sequence[Choice], rate_units: int, settings: SearchSettings
    ) -> list[Choice]:
        """Choices that a search found, or those of one shot where the real file would be no better."""
        if settings.iterations == 0:
            return list(one_shot)
        starts = [
            Start(analysed.pixels, Latents(analysed.latent, analysed.hyper_latent), choice)
            for analysed, choice in zip(batch, one_shot, strict=True)
        ]
        point = self.operating_point(rate_units, settings)
        tiled = [tiles.tiles_of(start) for start in starts]
        parts = [tiles.cut(start, tile) for start, of_image in zip(starts, tiled, strict=True) for tile in of_image]
        found = iter(search(self._programs.model, self._programs.variables, parts, point, settings))
        return [
            self._better(analysed, choice, of_image, [next(found) for _ in of_image], rate_units, point)
            for analysed, choice, of_image in zip(batch, one_shot, tiled, strict=True)
        ]

    def _better(
        self,
        analysed: Analysed,
        one_shot: Choice,
        of_image: Sequence[tiles.Tile],
        found: Sequence[Found],
        rate_units: int,
        point: OperatingPoint,
    ) -> Choice:
        """The choice found for an image's tiles, or one shot's choice where that is no better.

        The costs of tiles are not the image's, so the files of an image of several are compared.
        """
        if len(found) == 1:
            (of_whole,) = found
            if _is_surely_better(of_whole, analysed.height * analysed.width):
                return of_whole.choice
            after = of_whole.choice
        else:
            parts = [self._latents_of(of_tile.choice, rate_units) for of_tile in found]
            (after,) = self._encoder.choose([_with(tiles.join(parts, of_image), analysed)], rate_units)
        return min(one_shot, after, key=lambda choice: self._file_cost(analysed, choice, rate_units, point))

    def chosen(self, analysed: Analysed, choice: Choice, rate_units: int) -> Analysed:
        """An image as if the latents of a choice had been analysed."""
        return _with(self._latents_of(choice, rate_units), analysed)

    def _latents_of(self, choice: Choice, rate_units: int) -> Latents:
        """y and z that are quantized to these symbols, and to nearly the same at neighbouring rates."""
        quantizer, hyper_quantizer = self._bundle.quantizers_at(rate_units)
        symbols, hyper_symbols, index = map(np.asarray, (*choice.symbols, choice.index))
        residual = quantizer.middles_of(symbols, index)
        return Latents(choice.mean + residual, hyper_quantizer.middles_of(hyper_symbols))

    def _file_cost(self, analysed: Analysed, choice: Choice, rate_units: int, point: OperatingPoint) -> float:
        """bpp + λ · distortion of an image's file; one at a time, for which programs are compiled anyway."""
        data = self._encoder.pack(analysed, choice, rate_units)
        bpp = 8 * len(data) / (analysed.height * analysed.width)
        (decoded,) = self._decoder.decompress([data])
        return bpp + float(point.rd_lambda) * _distance(point.distortion, decoded, analysed.pixels)

    def operating_point(self, rate_units: int, settings: SearchSettings | None = None) -> OperatingPoint:
        """A rate as a search sees it."""
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
    """An image as if these were its latents."""
    return analysed._replace(latent=latents.latent, hyper_latent=latents.hyper_latent)


def _is_surely_better(found: Found, pixels: int) -> bool:
    """Whether a search's gain, by the coding tables' bits, outweighs all that sets files apart from those.

    A file has up to some 16 bytes more than its bits and the header, and pixels that another program rounds otherwise.
    """
    before, after = found.one_shot_cost.objective, found.cost.objective
    return before - after > 256 / pixels + 1e-3 * before
