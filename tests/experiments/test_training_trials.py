import dataclasses

import numpy as np
import pytest

from lic_jax.errors import LicError


@pytest.fixture
def settings(photograph_folder, tmp_path):
    from experiments.questions.training_trials import Settings

    return Settings(photograph_folder, folder=tmp_path / "trials", measured=64, held_out=0.3)


@pytest.fixture
def trained(monkeypatch):
    """Stands in for the training and the judgement, which compile for long; counts the trials."""
    from experiments.lab.trials import Trained
    from experiments.questions import training_trials

    trials = []

    def train(trial, images, seconds, prior_share):
        trials.append(trial)
        return Trained({}, dataclasses.replace(trial.settings, hyperprior_steps=10, steps=40), seconds)

    def judge(ended, images, lambdas):
        """Each trial needs 10 % more bits than the one before."""
        return [(1.1 ** len(trials) * 2.0**step, 25.0 + 4 * step) for step in range(len(lambdas))]

    monkeypatch.setattr(training_trials, "trained", train)
    monkeypatch.setattr(training_trials, "judged", judge)
    return trials


def test_a_trial_is_kept_and_found_again_unless_something_that_decides_it_differs(settings, trained):
    from experiments.lab.trials import load_images
    from experiments.questions.training_trials import TRIALS, measured, rows_of

    images = load_images(settings.images, settings.held_out, settings.measured)
    names = ["as it is", "12 hidden"]
    trials = {name: measured(settings, TRIALS[name], images) for name in names}
    assert {name: measured(settings, TRIALS[name], images) for name in names} == trials
    assert trained == [TRIALS[name] for name in names]
    measured(dataclasses.replace(settings, seconds=7.0), TRIALS[names[0]], images)
    assert len(trained) == 3

    first, second = rows_of(settings, trials)
    assert (first.prior_steps, first.steps, first.seconds) == (10, 40, settings.seconds)
    assert first.bd_rate_percent == pytest.approx(0, abs=1e-9)
    assert second.bd_rate_percent == pytest.approx(10, abs=1e-6)
    assert second.bpp == pytest.approx(1.1 * first.bpp)
    assert first.objective == pytest.approx(first.bpp + 0.01 * 255**2 * 10 ** (-first.psnr_db / 10))
    assert second.decoding_flops < first.decoding_flops


def test_every_trial_differs_from_the_first_and_can_be_trained():
    from experiments.questions.training_trials import TRIALS
    from lic_jax.evaluation.complexity import complexity

    first, *others = TRIALS.values()
    for trial in others:
        assert dataclasses.replace(trial, question=first.question) != first
        assert complexity(trial.settings.model)


def test_averaged_weights_follow_the_last_ones():
    from experiments.lab.trials import _average

    averaged = {"kernel": np.zeros(3, np.float32)}
    for _ in range(3):
        averaged = _average(averaged, {"kernel": np.ones(3, np.float32)}, 0.5)
    np.testing.assert_allclose(averaged["kernel"], 1 - 0.5**3)


def test_bad_input_is_refused(photograph_folder):
    from experiments.questions.training_trials import Settings

    with pytest.raises(LicError, match="multiple of 64"):
        Settings(photograph_folder, measured=100)
    with pytest.raises(LicError, match="leave none; give more"):
        Settings(photograph_folder, seconds=0)
    with pytest.raises(LicError, match="trial 'nothing' is unknown"):
        Settings(photograph_folder, only=("nothing",))
