"""A problem small enough to search in a test: two images of one bucket under the tiny model at its lowest rate."""

from types import SimpleNamespace

import jax.numpy as jnp
import numpy as np
import pytest

from lic_jax.codec import Codec
from lic_jax.encoding.objective import ImageBatch, Latents
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
    """What every function of `encoding` begins with, and the symbols of encoding in one shot."""
    analysed = codec._analyse(images)
    chosen = codec._choose(analysed, RATE_UNITS)
    quantizer, hyper_quantizer = codec.bundle.quantizers_at(RATE_UNITS)
    pixels = np.zeros((2, 64, 128, 3), np.uint8)
    for position, image in enumerate(images):
        pixels[position, : image.shape[0], : image.shape[1]] = image
    together = lambda parts: jnp.concatenate(list(parts))
    batch = ImageBatch(
        jnp.asarray(pixels),
        jnp.array([image.shape[:2] for image in images]),
        Latents(together(a.latent for a in analysed), together(a.hyper_latent for a in analysed)),
        Latents(
            together(c.mean + quantizer.levels_of(c.latent, c.table_index) for c in chosen),
            together(hyper_quantizer.levels_of(c.hyper_latent) for c in chosen),
        ),
    )
    return SimpleNamespace(
        model=codec._model,
        variables=codec._variables,
        images=batch,
        point=codec._operating_point(RATE_UNITS),
        chosen=chosen,
    )


@pytest.fixture(scope="session")
def solve(problem):
    """Latents → the solution nearest to them, by the program that a search compiles."""
    from lic_jax.encoding.search import look

    return lambda latents: look(problem.model, problem.variables, problem.images, problem.point, latents)


@pytest.fixture(scope="session")
def one_shot(problem, solve):
    return solve(problem.images.one_shot)
