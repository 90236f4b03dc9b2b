"""The codec that its users meet: images as streams at a rate, of a size or of a quality, quickly or searched for."""

import time
import warnings
from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
from jaxtyping import UInt8

from lic_jax.codec.one_shot import Analysed
from lic_jax.codec.refining import RefiningCodec, squared_error
from lic_jax.encoding import rate_control
from lic_jax.encoding.cost import psnr_of
from lic_jax.encoding.method import MethodName, Report, Settings
from lic_jax.entropy.coders import coding as coders
from lic_jax.entropy.coders.coding import DEFAULT
from lic_jax.errors import LicWarning
from lic_jax.io import container
from lic_jax.zoo import shipped
from lic_jax.zoo.bundle import load_bundle


class Codec(RefiningCodec):
    """A codec for 8-bit RGB images: one model, every rate between its fitted ones.

    Programs are compiled for a few sizes of arrays and serve images of every size (`transforms.buckets`).

    Attributes:
      bundle: the model, its quantizers and its fingerprint.
    """

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
        rate_control.check_wishes(rate=rate, bpp=bpp, psnr=psnr, max_bytes=max_bytes)
        if bpp is None and psnr is None and max_bytes is None:
            search = {"iterations": iterations, "method": method, "time_limit": time_limit, "on_progress": on_progress}
            return self.compress_batch([image], rate, **search, coder=coder)[0]

        deadline = None if time_limit is None else time.perf_counter() + time_limit
        settings = Settings(iterations, method, time_limit, on_progress)
        settings.check()
        coders.check(coder)
        analysed = self.analyse(image)
        highest_units = self._rate_units(self.bundle.highest_rate)
        if bpp is not None:
            control = partial(rate_control.with_bpp, bpp=bpp, pixels=analysed.height * analysed.width)
        elif psnr is not None:
            decoded_psnr = lambda stream: psnr_of(squared_error(self.decompress(stream), image))
            control = partial(rate_control.with_psnr, psnr=psnr, psnr_of=decoded_psnr)
        else:
            control = partial(rate_control.within_bytes, max_bytes=max_bytes)
        found = control(lambda rate_units: self._code([analysed], rate_units, coder)[0], highest_units)
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

    def _searched(
        self,
        control: Callable,
        analysed: Analysed,
        settings: Settings,
        deadline: float | None,
        start: int,
        coder: str,
    ) -> rate_control.Found | None:
        """As `control` found, but searched for at every rate; `None` where no such stream fits the bytes.

        Each search goes on from what the last one found, at a rate nearby: nothing is lost when one is stopped.

        Args:
          control: one of `rate_control`.
          analysed: the image.
          settings: of each search, which takes at most half of the time that is left.
          deadline: when time is over.
          start: the rate, in units, that is right without searching.
          coder: of the streams.
        """

        latest = analysed

        def code(rate_units: int) -> bytes:
            nonlocal latest
            seconds = None if deadline is None else max((deadline - time.perf_counter()) / 2, 1e-3)
            one_shot = self._choose([latest], rate_units)
            (choice,) = self._improve([latest], one_shot, rate_units, settings._replace(time_limit=seconds))
            latest = self._chosen(analysed, choice, rate_units)
            return self._pack(analysed, choice, rate_units, coder)

        try:
            return control(code, self._rate_units(self.bundle.highest_rate), start=start)
        except rate_control.TooFewBytesError:
            return None

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
        coders.check(coder)
        batch = self._analyse(images)
        if time_limit is not None:
            settings = settings._replace(time_limit=max(time_limit - (time.perf_counter() - start), 1e-3))
        return self._search(batch, rate_units, settings, coder)

    def _search(self, batch: Sequence[Analysed], rate_units: int, settings: Settings, coder: str) -> list[bytes]:
        """Analysed images as streams whose symbols were searched for."""
        choices = self._improve(batch, self._choose(batch, rate_units), rate_units, settings)
        return [self._pack(*of_image, rate_units, coder) for of_image in zip(batch, choices, strict=True)]


def load(model: str = shipped.DEFAULT) -> Codec:
    """The codec of a shipped model's name or of a file written by `lic refit`.

    Raises:
      LicError: no such model, or its file is damaged.
    """
    return Codec(load_bundle(shipped.path_of(model)))
