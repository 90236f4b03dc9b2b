"""Splits large images into overlapping tiles, so that a search needs the memory of one tile only.

The effect of a latent is local: a latent changes some pixels around it, a hyper latent the mean and scale of some
latents around it. So each tile is searched as an image of its own, with a halo of its surroundings that is discarded.
"""

import itertools
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Shaped

from lic_jax.config import HYPER_STRIDE, LATENTS_PER_HYPER
from lic_jax.encoding.choice import Choice, Latents, Symbols
from lic_jax.encoding.search import Start
from lic_jax.transforms.bands import with_halo

TILE_SIDE = 44
"""The most blocks of a tile along each axis, halo included: eight megapixels, whose gradients take 2 GB."""


HALO = 2
"""The width of a tile's halo in blocks."""


class Tile(NamedTuple):
    """A part of an image, in blocks of 64×64 pixels along each axis.

    Attributes:
      kept: the tile's own rows and columns.
      read: the same with their halo.
      inside: the position of the kept rows and columns within the read ones.
    """

    kept: tuple[slice, slice]
    read: tuple[slice, slice]
    inside: tuple[slice, slice]


def tiles_of(start: Start) -> list[Tile]:
    """Splits an image into tiles of about equal size; a small image is one tile without a halo."""
    extent = start.analysed.hyper_latent.shape[1:3]
    along = (_parts(blocks) for blocks in extent)
    return [Tile(*zip(rows, columns, strict=True)) for rows, columns in itertools.product(*along)]


def _parts(blocks: int) -> list[tuple[slice, slice, slice]]:
    """Returns (kept, read, inside) of each part along an axis."""
    own = TILE_SIDE - 2 * HALO
    count = 1 if blocks <= TILE_SIDE else -(-blocks // own)
    edges = [blocks * part // count for part in range(count + 1)]
    return [with_halo(first, last, blocks, HALO) for first, last in itertools.pairwise(edges)]


def cut(start: Start, tile: Tile) -> Start:
    """Cuts a tile and its halo out of an image."""
    latents, symbols, choice = start.analysed, start.one_shot.symbols, start.one_shot
    cut_latents = lambda array: _window(array, tile.read, LATENTS_PER_HYPER)
    cut_hyper_latents = lambda array: _window(array, tile.read, 1)
    return Start(
        _window(start.pixels[None], tile.read, HYPER_STRIDE)[0],
        Latents(cut_latents(latents.latent), cut_hyper_latents(latents.hyper_latent)),
        Choice(
            Symbols(cut_latents(symbols.latent), cut_hyper_latents(symbols.hyper_latent)),
            cut_latents(choice.mean),
            cut_latents(choice.index),
        ),
    )


def join(parts: Sequence[Latents], tiles: Sequence[Tile]) -> Latents:
    """Joins the latents of tiles into those of the image and drops the halos."""
    *_, last = tiles
    extent = [kept.stop for kept in last.kept]
    joined = []
    for arrays, per_block in zip(zip(*parts, strict=True), (LATENTS_PER_HYPER, 1), strict=True):
        whole = np.empty((1, *(per_block * blocks for blocks in extent), arrays[0].shape[-1]), arrays[0].dtype)
        for array, tile in zip(arrays, tiles, strict=True):
            _window(whole, tile.kept, per_block)[...] = _window(array, tile.inside, per_block)
        joined.append(whole)
    return Latents(*joined)


def _window(
    array: Shaped[np.ndarray, "1 rows columns channels"], blocks: tuple[slice, slice], per_block: int
) -> Shaped[np.ndarray, "1 rows2 columns2 channels"]:
    rows, columns = (slice(per_block * part.start, per_block * part.stop) for part in blocks)
    return array[:, rows, columns]
