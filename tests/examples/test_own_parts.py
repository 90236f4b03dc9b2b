"""Each part of one's own goes the whole way: fitted or trained, saved, loaded, coded and decoded."""

import dataclasses
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from lic_jax import registry

REGISTRIES = [value for value in vars(registry).values() if isinstance(value, registry.Registry)]
BUILT_IN = [dict(value._homes) for value in REGISTRIES]

from examples import (
    checkerboard_prior,
    own_data,
    own_distortion,
    own_optimizer,
    own_relaxation,
    own_transform,
    power_law_quantizer,
    soft_round_quantizer,
)
from lic_jax.codec.codec import Codec, load
from lic_jax.codec.decoder import Decoder
from lic_jax.distortion.ms_ssim import ms_ssim_loss
from lic_jax.errors import LicError
from lic_jax.evaluation.complexity import complexity
from lic_jax.evaluation.metrics import ms_ssim, psnr
from lic_jax.model import CodecModel, initialize
from lic_jax.quantization import stanh
from lic_jax.training.anchor import begin_stage, take_step, training_stages
from lic_jax.training.curve import evaluate_quantizers
from lic_jax.training.deployment import in_fixed_point, in_integers
from lic_jax.training.klt import klt_start
from lic_jax.training.loop import train_anchor
from lic_jax.training.refit import fit_quantizers, refit, start_quantizers
from lic_jax.training.settings import AnchorSettings, RefitSettings
from lic_jax.zoo.bundle import load_bundle, load_receiver, save_bundle

LAMBDAS = (0.0025, 0.01, 0.04)
REFIT = RefitSettings(lambdas=LAMBDAS, latent_components=60, row_knots=4)
"""Fits of as many components, knots and crops share their compiled programs."""

WITH_EXAMPLES = [dict(value._homes) for value in REGISTRIES]


def restore(homes):
    for value, of_value in zip(REGISTRIES, homes, strict=True):
        value._homes = dict(of_value)


restore(BUILT_IN)


@pytest.fixture(autouse=True)
def registered():
    """What the examples register is known to these tests alone."""
    restore(WITH_EXAMPLES)
    yield
    restore(BUILT_IN)


@pytest.fixture(scope="module")
def tiny_config(tiny_config):
    """Transforms of a layer each: these tests compile many programs, and none is about them."""
    return dataclasses.replace(tiny_config, synthesis="jpeg_like", hyper_synthesis="jpeg_like")


@pytest.fixture(scope="module")
def tiny_params(tiny_config, photographs):
    return klt_start(initialize(tiny_config, jax.random.key(0)), tiny_config, photographs, 0.01, seed=0)


