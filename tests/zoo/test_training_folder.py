"""The door for published models. Where TensorFlow is absent, what it would read is made up, and the rest is tested."""

import importlib.util
import json
import random
import shutil
import sys

import numpy as np
import pytest

from lic_jax.cli import main as cli
from lic_jax.codec.codec import Codec
from lic_jax.codec.decoder import Decoder
from lic_jax.errors import LicError
from lic_jax.evaluation.metrics import psnr
from lic_jax.training.deployment import refit_anchor
from lic_jax.training.settings import RefitSettings
from lic_jax.zoo.bundle import load_bundle
from lic_jax.zoo.published import training_folder
from lic_jax.zoo.published.arrays import PARTS, load_published
from lic_jax.zoo.published.training_folder import (
    CHECKPOINTS,
    in_signal_order,
    load_training,
    newest_checkpoint,
    weight_names,
)
from lic_jax.zoo.weights import flatten, load_weights

with_tensorflow = pytest.mark.skipif(
    not importlib.util.find_spec("tensorflow"), reason="needs the extra tfc (make test-tfc)"
)

LATENTS, WIDTH = 4, 3
TRANSFORMS = {
    "analysis": {"cls": "CNNAnalysis", "channels_base": WIDTH, "output_channels": LATENTS},
    "synthesis": {"cls": "TwoLayerResSynthesis", "channels": [2, 3]},
}


def sequence(part, shapes):
    """The weights of a sequence of convolutions, by name."""
    rng = np.random.default_rng(len(shapes))
    return {
        f"_{part}/layer_with_weights-{index}/{name}": rng.normal(size=shape).astype(np.float32)
        for index, (*kernel, bias) in enumerate(shapes)
        for name, shape in (("kernel", kernel), ("bias", (bias,)))
    }


def made_up_weights():
    """A published training's weights, by name, in the order of the signal path."""
    c, w, hidden = LATENTS, WIDTH, LATENTS * 3 // 2
    weights = sequence("analysis", [(5, 5, 3, w, w), (5, 5, w, w, w), (5, 5, w, w, w), (5, 5, w, c, c)])
    weights |= sequence("hyper_analysis", [(3, 3, c, c, c), (5, 5, c, c, c), (5, 5, c, c, c)])
    weights |= sequence("hyper_synthesis", [(5, 5, c, c, c), (5, 5, hidden, c, hidden), (3, 3, 2 * c, hidden, 2 * c)])
    for name, shape in (
        *(("base_conv/kernel", (13, 13, 2, c)), ("base_conv/bias", (2,))),
        *(("activation/_beta_parameter/variable", (2,)), ("activation/_gamma_parameter/variable", (2, 2))),
        *(("res/kernel", (13, 13, 2, c)), ("res/bias", (2,))),
        *(("out_conv/kernel", (5, 5, 3, 2)), ("out_conv/bias", (3,))),
    ):
        weights[f"_synthesis/{name}"] = np.full(shape, len(weights), np.float32)
    for layer, (outputs, inputs) in enumerate(((3, 1), (3, 3), (1, 3))):
        weights[f"_prior/_base/_matrices/{layer}"] = np.ones((c, outputs, inputs), np.float32)
        weights[f"_prior/_base/_biases/{layer}"] = np.ones((c, outputs, 1), np.float32)
        if layer < 2:
            weights[f"_prior/_base/_factors/{layer}"] = np.ones((c, outputs, 1), np.float32)
    return weights


@pytest.fixture
def training(tmp_path, monkeypatch):
    """A training's folder, and its weights, which a test may change: TensorFlow alone is made up."""
    weights = made_up_weights()
    folder = tmp_path / "training"
    (folder / CHECKPOINTS).mkdir(parents=True)
    (folder / CHECKPOINTS / "ckpt-7.index").touch()
    described = {"model_config": {"transform_config": TRANSFORMS, "rd_lambda": 0.02, "optimizer_config": {}}}
    (folder / "config.json").write_text(json.dumps(described))
    monkeypatch.setattr(training_folder, "read_weights", lambda checkpoint: weights)
    return folder, weights


def test_every_weight_finds_its_place(training):
    folder, weights = training
    config, params, rd_lambda = load_training(folder)
    assert (config.analysis, config.synthesis, rd_lambda) == ("cnn", "two_layer_residual", 0.02)
    placed = {name: leaf for name, leaf in flatten(params).items() if not name.startswith("hyper_prior/")}
    expected = [array for name, array in weights.items() if not name.startswith("_prior/")]
    assert len(placed) == len(expected)
    for (name, leaf), array in zip(placed.items(), expected, strict=True):
        np.testing.assert_array_equal(leaf, array, err_msg=name)


