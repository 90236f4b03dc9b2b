"""The context prior: its plan, its networks in JAX and in NumPy, and the whole way from training to a decoded file."""

import dataclasses
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lic_jax.codec.codec import Codec
from lic_jax.codec.decoder import Decoder
from lic_jax.entropy.priors import context_plan
from lic_jax.entropy.priors.base import prior_of, through_stages
from lic_jax.errors import LicError
from lic_jax.model import CodecModel, initialize
from lic_jax.training.anchor import begin_stage, take_step, training_stages
from lic_jax.training.deployment import in_fixed_point, in_integers
from lic_jax.training.klt import klt_start
from lic_jax.training.latents import latent_batches, latents_of
from lic_jax.training.refit import start_quantizers
from lic_jax.training.settings import AnchorSettings, RefitSettings
from lic_jax.zoo.bundle import load_bundle, load_receiver, save_bundle


@pytest.fixture(scope="module")
def config(tiny_config):
    return dataclasses.replace(tiny_config, prior="context", hyper_synthesis_channels=(6, 5), latent_channels=24)


@pytest.fixture(scope="module")
def params(config, photographs):
    """Random weights in every network, so that each input matters."""
    rng = np.random.default_rng(0)
    params = klt_start(initialize(config, jax.random.key(0)), config, photographs, 0.01, seed=0)
    for part in ("hyper_synthesis", "context"):
        params[part] = jax.tree.map(
            lambda leaf: leaf + rng.normal(0, 0.05, leaf.shape).astype(np.float32), params[part]
        )
    return params


@pytest.mark.parametrize("channels", [3, 12, 24, 128, 320])
def test_every_latent_is_coded_once_and_after_what_it_sees(channels):
    masks = context_plan.masks(8, 12, channels)
    np.testing.assert_array_equal(np.sum(masks, axis=0), 1)
    for step, mask in zip(context_plan.steps(channels), masks, strict=True):
        assert mask[..., : step.first].sum() == mask[..., step.last :].sum() == 0
        assert step.known in (step.first, step.last)
        assert step.known_low <= step.low


@pytest.mark.parametrize("passes", [1, 2, 3])
def test_a_later_pass_has_known_neighbours_on_opposite_sides(passes):
    """Of every position inside, two opposite neighbours in the window were coded by an earlier pass."""
    coded = np.zeros((9, 9), bool)
    for number in range(passes):
        own = context_plan.positions(passes, number, 9, 9)
        assert not np.any(own & coded)
        for row, column in np.argwhere(own[1:-1, 1:-1]) + 1 if number else ():
            around = coded[row - 1 : row + 2, column - 1 : column + 2]
            assert np.any(around & around[::-1, ::-1])
        coded |= own
    assert np.all(coded)


def test_jax_and_numpy_give_the_same_means_and_indexes(config, params):
    """Exactly, stage after stage, as do batches; in training the networks are those of a receiver, indexes apart."""
    exact_config, exact = prior_of(config).to_exact(params, np.zeros((1, 1, 1, 4)))
    prior = prior_of(exact_config)
    prior.check_receiver(exact)
    rng = np.random.default_rng(1)
    latent = (rng.normal(size=(2, 8, 12, 24)) * np.geomspace(30, 0.3, 24)).astype(np.float32)
    hyper_latent = np.rint(rng.normal(size=(2, 2, 3, 4)) * 4).astype(np.float32)
    run = lambda config, params: CodecModel(config).apply(
        {"params": params}, hyper_latent, lambda mean, _: jnp.round(latent - mean), method="predict"
    )
    in_jax = run(exact_config, exact)
    for image in (0, 1):
        own = latent[image : image + 1]
        stages = prior.receiver_stages(exact)(hyper_latent[image : image + 1])
        decide = lambda mean, _, own=own: np.rint(own - mean)
        in_numpy = through_stages(stages, prior.masks, decide, np.where)
        for found, expected in zip(in_numpy, in_jax, strict=True):
            np.testing.assert_array_equal(found[0], expected[image])
    means = context_plan.mean_channels(24)
    assert 0 < means < 24 and np.all(in_jax[1][..., means:] == 0) and np.all(np.ptp(in_jax[1][..., :means], (0, 1, 2)))
    assert np.all(in_jax[1] * 8 == np.rint(in_jax[1] * 8))
    assert len(np.unique(in_jax[2])) > 20 and np.ptp(in_jax[1]) > 1
    _, mean, index = run(config, params)
    assert np.mean(mean != in_jax[1]) < 1e-3 and np.mean(np.abs(index - in_jax[2])) < 0.3


def test_weights_off_the_grid_are_refused(config, params):
    exact_config, exact = prior_of(config).to_exact(params, np.zeros((1, 1, 1, 4)))
    with pytest.raises(LicError, match="context/stage_1 breaks the bounds of exact sums"):
        prior_of(exact_config).check_receiver(params | {"hyper_synthesis": exact["hyper_synthesis"]})


def test_it_learns_on_frozen_latents_and_goes_all_the_way(config, photographs, tmp_path):
    """Trained on latents, put on the grid, saved, loaded; coded and searched in JAX, decoded in NumPy."""
    params = klt_start(initialize(config, jax.random.key(0)), config, photographs, 0.01, seed=0)
    settings = AnchorSettings(config, crop_size=64, prior_learning_rate=3e-3, hyperprior_steps=40, steps=41)
    stage, _ = training_stages(settings)
    state = begin_stage(stage, {**params, "analysis": {"linear": params["analysis"]["linear"]}})
    found = latents_of(stage.model, state.params, photographs[:6], 64, seed=0)
    batches = latent_batches(found, side=4, batch_size=8, seed=0)
    again = latent_batches(found, side=4, batch_size=8, seed=0, start=3)
    rates = []
    for number, batch in enumerate(itertools.islice(batches, settings.hyperprior_steps)):
        if number == 3:
            np.testing.assert_array_equal(next(again), batch)
        state, result = take_step(settings, stage, state, batch)
        rates.append(float(result.bpp))
    assert np.mean(rates[-10:]) < 0.95 * np.mean(rates[:10])
    assert np.any(np.asarray(state.params["context"]["stage_1"]["linear"]))

    params = jax.tree.map(np.asarray, {**state.params, "analysis": params["analysis"]})
    crops = np.stack(photographs)[:, :64, :64]
    exact_config, exact = in_integers(config, params, crops)
    lambdas = (0.0025, 0.01, 0.04)
    quantizers = start_quantizers(config, RefitSettings(lambdas=lambdas, latent_components=60), 0.01)
    path = tmp_path / "model.safetensors"
    save_bundle(path, exact_config, exact, 0.01, lambdas, *in_fixed_point(quantizers))
    codec, decoder = Codec(load_bundle(path)), Decoder(load_receiver(path))
    image = photographs[1][:90]
    sizes = []
    for rate, search in ((0, {}), (1.3, {}), (0, {"iterations": 2, "method": "rounding"}), (0, {"iterations": 10})):
        data = codec.compress(image, rate, **search)
        assert np.max(np.abs(decoder.decompress(data).astype(int) - codec.decompress(data))) <= 1
        assert decoder.transcode(data, "constriction") == data
        sizes.append(len(data))
    assert sizes[0] < sizes[1]
    in_batch = codec.compress_batch([image, photographs[2][:64, :64]], 0)
    assert in_batch[0] == codec.compress(image, 0)
