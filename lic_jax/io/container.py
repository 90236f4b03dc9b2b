"""The container: a 31-byte header and two segments. docs/bitstream.md specifies it; this file is that text as code.

Nothing here knows a model. Every field is checked before memory is allocated for it.
"""

import dataclasses
import struct
import zlib

from lic_jax.errors import LicError
from lic_jax.registry import CODERS, DEFAULT_CODER

MAGIC = b"LIC"
VERSION = 1
MAX_PIXELS = 1 << 27
"""The most pixels of an image, 134 megapixels; sender and receiver refuse larger images."""

_HEADER = struct.Struct("<3sBB4sHHHIIII")
HEADER_BYTES = _HEADER.size


@dataclasses.dataclass(frozen=True)
class Stream:
    """The fields of a file.

    Attributes:
      fingerprint: 4 bytes that identify the receiver's parts of the model.
      height, width: the image's size in pixels, before padding.
      rate_units: the rate in units of 1/256; 256 is the distance between two fitted quantizers.
      hyper_latent, latent: the two coded segments.
      coder: the coder of the segments, a name in `registry.CODERS`; the header holds its position there.
    """

    fingerprint: bytes
    height: int
    width: int
    rate_units: int
    hyper_latent: bytes
    latent: bytes
    coder: str = DEFAULT_CODER


def check_size(height: int, width: int) -> None:
    """Raises LicError unless the container can hold an image of this size."""
    if not (1 <= height <= 0xFFFF and 1 <= width <= 0xFFFF and height * width <= MAX_PIXELS):
        raise LicError(
            f"image size {width}×{height} is outside the format's 1 to 65535 a side and {MAX_PIXELS} pixels in all; "
            "split or shrink the image"
        )


def _checksum(prefix: bytes, segment: bytes) -> int:
    return zlib.crc32(segment, zlib.crc32(prefix))


def pack(stream: Stream) -> bytes:
    """Packs a stream into bytes.

    Raises:
      LicError: the image size or another field is outside the format.
    """
    check_size(stream.height, stream.width)
    if len(stream.fingerprint) != 4 or not 0 <= stream.rate_units <= 0xFFFF or stream.coder not in CODERS:
        raise LicError(
            f"fingerprint {stream.fingerprint.hex()}, rate {stream.rate_units} or coder {stream.coder} does not fit; "
            f"give 4 bytes, 0 to 65535, and one of {', '.join(CODERS)}"
        )
    fields = (
        *(MAGIC, VERSION, list(CODERS).index(stream.coder), stream.fingerprint),
        *(stream.height, stream.width, stream.rate_units, len(stream.hyper_latent), len(stream.latent)),
    )
    prefix = _HEADER.pack(*fields, 0, 0)[: HEADER_BYTES - 8]
    checksums = (_checksum(prefix, stream.hyper_latent), _checksum(b"", stream.latent))
    return prefix + struct.pack("<II", *checksums) + stream.hyper_latent + stream.latent


def unpack(data: bytes) -> Stream:
    """Unpacks the stream in a file's bytes.

    Raises:
      LicError: the file is empty, not a stream, of another version or coder, of a size outside the format, truncated,
        too long or damaged; the message says which.
    """
    if not data:
        raise LicError("the file is empty; get it again")
    if data[:3] != MAGIC[: len(data)]:
        raise LicError("the file is not a lic stream (it does not begin with LIC); give a file made by `lic compress`")
    if len(data) > 3 and data[3] != VERSION:
        raise LicError(f"the stream has version {data[3]}, this program reads version {VERSION}; update lic-jax")
    if len(data) < HEADER_BYTES:
        raise LicError(f"the stream is truncated: {len(data)} bytes, its header alone has {HEADER_BYTES}; get it again")
    _, _, coder, fingerprint, height, width, rate_units, *lengths_and_checksums = _HEADER.unpack_from(data)
    hyper_length, latent_length, hyper_checksum, latent_checksum = lengths_and_checksums
    coders = list(CODERS)
    if coder >= len(coders):
        raise LicError(f"the stream is coded by coder {coder}, which this program does not know; update lic-jax")
    check_size(height, width)
    end = HEADER_BYTES + hyper_length + latent_length
    if len(data) < end:
        raise LicError(f"the stream is truncated: {len(data)} bytes of {end}; get the file again")
    if len(data) > end:
        raise LicError(f"the stream ends at byte {end} but the file has {len(data)}; get the file again")
    hyper_latent = data[HEADER_BYTES : HEADER_BYTES + hyper_length]
    latent = data[HEADER_BYTES + hyper_length : end]
    if _checksum(data[: HEADER_BYTES - 8], hyper_latent) != hyper_checksum:
        raise LicError("the stream's header or hyper latent segment is damaged (checksum); get the file again")
    if _checksum(b"", latent) != latent_checksum:
        raise LicError("the stream's latent segment is damaged (checksum); get the file again")
    return Stream(fingerprint, height, width, rate_units, hyper_latent, latent, coders[coder])
