"""Large images in tiles that overlap, so that a search takes no more memory than one tile does.

What a latent does is local: some pixels around it, and the mean and scale of some latents around a hyper latent. So
each tile is searched as an image of its own, with a halo of what lies around it, of which nothing is kept.
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
"""A tile has at most so many blocks along each axis, halo included: eight megapixels, whose gradients take 2 GB."""


HALO = 2
"""Blocks that a tile reads around its own."""


class Tile(NamedTuple):
    """A part of an image, in blocks of 64×64 pixels along each axis.

    Attributes:
      kept: the rows and the columns that are the tile's.
      read: the same and their halo.
      inside: where the kept ones are among the read.
    """

    kept: tuple[slice, slice]
    read: tuple[slice, slice]
    inside: tuple[slice, slice]


def tiles_of(start: Start) -> list[Tile]:
    """An image's tiles, about equally large; one without halo if that is enough."""
    extent = start.analysed.hyper_latent.shape[1:3]
    along = (_parts(blocks) for blocks in extent)
    return [Tile(*zip(rows, columns, strict=True)) for rows, columns in itertools.product(*along)]


def _parts(blocks: int) -> list[tuple[slice, slice, slice]]:
    """(kept, read, inside) of each part along an axis."""
    own = TILE_SIDE - 2 * HALO
    count = 1 if blocks <= TILE_SIDE else -(-blocks // own)
    edges = [blocks * part // count for part in range(count + 1)]
    return [with_halo(first, last, blocks, HALO) for first, last in itertools.pairwise(edges)]


def cut(start: Start, tile: Tile) -> Start:
    """What a tile and its halo have of an image."""
    latents, symbols, choice = start.analysed, start.one_shot.symbols, start.one_shot
    of_latents = lambda array: _window(array, tile.read, LATENTS_PER_HYPER)
    of_hyper_latents = lambda array: _window(array, tile.read, 1)
    return Start(
        _window(start.pixels[None], tile.read, HYPER_STRIDE)[0],
        Latents(of_latents(latents.latent), of_hyper_latents(latents.hyper_latent)),
        Choice(
            Symbols(of_latents(symbols.latent), of_hyper_latents(symbols.hyper_latent)),
            of_latents(choice.mean),
            of_latents(choice.index),
        ),
    )


def join(parts: Sequence[Latents], tiles: Sequence[Tile]) -> Latents:
    """Latents of tiles and their halos as those of the image."""
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
