import dataclasses
import itertools
import re

import jax
import numpy as np
import pytest

from lic_jax.errors import LicError
from lic_jax.model import CodecModel, initialize
from lic_jax.quantization import stanh
from lic_jax.registry import SCHEDULES
from lic_jax.training.curve import evaluate_quantizers, fit_rate_distortion_curve
from lic_jax.training.deployment import in_fixed_point
from lic_jax.training.refit import carried_over, encode, fit_quantizers, refit, start_quantizers
from lic_jax.training.refit_objective import hard_objective, soft_objective
from lic_jax.training.settings import RefitSettings
from lic_jax.zoo.bundle import load_bundle

LAMBDAS = (0.0025, 0.01, 0.04)


@pytest.fixture(scope="module")
def bundle(tiny_model_file):
    return load_bundle(tiny_model_file)


@pytest.fixture(scope="module")
def model(bundle):
    return CodecModel(bundle.config)


@pytest.fixture(scope="module")
def params(bundle):
    return bundle.params


@pytest.fixture(scope="module")
def crops(photographs):
    return np.stack([image[16:80, start : start + 64] for image in photographs for start in (0, 64)])


@pytest.fixture(scope="module")
def curve(model, params, crops):
    settings = RefitSettings(steps=30)
    return fit_rate_distortion_curve(model, params, crops, LAMBDAS, settings=settings)


def pair(quantizers, index):
    return jax.tree.map(lambda leaf: leaf[index], quantizers)


def test_a_refit_lowers_every_objective_and_so_do_its_rows(model, params, crops, curve):
    start = start_quantizers(model.config, RefitSettings(lambdas=LAMBDAS), 0.01)
    before_bpp, before_mse = evaluate_quantizers(model, params, start, crops, LAMBDAS, 8)
    after_bpp, after_mse = evaluate_quantizers(model, params, curve.quantizers, crops, LAMBDAS, 8)
    assert np.all(after_bpp + LAMBDAS * after_mse < before_bpp + LAMBDAS * before_mse)
    alike = curve.quantizers.replace(widening=None)
    alike_bpp, alike_mse = evaluate_quantizers(model, params, alike, crops, LAMBDAS, 8)
    assert np.all(after_bpp + LAMBDAS * after_mse < alike_bpp + LAMBDAS * alike_mse)


def test_what_one_fit_learned_all_begin_with(model, params, crops):
    """At its own λ it is the fit itself; elsewhere it is better than uniform quantizers without a step of its own."""
    settings = RefitSettings(lambdas=LAMBDAS[1:2], steps=20)
    start = start_quantizers(model.config, settings, 0.01)
    fitted = fit_quantizers(model, params, itertools.repeat(crops[:8]), settings, 0.01)
    for again, once in zip(*map(jax.tree.leaves, (carried_over(fitted, start, start), fitted)), strict=True):
        np.testing.assert_allclose(again, once, rtol=1e-3, atol=1e-4)

    others = start_quantizers(model.config, RefitSettings(lambdas=LAMBDAS), 0.01)
    shared = dataclasses.replace(settings, lambdas=LAMBDAS, steps=10, shared_steps=20)
    stacks = (
        others,
        carried_over(fitted, start, others),
        fit_quantizers(model, params, itertools.repeat(crops[:8]), shared, 0.01),
    )
    uniform, carried, fitted_on = (
        np.add(bpp, LAMBDAS * mse)
        for bpp, mse in (evaluate_quantizers(model, params, stack, crops, LAMBDAS, 8) for stack in stacks)
    )
    assert np.all(carried < uniform) and np.all(fitted_on < uniform)


def test_one_fit_is_carried_over_from_fine_to_coarse_steps(model):
    """One T for steps from 4 to 1/4: coarse quantizers have components far away, which hardly move."""
    start = start_quantizers(model.config, RefitSettings(lambdas=(0.01,), latent_components=600), 0.01)
    wider = stanh.from_values(1.1 * start.latent.spacings, 1.1 * start.latent.thresholds)
    others = start_quantizers(model.config, RefitSettings(lambdas=(0.000625, 0.16), latent_components=600), 0.01)
    carried = carried_over(dataclasses.replace(start, latent=wider), start, others).latent
    thresholds, before = np.asarray(carried.thresholds), np.asarray(others.latent.thresholds)
    assert np.all(np.diff(thresholds) > 0) and np.all(np.asarray(carried.spacings) > 0)
    far = np.abs(before) > stanh.FAR / 2
    assert np.any(far[0]) and not np.any(far[1])
    assert np.all(np.abs(thresholds[far] - before[far]) < 50)
    inner = np.abs(before) < 30
    np.testing.assert_allclose(thresholds[inner], 1.1 * before[inner], rtol=0.02, atol=0.3)


def test_a_kept_hyper_quantizer_stays_uniform(model, params, crops):
    settings = RefitSettings(lambdas=LAMBDAS[:1], hyper_quantizer="kept")
    state, _ = run(model, params, settings, crops, 2)
    start = start_quantizers(model.config, settings, 0.01)
    np.testing.assert_array_equal(state.quantizers.hyper_latent.thresholds, start.hyper_latent.thresholds)
    assert np.any(state.quantizers.latent.thresholds != start.latent.thresholds)


