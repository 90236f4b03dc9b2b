"""Models whose quantizers differ from row to row, or whose bins end at midpoints, through to files and streams."""

import json

import numpy as np
import pytest
from safetensors.numpy import save_file

from lic_jax.codec.codec import Codec
from lic_jax.codec.decoder import Decoder
from lic_jax.encoding.operating_point import Staircase
from lic_jax.entropy.priors.base import prior_of
from lic_jax.errors import LicError
from lic_jax.quantization.fixed_point import FixedPointQuantizer
from lic_jax.quantization.fixed_rows import FixedPointRows
from lic_jax.zoo.bundle import load_bundle, load_receiver, save_bundle
from lic_jax.zoo.weights import flatten, load_weights


def with_options(bundle, path, rows=True, bin_edges="thresholds"):
    """The bundle with quantizers whose rows differ at random, written to a file."""
    rng = np.random.default_rng(0)
    plain = [
        [FixedPointQuantizer(q.spacings, q.thresholds, bin_edges) for q in quantizers]
        for quantizers in (bundle.latent_quantizers, bundle.hyper_quantizers)
    ]
    if rows:
        offsets = (
            rng.integers(0, q.spacings[len(q.spacings) // 2] // 2, (2, prior_of(bundle.config).table_count))
            for q in plain[0]
        )
        plain[0] = [FixedPointRows(q, *of_rows) for q, of_rows in zip(plain[0], offsets, strict=True)]
    save_bundle(path, bundle.config, bundle.params, 0.01, bundle.lambdas, *map(tuple, plain))
    return path


@pytest.fixture(scope="module")
def plain(tiny_model_file, tmp_path_factory):
    """The tiny model as one without rows."""
    bundle = load_bundle(tiny_model_file)
    path = tmp_path_factory.mktemp("plain") / "model.safetensors"
    latent_quantizers = tuple(quantizer.at_row(0) for quantizer in bundle.latent_quantizers)
    save_bundle(path, bundle.config, bundle.params, 0.01, bundle.lambdas, latent_quantizers, bundle.hyper_quantizers)
    return load_bundle(path)


@pytest.fixture(scope="module", params=[(True, "thresholds"), (True, "midpoints"), (False, "midpoints")])
def model_file(request, plain, tmp_path_factory):
    return with_options(plain, tmp_path_factory.mktemp("options") / "model.safetensors", *request.param)


@pytest.mark.parametrize("rate", [0, 1.3, 2])
def test_both_receivers_see_the_senders_symbols(model_file, photographs, rate):
    codec, decoder = Codec(load_bundle(model_file)), Decoder(load_receiver(model_file))
    image = photographs[0][:70]
    analysed = codec.analyse(image)
    (chosen,) = codec.encoder.choose([analysed], codec.bundle.rate_units(rate))
    data = codec.code(analysed, rate)
    hyper_symbols, symbols = decoder.symbols(data)
    np.testing.assert_array_equal(symbols, chosen.symbols.latent)
    np.testing.assert_array_equal(hyper_symbols, chosen.symbols.hyper_latent)
    decoded = codec.decompress(data)
    assert np.max(np.abs(decoder.decompress(data).astype(int) - decoded)) <= 1
    assert np.mean(np.abs(decoded.astype(int) - image)) < 20


def test_a_search_finds_what_costs_less_with_rows(plain, photographs, tmp_path):
    """The searches' levels, bits and decisions are those of the files that they make."""
    codec = Codec(load_bundle(with_options(plain, tmp_path / "rows.safetensors")))
    analysed = codec.analyse(photographs[1][::2, ::2])
    refined = codec.refine(analysed, 0, iterations=2, method="rounding")
    before, after = codec.encoder.choose([analysed, refined], 0)
    point = codec.searcher.operating_point(0)
    cost = lambda choice: codec.searcher._file_cost(analysed, choice, 0, point)
    assert cost(after) < cost(before)


def test_a_staircase_has_the_levels_of_each_row(plain, tmp_path):
    bundle = load_bundle(with_options(plain, tmp_path / "rows.safetensors"))
    quantizer, _ = bundle.quantizers_at(0)
    staircase = Staircase.of(
        quantizer, np.ones((prior_of(bundle.config).table_count, quantizer.symbol_count), np.int64)
    )
    rng = np.random.default_rng(1)
    row, values = rng.integers(0, prior_of(bundle.config).table_count, 300), rng.normal(0, 5, 300).astype(np.float32)
    distances = np.abs(quantizer.row_levels()[row] - values[:, None])
    nearest = np.asarray(staircase.nearest(values, row))
    np.testing.assert_array_equal(nearest, distances.argmin(axis=1))
    np.testing.assert_array_equal(staircase.level(nearest, row), quantizer.levels_of(nearest, row))
    below = np.asarray(staircase.below(values, row))
    assert np.all((below == nearest) | (below + 1 == nearest))
    inside = (below > 0) & (below < quantizer.symbol_count - 2)
    low, high = staircase.level(below, row), staircase.level(below + 1, row)
    assert np.all(((low <= values) & (values <= high))[inside]) and np.mean(inside) > 0.5


def test_options_are_part_of_the_fingerprint(plain, tmp_path):
    files = [with_options(plain, tmp_path / "plain", False), with_options(plain, tmp_path / "rows")]
    files.append(with_options(plain, tmp_path / "midpoints", False, "midpoints"))
    fingerprints = [load_receiver(file).fingerprint for file in files]
    assert fingerprints[0] == plain.fingerprint and len(set(fingerprints)) == 3


def test_rows_that_a_model_lacks_are_damage(plain, tmp_path):
    quantizers = [
        FixedPointRows(quantizer, *np.zeros((2, prior_of(plain.config).table_count - 1), np.int64))
        for quantizer in plain.latent_quantizers
    ]
    path = tmp_path / "short.safetensors"
    save_bundle(path, plain.config, plain.params, 0.01, plain.lambdas, tuple(quantizers), plain.hyper_quantizers)
    with pytest.raises(LicError, match="its dead zones are not for 3 rates and 64 coding tables"):
        load_bundle(path)


def test_unknown_bin_edges_are_refused(plain, tmp_path):
    tree, metadata = load_weights(with_options(plain, tmp_path / "model", False, "midpoints"))
    metadata["bin_edges"] = "middles"
    save_file(flatten(tree), tmp_path / "other", json.loads(json.dumps(metadata)))
    with pytest.raises(LicError, match="damaged"):
        load_receiver(tmp_path / "other")
