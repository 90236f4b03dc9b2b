"""Splits large images into bands of rows, so that memory does not grow with the image.

A band reads a few more rows on both sides than it keeps: the rows that its outputs depend on.
"""

from collections.abc import Iterator
from typing import NamedTuple

BAND_PIXELS = 1 << 21
"""The approximate pixels in a band: two megapixels, whose intermediate values take 200 MB."""


class Band(NamedTuple):
    """Rows of a transform's input.

    Attributes:
      kept: the rows whose outputs are kept.
      read: the kept rows and their halo.
      inside: the position of the kept rows within the read rows.
    """

    kept: slice
    read: slice
    inside: slice


def bands(rows: int, row_pixels: int, halo: int) -> Iterator[Band]:
    """Splits rows into bands.

    Args:
      rows: the rows of the transform's input.
      row_pixels: image pixels of one row of input.
      halo: rows on either side that an output depends on.
    """
    height = max(1, BAND_PIXELS // row_pixels)
    for start in range(0, rows, height):
        yield with_halo(start, min(start + height, rows), rows, halo)


def with_halo(start: int, stop: int, rows: int, halo: int) -> Band:
    """Makes the band that keeps rows `start` to `stop` of `rows`."""
    first, last = max(0, start - halo), min(rows, stop + halo)
    return Band(slice(start, stop), slice(first, last), slice(start - first, stop - first))
