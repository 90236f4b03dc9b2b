"""Image ↔ bytes: the model's transforms, its quantizers at a rate, the entropy coder and the container, in a row.

All in JAX, for whatever device it has; `lic_jax.decoder` is the receiver alone, in NumPy.
"""

import time
import warnings
from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, UInt8

from lic_jax import bitstream, zoo
from lic_jax.config import HYPER_STRIDE, LATENTS_PER_HYPER
from lic_jax.decoder import SymbolReader, channel_index
from lic_jax.encoding import rate_control
from lic_jax.encoding.objective import Latents, OperatingPoint, Staircase
from lic_jax.encoding.search import Found, Start, psnr_of, search
from lic_jax.encoding.settings import MethodName, Report, Settings
from lic_jax.entropy.coder import DEFAULT, decode, encode
from lic_jax.errors import LicError, LicWarning
from lic_jax.model import CodecModel, model_of, to_network_domain, to_pixels
from lic_jax.transforms.buckets import Bucketed
from lic_jax.zoo.bundle import Bundle, load_bundle


class Analysed(NamedTuple):
    """An image after analysis: what every rate of it starts from."""

    height: int
    width: int
    latent: Float[np.ndarray, "1 h w latent"]
    hyper_latent: Float[np.ndarray, "1 h/4 w/4 hyper"]
    pixels: UInt8[np.ndarray, "height width 3"]


