"""A problem small enough to search in a test: two images of one bucket under the tiny model at its lowest rate."""

import numpy as np
import pytest

from lic_jax.codec.codec import Codec
from lic_jax.encoding.choice import Latents
from lic_jax.encoding.search import Problem, Start, assess, batch_of
from lic_jax.zoo.bundle import load_bundle

RATE_UNITS = 0


@pytest.fixture(scope="session")
def codec(tiny_model_file):
    return Codec(load_bundle(tiny_model_file))


@pytest.fixture(scope="session")
def images(photographs):
    """Two mosaics of photographs at a third of their size, neither of a multiple of 64 pixels."""
    small = [photograph[::3, ::3] for photograph in photographs]
    rows = [np.concatenate(small[start : start + 3], axis=1) for start in (0, 3, 6, 9)]
    return [np.concatenate(rows[:2])[:60, :128], np.concatenate(rows[2:])[:, :100]]


@pytest.fixture(scope="session")
def problem(codec, images):
    """What every function of `encoding` begins with."""
    batch = codec.encoder.analyse(images)
    starts = [
        Start(analysed.pixels, Latents(analysed.latent, analysed.hyper_latent), choice)
        for analysed, choice in zip(batch, codec.encoder.choose(batch, RATE_UNITS), strict=True)
    ]
    programs, point = codec._programs, codec.searcher.operating_point(RATE_UNITS)
    return Problem(programs.model, programs.variables, batch_of(starts, (1, 2)), point)


@pytest.fixture(scope="session")
def one_shot(problem):
    """What one shot costs, by the program that a search compiles."""
    return assess(*problem, problem.images.one_shot)
