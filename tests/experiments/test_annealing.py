import jax
import numpy as np
import pytest
from matplotlib import pyplot as plt

import lic_jax.training.refit as refit_module
from experiments.lab.anchors import Anchor, FitSettings, encoded
from experiments.lab.fits import Fit, fit
from experiments.questions import annealing
from lic_jax.model import CodecModel
from lic_jax.registry import SCHEDULES
from lic_jax.zoo.bundle import load_bundle

STEPS = 4


@pytest.fixture
def anchor(tiny_model_file, photographs):
    bundle = load_bundle(tiny_model_file)
    model = CodecModel(bundle.config)
    crops = encoded(model, bundle.params, np.stack([photograph[:64, :64] for photograph in photographs[:2]]))
    return Anchor(bundle, model, "digest of the weights", crops, crops)


@pytest.fixture
def betas_used(monkeypatch):
    """The β of each step, as the fit's own schedules give it to the objective."""
    used = []

    def recorded(schedule):
        def update(*arguments):
            beta, state = schedule.update(*arguments)
            jax.debug.callback(lambda value: used.append(float(value)), beta, ordered=True)
            return beta, state

        return schedule._replace(update=update)

    schedules = {
        name: lambda settings, make=make: recorded(make(settings)) for name, make in refit_module.SCHEDULES.items()
    }
    monkeypatch.setattr(refit_module, "SCHEDULES", schedules)
    return used


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_the_inverse_temperature_that_is_kept_is_the_one_that_the_step_used(schedule, anchor, betas_used, tmp_path):
    experiment = FitSettings(folder=tmp_path, steps=STEPS, batch_size=1, crop_size=64)
    settings = experiment.refit_settings(
        lambdas=(0.01,), schedule=schedule, inverse_temperature=10.0, latent_components=6, hyper_components=6, seed=3
    )
    fitted = fit(experiment, anchor, settings, schedule)
    jax.effects_barrier()
    assert len(betas_used) == STEPS
    np.testing.assert_allclose(fitted.beta, betas_used, rtol=1e-6)
    if schedule in ("linear", "exponential"):
        assert (np.diff(fitted.beta) > 0).all()


@pytest.mark.parametrize("steps", range(1, 12))
def test_every_panel_shows_every_schedule_however_short_the_fit(steps, monkeypatch):
    rng = np.random.default_rng(0)
    fits = {
        (schedule, 10.0): Fit(None, 10 + rng.random(steps), rng.random(steps), 1 + rng.random((steps, 2)))
        for schedule in SCHEDULES
    }
    ends = [
        annealing.EndPoint(schedule, 10.0, rd_lambda, 0.5, 30.0, 1.0, -1.0)
        for schedule in SCHEDULES
        for rd_lambda in (0.01, 0.02)
    ]
    figures = []
    monkeypatch.setattr(annealing, "save_picture", lambda figure, path: figures.append(figure))
    annealing.draw(fits, ends, None)
    for axes in figures[0].axes:
        assert len(axes.lines) == len(SCHEDULES)
        for line in axes.lines:
            assert len(line.get_xdata()) > 1 or line.get_marker() == "."
            assert np.isfinite(line.get_ydata()).all()
    plt.close(figures[0])
