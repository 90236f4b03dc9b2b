import dataclasses
import functools
import json
import shutil
import signal
import subprocess
import sys
import time

import jax
import numpy as np
import pytest

from lic_jax.config import ModelConfig
from lic_jax.errors import LicError
from lic_jax.io.tables import read_csv
from lic_jax.training import checkpoint, data, latents
from lic_jax.training.anchor import begin_stage, take_step, training_stages
from lic_jax.training.loop import LogRow, train_anchor
from lic_jax.training.settings import AnchorSettings

FLAGS = {
    "crop_size": 64,
    "batch_size": 2,
    "hyperprior_steps": 12,
    "steps": 36,
    "validate_every": 9,
    "learning_rate": 1e-3,
}


@pytest.fixture(scope="module")
def settings(tiny_config):
    return AnchorSettings(model=tiny_config, **FLAGS)


@pytest.fixture(scope="module")
def uninterrupted(training_works, settings, photograph_folder, tmp_path_factory):
    out = tmp_path_factory.mktemp("whole")
    return out, train_anchor(settings, photograph_folder, out)


def equal(first, second):
    return all(
        np.array_equal(np.asarray(a), np.asarray(b))
        for a, b in zip(jax.tree.leaves(first), jax.tree.leaves(second), strict=True)
    )


def steps_logged(out):
    return [row.step for row in read_csv(out / "log.csv", LogRow)]


def test_a_training_that_dies_and_goes_on_ends_with_the_same_parameters(
    settings, uninterrupted, photograph_folder, tmp_path, monkeypatch
):
    """Twice, between checkpoints of both stages; the log has the rows of the whole training, each once."""
    whole_out, expected = uninterrupted

    def dying(make_batches, *args, **kwargs):
        for batches_seen, batch in enumerate(make_batches(*args, **kwargs)):
            if batches_seen == 11:
                raise KeyboardInterrupt
            yield batch

    for home, name in ((latents, "latent_batches"), (data, "crop_batches")):
        monkeypatch.setattr(home, name, functools.partial(dying, getattr(home, name)))
    for kept in (9, 18):  # it dies after 11 steps, and begun again at 9, after 23: 11 of the second stage
        with pytest.raises(KeyboardInterrupt):
            train_anchor(settings, photograph_folder, tmp_path)
        assert steps_logged(tmp_path)[-1] == kept
    monkeypatch.undo()
    assert equal(train_anchor(settings, photograph_folder, tmp_path), expected)
    assert steps_logged(tmp_path) == steps_logged(whole_out)


def test_killed_by_a_signal_and_started_again_with_the_same_command(
    settings, uninterrupted, photograph_folder, tmp_path
):
    command = [sys.executable, "-m", "lic_jax.cli", "train", str(photograph_folder), "--out", str(tmp_path)]
    for name, value in {**FLAGS, **dataclasses.asdict(settings.model)}.items():
        flag = "--" + name.replace("_", "-")
        if isinstance(value, bool):
            command.append(flag if value else flag.replace("--", "--no-"))
        else:
            command += [flag, *map(str, value)] if isinstance(value, tuple) else [flag, str(value)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while not (tmp_path / "log.csv").exists() or not steps_logged(tmp_path):
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    _, expected = uninterrupted
    assert equal(train_anchor(settings, photograph_folder, tmp_path), expected)


def test_a_finished_training_stays_as_it_is_and_writes_lost_weights_again(settings, uninterrupted, photograph_folder):
    out, expected = uninterrupted
    weights = (out / "anchor.safetensors").read_bytes()
    (out / "anchor.safetensors").unlink()
    assert equal(train_anchor(settings, photograph_folder, out), expected)
    assert len((out / "anchor.safetensors").read_bytes()) == len(weights)


def test_the_log_has_a_row_a_validation(uninterrupted):
    out, _ = uninterrupted
    assert steps_logged(out) == [9, 12, 18, 27, 36]
    for row in read_csv(out / "log.csv", LogRow):
        assert row.held_out_bpp > 0 and row.held_out_psnr_db > 10


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"rd_lambda": 0.0}, "rd lambda 0.0 cannot be trained with; give a positive number"),
        ({"step_range": 0.5}, "step range 0.5 .* give 1 or more"),
        ({"learning_rate": -1e-3}, "learning rate -0.001 .* give a positive number"),
        ({"decay_fraction": 1.5}, "decay fraction 1.5 .* give a fraction"),
        ({"held_out": 1.0}, "held out 1.0 .* give a fraction"),
        ({"crop_size": 96}, "crop size 96 is not a positive multiple of 64"),
        ({"batch_size": 0}, "batch size 0 is too few; give 1 or more"),
        ({"hyperprior_steps": 3, "steps": 2}, "hyperprior steps 3 are not within 0 to steps 2"),
        ({"model": ModelConfig(hyper_arithmetic="integer")}, "hyper_arithmetic integer cannot be trained"),
        ({"model": ModelConfig(block_transform=False)}, "need a model with a block transform; give 0 hyperprior steps"),
    ],
)
def test_settings_that_train_nothing_are_named(setting, message):
    with pytest.raises(LicError, match=message):
        AnchorSettings(**setting)


