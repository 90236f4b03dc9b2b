import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, JpegImagePlugin

from lic_jax.errors import LicError
from lic_jax.evaluation.classical import CLASSICAL, HAS_AVIF, avif, decode, jpeg, measure, webp
from lic_jax.evaluation.rate_distortion import is_monotone


@pytest.fixture(scope="module")
def photograph(samples):
    return samples.chelsea()[:200, 100:301]


@settings(max_examples=40)
@given(
    codec=st.sampled_from(sorted(CLASSICAL)),
    height=st.integers(1, 40),
    width=st.integers(1, 40),
    quality=st.integers(1, 100),
    seed=st.integers(0, 2**32 - 1),
)
def test_a_file_decodes_to_an_image_of_its_size(codec, height, width, quality, seed):
    image = np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
    stream = CLASSICAL[codec].encode(image, quality)
    decoded = decode(stream)
    assert decoded.dtype == np.uint8
    assert decoded.shape == image.shape
    assert CLASSICAL[codec].encode(image, quality) == stream


@pytest.mark.parametrize("name", CLASSICAL)
def test_the_qualities_trace_a_rising_curve(name, photograph):
    codec = CLASSICAL[name]
    points = [measure(codec, photograph, quality) for quality in codec.qualities]
    bpp, psnr_db, ms_ssim = zip(*points, strict=True)
    assert is_monotone(bpp, psnr_db)
    assert is_monotone(bpp, ms_ssim)
    assert bpp[0] < 0.6
    assert psnr_db[-1] > 36


@pytest.mark.parametrize("name", CLASSICAL)
def test_a_measured_rate_is_the_bytes_of_the_file(name, photograph):
    codec = CLASSICAL[name]
    height, width, _ = photograph.shape
    assert measure(codec, photograph, 50).bpp * height * width / 8 == pytest.approx(len(codec.encode(photograph, 50)))


def test_jpeg_is_baseline_444_with_tables_of_its_own(photograph):
    stream = jpeg(photograph, 50)
    with Image.open(io.BytesIO(stream)) as file:
        assert file.format == "JPEG"
        assert JpegImagePlugin.get_sampling(file) == 0
        assert "progressive" not in file.info
    plain = io.BytesIO()
    Image.fromarray(photograph).save(plain, "JPEG", quality=50, subsampling=0)
    assert len(stream) < plain.tell()
    np.testing.assert_array_equal(decode(stream), np.asarray(Image.open(plain)))


def test_webp_is_the_lossy_format(photograph):
    assert webp(photograph, 50)[12:16] == b"VP8 "


@pytest.mark.skipif(not HAS_AVIF, reason="this Pillow has no AVIF")
def test_avif_is_444_and_level_with_a_better_one(photograph):
    """Chroma of its own: a saturated checkerboard of pixels keeps its colours."""
    board = np.uint8([[[255, 0, 0], [0, 0, 255]]] * 2)[[0, 1] * 16][:, [0, 1] * 16]
    assert np.abs(decode(avif(board, 90)).astype(int) - board).mean() < 8
    assert len(avif(photograph, 60)) < len(webp(photograph, 90))


@pytest.mark.skipif(HAS_AVIF, reason="this Pillow has AVIF")
def test_a_pillow_without_avif_says_so(photograph):
    with pytest.raises(LicError, match=r"writes no AVIF; install pillow>=11\.3"):
        avif(photograph, 50)


@pytest.mark.parametrize("encode", [jpeg, webp])
@pytest.mark.parametrize("quality", [-1, 0, 101])
def test_qualities_outside_the_range_are_refused(encode, quality, photograph):
    with pytest.raises(LicError, match=f"quality {quality} is outside 1 to 100"):
        encode(photograph, quality)


@pytest.mark.parametrize(("encode", "longest"), [(jpeg, 65500), (webp, 16383)])
def test_images_that_a_format_cannot_hold_are_refused(encode, longest):
    with pytest.raises(LicError, match=f"cannot hold this {longest + 1}x1 image"):
        encode(np.zeros((1, longest + 1, 3), np.uint8), 50)


@settings(max_examples=30)
@given(encode=st.sampled_from([jpeg, webp]), kept=st.floats(0, 0.9))
def test_truncated_files_are_refused(samples, encode, kept):
    stream = encode(samples.chelsea()[:64, 100:164], 50)
    with pytest.raises(LicError, match="not a readable JPEG, WebP or AVIF file"):
        decode(stream[: int(kept * len(stream))])


def test_a_header_that_claims_a_huge_image_is_refused(photograph):
    stream = bytearray(jpeg(photograph, 50))
    size = stream.index(b"\xff\xc0") + 5  # after the marker, its length and the precision
    stream[size : size + 4] = b"\xff\xdc\xff\xdc"
    with pytest.raises(LicError, match="not a readable JPEG, WebP or AVIF file"):
        decode(bytes(stream))


def test_other_formats_are_refused(photograph):
    png = io.BytesIO()
    Image.fromarray(photograph).save(png, "PNG")
    with pytest.raises(LicError, match="not a readable JPEG, WebP or AVIF file"):
        decode(png.getvalue())


def test_grain_at_high_quality_fits():
    """A JPEG of more bytes than pixels."""
    image = np.random.default_rng(0).integers(0, 256, (333, 500, 3), np.uint8)
    assert len(jpeg(image, 93)) > 333 * 500