class ChosenSymbols(NamedTuple):
    """What a stream says of an image at a rate, before it is coded."""

    height: int
    width: int
    rate_units: int
    latent: Int[np.ndarray, "1 h w latent"]
    hyper_latent: Int[np.ndarray, "1 h/4 w/4 hyper"]
    mean: Float[np.ndarray, "1 h w latent"]
    table_index: Int[np.ndarray, "1 h w latent"]


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

    Programs are compiled for a few sizes of arrays and serve images of every size (`transforms.buckets`).

    Attributes:
      bundle: the model, its quantizers and its fingerprint.
    """

    def __init__(self, bundle: Bundle):
        super().__init__(bundle)
        self._variables = {"params": jax.tree.map(jnp.asarray, bundle.params)}
        self._model = model = model_of(bundle.config)
        self._encode = Bucketed(partial(model.apply, method="encode"), HYPER_STRIDE, to_network_domain)
        self._predict = Bucketed(partial(_mean_and_index, model), 1)
        self._decode = Bucketed(
            lambda variables, latent: to_pixels(model.apply(variables, latent, method="decode")),
            LATENTS_PER_HYPER,
        )

    def analyse(self, image: UInt8[np.ndarray, "height width 3"]) -> Analysed:
        """Runs analysis and hyper analysis; every rate of the image starts from the result.

        Raises:
          LicError: not a uint8 RGB array, or of a size outside the format.
        """
        return self._analyse([image])[0]

    def code(self, analysed: Analysed, rate: float | None = None, coder: str = DEFAULT) -> bytes:
        """Quantizes and codes an analysed image at a rate, the middle one by default."""
        return self._code([analysed], self._rate_units(rate), coder)[0]

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
          on_progress: called with a `lic_jax.encoding.settings.Progress` after every step; where it returns True, the
            search ends with the best so far.

        Raises:
          LicError: the rate is outside the model's, or there is no such search.
        """
        settings = Settings(iterations, method, time_limit, on_progress)
        return self._refine([analysed], self._rate_units(rate), settings)[0]

    def compress(
        self,
        image: UInt8[np.ndarray, "height width 3"],
        rate: float | None = None,
        *,
        bpp: float | None = None,
        psnr: float | None = None,
        max_bytes: int | None = None,
        iterations: int = 0,
        method: MethodName = "sga",
        time_limit: float | None = None,
        on_progress: Report | None = None,
        coder: str = DEFAULT,
    ) -> bytes:
        """An image as a stream: at a rate, or at the rate that gives what is asked for (`encoding.rate_control`).

        The rate is searched in at most 8 passes of quantizing and coding, after one analysis; with `psnr`, each is
        decoded, too. With iterations, each of as many passes again (mostly two or three) has so many of them.

        Args:
          image: uint8 RGB, any size from 1×1 up.
          rate: from 0, the smallest file, to `bundle.highest_rate`; fractions lie between fitted rates. By default the
            middle fitted rate.
          bpp: instead of a rate, bits per pixel of the whole stream, hit to 1 %.
          psnr: instead of a rate, the PSNR in dB of the decoded image, hit to 0.05 dB.
          max_bytes: instead of a rate, the size of the stream that is not exceeded; the largest that fits, or with
            iterations one of at least 99 % of it.
          iterations: time to spend for a better stream that decodes as quickly; see `refine`, also for what follows.
          method: how.
          time_limit: seconds, analysis included.
          on_progress: is told how far it is.
          coder: one of `entropy.coder.NAMES`; "tfc" needs the extra of that name, on the receiver's side, too.

        Warns:
          LicWarning: bpp or psnr is out of reach; the nearest stream is returned.

        Raises:
          LicError: the image, the rate, max_bytes or the search is outside what the codec can do, the coder is not
            installed, or two of the four are given.
        """
        wishes = {"rate": rate, "bpp": bpp, "psnr": psnr, "max_bytes": max_bytes}
        given = [name for name, wish in wishes.items() if wish is not None]
        if len(given) > 1:
            raise LicError(f"{' and '.join(given)} are given; give one of rate, bpp, psnr and max_bytes")
        if bpp is None and psnr is None and max_bytes is None:
            search = {"iterations": iterations, "method": method, "time_limit": time_limit, "on_progress": on_progress}
            return self.compress_batch([image], rate, **search, coder=coder)[0]

        deadline = None if time_limit is None else time.perf_counter() + time_limit
        settings = Settings(iterations, method, time_limit, on_progress)
        settings.check()
        analysed = self.analyse(image)
        highest_units = self._rate_units(self.bundle.highest_rate)
        if bpp is not None:
            control = partial(rate_control.with_bpp, bpp=bpp, pixels=analysed.height * analysed.width)
        elif psnr is not None:
            decoded_psnr = lambda stream: psnr_of(_squared_error(self.decompress(stream), image))
            control = partial(rate_control.with_psnr, psnr=psnr, psnr_of=decoded_psnr)
        else:
            control = partial(rate_control.within_bytes, max_bytes=max_bytes)
        found = control(lambda rate_units: self._code([analysed], rate_units, coder)[0], highest_units)
        if iterations and not found.warning:
            start = bitstream.unpack(found.stream).rate_units
            found = self._refined(control, analysed, settings, deadline, start, coder) or found
        if found.warning:
            warnings.warn(found.warning, LicWarning, stacklevel=2)
        return found.stream

    def _refined(
        self,
        control: Callable,
        analysed: Analysed,
        settings: Settings,
        deadline: float | None,
        start: int,
        coder: str,
    ) -> rate_control.Found | None:
        """As `control` found, but searched for at every rate; `None` where no rate hits what was asked for.

        Args:
          control: one of `rate_control`.
          analysed: the image.
          settings: of each search, which takes at most half of the time that is left.
          deadline: when time is over.
          start: the rate, in units, that hits without searching.
          coder: of the streams.
        """

        def code(rate_units: int) -> bytes:
            seconds = None if deadline is None else max((deadline - time.perf_counter()) / 2, 1e-3)
            refined = self._refine([analysed], rate_units, settings._replace(time_limit=seconds))
            return self._code(refined, rate_units, coder)[0]

        try:
            found = control(code, self._rate_units(self.bundle.highest_rate), start=start)
        except LicError:  # no stream of a search fits the bytes
            return None
        return None if found.warning else found

    def compress_batch(
        self,
        images: Sequence[UInt8[np.ndarray, "height width 3"]],
        rate: float | None = None,
        *,
        iterations: int = 0,
        method: MethodName = "sga",
        time_limit: float | None = None,
        on_progress: Report | None = None,
        coder: str = DEFAULT,
    ) -> list[bytes]:
        """Images of any sizes as streams; those of about the same size go through the device together.

        Raises:
          LicError: as `compress`.
        """
        start = time.perf_counter()
        rate_units = self._rate_units(rate)
        settings = Settings(iterations, method, time_limit, on_progress)
        settings.check()
        batch = self._analyse(images)
        if time_limit is not None:
            settings = settings._replace(time_limit=max(time_limit - (time.perf_counter() - start), 1e-3))
        return self._code(self._refine(batch, rate_units, settings), rate_units, coder)

    def decompress(self, data: bytes) -> UInt8[np.ndarray, "height width 3"]:
        """The image in a stream.

        Raises:
          LicError: the bytes are not a whole, undamaged stream of this model.
        """
        return self.decompress_batch([data])[0]

    def decompress_batch(self, streams: Sequence[bytes]) -> list[UInt8[np.ndarray, "height width 3"]]:
        """The images in streams of any sizes and rates.

        Raises:
          LicError: as `decompress`.
        """
        streams = [self.unpack(data) for data in streams]
        pairs = [self.bundle.quantizers_at(stream.rate_units) for stream in streams]
        hyper_latents = [
            hyper_quantizer.levels_of(self.hyper_symbols(stream))
            for stream, (_, hyper_quantizer) in zip(streams, pairs, strict=True)
        ]
        predictions = self._predict(self._variables, hyper_latents)
        latents = []
        for stream, (quantizer, _), (mean, index) in zip(streams, pairs, predictions, strict=True):
            symbols = decode(stream.latent, index.ravel(), self.tables(stream.rate_units).latent, stream.coder)
            latents.append(mean + quantizer.levels_of(symbols.reshape(mean.shape), index))
        images = self._decode(self._variables, latents)
        return [image[0, : stream.height, : stream.width] for stream, image in zip(streams, images, strict=True)]

    def _analyse(self, images: Sequence[UInt8[np.ndarray, "height width 3"]]) -> list[Analysed]:
        for image in images:
            if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
                shape = list(image.shape)
                raise LicError(f"an image must be uint8 [height, width, 3], not {image.dtype} {shape}; convert it")
            bitstream.check_size(*image.shape[:2])
        outputs = self._encode(self._variables, [pad_to_multiple(image)[None] for image in images])
        return [Analysed(*image.shape[:2], *output, image) for image, output in zip(images, outputs, strict=True)]

    def _code(self, batch: Sequence[Analysed], rate_units: int, coder: str = DEFAULT) -> list[bytes]:
        return [self._pack(chosen, coder) for chosen in self._choose(batch, rate_units)]

    def _choose(self, batch: Sequence[Analysed], rate_units: int) -> list[ChosenSymbols]:
        """Quantizes analysed images at a rate, each latent by itself."""
        quantizer, hyper_quantizer = self.bundle.quantizers_at(rate_units)
        hyper_symbols = [hyper_quantizer.symbols(analysed.hyper_latent) for analysed in batch]
        return [
            ChosenSymbols(
                *(analysed.height, analysed.width, rate_units),
                *(quantizer.symbols(analysed.latent - mean, index), of_hyper, mean, index),
            )
            for analysed, of_hyper, (mean, index) in zip(
                batch, hyper_symbols, self._predictions(hyper_symbols, rate_units), strict=True
            )
        ]

    def _predictions(self, hyper_symbols: Sequence[np.ndarray], rate_units: int) -> list[tuple[np.ndarray, np.ndarray]]:
        """Means and table indexes of the latents beside hyper symbols."""
        _, hyper_quantizer = self.bundle.quantizers_at(rate_units)
        return self._predict(self._variables, [hyper_quantizer.levels_of(symbols) for symbols in hyper_symbols])

    def _pack(self, chosen: ChosenSymbols, coder: str) -> bytes:
        """Codes symbols into a stream."""
        hyper_tables, tables = self.tables(chosen.rate_units)
        hyper_index = channel_index(chosen.hyper_latent.shape)
        segments = (
            encode(chosen.hyper_latent.ravel(), hyper_index, hyper_tables, coder),
            encode(chosen.latent.ravel(), chosen.table_index.ravel(), tables, coder),
        )
        of_image = chosen.height, chosen.width, chosen.rate_units
        return bitstream.pack(bitstream.Stream(self.bundle.fingerprint, *of_image, *segments, coder))

    def _refine(self, batch: Sequence[Analysed], rate_units: int, settings: Settings) -> list[Analysed]:
        """Analysed images with better latents at a rate, or as they are where the real file would be no better."""
        settings.check()
        if settings.iterations == 0:
            return list(batch)
        starts = self._starts(batch, rate_units)
        found = search(self._model, self._variables, starts, self._operating_point(rate_units), settings)
        quantizer, hyper_quantizer = self.bundle.quantizers_at(rate_units)
        predictions = self._predictions([of_image.symbols.hyper_latent for of_image in found], rate_units)
        refined = [
            analysed._replace(
                latent=mean + quantizer.middles_of(of_image.symbols.latent, index),
                hyper_latent=hyper_quantizer.middles_of(of_image.symbols.hyper_latent),
            )
            for analysed, of_image, (mean, index) in zip(batch, found, predictions, strict=True)
        ]
        return [
            after
            if _is_surely_better(of_image, before.height * before.width)
            else self._better_file(before, after, rate_units)
            for before, after, of_image in zip(batch, refined, found, strict=True)
        ]

    def _better_file(self, first: Analysed, second: Analysed, rate_units: int) -> Analysed:
        """The one whose file costs less; the first if they cost the same."""
        return second if self._file_cost(second, rate_units) < self._file_cost(first, rate_units) else first

    def _file_cost(self, analysed: Analysed, rate_units: int) -> float:
        """bpp + λ · MSE of an analysed image's file; one at a time, for which programs are compiled anyway."""
        (data,) = self._code([analysed], rate_units)
        bpp = 8 * len(data) / (analysed.height * analysed.width)
        return bpp + self.bundle.rd_lambda_at(rate_units) * _squared_error(self.decompress(data), analysed.pixels)

    def _starts(self, batch: Sequence[Analysed], rate_units: int) -> list[Start]:
        """What a search begins with."""
        quantizer, hyper_quantizer = self.bundle.quantizers_at(rate_units)
        return [
            Start(
                analysed.pixels,
                Latents(analysed.latent, analysed.hyper_latent),
                Latents(
                    chosen.mean + quantizer.levels_of(chosen.latent, chosen.table_index),
                    hyper_quantizer.levels_of(chosen.hyper_latent),
                ),
            )
            for analysed, chosen in zip(batch, self._choose(batch, rate_units), strict=True)
        ]

    def _operating_point(self, rate_units: int) -> OperatingPoint:
        """A rate's quantizers, what their symbols cost, and λ."""
        tables = self.tables(rate_units)
        staircases = map(Staircase.of, self.bundle.quantizers_at(rate_units), (tables.latent, tables.hyper_latent))
        return OperatingPoint(*staircases, jnp.float32(self.bundle.rd_lambda_at(rate_units)))

    def _rate_units(self, rate: float | None) -> int:
        return self.bundle.rate_units(self.bundle.highest_rate // 2 if rate is None else rate)


def _squared_error(first: UInt8[np.ndarray, "*shape"], second: UInt8[np.ndarray, "*shape"]) -> float:
    """The mean over pixels and channels."""
    return float(np.mean((first.astype(np.float32) - second) ** 2))


def _is_surely_better(found: Found, pixels: int) -> bool:
    """Whether a search's gain, by the coding tables' bits, outweighs all that sets files apart from those.

    A file has up to some 16 bytes more than its bits and the header, and pixels that another program rounds otherwise.
    """
    before, after = found.one_shot_cost.objective, found.cost.objective
    return before - after > 256 / pixels + 1e-3 * before


def _mean_and_index(model: CodecModel, variables: dict, hyper_latent: Array) -> tuple[Array, Array]:
    """μ and the index of the coding table; both are exact (`transforms.integer`)."""
    mean, index = model.apply(variables, hyper_latent, method="predict")
    return mean, index.astype(jnp.uint16)


def load(model: str = zoo.DEFAULT) -> Codec:
    """The codec of a shipped model's name or of a file written by `lic refit`.

    Raises:
      LicError: no such model, or its file is damaged.
    """
    return Codec(load_bundle(zoo.path_of(model)))
