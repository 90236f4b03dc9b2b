"""The model that ships: it loads, it is small, its curve is monotone, its estimates are its bytes."""

import jax.numpy as jnp
import numpy as np
import pytest

import lic_jax as lic
from lic_jax import zoo
from lic_jax.codec import pad_to_multiple
from lic_jax.evaluation.metrics import psnr
from lic_jax.images import image_paths, read_image
from lic_jax.model import HyperpriorModel
from lic_jax.quantization import stanh
from lic_jax.quantization.fixed_point import UNIT
from lic_jax.training.refit import Quantizers, evaluate_quantizers


@pytest.fixture(scope="module")
def codec():
    return lic.load()


@pytest.fixture(scope="module")
def test_photographs(kodak):
    """Two of the test photographs, one of each orientation; the whole set is `lic evaluate`'s."""
    return [read_image(path) for path in image_paths(kodak)[3:5]]


def test_the_weights_are_at_most_12_megabytes():
    assert zoo.path_of().stat().st_size <= 12e6


def test_the_model_has_a_card():
    card = zoo.path_of().with_suffix(".md").read_text()
    for word in ("Architecture", "Data", "Steps", "Command", "Seed", "Results"):
        assert word.lower() in card.lower()


def test_the_stream_names_the_model(codec):
    assert zoo.name_of(codec.bundle.fingerprint) == zoo.DEFAULT
    assert zoo.name_of(b"none") is None


def test_rate_and_quality_rise_together(codec, test_photographs):
    for image in test_photographs:
        analysed = codec.analyse(image)
        points = []
        for rate in np.linspace(0, codec.bundle.highest_rate, 7):
            data = codec.code(analysed, rate)
            points.append((len(data), psnr(codec.decompress(data), image)))
        assert np.all(np.diff(points, axis=0) > 0)


def test_estimated_rates_are_bytes(codec, test_photographs):
    """The priors' estimate, of real-valued scale indexes, within 1 % of the file without its header."""
    bundle = codec.bundle
    units = [256 * rate for rate in (0, 3, 6)]
    pairs = [bundle.quantizers_at(unit) for unit in units]
    latent, hyper_latent = (
        stanh.from_values(
            *(jnp.stack([getattr(pair[place], name) * UNIT for pair in pairs]) for name in ("spacings", "thresholds"))
        )
        for place in (0, 1)
    )
    for image in test_photographs:
        padded = pad_to_multiple(image)[None]
        model, lambdas = HyperpriorModel(bundle.config), (0.00125, 0.01, 0.08)
        quantizers = Quantizers(latent, hyper_latent)
        bpp, _ = evaluate_quantizers(model, bundle.params, quantizers, padded, lambdas, batch_size=1)
        estimated = bpp * padded.shape[1] * padded.shape[2] / 8
        real = [len(codec.compress(image, unit / 256)) - 31 for unit in units]
        np.testing.assert_allclose(estimated, real, rtol=0.01)