def test_a_fitted_hyper_quantizer_learns(model, params, crops):
    settings = RefitSettings(lambdas=LAMBDAS[:1], latent_components=6, hyper_components=6, hyper_quantizer="fitted")
    state, _ = run(model, params, settings, crops, 1)
    start = start_quantizers(model.config, settings, 0.01)
    assert np.any(state.quantizers.hyper_latent.thresholds != start.hyper_latent.thresholds)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"row_knots": 1}, "row knots 1"),
        ({"row_knots": 4, "latent_components": 127}, "use 128"),
        ({"bin_edges": "middles"}, "bin edges"),
        ({"hyper_quantizer": "gone"}, "hyper quantizer"),
        ({"inverse_temperature": 0.5}, "inverse temperature 0.5 is too soft"),
    ],
)
def test_options_that_cannot_be_are_named(change, message):
    with pytest.raises(LicError, match=message):
        RefitSettings(**change)


def test_the_curve_is_monotone(curve):
    assert np.all(np.diff(curve.bpp) > 0) and np.all(np.diff(curve.psnr_db) > 0)


def test_fitted_quantizers_are_in_order(curve):
    for stack in (curve.quantizers.latent, curve.quantizers.hyper_latent):
        assert np.all(stack.spacings > 0)
        assert np.all(np.diff(stack.thresholds, axis=-1) > 0)


def test_many_together_are_each_alone(model, params, crops):
    """Fitting K quantizers in one program gives what fitting each by itself gives, where β does not look at the gap."""
    settings = RefitSettings(lambdas=LAMBDAS, schedule="constant")
    fit = lambda lambdas: run(model, params, dataclasses.replace(settings, lambdas=lambdas), crops, 3)[0]
    together, alone = fit(LAMBDAS), fit(LAMBDAS[1:2])
    for one, of_many in zip(
        jax.tree.leaves(alone.quantizers), jax.tree.leaves(pair(together.quantizers, slice(1, 2))), strict=True
    ):
        np.testing.assert_allclose(one, of_many, rtol=1e-4, atol=1e-4)


def run(model, params, settings, crops, steps):
    process = refit(model, params, settings, anchor_lambda=0.01)
    state = process.init()
    for _ in range(steps):
        state, results = process.update(state, crops[:8])
    return state, results


def test_a_symmetric_fit_treats_both_signs_alike(curve):
    latent = curve.quantizers.latent
    middle = latent.components // 2
    np.testing.assert_allclose(latent.levels[:, middle], 0, atol=1e-3)
    np.testing.assert_allclose(latent.thresholds, -latent.thresholds[:, ::-1], rtol=1e-4, atol=1e-3)
    np.testing.assert_allclose(latent.spacings, latent.spacings[:, ::-1], rtol=1e-5)


def test_soft_decisions_become_hard_ones(model, params, crops):
    quantizers = pair(start_quantizers(model.config, RefitSettings(lambdas=LAMBDAS), 0.01), 1)
    arguments = (params, quantizers, *encode(model, params, crops[:8]), 0.01)
    hard = jax.jit(hard_objective, static_argnums=0)(model, *arguments)
    softly = jax.jit(soft_objective, static_argnums=0)
    gaps = []
    for beta in (5.0, 50.0, 5000.0):
        soft, gap = softly(model, *arguments, beta)
        gaps.append(float(gap))
    np.testing.assert_allclose(soft.objective, hard.objective, rtol=1e-3)
    assert gaps[0] > gaps[1] > gaps[2]


@pytest.mark.parametrize("lambdas", [LAMBDAS[:1], LAMBDAS])
def test_the_analysis_runs_once_a_batch(tiny_config, crops, lambdas):
    """However many quantizers: one first convolution, over the batch of 8 crops and not over K times as many."""
    model = CodecModel(dataclasses.replace(tiny_config, analysis="cnn", analysis_channels=(4, 4, 4)))
    params = initialize(model.config, jax.random.key(0))
    process = refit(model, params, RefitSettings(lambdas=lambdas), anchor_lambda=0.01)
    program = str(jax.make_jaxpr(process.update)(process.init(), crops[:8]))
    first_convolutions = re.findall(r"f32\[(\d+),32,32,4\] = conv_general_dilated", program)
    assert first_convolutions == ["8"]


def test_fixed_point_keeps_the_curve(model, params, crops, curve):
    latent, hyper_latent = in_fixed_point(curve.quantizers.replace(widening=None))
    for stack, quantizers in ((curve.quantizers.latent, latent), (curve.quantizers.hyper_latent, hyper_latent)):
        for index, quantizer in enumerate(quantizers):
            np.testing.assert_allclose(quantizer.thresholds / 4096, stack.thresholds[index], atol=2e-4)
            np.testing.assert_allclose(quantizer.levels(), stack.levels[index], atol=0.05)


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_every_schedule_begins_at_the_initial_inverse_temperature(model, params, schedule):
    assert float(refit(model, params, RefitSettings(schedule=schedule), 0.01).init().annealing_state) == 10


@pytest.mark.parametrize("lambdas", [(), (0.01, 0.005), (-1.0,)])
def test_lambdas_must_be_positive_and_not_decrease(lambdas):
    with pytest.raises(LicError, match="lambdas"):
        RefitSettings(lambdas=lambdas)
