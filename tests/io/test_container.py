import dataclasses
import struct
import zlib

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from lic_jax.errors import LicError
from lic_jax.io.container import HEADER_BYTES, MAX_PIXELS, Stream, check_size, pack, unpack
from lic_jax.registry import CODERS

sizes = st.tuples(st.integers(1, 0xFFFF), st.integers(1, 0xFFFF)).filter(lambda size: size[0] * size[1] <= MAX_PIXELS)
streams = st.builds(
    lambda fingerprint, size, *others: Stream(fingerprint, *size, *others),
    st.binary(min_size=4, max_size=4),
    sizes,
    st.integers(0, 0xFFFF),
    st.binary(max_size=100),
    st.binary(max_size=200),
    st.sampled_from(tuple(CODERS)),
)
EXAMPLE = Stream(b"\x01\xfe\x80\x00", 512, 768, 896, bytes(range(20)), bytes(range(100, 141)))


def sealed(data, **fields):
    """`data` with fields of its header replaced and the checksums made right again, as a hostile sender would."""
    places = {
        "version": (3, "B"),
        "coder": (4, "B"),
        "height": (9, "H"),
        "width": (11, "H"),
        "hyper": (15, "I"),
        "latent": (19, "I"),
    }
    data = bytearray(data)
    for name, value in fields.items():
        place, kind = places[name]
        struct.pack_into(f"<{kind}", data, place, value)
    (hyper_length,) = struct.unpack_from("<I", data, 15)
    segments = data[HEADER_BYTES : HEADER_BYTES + hyper_length], data[HEADER_BYTES + hyper_length :]
    struct.pack_into("<II", data, 23, zlib.crc32(data[:23] + segments[0]), zlib.crc32(segments[1]))
    return bytes(data)


@settings(max_examples=200)
@given(streams)
@example(EXAMPLE)
@example(Stream(bytes(4), 1, 1, 0, b"", b""))
def test_what_is_unpacked_is_what_was_packed(stream):
    data = pack(stream)
    assert unpack(data) == stream
    assert len(data) == 31 + len(stream.hyper_latent) + len(stream.latent)
    assert pack(unpack(data)) == data


def test_the_header_is_31_bytes_laid_out_as_specified():
    """Field by field from the table of docs/bitstream.md, not by the program's own struct."""
    assert HEADER_BYTES == 31
    prefix = b"LIC" + bytes([1, 0]) + EXAMPLE.fingerprint
    prefix += b"".join(value.to_bytes(2, "little") for value in (512, 768, 896))
    prefix += b"".join(value.to_bytes(4, "little") for value in (20, 41))
    checksums = zlib.crc32(prefix + EXAMPLE.hyper_latent), zlib.crc32(EXAMPLE.latent)
    header = prefix + b"".join(value.to_bytes(4, "little") for value in checksums)
    assert pack(EXAMPLE) == header + EXAMPLE.hyper_latent + EXAMPLE.latent


def test_the_coder_is_a_byte_and_a_name_that_entropy_coding_knows():
    assert [pack(dataclasses.replace(EXAMPLE, coder=coder))[4] for coder in ("constriction", "tfc")] == [0, 1]
    assert tuple(CODERS) == ("constriction", "tfc")


def test_every_change_of_a_byte_is_noticed():
    """Every byte, every one of its other values: a checksum of 32 bits misses no change of 32 neighbouring bits."""
    data = pack(EXAMPLE)
    for place, value in np.ndindex(len(data), 256):
        if data[place] == value:
            continue
        with pytest.raises(LicError):
            unpack(data[:place] + bytes([value]) + data[place + 1 :])


def test_every_truncation_is_noticed():
    data = pack(EXAMPLE)
    for length in range(1, len(data)):
        with pytest.raises(LicError, match="truncated"):
            unpack(data[:length])


@settings(max_examples=100)
@given(streams, st.binary(min_size=1, max_size=40))
def test_every_byte_after_the_end_is_noticed(stream, more):
    with pytest.raises(LicError, match=f"ends at byte {len(pack(stream))} but the file has"):
        unpack(pack(stream) + more)