def test_names_are_sorted_along_the_signal_path():
    transform, block = "_analysis/_transform", "_block/layer_with_weights-0"
    attention = f"{transform}/layer_with_weights-8"
    names = [
        f"{transform}/layer_with_weights-2/kernel",
        f"{transform}/layer_with_weights-2/bias",
        f"{attention}/_trunk/layer_with_weights-0/{block}/kernel",
        f"{attention}/_trunk/layer_with_weights-2/{block}/bias",
        f"{attention}/_branch_layers/0/{block}/kernel",
        f"{attention}/_branch_layers/2/{block}/kernel",
        f"{attention}/_attention_branch/layer_with_weights-3/kernel",
        f"{transform}/layer_with_weights-10/bias",
        "_synthesis/conv1/kernel",
        "_synthesis/conv1/bias",
        "_synthesis/conv1/activation/_beta_parameter/variable",
        "_synthesis/conv1/activation/_gamma_parameter/variable",
        "_synthesis/conv2/kernel",
    ]
    shuffled = random.Random(0).sample(names, len(names))
    arrays, _ = in_signal_order({name: np.zeros(()) for name in shuffled})
    assert [name for part in PARTS for name in arrays[part]] == names


def test_optimizer_slots_and_counters_are_no_weights():
    value = ".ATTRIBUTES/VARIABLE_VALUE"
    variables = [
        f"model/_synthesis/conv/bias/{value}",
        f"model/_synthesis/conv/bias/.OPTIMIZER_SLOT/model/optimizer/m/{value}",
        *(f"model/optimizer/iter/{value}", f"model/itinf_optimizer/_variables/3/{value}"),
        *(f"save_counter/{value}", "_CHECKPOINTABLE_OBJECT_GRAPH"),
    ]
    assert weight_names(variables) == ["_synthesis/conv/bias"]


@pytest.mark.parametrize(
    "name", ["_context/conv/kernel", "_analysis/layer_with_weights-0/scale", "_prior/_base/_stretch/0"]
)
def test_an_unknown_weight_is_named(training, name):
    folder, weights = training
    weights[name] = np.zeros(3)
    with pytest.raises(LicError, match=f"weight model/{name} is unknown"):
        load_training(folder)


@pytest.mark.parametrize(
    ("missing", "message"),
    [
        ("_analysis/layer_with_weights-1/bias", "analysis/convolution_1/bias is missing"),
        ("_analysis/layer_with_weights-2/bias", "analysis/convolution_2/bias is missing"),
        ("_synthesis/base_conv/bias", "synthesis/layer_0/bias is missing"),
        ("_synthesis/out_conv/bias", "synthesis/layer_1/bias is missing"),
        ("_prior/_base/_factors/1", "the published prior has no factor_1"),
    ],
)
def test_a_missing_weight_is_named(training, missing, message):
    folder, weights = training
    del weights[missing]
    with pytest.raises(LicError, match=message):
        load_training(folder)


def test_a_missing_layer_among_others_alike_is_missed_where_they_end(training):
    folder, weights = training
    for name in ("kernel", "bias"):
        del weights[f"_analysis/layer_with_weights-1/{name}"]
    with pytest.raises(LicError, match="analysis/convolution_2/kernel is missing, or one of its shape before it"):
        load_training(folder)


def test_a_density_too_many_is_named(training):
    folder, weights = training
    weights["_prior/_base/_factors/2"] = np.ones((LATENTS, 1, 1), np.float32)
    with pytest.raises(LicError, match="array of the published prior 'factor_2' is unknown"):
        load_training(folder)


def test_a_weight_too_many_is_named(training):
    folder, weights = training
    weights["_analysis/layer_with_weights-4/kernel"] = np.zeros((5, 5, LATENTS, LATENTS))
    with pytest.raises(LicError, match="_analysis/layer_with_weights-4/kernel is left over"):
        load_training(folder)


def test_the_newest_of_several_checkpoints_is_read(training):
    folder, _ = training
    for name in ("ckpt-10.index", "ckpt-9.index", "ckpt-11.data-00000-of-00001", "ckpt-99.index.tempstate"):
        (folder / CHECKPOINTS / name).touch()
    assert newest_checkpoint(folder) == folder / CHECKPOINTS / "ckpt-10"


