import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lic_jax.encoding import tiles
from lic_jax.encoding.choice import Choice, Latents, Symbols
from lic_jax.encoding.search import Start


def start_of(rows, columns):
    """An image of so many blocks, less some pixels, whose latents are random."""
    rng = np.random.default_rng(0)
    random = lambda per_block, channels: rng.normal(size=(1, per_block * rows, per_block * columns, channels))
    symbols = Symbols(random(4, 2), random(1, 1))
    pixels = rng.integers(0, 256, (64 * rows - 5, 64 * columns - 60, 3), np.uint8)
    return Start(pixels, Latents(random(4, 2), random(1, 1)), Choice(symbols, random(4, 2), random(4, 2)))


@settings(max_examples=20)
@given(st.integers(1, 60), st.integers(1, 60))
def test_tiles_are_of_bounded_size_and_join_to_the_image(rows, columns):
    start = start_of(rows, columns)
    of_image = tiles.tiles_of(start)
    parts = [tiles.cut(start, tile) for tile in of_image]
    for part in parts:
        height, width, _ = part.pixels.shape
        blocks = part.analysed.hyper_latent.shape[1:3]
        assert max(blocks) <= tiles.TILE_SIDE
        assert (-(-height // 64), -(-width // 64)) == blocks
        assert part.one_shot.mean.shape[1:3] == part.analysed.latent.shape[1:3] == (4 * blocks[0], 4 * blocks[1])
    joined = tiles.join([part.analysed for part in parts], of_image)
    for found, expected in zip(joined, start.analysed, strict=True):
        np.testing.assert_array_equal(found, expected)


def test_an_image_that_fits_is_one_tile_without_halo():
    start = start_of(3, tiles.TILE_SIDE)
    (tile,) = tiles.tiles_of(start)
    assert tile.kept == tile.read == tile.inside
    np.testing.assert_array_equal(tiles.cut(start, tile).pixels, start.pixels)


@pytest.fixture(scope="module")
def large(images):
    """Six blocks wide."""
    return np.concatenate(images[:1] * 3, axis=1)


def test_a_pass_over_tiles_is_a_pass_over_the_image(codec, large, monkeypatch):
    """Each latent's choice depends on what lies within the halo."""
    search = {"rate": 0, "iterations": 1, "method": "rounding"}
    whole = codec.compress(large, **search)
    monkeypatch.setattr(tiles, "TILE_SIDE", 5)
    assert codec.compress(large, **search) == whole != codec.compress(large, 0)
