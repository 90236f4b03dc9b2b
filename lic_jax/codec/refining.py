"""One shot, and what a search makes of it: better symbols for images at a rate, by real files.

`lic_jax.encoding` searches; here is what it starts from, and the proof that the result is worth it.
"""

from collections.abc import Sequence
from functools import cached_property

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, UInt8

from lic_jax.codec.one_shot import Analysed, OneShotCodec
from lic_jax.encoding import tiles
from lic_jax.encoding.choice import Choice, Latents
from lic_jax.encoding.method import MethodName, Report, Settings
from lic_jax.encoding.operating_point import OperatingPoint, Staircase
from lic_jax.encoding.search import Found, Start, local_gains, search


class RefiningCodec(OneShotCodec):
    """A codec that can spend time on an image; the rate is given.

    Attributes:
      bundle: the model, its quantizers and its fingerprint.
    """

    def refine(
        self,
        analysed: Analysed,
        rate: float | None = None,
        *,
        iterations: int,
        method: MethodName = "sga",
        time_limit: float | None = None,
        on_progress: Report | None = None,
    ) -> Analysed:
        """An analysed image whose latents were searched for what costs least at a rate: bpp + λ · MSE, of real files.

        `code` of the result gives what the search found at that rate, and something near it at neighbouring rates. It
        is the image as it was analysed where the search found nothing better.

        Args:
          analysed: an image.
          rate: as in `compress`; λ is its own, interpolated (in its logarithm) between those of the fitted rates.
          iterations: steps of the search; 0 is none.
          method: "sga", stochastic Gumbel annealing, best with hundreds of steps or more; "refinement", plain gradient
            descent, with tens; "rounding", each symbol or its neighbour, with one, two or three passes.
          time_limit: seconds after which there is a result, whatever the iterations; schedules follow the time.
            What JAX has yet to compile takes its time all the same.
          on_progress: called with a `lic_jax.encoding.method.Progress` after every step; where it returns True, the
            search ends with the best so far.

        Raises:
          LicError: the rate is outside the model's, or there is no such search.
        """
        rate_units = self._rate_units(rate)
        one_shot = self._choose([analysed], rate_units)
        settings = Settings(iterations, method, time_limit, on_progress)
        settings.check()
        (choice,) = self._improve([analysed], one_shot, rate_units, settings)
        return analysed if choice is one_shot[0] else self._chosen(analysed, choice, rate_units)

    def _improve(
        self, batch: Sequence[Analysed], one_shot: Sequence[Choice], rate_units: int, settings: Settings
    ) -> list[Choice]:
        """Choices that a search found, or those of one shot where the real file would be no better."""
        if settings.iterations == 0:
            return list(one_shot)
        starts = [
            Start(analysed.pixels, Latents(analysed.latent, analysed.hyper_latent), choice)
            for analysed, choice in zip(batch, one_shot, strict=True)
        ]
        tiled = [tiles.tiles_of(start) for start in starts]
        parts = [tiles.cut(start, tile) for start, of_image in zip(starts, tiled, strict=True) for tile in of_image]
        found = iter(search(self._model, self._variables, parts, self._operating_point(rate_units), settings))
        return [
            self._better(analysed, choice, of_image, [next(found) for _ in of_image], rate_units)
            for analysed, choice, of_image in zip(batch, one_shot, tiled, strict=True)
        ]

    def _better(
        self,
        analysed: Analysed,
        one_shot: Choice,
        of_image: Sequence[tiles.Tile],
        found: Sequence[Found],
        rate_units: int,
    ) -> Choice:
        """What was found for an image's tiles, or one shot's choice where that is no better.

        The costs of tiles are not the image's, so the files of an image of several are compared.
        """
        if len(found) == 1:
            (of_whole,) = found
            if _is_surely_better(of_whole, analysed.height * analysed.width):
                return of_whole.choice
            after = of_whole.choice
        else:
            parts = [self._latents_of(of_tile.choice, rate_units) for of_tile in found]
            (after,) = self._choose([_with(tiles.join(parts, of_image), analysed)], rate_units)
        return min(one_shot, after, key=lambda choice: self._file_cost(analysed, choice, rate_units))

    def _chosen(self, analysed: Analysed, choice: Choice, rate_units: int) -> Analysed:
        """An image as if the latents of a choice had been analysed."""
        return _with(self._latents_of(choice, rate_units), analysed)

    def _latents_of(self, choice: Choice, rate_units: int) -> Latents:
        """y and z that are quantized to these symbols, and to nearly the same at neighbouring rates."""
        quantizer, hyper_quantizer = self.bundle.quantizers_at(rate_units)
        return Latents(
            choice.mean + quantizer.middles_of(choice.symbols.latent, choice.index),
            hyper_quantizer.middles_of(choice.symbols.hyper_latent),
        )

    def _file_cost(self, analysed: Analysed, choice: Choice, rate_units: int) -> float:
        """bpp + λ · MSE of an image's file; one at a time, for which programs are compiled anyway."""
        data = self._pack(analysed, choice, rate_units)
        bpp = 8 * len(data) / (analysed.height * analysed.width)
        return bpp + self.bundle.rd_lambda_at(rate_units) * squared_error(self.decompress(data), analysed.pixels)

    def _operating_point(self, rate_units: int) -> OperatingPoint:
        """A rate as a search sees it."""
        tables = self.tables(rate_units)
        staircases = map(Staircase.of, self.bundle.quantizers_at(rate_units), (tables.latent, tables.hyper_latent))
        return OperatingPoint(*staircases, jnp.float32(self.bundle.rd_lambda_at(rate_units)), self._gains)

    @cached_property
    def _gains(self) -> Float[Array, " latent"]:
        return local_gains(self._model, self._variables)


def _with(latents: Latents, analysed: Analysed) -> Analysed:
    """An image as if it had been analysed so."""
    return analysed._replace(latent=latents.latent, hyper_latent=latents.hyper_latent)


def squared_error(first: UInt8[np.ndarray, "*shape"], second: UInt8[np.ndarray, "*shape"]) -> float:
    """The mean over pixels and channels."""
    return float(np.mean((first.astype(np.float32) - second) ** 2))


def _is_surely_better(found: Found, pixels: int) -> bool:
    """Whether a search's gain, by the coding tables' bits, outweighs all that sets files apart from those.

    A file has up to some 16 bytes more than its bits and the header, and pixels that another program rounds otherwise.
    """
    before, after = found.one_shot_cost.objective, found.cost.objective
    return before - after > 256 / pixels + 1e-3 * before