def test_other_settings_do_not_go_on_with_a_training(settings, uninterrupted, photograph_folder):
    out, _ = uninterrupted
    other = dataclasses.replace(settings, learning_rate=2e-3)
    with pytest.raises(LicError, match=r"learning_rate = 0\.001, not 0\.002"):
        train_anchor(other, photograph_folder, out)


def test_only_the_stages_own_parts_learn(settings, tiny_params, photographs):
    hyperprior, everything = training_stages(settings)
    pixels = np.stack([image[:64, :64] for image in photographs[:2]])
    changed = {}
    for stage in (hyperprior, everything):
        state = begin_stage(stage, jax.tree.map(np.asarray, tiny_params))
        for _ in range(2):
            state, _ = take_step(settings, stage, state, pixels)
        changed[stage.name] = {part for part in tiny_params if not equal(state.params[part], tiny_params[part])}
    assert changed["hyperprior"] == set(stage.model.prior.parts)
    assert changed["everything"] == set(tiny_params)


def test_training_lowers_the_objective(settings, tiny_params, photographs):
    """Eighty steps on one batch: the objective on held-out noise falls."""
    _, stage = training_stages(settings)
    pixels = np.stack([image[:64, :64] for image in photographs[:2]])
    state = begin_stage(stage, jax.tree.map(np.asarray, tiny_params))
    objectives = []
    for _ in range(80):
        state, result = take_step(settings, stage, state, pixels)
        objectives.append(float(result.objective))
    assert np.mean(objectives[-20:]) < 0.9 * np.mean(objectives[:20])


def test_a_training_that_went_further_is_not_cut_back(uninterrupted, settings, photograph_folder):
    out, _ = uninterrupted
    with pytest.raises(LicError, match=r"holds a training of 36 steps, more than --steps 27; raise --steps"):
        train_anchor(dataclasses.replace(settings, steps=27), photograph_folder, out)


def test_settings_written_before_a_field_existed_mean_its_default(uninterrupted, settings, photograph_folder, tmp_path):
    out, expected = uninterrupted
    shutil.copytree(out, tmp_path / "old")
    stored = json.loads((out / "settings.json").read_text())
    del stored["model"]["hyper_arithmetic"]
    (tmp_path / "old" / "settings.json").write_text(json.dumps(stored))
    assert equal(train_anchor(settings, photograph_folder, tmp_path / "old"), expected)


def test_an_orbax_too_old_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(checkpoint, "SUPPORTED", False)
    with pytest.raises(LicError, match=r"upgrade it to 0\.11 or newer"):
        checkpoint.open_checkpoints(tmp_path)


@pytest.mark.usefixtures("training_works")
@pytest.mark.parametrize("content", ["{", "[1, 2]", "", "{}"])
def test_damaged_settings_are_named(settings, photograph_folder, tmp_path, content):
    (tmp_path / "settings.json").write_text(content)
    with pytest.raises(LicError, match=r"settings.json is damaged"):
        train_anchor(settings, photograph_folder, tmp_path)
    assert (tmp_path / "settings.json").read_text() == content
