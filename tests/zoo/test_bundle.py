import json

import pytest

from lic_jax.errors import LicError
from lic_jax.zoo.bundle import load_bundle, save_bundle
from lic_jax.zoo.weights import load_weights, save_weights


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


@pytest.mark.parametrize("name", ["rd_lambda", "lambdas", "fingerprint"])
def test_a_model_without_an_entry_is_damaged(rewritten, name):
    with pytest.raises(LicError, match=f"does not say its {name}"):
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