@settings(max_examples=300)
@given(st.binary(max_size=200), st.sampled_from([b"", b"L", b"LIC", b"LIC\x01", b"LIC\x01\x00"]))
def test_foreign_bytes_give_one_clear_error(data, beginning):
    with pytest.raises(LicError) as caught:
        unpack(beginning + data)
    assert "\n" not in str(caught.value)


@settings(max_examples=100)
@given(streams, st.integers(0, 2**32 - 1), st.integers(0, 2**32 - 1))
def test_segment_lengths_of_a_hostile_sender_are_checked_before_they_are_used(stream, hyper, latent):
    total = HEADER_BYTES + hyper + latent
    data = sealed(pack(stream), hyper=hyper, latent=latent)
    if total == len(data):
        assert unpack(data).hyper_latent + unpack(data).latent == stream.hyper_latent + stream.latent
    else:
        with pytest.raises(LicError, match=f"truncated.*{total}" if total > len(data) else f"ends at byte {total}"):
            unpack(data)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "the file is empty"),
        (b"\x89PNG\r\n\x1a\n" + bytes(100), "not a lic stream"),
        (b"LI", "truncated"),
        (b"JPEG", "not a lic stream"),
        (sealed(pack(EXAMPLE), version=2), "version 2, this program reads version 1; update"),
        (sealed(pack(EXAMPLE), version=0), "version 0"),
        (b"LIC\x07", "version 7"),
        (sealed(pack(EXAMPLE), coder=2), "coder 2, which this program does not know"),
        (sealed(pack(EXAMPLE), height=0), "image size 768×0 is outside"),
        (sealed(pack(EXAMPLE), width=0), "image size 0×512 is outside"),
        (sealed(pack(EXAMPLE), width=65535, height=65535), "image size 65535×65535 is outside"),
        (pack(EXAMPLE)[:-1], "truncated: 91 bytes of 92"),
        (pack(EXAMPLE)[:30], "truncated: 30 bytes, its header alone has 31"),
        (pack(EXAMPLE)[:40] + b"!" + pack(EXAMPLE)[41:], r"hyper latent segment is damaged \(checksum\)"),
        (pack(EXAMPLE)[:5] + b"!" + pack(EXAMPLE)[6:], r"header or hyper latent segment is damaged \(checksum\)"),
        (pack(EXAMPLE)[:-1] + b"!", r"the stream's latent segment is damaged \(checksum\)"),
    ],
)
def test_each_kind_of_unusable_file_has_a_message_of_its_own(data, message):
    with pytest.raises(LicError, match=message):
        unpack(data)


def test_two_streams_segments_cannot_be_exchanged():
    """The hyper latent's checksum covers the header, so another image's segment of the same length is noticed."""
    other = Stream(EXAMPLE.fingerprint, 512, 512, 896, EXAMPLE.hyper_latent, EXAMPLE.latent)
    mixed = pack(other)[: HEADER_BYTES - 8] + pack(EXAMPLE)[HEADER_BYTES - 8 :]
    with pytest.raises(LicError, match="checksum"):
        unpack(mixed)


@pytest.mark.parametrize(("height", "width"), [(0, 5), (5, 0), (-1, 5), (65536, 1), (1, 65536), (20000, 20000)])
def test_sizes_outside_the_format_are_refused_on_both_sides(height, width):
    for refuse in (check_size, lambda *size: pack(Stream(bytes(4), *size, 0, b"", b""))):
        with pytest.raises(LicError, match=f"image size {width}×{height} is outside.*split or shrink the image"):
            refuse(height, width)


@pytest.mark.parametrize(("height", "width"), [(1, 1), (65535, 1), (2048, 65535), (1 << 13, 1 << 14)])
def test_sizes_up_to_the_limits_are_taken(height, width):
    check_size(height, width)
    assert unpack(pack(Stream(bytes(4), height, width, 0, b"", b""))).height == height


@pytest.mark.parametrize(
    "changed",
    [{"fingerprint": b"abc"}, {"fingerprint": b"abcde"}, {"rate_units": 65536}, {"rate_units": -1}, {"coder": 1}],
    ids=str,
)
def test_fields_that_the_header_cannot_hold_are_refused(changed):
    """`unpack(pack(stream)) == stream` or an error, never another stream."""
    stream = dataclasses.replace(EXAMPLE, **changed)
    with pytest.raises(LicError):
        pack(stream)
