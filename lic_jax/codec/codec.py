"""The codec for users: compresses images to a rate, a size or a quality, in one shot or by a search."""

import time
import warnings
from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
from jaxtyping import UInt8

from lic_jax.codec.batch_decoder import BatchDecoder
from lic_jax.codec.encoder import Analysed, Encoder
from lic_jax.codec.programs import Programs
from lic_jax.codec.searcher import Searcher
from lic_jax.codec.symbols import SymbolCoding
from lic_jax.distortion.base import Distortion, mean_squared_error
from lic_jax.distortion.base import psnr as psnr_of
from lic_jax.encoding import rate_control
from lic_jax.encoding.method import Report, SearchSettings
from lic_jax.entropy.coders import coding
from lic_jax.errors import LicWarning
from lic_jax.io import container
from lic_jax.registry import DEFAULT_CODER
from lic_jax.zoo import shipped
from lic_jax.zoo.bundle import Bundle, load_bundle


class Codec:
    """A codec for 8-bit RGB images: one model serves every rate between its fitted ones.

    It consists of an encoder, a search and a decoder. Programs are compiled for a few sizes of arrays and serve images
    of every size (`transforms.buckets`).

    Attributes:
      bundle: the model, its quantizers and its fingerprint.
      encoder, searcher, decoder: its parts.
    """

    def __init__(self, bundle: Bundle):
        self.bundle = bundle
        self._coding, self._programs = SymbolCoding(bundle), Programs(bundle)
        self.encoder = Encoder(self._coding, self._programs)
        self.decoder = BatchDecoder(self._coding, self._programs)
        self.searcher = Searcher(self._coding, self._programs, self.encoder, self.decoder)

    def compress(
        self,
        image: UInt8[np.ndarray, "height width 3"],
        rate: float | None = None,
        *,
        bpp: float | None = None,
        psnr: float | None = None,
        max_bytes: int | None = None,
        iterations: int = 0,
        method: str = "sga",
        time_limit: float | None = None,
        on_progress: Report | None = None,
        distortion: str | Distortion | None = None,
        rd_lambda: float | None = None,
        coder: str = DEFAULT_CODER,
    ) -> bytes:
        """Compresses an image to a stream: at a rate, or at the rate that gives a wanted size or quality.

        To find the rate, the image is analysed once, then quantized and coded at most 8 times; with `psnr`, each stream
        is decoded, too. With `iterations`, the rate search runs again, usually two or three passes, each with that many
        steps.

        Args:
          image: uint8 RGB, any size from 1×1 up.
          rate: from 0, the smallest file, to `bundle.highest_rate`; fractions lie between fitted rates. By default the
            middle fitted rate.
          bpp: instead of a rate, bits per pixel of the whole stream, hit to 1 %.
          psnr: instead of a rate, the PSNR in dB of the decoded image, hit to 0.05 dB.
          max_bytes: instead of a rate, the most bytes of the stream; finds the largest stream that fits, or with
            iterations a stream of at least 99 % of it.
          iterations: steps to spend for a better stream that decodes as quickly; see `refine`.
          method, on_progress, distortion, rd_lambda: settings of the search, see `refine`.
          time_limit: seconds for the search, analysis included.
          coder: a name in `registry.CODERS`; "tfc" needs the extra of that name, on the receiver's side, too.

        Warns:
          LicWarning: bpp or psnr is out of reach; the nearest stream is returned.

        Raises:
          LicError: the image, the rate, max_bytes or the search is outside the codec's range, the coder is not
            installed, or more than one of rate, bpp, psnr and max_bytes is given.
        """
        rate_control.check_wishes(rate=rate, bpp=bpp, psnr=psnr, max_bytes=max_bytes)
        settings = SearchSettings(iterations, method, time_limit, on_progress, distortion, rd_lambda)
        if bpp is None and psnr is None and max_bytes is None:
            return self._compress_batch([image], rate, settings, coder)[0]

        deadline = None if time_limit is None else time.perf_counter() + time_limit
        settings.check()
        coding.check(coder)
        (analysed,) = self.encoder.analyse([image])
        highest_units = self.bundle.rate_units(self.bundle.highest_rate)
        if bpp is not None:
            control = partial(rate_control.with_bpp, bpp=bpp, pixels=analysed.height * analysed.width)
        elif psnr is not None:
            control = partial(rate_control.with_psnr, psnr=psnr, psnr_of=partial(self._psnr, image))
        else:
            assert max_bytes is not None  # one of the three is given
            control = partial(rate_control.within_bytes, max_bytes=max_bytes)
        found = control(lambda rate_units: self.encoder.code([analysed], rate_units, coder)[0], highest_units)
        if iterations:
            start = container.unpack(found.stream).rate_units
            searched = self._searched(control, analysed, settings, deadline, start, coder)
            if searched and found.warning and searched.warning:
                found = searched._replace(warning=f"{found.warning}; {searched.warning}")
            elif searched and not searched.warning:
                found = searched
        if found.warning:
            warnings.warn(found.warning, LicWarning, stacklevel=2)
        return found.stream

    def _psnr(self, image: UInt8[np.ndarray, "height width 3"], stream: bytes) -> float:
        """Computes the PSNR in dB of a stream's decoded image."""
        return float(psnr_of(mean_squared_error(self.decompress(stream).astype(np.float64), image.astype(np.float64))))

    def _searched(
        self,
        control: Callable,
        analysed: Analysed,
        settings: SearchSettings,
        deadline: float | None,
        start: int,
        coder: str,
    ) -> rate_control.Found | None:
        """Runs `control` with a search at every rate; returns `None` if no stream fits the bytes.

        Each search continues from the result of the last one, at a rate nearby, so stopping a search loses nothing.

        Args:
          control: one of `rate_control`.
          analysed: the image.
          settings: the settings of each search, which takes at most half of the remaining time.
          deadline: when time is over.
          start: the rate, in units, that is right without searching.
          coder: the streams' coder.
        """
        latest = analysed

        def code(rate_units: int) -> bytes:
            nonlocal latest
            seconds = None if deadline is None else max((deadline - time.perf_counter()) / 2, 1e-3)
            one_shot = self.encoder.choose([latest], rate_units)
            own = settings._replace(time_limit=seconds)
            (choice,) = self.searcher.improve([latest], one_shot, rate_units, own)
            latest = self.searcher.chosen(analysed, choice, rate_units)
            return self.encoder.pack(analysed, choice, rate_units, coder)

        try:
            return control(code, self.bundle.rate_units(self.bundle.highest_rate), start=start)
        except rate_control.TooFewBytesError:
            return None

    def compress_batch(
        self,
        images: Sequence[UInt8[np.ndarray, "_height _width 3"]],
        rate: float | None = None,
        *,
        iterations: int = 0,
        method: str = "sga",
        time_limit: float | None = None,
        on_progress: Report | None = None,
        distortion: str | Distortion | None = None,
        rd_lambda: float | None = None,
        coder: str = DEFAULT_CODER,
    ) -> list[bytes]:
        """Compresses images of any sizes to streams; images of about the same size go through the device together.

        Raises:
          LicError: as `compress`.
        """
        settings = SearchSettings(iterations, method, time_limit, on_progress, distortion, rd_lambda)
        return self._compress_batch(images, rate, settings, coder)

    def _compress_batch(self, images, rate: float | None, settings: SearchSettings, coder: str) -> list[bytes]:
        start = time.perf_counter()
        rate_units = self._rate_units(rate)
        settings.check()
        coding.check(coder)
        batch = self.encoder.analyse(list(images))
        if settings.time_limit is not None:
            left = settings.time_limit - (time.perf_counter() - start)
            settings = settings._replace(time_limit=max(left, 1e-3))
        choices = self.searcher.improve(batch, self.encoder.choose(batch, rate_units), rate_units, settings)
        return [self.encoder.pack(*pair, rate_units, coder) for pair in zip(batch, choices, strict=True)]

    def analyse(self, image: UInt8[np.ndarray, "height width 3"]) -> Analysed:
        """Runs analysis and hyper analysis; every rate of the image starts from the result.

        Raises:
          LicError: the image is not a uint8 RGB array, or its size is outside the format.
        """
        return self.encoder.analyse([image])[0]

    def code(self, analysed: Analysed, rate: float | None = None, coder: str = DEFAULT_CODER) -> bytes:
        """Quantizes and codes an analysed image at a rate, the middle one by default."""
        return self.encoder.code([analysed], self._rate_units(rate), coder)[0]

    def refine(
        self,
        analysed: Analysed,
        rate: float | None = None,
        *,
        iterations: int,
        method: str = "sga",
        time_limit: float | None = None,
        on_progress: Report | None = None,
        distortion: str | Distortion | None = None,
        rd_lambda: float | None = None,
    ) -> Analysed:
        """Searches an analysed image's latents for the least bpp + λ · distortion of its real file at a rate.

        `code` of the result gives the found stream at that rate, and similar streams at neighbouring rates.
        If the search finds nothing better, `analysed` is returned unchanged.

        Args:
          analysed: an image.
          rate: as in `compress`; its λ is interpolated (in its logarithm) between those of the fitted rates.
          iterations: steps of the search; 0 is none.
          method: "sga", stochastic Gumbel annealing, best with hundreds of steps or more; "refinement", plain gradient
            descent, with tens; "rounding", each symbol or its neighbour, with one, two or three passes.
          time_limit: seconds until the result, whatever the iterations; schedules follow the time. Compiling may exceed
            it.
          on_progress: called with a `lic_jax.encoding.method.Progress` after every step; where it returns True, the
            search ends with the best so far.
          distortion: the distortion that λ weighs: a name in `registry.DISTORTIONS` or a function; the model's own if
            None.
          rd_lambda: λ, which a distortion other than the model's needs.

        Raises:
          LicError: the rate is outside the model's rates, or a setting of the search is invalid.
        """
        rate_units = self._rate_units(rate)
        settings = SearchSettings(iterations, method, time_limit, on_progress, distortion, rd_lambda)
        settings.check()
        one_shot = self.encoder.choose([analysed], rate_units)
        (choice,) = self.searcher.improve([analysed], one_shot, rate_units, settings)
        return analysed if choice is one_shot[0] else self.searcher.chosen(analysed, choice, rate_units)

    def decompress(self, data: bytes) -> UInt8[np.ndarray, "height width 3"]:
        """Decompresses a stream to its image.

        Raises:
          LicError: the bytes are not a whole, undamaged stream of this model.
        """
        return self.decoder.decompress([data])[0]

    def decompress_batch(self, streams: Sequence[bytes]) -> list[UInt8[np.ndarray, "_height _width 3"]]:
        """Decompresses streams of any sizes and rates to their images.

        Raises:
          LicError: as `decompress`.
        """
        return self.decoder.decompress(list(streams))

    def _rate_units(self, rate: float | None) -> int:
        return self.bundle.rate_units(self.bundle.highest_rate // 2 if rate is None else rate)


def load(model: str = shipped.DEFAULT) -> Codec:
    """Loads the codec of a shipped model, by name, or of a file written by `lic refit`.

    Raises:
      LicError: no such model, or its file is damaged.
    """
    return Codec(load_bundle(shipped.path_of(model)))
