import dataclasses
import json

import numpy as np
import pytest
from safetensors.numpy import save_file

from lic_jax.errors import LicError
from lic_jax.zoo import shipped
from lic_jax.zoo.bundle import _fingerprint, load_bundle, load_receiver, save_bundle
from lic_jax.zoo.weights import flatten, load_weights, save_weights


@pytest.fixture
def rewritten(tiny_model_file, tmp_path):
    """The tiny model's file with other metadata; None leaves an entry out."""

    def rewrite(**changes):
        tree, metadata = load_weights(tiny_model_file)
        kept = {name: value for name, value in {**metadata, **changes}.items() if value is not None}
        path = tmp_path / "other.safetensors"
        save_weights(path, tree, kept)
        return path

    return rewrite


def test_a_rewritten_file_is_the_same_model(rewritten, tiny_model_file):
    assert load_bundle(rewritten()).fingerprint == load_bundle(tiny_model_file).fingerprint


def test_a_receiver_loads_its_share_of_the_same_model(tiny_model_file):
    whole, share = load_bundle(tiny_model_file), load_receiver(tiny_model_file)
    assert (share.fingerprint, share.config, share.lambdas) == (whole.fingerprint, whole.config, whole.lambdas)
    assert share.params.keys() == {"hyper_prior", "hyper_synthesis", "synthesis"}
    expected = flatten(whole.params)
    for name, leaf in flatten(share.params).items():
        np.testing.assert_array_equal(leaf, expected[name])


@pytest.fixture
def resaved(tiny_model_file, tmp_path):
    """The tiny model's file after a change of its parameters or its configuration."""

    def resave(change, **entries):
        bundle = load_bundle(tiny_model_file)
        change(bundle.params)
        path = tmp_path / "changed.safetensors"
        quantizers = bundle.latent_quantizers, bundle.hyper_quantizers
        save_bundle(
            path, dataclasses.replace(bundle.config, **entries), bundle.params, 0.01, bundle.lambdas, *quantizers
        )
        return path

    return resave


def test_another_encoder_is_the_same_model_to_a_receiver(resaved, tiny_model_file):
    """So a better encoder orphans no stream."""

    def improve(params):
        params["analysis"] = {"other": np.ones((3, 4))}

    path = resaved(improve, analysis="elic", block_transform=False)
    assert load_bundle(path).fingerprint == load_receiver(path).fingerprint == load_bundle(tiny_model_file).fingerprint


@pytest.mark.parametrize("part", ["hyper_prior", "hyper_synthesis", "synthesis"])
def test_another_receiver_is_another_model(resaved, tiny_model_file, part):
    def change(params):
        tree = params[part]
        while isinstance(tree, dict):
            tree = tree["bias_0" if part == "hyper_prior" else "bias" if "bias" in tree else "layer_0"]
        tree[0] += 1

    assert load_receiver(resaved(change)).fingerprint != load_receiver(tiny_model_file).fingerprint


def test_damage_is_seen_by_whoever_reads_it(tiny_model_file, tmp_path):
    tree, metadata = load_weights(tiny_model_file)
    for name in flatten(tree):
        flat = flatten(tree)
        flat[name] = flat[name] + np.ones((), flat[name].dtype)
        path = tmp_path / "damaged.safetensors"
        save_file(flat, path, metadata)
        with pytest.raises(LicError, match=r"is damaged \(its contents do not match its digest"):
            load_bundle(path)
        if "analysis" in name:
            load_receiver(path)
        else:
            with pytest.raises(LicError, match=r"is damaged \(its receiver's parts"):
                load_receiver(path)


@pytest.mark.parametrize("load", [load_bundle, load_receiver])
def test_a_file_of_an_earlier_version_is_named_so(tiny_model_file, tmp_path, load):
    tree, metadata = load_weights(tiny_model_file)
    del metadata["digest"]
    save_file(flatten(tree), tmp_path / "old.safetensors", metadata)
    with pytest.raises(LicError, match="was written by an earlier lic"):
        load(tmp_path / "old.safetensors")


@pytest.mark.parametrize("name", ["rd_lambda", "lambdas", "fingerprint"])
def test_a_model_without_an_entry_is_damaged(rewritten, name):
    with pytest.raises(LicError, match=f"it has no {name}"):
        load_bundle(rewritten(**{name: None}))