UNKNOWN = {"analysis": {"cls": "Nonsense"}, "synthesis": {"cls": "JPEGLikeSynthesis"}}


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (None, "config.json cannot be read"),
        ("{", "does not describe a published training"),
        ("[]", "does not describe a published training"),
        ('{"model_config": {}}', "'transform_config'"),
        (json.dumps({"model_config": {"transform_config": TRANSFORMS}}), "'rd_lambda'"),
        (json.dumps({"model_config": {"transform_config": TRANSFORMS, "rd_lambda": -1}}), "rd_lambda -1"),
        (json.dumps({"model_config": {"transform_config": UNKNOWN, "rd_lambda": 1}}), "'Nonsense'"),
    ],
)
def test_a_bad_configuration_is_one_line_and_nothing_is_written(training, tmp_path, capsys, config, message):
    folder, _ = training
    (folder / "config.json").unlink()
    if config is not None:
        (folder / "config.json").write_text(config)
    assert cli.main(["import", str(folder), str(tmp_path / "out.safetensors")]) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1
    assert not (tmp_path / "out.safetensors").exists()


def test_a_folder_without_a_checkpoint_is_named(training, tmp_path, capsys):
    folder, _ = training
    shutil.rmtree(folder / "train")
    assert cli.main(["import", str(folder), str(tmp_path / "out.safetensors")]) == 2
    assert "has no checkpoint ckpt-*.index" in capsys.readouterr().err


def test_without_tensorflow_the_extra_is_named(reference, tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorflow", None)
    folder = reference / "cnn_jpeg_like_checkpoint"
    assert cli.main(["import", str(folder), str(tmp_path / "out.safetensors")]) == 2
    error = capsys.readouterr().err
    assert "needs tensorflow, which is not installed" in error and "lic-jax[tfc]" in error and error.count("\n") == 1


@with_tensorflow
@pytest.mark.parametrize("name", ["cnn_jpeg_like", "elic_two_layer_res"])
def test_a_checkpoint_is_the_model_that_the_published_numbers_are_of(reference, tmp_path, name):
    """`test_published` proves the model in the `.npz` against these numbers."""
    config, params = load_published(reference / f"{name}.npz")
    out = tmp_path / "anchor.safetensors"
    assert cli.main(["import", str(reference / f"{name}_checkpoint"), str(out)]) == 0
    found, metadata = load_weights(out)
    assert metadata["config"] == config.to_json() and float(metadata["rd_lambda"]) == 0.02
    expected, found = flatten(params), flatten(found)
    assert sorted(found) == sorted(expected)
    for path, leaf in expected.items():
        np.testing.assert_array_equal(found[path], leaf, err_msg=path)


@with_tensorflow
def test_a_real_trainings_checkpoints_have_slots_and_counters_that_are_not_read(tmp_path):
    import tensorflow as tf

    model = tf.Module()
    model._synthesis = tf.Module()
    model._synthesis.conv = tf.Module()
    model._synthesis.conv.bias = bias = tf.Variable([0.0, 0.0])
    model.optimizer = tf.keras.optimizers.legacy.Adam(1.0)
    manager = tf.train.CheckpointManager(tf.train.Checkpoint(model=model), tmp_path / CHECKPOINTS, max_to_keep=9)
    for step in (9, 10):
        model.optimizer.apply_gradients([(tf.ones(2), bias)])
        manager.save(step)
    weights = training_folder.read_weights(newest_checkpoint(tmp_path))
    assert list(weights) == ["_synthesis/conv/bias"]
    np.testing.assert_array_equal(weights["_synthesis/conv/bias"], bias.numpy())


@with_tensorflow
def test_a_damaged_checkpoint_is_named(reference, tmp_path):
    folder = tmp_path / "training"
    shutil.copytree(reference / "cnn_jpeg_like_checkpoint", folder)
    (data,) = (folder / CHECKPOINTS).glob("*.data-*")
    for content in (data.read_bytes()[:5000], b""):
        data.write_bytes(content)
        with pytest.raises(LicError, match="ckpt-1 cannot be read"):
            load_training(folder)
    (index,) = (folder / CHECKPOINTS).glob("*.index")
    index.write_bytes(b"nonsense")
    with pytest.raises(LicError, match="ckpt-1 cannot be read"):
        load_training(folder)


@with_tensorflow
def test_an_imported_model_is_refitted_and_codes(reference, photograph_folder, photographs, tmp_path):
    anchor, model = tmp_path / "anchor.safetensors", tmp_path / "model.safetensors"
    training_folder.import_training(reference / "cnn_jpeg_like_checkpoint", anchor)
    settings = RefitSettings(
        lambdas=(0.01, 0.02), latent_components=30, hyper_components=30, steps=2, crop_size=64, batch_size=2
    )
    refit_anchor(settings, anchor, photograph_folder, model)
    codec, decoder = Codec(load_bundle(model)), Decoder(load_bundle(model))
    data = codec.compress(photographs[0], 0.5)
    assert np.max(np.abs(codec.decompress(data).astype(int) - decoder.decompress(data))) <= 1
    assert np.isfinite(psnr(codec.decompress(data), photographs[0]))
