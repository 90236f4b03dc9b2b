"""Measures a codec on a folder: real bytes, real times, one row for each image and rate."""

import collections
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np
from tqdm import tqdm

from lic_jax.errors import LicError
from lic_jax.evaluation.metrics import ms_ssim, psnr
from lic_jax.io.images import RGB, image_paths, read_image

MEAN = "mean"


@runtime_checkable
class RateCodec(Protocol):
    """A codec to measure: `lic_jax.Codec`, or any other that analyses an image once and codes it at many rates."""

    def analyse(self, image: RGB) -> Any: ...

    def code(self, analysed: Any, rate: float) -> bytes: ...

    def decompress(self, data: bytes) -> RGB: ...


class SearchingCodec:
    """Makes a `RateCodec` of a `lic_jax.Codec` and a search for better streams; `search` goes to `Codec.refine`."""

    def __init__(self, codec, **search):
        self._codec, self._search = codec, search
        self.analyse, self.decompress = codec.analyse, codec.decompress

    def code(self, analysed: Any, rate: float) -> bytes:
        """Codes an analysed image after the search at this rate."""
        return self._codec.code(self._codec.refine(analysed, rate, **self._search), rate)


class MeasuredRow(NamedTuple):
    """One image at one rate; `encode_s` includes the analysis. A row named "mean" averages all images."""

    image: str
    rate: float
    bpp: float
    psnr_db: float
    ms_ssim: float
    encode_s: float
    decode_s: float


def default_rates(highest_rate: int) -> tuple[float, ...]:
    """Returns the fitted rates and two rates between each pair."""
    return tuple(index / 3 for index in range(3 * highest_rate + 1))


def measure_image(codec: RateCodec, name: str, image: RGB, rates: Sequence[float]) -> list[MeasuredRow]:
    """Compresses and decompresses an image at every rate."""
    start = time.perf_counter()
    analysed = codec.analyse(image)
    np.asarray(analysed.hyper_latent)
    analysis_s = time.perf_counter() - start
    rows = []
    for rate in rates:
        start = time.perf_counter()
        data = codec.code(analysed, rate)
        encoded = time.perf_counter()
        decoded = codec.decompress(data)
        decoded_at = time.perf_counter()
        bpp = 8 * len(data) / (image.shape[0] * image.shape[1])
        quality = psnr(decoded, image), ms_ssim(decoded, image)
        rows.append(MeasuredRow(name, rate, bpp, *quality, analysis_s + encoded - start, decoded_at - encoded))
    return rows


def evaluate_folder(
    codec: RateCodec, folder: Path, rates: Sequence[float], warm_up: RateCodec | None = None
) -> Iterator[list[MeasuredRow]]:
    """Measures the images of a folder, one after the other; yields the rows of each image when it is done.

    The first image of each size is coded once beforehand, so that times exclude compilation. An image that cannot be
    read is named on the terminal and left out. Rows carry the file's name without its suffix, or with it where only
    the suffix tells two files apart.

    Args:
      codec: the codec to measure.
      folder: the folder of images.
      rates: the rates to measure at.
      warm_up: the codec that codes beforehand, if `codec` itself would take long.

    Raises:
      LicError: the folder holds no readable image, or a rate is outside the codec's rates.
    """
    sizes_seen: set[tuple] = set()
    paths = image_paths(folder)
    stems = collections.Counter(path.stem for path in paths)
    progress = tqdm(paths, unit="image", disable=None)
    for path in progress:
        try:
            image = read_image(path)
        except LicError as error:
            tqdm.write(f"skipped {path.name}: {error}")
            continue
        name = path.stem if stems[path.stem] == 1 else path.name
        if image.shape not in sizes_seen:
            sizes_seen.add(image.shape)
            measure_image(warm_up or codec, name, image, rates[:1])
        rows = measure_image(codec, name, image, rates)
        progress.set_postfix_str(f"bpp {rows[-1].bpp:.3f} psnr {rows[-1].psnr_db:.2f}")
        yield rows
    if not sizes_seen:
        raise LicError(f"none of the {len(paths)} images in {folder} can be read; give a folder of 8-bit images")


def mean_rows(rows: Sequence[MeasuredRow]) -> list[MeasuredRow]:
    """Returns one row for each rate: the average of every column over images."""
    means = []
    for rate in dict.fromkeys(row.rate for row in rows):
        values = np.array([row[2:] for row in rows if row.rate == rate])
        means.append(MeasuredRow(MEAN, rate, *values.mean(axis=0).tolist()))
    return means


def mean_table(rows: Sequence[MeasuredRow]) -> str:
    """Formats the mean rows as text."""
    lines = [f"{'rate':>5}  {'bpp':>6}  {'PSNR dB':>7}  {'MS-SSIM':>7}  {'encode s':>8}  {'decode s':>8}"]
    for row in rows:
        if row.image == MEAN:
            lines.append(
                f"{row.rate:5.2f}  {row.bpp:6.3f}  {row.psnr_db:7.2f}  {row.ms_ssim:7.4f}"
                f"  {row.encode_s:8.3f}  {row.decode_s:8.3f}"
            )
    return "\n".join(lines)
