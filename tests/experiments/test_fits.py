import dataclasses
import math
from types import SimpleNamespace

import numpy as np
import pytest

from lic_jax.errors import LicError
from lic_jax.training.refit import start_quantizers


def _laplacian_cost(edges, levels, rate, weight):
    """Entropy in bits + weight · squared error of a symmetric quantizer, integrated on the positive side."""
    edges = np.append(edges, np.inf)
    lower, upper = edges[:-1], edges[1:]
    tail = lambda v: np.exp(-rate * v)
    # ∫ rate/2 e^{−rate v} (v − c)² from a to ∞ = e^{−rate a}/2 · ((a − c)² + 2(a − c)/rate + 2/rate²)
    error_from = lambda a, c: np.where(
        np.isinf(a), 0, tail(a) / 2 * ((np.where(np.isinf(a), 0, a) - c + 1 / rate) ** 2 + 1 / rate**2)
    )
    mass = (tail(lower) - tail(upper)) / 2
    zero = 1 - tail(edges[0])
    error = 2 * np.sum(error_from(lower, levels) - error_from(upper, levels))
    error += 2 * (error_from(0.0, 0.0) - error_from(edges[0], 0.0))
    return -zero * np.log2(zero) - 2 * np.sum(mass * np.log2(mass)) + weight * error


@pytest.mark.parametrize(("rate", "weight"), [(1.0, 0.3), (1.0, 10.0), (0.2, 1.0)])
def test_the_closed_form_is_the_optimum_that_a_search_finds(rate, weight):
    optimize = pytest.importorskip("scipy.optimize")
    from experiments.questions.initialization import laplacian_optimum

    found = laplacian_optimum(rate, weight)
    cells = math.ceil(16 / rate / found.step)
    edges = found.threshold + found.step * np.arange(cells)
    levels = edges + found.offset
    levels[-1] = edges[-1] + 1 / rate
    packed = np.concatenate([np.log([edges[0], *np.diff(edges)]), np.log(levels - edges)])

    def cost(packed):
        edges = np.cumsum(np.exp(packed[:cells]))
        return _laplacian_cost(edges, edges + np.exp(packed[cells:]), rate, weight)

    rng = np.random.default_rng(0)
    best = optimize.minimize(cost, packed + 0.02 * rng.normal(size=packed.shape), method="BFGS").fun
    assert cost(packed) <= best + 1e-6
    assert cost(packed) < _laplacian_cost(edges - found.threshold + found.step / 2, levels, rate, weight)


def test_at_high_rate_the_closed_form_is_the_uniform_quantizer():
    from experiments.questions.initialization import as_stanh, laplacian_optimum

    step, weight = 0.01, 6 / (0.01**2 * math.log(2))
    found = laplacian_optimum(1.0, weight)
    assert found.step == pytest.approx(step, rel=0.01)
    assert found.threshold == pytest.approx(step / 2, rel=0.02)
    quantizer = as_stanh(found, 10, 0.045)
    np.testing.assert_allclose(quantizer.levels, step * np.arange(-5, 6), atol=2e-4)
    np.testing.assert_allclose(quantizer.thresholds, step * (np.arange(10) - 4.5), atol=2e-4)


@pytest.fixture
def tiny(photograph_folder, tmp_path):
    from experiments.lab.anchors import FitSettings

    return FitSettings(
        photograph_folder, folder=tmp_path / "fits", steps=3, batch_size=2, crops=4, crop_size=64, held_out=0.3,
        measured=1,
    )  # fmt: skip


@pytest.fixture
def anchor(tiny_config):
    """All of an anchor that decides a fit but its weights."""
    from experiments.lab.anchors import Anchor, Encoded

    bundle = SimpleNamespace(config=tiny_config, params={}, rd_lambda=0.01)
    crops = Encoded(np.zeros((4, 64, 64, 3), np.uint8), np.zeros((4, 4, 4, 12)), np.zeros((4, 1, 1, 4)))
    return Anchor(bundle, None, "digest of the weights", crops, crops)


@pytest.fixture
def fits_made(monkeypatch):
    """Stands in for the fit itself, which compiles for long and is tested where it lives; counts the steps taken."""

    from experiments.lab import fits
    from lic_jax.training.refit import Refit, RefitState

    steps = []

    def stand_in(model, params, settings, anchor_lambda, seed, start):
        state = RefitState(0, start, None, 10.0, 0.0, 0.0)

        def update_encoded(state, image, latent, hyper_latent):
            steps.append(len(image))
            return state._replace(step=state.step + 1, beta=10.0, gap=0.1), SimpleNamespace(
                objective=np.array([len(steps)])
            )

        return Refit(lambda: state, None, update_encoded)

    monkeypatch.setattr(fits, "refit", stand_in)
    return steps


