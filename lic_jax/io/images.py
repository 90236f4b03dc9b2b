"""Reads and writes image files as uint8 RGB, by Pillow; refuses files whose contents 8-bit RGB would lose."""

import io
from pathlib import Path

import numpy as np
from PIL import Image, ImageFile, ImageOps

from lic_jax.arrays import RGB
from lic_jax.errors import LicError, naming
from lic_jax.io.container import check_size
from lic_jax.io.files import read_bytes, replacing

SUFFIXES = (".png", ".ppm", ".bmp", ".tif", ".tiff", ".webp", ".jpg", ".jpeg")
"""The suffixes of the image files that lic reads and writes."""


def image_paths(folder: Path) -> list[Path]:
    """Lists the image files directly in a folder, sorted by name.

    Raises:
      LicError: no such folder, or no image file in it.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise LicError(f"{folder} is not a folder; give a folder of photographs")
    paths = sorted(path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES)
    if not paths:
        raise LicError(f"{folder} holds no image files ({', '.join(SUFFIXES)}); give a folder of images")
    return paths


_LOSSLESS_WEBP, _FINEST_JPEG = {"lossless": True}, {"quality": 95, "subsampling": 0}

_SETTINGS = {".png": {"compress_level": 1}, ".webp": _LOSSLESS_WEBP, ".jpg": _FINEST_JPEG, ".jpeg": _FINEST_JPEG}
"""Formats that are lossy by default keep all they can: WebP every pixel, JPEG nearly. Higher levels of PNG take as long
as decoding does, and gain at most a few percent on photographs."""


def read_image(path: Path) -> RGB:
    """Reads an image file as RGB; converts greyscale, palette and CMYK, and applies an EXIF orientation.

    Raises:
      LicError: the file is not readable, not an image, too large, has transparency or more than 8 bits a sample, or
        holds more than one image (except a camera's MPO file, a photograph with its previews).
    """
    data = read_bytes(path)
    try:
        with Image.open(io.BytesIO(data)) as image:
            with naming(path):
                check_size(image.height, image.width)
            _refuse_what_would_be_lost(image, path)
            return np.asarray(ImageOps.exif_transpose(image).convert("RGB"))
    except LicError:
        raise
    except Exception as error:  # Pillow's formats raise many kinds of errors for damaged files
        raise LicError(f"{path} is not a readable image; give a PNG, JPEG, WebP, TIFF, BMP or PPM") from error


def _refuse_what_would_be_lost(image: ImageFile.ImageFile, path: Path) -> None:
    count = getattr(image, "n_frames", 1)
    if image.format != "MPO" and count > 1:
        raise LicError(f"{path} holds {count} images, a stream only one; save each as its own file")
    if "A" in image.getbands() or "transparency" in image.info:
        raise LicError(f"{path} has transparency, which the format cannot keep; flatten it onto a background first")
    arguments = [
        argument for _, _, _, given in image.tile for argument in (given if isinstance(given, tuple) else (given,))
    ]
    deep_layout = any(isinstance(argument, str) and "16" in argument for argument in arguments)
    deep_ppm = image.format == "PPM" and any(isinstance(argument, int) and argument > 255 for argument in arguments)
    if image.mode.startswith(("I", "F")) or deep_layout or deep_ppm:
        raise LicError(
            f"{path} has more than 8 bits a sample, which the format cannot keep; convert it to 8 bits first"
        )


def write_image(path: Path, pixels: RGB) -> None:
    """Writes an image in the format of the path's suffix, whole or not at all.

    Raises:
      LicError: an unknown suffix, or the file cannot be written.
    """
    path = Path(path)
    check_image_path(path)
    with replacing(path) as unfinished:
        try:
            # Pillow finds the format by the suffix; given a format's name, it would first import its other formats.
            Image.fromarray(pixels).save(unfinished, **_SETTINGS.get(path.suffix.lower(), {}))
        except (OSError, ValueError) as error:
            if isinstance(error, OSError) and error.errno:  # the disk's, not Pillow's
                raise
            raise LicError(f"{path} cannot hold this image ({error}); write a PNG") from error


def check_image_path(path: Path) -> None:
    """Raises LicError unless the path ends in a suffix of `SUFFIXES`."""
    if Path(path).suffix.lower() not in SUFFIXES:
        raise LicError(f"{path} does not end like an image file; use one of {', '.join(SUFFIXES)}")
