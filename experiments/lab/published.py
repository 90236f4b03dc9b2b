"""Curves of published codecs, from a table of them."""

from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from lic_jax.errors import LicError
from lic_jax.io.tables import read_csv

DATASET = "kodak"
"""The photographs that published codecs are compared on."""


class PublishedPoint(NamedTuple):
    """A codec's mean over a data set at one rate."""

    dataset: str
    codec: str
    bpp: float
    psnr_db: float


def published_curves(path: Path, codecs: Iterable[str]) -> dict[str, list[PublishedPoint]]:
    """The curves of some codecs on Kodak, by their names.

    Raises:
      LicError: not a table with these columns, or without points of one of the codecs.
    """
    points = [point for point in read_csv(path, PublishedPoint) if point.dataset == DATASET]
    curves = {codec: [point for point in points if point.codec == codec] for codec in codecs}
    for codec, curve in curves.items():
        if not curve:
            raise LicError(f"{path} has no points of {codec!r} on {DATASET}; give another table")
    return curves
