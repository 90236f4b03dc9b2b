"""The classical codecs that a learned codec is compared with, as Pillow ships them: JPEG, WebP and AVIF.

They run at good settings for a plain file: JPEG without chroma subsampling and with optimized Huffman tables, WebP with
its most thorough search (its lossy format always halves the chroma), AVIF without chroma subsampling at Pillow's speed.
"""

import dataclasses
import io
from collections.abc import Callable

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageFile

from lic_jax.errors import LicError
from lic_jax.evaluation.rate_distortion import Point

HAS_AVIF = ".avif" in Image.registered_extensions()
"""Whether this Pillow reads and writes AVIF."""


def _encoded(image: UInt8[np.ndarray, "height width 3"], image_format: str, quality: int, **settings) -> bytes:
    if not 1 <= quality <= 100:
        raise LicError(f"{image_format} quality {quality} is outside 1 to 100; give a quality within")
    stream = io.BytesIO()
    # An optimized JPEG must fit Pillow's buffer. By default it has a byte a pixel: too few for grain at high quality.
    ImageFile.MAXBLOCK = max(ImageFile.MAXBLOCK, image.nbytes)
    try:
        Image.fromarray(image).save(stream, image_format, quality=quality, **settings)
    except (OSError, ValueError) as error:
        height, width, _ = image.shape
        raise LicError(
            f"{image_format} cannot hold this {width}x{height} image at quality {quality} ({error}); "
            "give a smaller image or a lower quality"
        ) from error
    return stream.getvalue()


def jpeg(image: UInt8[np.ndarray, "height width 3"], quality: int) -> bytes:
    """Encodes an image as a baseline JPEG file, 4:4:4, with Huffman tables made for the image.

    Raises:
      LicError: quality outside 1 to 100, a side above 65,500, or a file too large for Pillow's buffer. 64 KiB and 24
        bits per pixel always fit; only noise needs more.
    """
    return _encoded(image, "JPEG", quality, subsampling=0, optimize=True)


def webp(image: UInt8[np.ndarray, "height width 3"], quality: int) -> bytes:
    """Encodes an image as a lossy WebP file, 4:2:0, by the slowest search (method 6).

    Raises:
      LicError: quality outside 1 to 100, or a side above 16,383.
    """
    return _encoded(image, "WEBP", quality, method=6)


def avif(image: UInt8[np.ndarray, "height width 3"], quality: int) -> bytes:
    """Encodes an image as an AVIF file, 4:4:4, at speed 6; on one thread, so that the bytes are always the same.

    Raises:
      LicError: quality outside 1 to 100, a side above 65,536, or a Pillow without AVIF (before 11.3).
    """
    if not HAS_AVIF:
        raise LicError("this Pillow writes no AVIF; install pillow>=11.3")
    return _encoded(image, "AVIF", quality, subsampling="4:4:4", speed=6, max_threads=1)


def decode(data: bytes) -> UInt8[np.ndarray, "height width 3"]:
    """Decodes the RGB image in a JPEG, WebP or AVIF file.

    Raises:
      LicError: the file is damaged, cut short, of another format, or larger than Pillow's limit for images.
    """
    try:
        with Image.open(io.BytesIO(data), formats=("JPEG", "WEBP", "AVIF") if HAS_AVIF else ("JPEG", "WEBP")) as file:
            return np.asarray(file.convert("RGB"))
    except (OSError, Image.DecompressionBombError) as error:
        raise LicError(
            f"these {len(data)} bytes are not a readable JPEG, WebP or AVIF file ({error}); encode the image again"
        ) from error


@dataclasses.dataclass(frozen=True)
class ClassicalCodec:
    """A codec that is not learned, and the quality settings that trace its rate–distortion curve."""

    encode: Callable[[UInt8[np.ndarray, "height width 3"], int], bytes]
    qualities: tuple[int, ...]


CLASSICAL = {
    "jpeg": ClassicalCodec(jpeg, (15, 20, 27, 35, 44, 53, 62, 70, 77, 83, 88, 93)),
    "webp": ClassicalCodec(webp, (5, 12, 20, 30, 40, 50, 60, 70, 78, 85, 92, 98)),
}
if HAS_AVIF:
    CLASSICAL["avif"] = ClassicalCodec(avif, (20, 28, 36, 44, 52, 60, 68, 76, 84))


def measure(codec: ClassicalCodec, image: UInt8[np.ndarray, "height width 3"], quality: int) -> Point:
    """Measures rate and quality of one image through a real file: (bpp, PSNR in dB, MS-SSIM)."""
    stream = codec.encode(image, quality)
    return Point.measured(stream, decode(stream), image)