@pytest.fixture(scope="module")
def bundle(tiny_config, tiny_params, crops, tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "tiny.safetensors"
    saved(path, tiny_config, tiny_params, crops, fit=False)
    return load_bundle(path)


@pytest.fixture(scope="module")
def crops(photographs):
    return np.stack([image[16:80, start : start + 64] for image in photographs for start in (0, 64)])


def objectives(bundle, quantizers, crops):
    bpp, mse = evaluate_quantizers(CodecModel(bundle.config), bundle.params, quantizers, crops, LAMBDAS, 8)
    return bpp + np.asarray(LAMBDAS) * mse


def domain(*images):
    """Images in the network's domain, each a batch of one."""
    return [jnp.asarray(pixels[None], jnp.float32) / 255 - 0.5 for pixels in images]


def round_trip(path, image, rates=(0, 0.6, 2)):
    """Codes and decodes with a file's model, in JAX and in NumPy: the streams' sizes and PSNRs."""
    codec, decoder = Codec(load_bundle(path)), Decoder(load_receiver(path))
    points = []
    for rate in rates:
        data = codec.compress(image, rate)
        decoded = codec.decompress(data)
        assert np.max(np.abs(decoder.decompress(data).astype(int) - decoded)) <= 1
        points.append((len(data), psnr(decoded, image)))
    return points


@pytest.mark.parametrize(("module", "name"), [(soft_round_quantizer, "soft_round"), (power_law_quantizer, "power_law")])
def test_a_quantizer_of_ones_own_goes_all_the_way(bundle, crops, photographs, tmp_path, module, name):
    """Fitted with rows, saved, loaded, coded between fitted rates and decoded without JAX."""
    with open(module.__file__) as file:
        assert len(file.readlines()) <= 60
    settings = RefitSettings(lambdas=LAMBDAS, quantizer=name, latent_components=254, steps=30, row_knots=4)
    model = CodecModel(bundle.config)
    start = start_quantizers(bundle.config, settings, bundle.rd_lambda)
    fitted = fit_quantizers(model, bundle.params, itertools.repeat(crops[:8]), settings, bundle.rd_lambda)
    before, after = (objectives(bundle, quantizers, crops) for quantizers in (start, fitted))
    assert np.mean(after) < np.mean(before), (before, after)
    path = tmp_path / f"{name}.safetensors"
    save_bundle(path, bundle.config, bundle.params, bundle.rd_lambda, LAMBDAS, *in_fixed_point(fitted))
    points = round_trip(path, photographs[0])
    assert all(a[0] < b[0] and a[1] < b[1] for a, b in itertools.pairwise(points))


def test_a_relaxation_of_ones_own_trains_and_refits(tiny_config, tiny_params, bundle, crops):
    settings = AnchorSettings(tiny_config, relaxation="stochastic_rounding", hyperprior_steps=0, steps=100)
    _, everything = training_stages(settings)
    state = begin_stage(everything, tiny_params)
    results = []
    for _ in range(30):
        state, result = take_step(settings, everything, state, crops[:8])
        results.append(float(result.objective))
    assert np.mean(results[-5:]) < np.mean(results[:5])

    refitted = dataclasses.replace(REFIT, steps=30, relaxation="likelier_symbol")
    model, batches = CodecModel(bundle.config), itertools.repeat(crops[:4])
    start = start_quantizers(bundle.config, refitted, bundle.rd_lambda)
    named = fit_quantizers(model, bundle.params, batches, refitted, bundle.rd_lambda)
    assert np.mean(objectives(bundle, named, crops)) < np.mean(objectives(bundle, start, crops))
    plain = dataclasses.replace(refitted, relaxation="expected", steps=2)
    given = [
        fit_quantizers(model, bundle.params, batches, plain, bundle.rd_lambda, relaxation=function)
        for function in (None, own_relaxation.likelier_symbol)
    ]
    assert np.any(given[0].latent.thresholds != given[1].latent.thresholds)


@pytest.mark.parametrize("distortion", [ms_ssim_loss, own_distortion.luma_error])
def test_a_distortion_of_ones_own_trains_refits_and_searches(
    tiny_config, tiny_params, bundle, crops, photographs, distortion
):
    """As an argument; two losses in one process give two results, so they share no compiled program."""
    settings = AnchorSettings(tiny_config, rd_lambda=0.01, hyperprior_steps=0, steps=10)
    _, everything = training_stages(settings)
    state = begin_stage(everything, tiny_params)
    _, by_mse = take_step(settings, everything, state, crops[:4])
    _, by_own = take_step(settings, everything, state, crops[:4], distortion=distortion)
    assert float(by_mse.distortion) == float(by_mse.mse) and float(by_own.mse) == pytest.approx(float(by_mse.mse))
    assert abs(float(by_own.distortion) - float(by_mse.distortion)) > 0.1 * float(by_mse.distortion)

    settings = dataclasses.replace(REFIT, steps=2)
    process = refit(CodecModel(bundle.config), bundle.params, settings, bundle.rd_lambda, distortion=distortion)
    _, results = process.update(process.init(), crops[:4])
    expected = np.asarray(results.bpp + np.asarray(LAMBDAS) * results.distortion)
    np.testing.assert_allclose(results.objective, expected, rtol=1e-5)
    assert np.all(np.asarray(results.distortion) < 0.9 * np.asarray(results.mse))

    codec, image = load("small"), photographs[0][:64, :64]
    weight = 100.0 if distortion is ms_ssim_loss else 0.02
    search = {"iterations": 40, "distortion": distortion, "rd_lambda": weight}
    one_shot, searched = (
        8 * len(data) / image[..., 0].size + weight * float(distortion(*domain(codec.decompress(data), image))[0])
        for data in (codec.compress(image, 0), codec.compress(image, 0, **search))
    )
    assert searched < one_shot


def test_data_an_optimizer_and_a_schedule_of_ones_own(training_works, tiny_config, bundle, crops, tmp_path):
    """Any iterator of batches trains, with any optimizer, and the log names its distortion; a refit sees its masks."""
    settings = AnchorSettings(tiny_config, crop_size=64, batch_size=4, hyperprior_steps=0, steps=4, validate_every=2)
    own = {"make_optimizer": own_optimizer.adamw, "distortion": own_distortion.luma_error}
    params = train_anchor(settings, own_data.discs(), tmp_path, **own)
    assert all(np.all(np.isfinite(leaf)) for leaf in jax.tree.leaves(params))
    header = (tmp_path / "log.csv").read_text().splitlines()[0]
    assert header.endswith("luma_error,held_out_luma_error")

    settings = dataclasses.replace(REFIT, steps=3, schedule="cosine")
    process = refit(
        CodecModel(bundle.config), bundle.params, settings, bundle.rd_lambda, optimizer=own_optimizer.rows_alone()
    )
    begun = state = process.init()
    for _ in range(3):
        state, _ = process.update(state, crops[:4])
    assert float(begun.annealing_state) == 10 and float(state.annealing_state) == pytest.approx(100)
    np.testing.assert_allclose(state.quantizers.latent.thresholds, begun.quantizers.latent.thresholds, atol=1e-4)
    assert np.any(state.quantizers.widening.dead_zones != 0)


def train_briefly(config, photographs, crops, steps=3):
    params = klt_start(initialize(config, jax.random.key(0)), config, photographs, 0.01, seed=0)
    settings = AnchorSettings(config, hyperprior_steps=0, steps=steps, learning_rate=1e-3)
    _, everything = training_stages(settings)
    state = begin_stage(everything, params)
    for _ in range(steps):
        state, result = take_step(settings, everything, state, crops[:8])
    assert np.isfinite(float(result.objective))
    return jax.tree.map(np.asarray, state.params)


def saved(path, config, params, crops, fit=True):
    settings = dataclasses.replace(REFIT, steps=3)
    config, params = in_integers(config, params, crops)
    quantizers = start_quantizers(config, settings, 0.01)
    if fit:
        quantizers = fit_quantizers(CodecModel(config), params, itertools.repeat(crops[:4]), settings, 0.01)
    save_bundle(path, config, params, 0.01, LAMBDAS, *in_fixed_point(quantizers))


@pytest.mark.parametrize("name", ["two_paths", "residue"])
def test_a_transform_of_ones_own_goes_all_the_way(tiny_config, photographs, crops, tmp_path, name):
    """A description decodes in NumPy, too; a Flax module decodes the same after it was loaded, bit by bit."""
    assert own_transform.two_paths
    config = dataclasses.replace(tiny_config, synthesis=name)
    params = train_briefly(config, photographs, crops)
    path = tmp_path / "model.safetensors"
    saved(path, config, params, crops, fit=name == "residue")
    image = photographs[2][:70]
    if name == "two_paths":
        round_trip(path, image, rates=(0.5,))
        assert complexity(config)["synthesis"].flops > 0
        return
    codec = Codec(load_bundle(path))
    data = codec.compress(image, 0.5)
    np.testing.assert_array_equal(Codec(load_bundle(path)).decompress(data), codec.decompress(data))
    assert "synthesis" not in complexity(config)
    with pytest.raises(LicError, match="residue synthesis needs JAX"):
        Decoder(load_receiver(path))


def test_a_prior_of_ones_own_goes_all_the_way(tiny_config, photographs, crops, tmp_path):
    """Two stages: trained open loop, coded in a closed one, decoded stage by stage in JAX and in NumPy, searched."""
    config = dataclasses.replace(tiny_config, prior="checkerboard")
    params = train_briefly(config, photographs, crops, steps=20)
    assert np.any(params["neighbours"]["weights"] != 0)
    params["neighbours"]["weights"] = np.linspace(0.1, 0.5, config.latent_channels, dtype=np.float32)
    path = tmp_path / "model.safetensors"
    saved(path, config, params, crops)
    round_trip(path, photographs[1], rates=(0, 1.3))
    codec, decoder = Codec(load_bundle(path)), Decoder(load_receiver(path))
    image = photographs[1][:90]
    (choice,) = codec.encoder.choose([codec.analyse(image)], 0)
    data = codec.compress(image, 0)
    np.testing.assert_array_equal(decoder.symbols(data)[1], choice.symbols.latent)
    own = checkerboard_prior.white(choice.mean.shape)
    plain, _ = codec._programs.stage(
        0, [codec._coding.hyper_latent(codec._coding.unpack(data), choice.symbols.hyper_latent)], []
    )[0]
    assert np.all(choice.mean[own] == plain[own]) and np.any(choice.mean[~own] != plain[~own])
    assert decoder.transcode(data, "constriction") == data
    for method, iterations in (("rounding", 2), ("sga", 20)):
        searched = codec.compress(image, 0, iterations=iterations, method=method)
        assert np.max(np.abs(decoder.decompress(searched).astype(int) - codec.decompress(searched))) <= 1


def test_a_fit_is_one_scan_and_a_grid_one_stack(bundle, crops):
    """`lax.scan` over the batches gives what step by step gives; T × λ × seeds share a stack, padded."""
    lambdas = (0.0025, 0.0025, 0.04, 0.04)
    settings = RefitSettings(lambdas=lambdas, latent_components=16, steps=4, schedule="constant")
    model = CodecModel(bundle.config)
    small, large = (
        start_quantizers(bundle.config, dataclasses.replace(settings, latent_components=count), bundle.rd_lambda)
        for count in (8, 16)
    )
    grid = small.replace(latent=stanh.padded(small.latent, 16))
    start = jax.tree.map(lambda a, b: jnp.concatenate([a, b]), grid, large)
    both = dataclasses.replace(settings, lambdas=tuple(sorted(lambdas * 2)))
    with pytest.raises(LicError):
        dataclasses.replace(settings, lambdas=lambdas * 2)
    order = np.argsort(np.asarray(lambdas * 2), kind="stable")
    start = jax.tree.map(lambda leaf: leaf[order], start)
    optimizer = optax.adam(1e-2)
    process = refit(model, bundle.params, both, bundle.rd_lambda, start=start, optimizer=optimizer)
    batches = np.stack([crops[index : index + 4] for index in (0, 4, 8)])
    scanned, results = jax.lax.scan(process.update, process.init(), batches)
    state = process.init()
    for batch in batches:
        state, _ = process.update(state, batch)
    assert results.objective.shape == (3, 8)
    for one, other in zip(jax.tree.leaves(scanned.quantizers), jax.tree.leaves(state.quantizers), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-3, atol=1e-3)


def test_callers_keep_their_arrays(tiny_config, tiny_params, crops):
    """Steps neither alias nor delete what they are given."""
    settings = AnchorSettings(tiny_config, hyperprior_steps=0, steps=10)
    _, everything = training_stages(settings)
    params = jax.tree.map(jnp.asarray, tiny_params)
    state = begin_stage(everything, params)
    first, _ = take_step(settings, everything, state, crops[:4])
    again, _ = take_step(settings, everything, state, crops[:4])
    jax.tree.map(np.testing.assert_array_equal, first.params, again.params)
    jax.tree.map(np.testing.assert_array_equal, params, tiny_params)


def test_ms_ssim_in_jax_is_that_of_pixels(photographs):
    image, reference = np.tile(photographs[0], (2, 2, 1)), np.tile(photographs[1], (2, 2, 1))
    mixed = (0.8 * reference + 0.2 * image).astype(np.uint8)
    assert 1 - float(ms_ssim_loss(*domain(mixed, reference))[0]) == pytest.approx(ms_ssim(mixed, reference), abs=1e-4)