def test_a_fit_is_kept_and_found_again_unless_something_that_decides_it_differs(tiny, anchor, fits_made):
    from experiments.lab.fits import Start, fit

    settings = tiny.refit_settings(lambdas=(0.01,), latent_components=6, hyper_components=6)
    fitted = fit(tiny, anchor, settings, "fit")
    assert fits_made == [2, 2, 2]
    assert fitted.objective.shape == (3, 1)
    again = fit(tiny, anchor, settings, "fit")
    assert fits_made == [2, 2, 2]
    np.testing.assert_array_equal(again.objective, fitted.objective)
    np.testing.assert_array_equal(again.quantizers.latent.thresholds, fitted.quantizers.latent.thresholds)

    other = anchor.to_fit._replace(pixels=anchor.to_fit.pixels + np.uint8(1))
    fit(tiny, anchor, settings, "fit", seed=1)
    fit(tiny, anchor, dataclasses.replace(settings, learning_rate=1e-3), "fit")
    fit(tiny, anchor._replace(to_fit=other), settings, "fit")
    fit(tiny, anchor._replace(weights="digest of others"), settings, "fit")
    wider = start_quantizers(anchor.bundle.config, dataclasses.replace(settings, hyper_components=8), 0.01)
    fit(tiny, anchor, settings, "fit", start=Start(wider, "wider"))
    assert len(fits_made) == 6 * 3
    assert len(list(tiny.folder.iterdir())) == 6


def test_the_last_bits_of_latents_make_no_other_fit(tiny, anchor, fits_made):
    from experiments.lab.fits import fit

    settings = tiny.refit_settings(lambdas=(0.01,), latent_components=6, hyper_components=6)
    fit(tiny, anchor, settings, "fit")
    rounded_otherwise = anchor.to_fit._replace(latent=anchor.to_fit.latent + 1e-7)
    fit(tiny, anchor._replace(to_fit=rounded_otherwise), settings, "fit")
    assert len(fits_made) == 3


def test_bad_input_is_refused(tiny, tmp_path, photographs):
    from experiments.lab.anchors import crops_of, photographs_of
    from experiments.questions.tanh_count import Settings

    with pytest.raises(LicError, match="nowhere is not a folder"):
        photographs_of(dataclasses.replace(tiny, images=tmp_path / "nowhere"))
    with pytest.raises(LicError, match="--held-out"):
        photographs_of(dataclasses.replace(tiny, held_out=0.0))
    with pytest.raises(LicError, match="as large as a crop of 640"):
        crops_of({"photograph": photographs[0]}, 640, 1, 0)
    with pytest.raises(LicError, match="not all even"):
        Settings(counts=(4, 7))


def test_damage_is_of_the_kind_and_size_that_its_name_says(photographs):
    from experiments.questions.domains import blurred, jpeg_damaged, noisy

    grey = np.full((96, 128, 3), 128, np.uint8)
    difference = noisy(grey).astype(float) - grey
    assert abs(difference.mean()) < 0.2
    assert difference.std() == pytest.approx(10, rel=0.02)
    np.testing.assert_array_equal(noisy(grey), noisy(grey))

    point = np.zeros((65, 65, 3), np.uint8)
    point[32, 32] = 255
    spread = blurred(point).astype(float)[..., 0]
    rows = np.arange(65) - 32
    assert np.sqrt(np.sum(spread * rows[:, None] ** 2) / spread.sum()) == pytest.approx(2, rel=0.15)
    np.testing.assert_array_equal(blurred(grey), grey)

    damaged = jpeg_damaged(photographs[0])
    assert damaged.shape == photographs[0].shape
    assert 0 < np.mean((damaged.astype(float) - photographs[0]) ** 2) < 200


def test_the_images_of_every_kind_lie_in_the_package(tiny, samples):
    from experiments.questions.domains import KINDS, Settings, domains_of

    fields = {field.name: getattr(tiny, field.name) for field in dataclasses.fields(tiny)}
    domains = domains_of(Settings(**fields))
    assert list(domains) == ["photographs", *KINDS, "noisy", "blurred", "after JPEG"]
    for kind in KINDS:
        for image in (*domains[kind].to_fit.values(), *domains[kind].to_compress.values()):
            assert image.dtype == np.uint8
            assert min(image.shape[:2]) >= 128


def test_a_quantizer_takes_four_bytes_a_number():
    from experiments.questions.tanh_count import bytes_of
    from lic_jax.config import ModelConfig
    from lic_jax.training.refit import start_quantizers
    from lic_jax.training.settings import RefitSettings

    settings = RefitSettings(lambdas=(0.01, 0.04), latent_components=30, hyper_components=10, row_knots=0)
    (stored, deflated), second = bytes_of(start_quantizers(ModelConfig(), settings, 0.01))
    assert (stored, second[0]) == (4 * 2 * 40, 4 * 2 * 40)
    assert deflated < stored


def test_components_that_no_latent_reaches_change_nothing():
    from lic_jax.quantization import staircase, stanh

    quantizer = stanh.uniform_with_tails(8, 0.7, 5.0)
    values = np.linspace(-200, 200, 2001)
    wide = stanh.padded(quantizer, 30)
    assert wide.components == 30
    decided, expected = (of.levels[staircase.symbols(of, values)] for of in (wide, quantizer))
    np.testing.assert_allclose(decided, expected, atol=1e-4)
    np.testing.assert_allclose(stanh.trimmed(wide, 8).thresholds, quantizer.thresholds, atol=1e-3)
