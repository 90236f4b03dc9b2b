import io
import os
import tempfile
import warnings
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from lic_jax.errors import LicError
from lic_jax.io.images import SUFFIXES, image_paths, read_image, write_image

RAMP = np.arange(12 * 20, dtype=np.uint8).reshape(12, 20)


def saved(path, image, **options):
    image.save(path, **options)
    return path


def test_round_trip(tmp_path):
    pixels = np.stack([RAMP, RAMP.T.reshape(12, 20), 255 - RAMP], axis=-1)
    write_image(tmp_path / "a.png", pixels)
    np.testing.assert_array_equal(read_image(tmp_path / "a.png"), pixels)
    assert os.listdir(tmp_path) == ["a.png"]


@pytest.mark.parametrize("mode", ["L", "P", "1", "CMYK"])
def test_other_modes_are_converted(tmp_path, mode):
    suffix = "tif" if mode == "CMYK" else "png"
    path = saved(tmp_path / f"a.{suffix}", Image.fromarray(RAMP).convert("RGB").convert(mode))
    with Image.open(path) as image:
        np.testing.assert_array_equal(read_image(path), np.asarray(image.convert("RGB")))


def test_an_orientation_is_applied(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    path = saved(tmp_path / "a.png", Image.fromarray(RAMP), exif=exif)
    assert read_image(path).shape == (20, 12, 3)


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_transparency_is_refused(tmp_path, mode):
    path = saved(tmp_path / "a.png", Image.fromarray(RAMP).convert(mode))
    with pytest.raises(LicError, match=r"transparency.*flatten"):
        read_image(path)


def test_a_transparent_palette_is_refused(tmp_path):
    path = saved(tmp_path / "a.png", Image.fromarray(RAMP).convert("P"), transparency=0)
    with pytest.raises(LicError, match="transparency"):
        read_image(path)


def test_sixteen_bits_are_refused(tmp_path):
    path = saved(tmp_path / "a.png", Image.fromarray(RAMP.astype(np.uint16) * 257))
    with pytest.raises(LicError, match="8 bits"):
        read_image(path)


def test_sixteen_bits_of_colour_are_refused(tmp_path):
    """Pillow reads such a PNG as 8 bits without a word, so this one is made by hand."""
    import struct
    import zlib

    def chunk(name, data):
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">IIBBBBB", 2, 2, 16, 2, 0, 0, 0)
    rows = zlib.compress(b"".join(b"\0" + bytes(range(12)) for _ in range(2)))
    data = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")
    assert Image.open(io.BytesIO(data)).mode == "RGB"
    (tmp_path / "a.png").write_bytes(data)
    with pytest.raises(LicError, match="8 bits"):
        read_image(tmp_path / "a.png")


@pytest.mark.parametrize("content", [b"", b"text", b"\x89PNG\r\n\x1a\n" + b"0" * 40])
def test_what_is_no_image_is_refused(tmp_path, content):
    (tmp_path / "a.png").write_bytes(content)
    with pytest.raises(LicError, match="not a readable image"):
        read_image(tmp_path / "a.png")


def test_a_truncated_image_is_refused(tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    path = saved(tmp_path / "a.png", Image.fromarray(noise))
    path.write_bytes(path.read_bytes()[:3000])
    with pytest.raises(LicError, match="not a readable image"):
        read_image(path)


def test_missing_files_and_folders(tmp_path):
    with pytest.raises(LicError, match="cannot be read"):
        read_image(tmp_path / "none.png")
    with pytest.raises(LicError, match="not a folder"):
        image_paths(tmp_path / "none")
    with pytest.raises(LicError, match="holds no image"):
        image_paths(tmp_path)


def test_an_unknown_suffix_is_refused(tmp_path):
    with pytest.raises(LicError, match="does not end like an image"):
        write_image(tmp_path / "a.xyz", np.zeros((2, 2, 3), np.uint8))
    with pytest.raises(LicError, match="cannot be written"):
        write_image(tmp_path / "none" / "a.png", np.zeros((2, 2, 3), np.uint8))


def test_sixteen_bits_in_a_ppm_are_refused(tmp_path):
    (tmp_path / "a.ppm").write_bytes(b"P6 2 2 65535\n" + bytes(24))
    with pytest.raises(LicError, match="8 bits"):
        read_image(tmp_path / "a.ppm")


def test_webp_keeps_every_pixel_and_what_a_format_cannot_hold_is_refused(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)
    write_image(tmp_path / "a.webp", pixels)
    np.testing.assert_array_equal(read_image(tmp_path / "a.webp"), pixels)
    with pytest.raises(LicError, match="write a PNG"):
        write_image(tmp_path / "b.webp", np.zeros((1, 17_000, 3), np.uint8))


@pytest.mark.parametrize("suffix", ["tiff", "webp", "png"])
def test_a_file_of_several_images_is_refused(tmp_path, suffix):
    pages = [Image.fromarray(np.full((8, 8, 3), value, np.uint8)) for value in (0, 100, 200)]
    pages[0].save(tmp_path / f"a.{suffix}", save_all=True, append_images=pages[1:])
    with pytest.raises(LicError, match="holds 3 images"):
        read_image(tmp_path / f"a.{suffix}")


@given(
    st.sampled_from(SUFFIXES), st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 255)), min_size=1, max_size=4)
)
def test_damaged_files_are_images_or_refused(suffix, changes):
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        path = Path(folder) / f"a{suffix}"
        exif = Image.Exif()
        exif.update({0x112: 6, 0x11A: 72.0, 0x10E: "text"})
        saved(path, Image.linear_gradient("L").resize((24, 16)).convert("RGB"), exif=exif)
        data = bytearray(path.read_bytes())
        for place, value in changes:
            data[place % len(data)] = value
        path.write_bytes(data)
        try:
            image = read_image(path)
        except LicError as error:
            assert str(path) in str(error) and "\n" not in str(error)
        else:
            assert image.dtype == np.uint8 and image.shape[2:] == (3,)