@pytest.mark.parametrize(("name", "value"), [("rd_lambda", "0.O1"), ("lambdas", "[0.01,"), ("lambdas", "3")])
def test_unreadable_entries_are_damage(rewritten, name, value):
    with pytest.raises(LicError, match="is damaged"):
        load_bundle(rewritten(**{name: value}))


@pytest.mark.parametrize(
    "change",
    [
        lambda params: params.pop("hyper_synthesis"),
        lambda params: params["hyper_synthesis"]["layer_0"].pop("scale"),
        lambda params: params["synthesis"].pop("layer_1"),
        lambda params: params["hyper_prior"].update(bias_0=params["hyper_prior"]["bias_0"][:1]),
    ],
)
def test_arrays_that_are_missing_or_of_another_shape_are_named(tiny_model_file, tmp_path, change):
    """Even where the fingerprint fits."""
    bundle = load_bundle(tiny_model_file)
    params = {part: dict(tree) for part, tree in bundle.params.items()}
    params["hyper_synthesis"]["layer_0"] = dict(params["hyper_synthesis"]["layer_0"])
    change(params)
    path = tmp_path / "forged.safetensors"
    quantizers = bundle.latent_quantizers, bundle.hyper_quantizers
    save_bundle(path, bundle.config, params, 0.01, bundle.lambdas, *quantizers)
    with pytest.raises(LicError, match=r"is damaged \(.* has shape"):
        load_bundle(path)


@pytest.mark.parametrize("lambdas", [(0.01,), (0.0025, 0.01, 0.04, 0.08)])
def test_a_model_needs_a_quantizer_for_every_rate(rewritten, lambdas):
    with pytest.raises(LicError, match="numbers of rates and quantizers"):
        load_bundle(rewritten(lambdas=json.dumps(lambdas)))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda stacks: stacks.update(latent=stacks["latent"]["thresholds"]), "quantizers are one array"),
        (lambda stacks: stacks["latent"].update(thresholds=np.float32([[1, 2]])), "thresholds are not int32"),
        (lambda stacks: stacks["latent"].update(spacings=stacks["latent"]["spacings"][1:]), "different numbers"),
        (lambda stacks: stacks["latent"].update(colours=stacks["latent"]["spacings"]), "have colours, which this lic"),
        (lambda stacks: stacks.update(colours=stacks.pop("latent")), "not named latent and hyper_latent"),
    ],
)
def test_stored_quantizers_that_are_none_say_why(tiny_model_file, tmp_path, change, message):
    """Even where digest and fingerprint fit."""
    tree, metadata = load_weights(tiny_model_file)
    change(tree["quantizers"])
    path = tmp_path / "forged.safetensors"
    save_weights(path, tree, {**metadata, "fingerprint": _fingerprint(metadata, tree).hex()})
    with pytest.raises(LicError, match=message):
        load_bundle(path)


def test_weights_that_are_no_numbers_are_named(resaved):
    def spoil(params):
        params["analysis"]["linear"]["kernel"][0, 0, 0, 0] = np.inf

    with pytest.raises(LicError, match="infinite or undefined weights"):
        load_bundle(resaved(spoil))


def test_weights_without_quantizers_are_no_codec_and_without_entries_no_anchor(tiny_params, tmp_path):
    path = tmp_path / "weights.safetensors"
    save_weights(path, tiny_params, {})
    for read, message in (
        (load_bundle, "holds no quantizers; fit some"),
        (shipped.config_of, "holds no model configuration"),
        (shipped.rd_lambda_of, "does not name the λ of its training"),
    ):
        with pytest.raises(LicError, match=message):
            read(path)


def test_a_model_names_the_distortion_that_it_was_fitted_for(tiny_model_file, tmp_path):
    bundle = load_bundle(tiny_model_file)
    path = tmp_path / "luma.safetensors"
    quantizers = bundle.latent_quantizers, bundle.hyper_quantizers
    save_bundle(path, bundle.config, bundle.params, 0.01, bundle.lambdas, *quantizers, distortion="ms_ssim")
    assert (bundle.distortion, load_bundle(path).distortion) == ("mse", "ms_ssim")
