import math

import jax
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lic_jax.config import ModelConfig
from lic_jax.distortion.base import to_network_domain
from lic_jax.model import CodecModel
from lic_jax.transforms.buckets import Bucketed, bucket


@given(st.integers(1, 4096))
def test_a_bucket_holds_its_blocks_and_wastes_at_most_a_quarter(blocks):
    assert blocks <= bucket(blocks) <= max(blocks, 1.25 * blocks)
    assert bucket(bucket(blocks)) == bucket(blocks)


def test_buckets_are_few():
    sizes = {bucket(blocks) for blocks in range(1, 1024)}
    assert len(sizes) <= 8 + 4 * math.log2(1024 / 8)


FAMILY = [
    {"analysis": "cnn", "synthesis": "two_layer", "synthesis_channels": (12,)},
    {"analysis": "gdn", "synthesis": "jpeg_like", "hyper_synthesis": "jpeg_like"},
    {"analysis": "linear", "synthesis": "gdn", "synthesis_channels": (4, 4, 4)},
]


@pytest.fixture(params=FAMILY, ids=lambda choice: choice["synthesis"])
def model_and_variables(request):
    config = ModelConfig(analysis_channels=(4, 4, 4), latent_channels=6, hyper_channels=4, **request.param)
    model = CodecModel(config)
    shapes = jax.eval_shape(model.init, jax.random.key(0), np.zeros((1, 64, 64, 3), np.float32))
    rng = np.random.default_rng(0)  # with biases that are not zero: they are what would leak over an image's border
    return model, jax.tree.map(lambda leaf: rng.normal(0.1, 0.05, leaf.shape).astype(np.float32), shapes)


def round_trip(model, variables, inputs):
    latent, hyper_latent = model.apply(variables, inputs, method="encode")
    mean, index = model.apply(variables, hyper_latent, None, 0, method="predict_stage")
    return latent, hyper_latent, mean, index, model.apply(variables, mean, method="decode")


def test_every_image_comes_out_as_from_an_array_of_its_own_size(model_and_variables):
    """Whatever shares its batch and however much larger its bucket is."""
    model, variables = model_and_variables
    function = lambda variables, inputs: round_trip(model, variables, inputs)
    rng = np.random.default_rng(1)
    blocks = [(9, 1), (10, 1), (9, 1)]  # one bucket of 10 × 1, a batch of two and one alone
    images = [rng.integers(0, 256, (1, 64 * rows, 64 * columns, 3), np.uint8) for rows, columns in blocks]
    bucketed, alone = Bucketed(function, 64, to_network_domain), jax.jit(function)
    for image, outputs in zip(images, bucketed(variables, images), strict=True):
        expected = alone(variables, to_network_domain(image))
        for found, wanted in zip(outputs, expected, strict=True):
            assert found.shape == wanted.shape
            np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-4 * np.max(np.abs(wanted)))
    assert bucketed.program_count == 2
