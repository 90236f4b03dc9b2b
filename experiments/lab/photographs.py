"""A folder's photographs: some of them, and the squares in their middle."""

from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np

from lic_jax.errors import LicError
from lic_jax.io.images import RGB, image_paths, read_image

Item = TypeVar("Item")


def spread(items: Sequence[Item], count: int) -> list[Item]:
    """Picks `count` items, spread evenly from the first to the last; all if there are fewer."""
    positions = np.linspace(0, len(items) - 1, min(count, len(items)))
    return [items[index] for index in positions.round().astype(int)]


def middle_square(image: RGB, side: int) -> RGB:
    """Cuts the square out of the middle of an image that is as large or larger."""
    top, left = ((size - side) // 2 for size in image.shape[:2])
    return np.ascontiguousarray(image[top : top + side, left : left + side])


def read_photographs(folder: Path, count: int = 0, crop: int = 0) -> dict[str, RGB]:
    """Reads a folder's photographs, by the names of their files.

    Args:
      folder: of photographs.
      count: how many of them, spread evenly over the folder; all if 0.
      crop: side of the central square that is cut out; the whole photograph if 0.

    Raises:
      LicError: no such folder, or a photograph is smaller than its crop.
    """
    paths = image_paths(folder)
    photographs = {path.name: read_image(path) for path in spread(paths, count or len(paths))}
    if not crop:
        return photographs
    for name, image in photographs.items():
        if min(image.shape[:2]) < crop:
            raise LicError(f"{folder / name} is smaller than a crop of {crop} pixels; lower --crop")
    return {name: middle_square(image, crop) for name, image in photographs.items()}
