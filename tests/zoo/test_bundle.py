import json

import pytest

from lic_jax.errors import LicError
from lic_jax.zoo.bundle import load_bundle
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


@pytest.mark.parametrize("lambdas", [(0.01,), (0.0025, 0.01, 0.04, 0.08)])
def test_a_model_needs_a_quantizer_for_every_rate(rewritten, lambdas):
    with pytest.raises(LicError, match="numbers of rates and quantizers"):
        load_bundle(rewritten(lambdas=json.dumps(lambdas)))
