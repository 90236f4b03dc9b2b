"""The model with the factorized prior alone, from photographs to pixels: trained, refitted and used by its commands."""

import dataclasses
import json
from functools import partial

import jax
import numpy as np
import pytest
from PIL import Image
from scipy.special import expit

from lic_jax.cli import main as cli
from lic_jax.codec.codec import Codec
from lic_jax.codec.decoder import Decoder
from lic_jax.config import ModelConfig
from lic_jax.entropy.priors.density import FactorizedDensity
from lic_jax.entropy.priors.factorized import Factorized
from lic_jax.entropy.priors.hyperprior import Hyperprior
from lic_jax.errors import LicError
from lic_jax.evaluation.metrics import psnr
from lic_jax.io import container
from lic_jax.io.tables import read_csv
from lic_jax.model import CodecModel
from lic_jax.quantization.fixed_point import UNIT
from lic_jax.training import klt
from lic_jax.training.anchor import started_from
from lic_jax.training.loop import LogRow
from lic_jax.zoo.bundle import load_bundle, save_bundle
from lic_jax.zoo.weights import flatten, load_weights, save_weights

CONFIG = ModelConfig(prior="factorized", analysis="linear", latent_channels=12, synthesis="jpeg_like")


def run(*arguments):
    assert cli.main(list(map(str, arguments))) == 0


@pytest.fixture(scope="module")
def trained(training_works, photograph_folder, tmp_path_factory):
    """What a few steps of `lic train` leave."""
    out = tmp_path_factory.mktemp("training")
    model = ["--prior", "factorized", "--analysis", "linear", "--latent-channels", 12]
    model += ["--synthesis", "jpeg_like", "--synthesis-kernels", 18]
    steps = ["--hyperprior-steps", 2, "--steps", 4, "--validate-every", 2, "--crop-size", 64, "--batch-size", 2]
    run("train", photograph_folder, "--out", out, *model, *steps)
    return out


@pytest.fixture(scope="module")
def model_file(trained, photograph_folder, tmp_path_factory):
    """What a few steps of `lic refit` make of that."""
    path = tmp_path_factory.mktemp("model") / "factorized.safetensors"
    options = ["--lambdas", 0.0025, 0.04, "--steps", 2, "--crop-size", 64, "--batch-size", 2]
    run("refit", trained / "anchor.safetensors", photograph_folder, "--out", path, *options)
    return path


@pytest.fixture(scope="module")
def bundle(model_file):
    return load_bundle(model_file)


@pytest.fixture(scope="module")
def codec(bundle):
    return Codec(bundle)


@pytest.fixture(scope="module")
def decoder(bundle):
    return Decoder(bundle)


def cumulative(prior, edges):
    """F(edge) of every channel, [edges, channels]: Ballé et al. 2018, appendix 6.1, in NumPy and SciPy."""
    hidden = np.broadcast_to(np.asarray(edges, np.float64)[:, None, None], (len(edges), len(prior["bias_0"]), 1))
    for layer in range(3):
        weights = np.logaddexp(0, prior[f"matrix_{layer}"].astype(np.float64))
        hidden = np.einsum("coi,eci->eco", weights, hidden) + prior[f"bias_{layer}"]
        if layer < 2:
            hidden = hidden + np.tanh(prior[f"factor_{layer}"]) * np.tanh(hidden)
    return expit(hidden[..., 0])


def test_a_name_chooses_the_model():
    assert isinstance(CodecModel(CONFIG).prior, Factorized)
    assert isinstance(CodecModel(ModelConfig()).prior, Hyperprior)
    assert ModelConfig.from_json(CONFIG.to_json()) == CONFIG and CONFIG.hyper_channels == 0


def test_the_prior_learns_first_and_then_everything(trained):
    rows = read_csv(trained / "log.csv", LogRow)
    assert [(row.stage, row.step) for row in rows] == [("factorized", 2), ("everything", 4)]
    assert all(row.held_out_psnr_db > 15 for row in rows)
    tree, _ = load_weights(trained / "anchor.safetensors")
    assert set(tree) == {"analysis", "latent_prior", "synthesis"}


def test_the_klt_start_knows_each_channels_spread(monkeypatch):
    """About 72 % of a logistic density lie within its standard deviation; all start with one of 18."""
    spread = np.geomspace(40, 0.2, 12)
    monkeypatch.setattr(klt, "principal_axes", lambda *_: (np.eye(768, 12), spread * klt.optimal_step(0.01)))
    nothing = np.zeros((1, 12), np.float32)
    prior = jax.jit(FactorizedDensity(12).init)(jax.random.key(0), nothing, nothing)["params"]
    transforms = {"analysis": {}, "synthesis": {"layer_0": {"kernel": np.zeros((18, 18, 3, 12))}}}
    params = klt.klt_start({**transforms, "latent_prior": prior}, CONFIG, [], 0.01, seed=0)
    probabilities = cumulative(params["latent_prior"], np.concatenate([-spread, spread]))
    within = np.diagonal(probabilities[12:]) - np.diagonal(probabilities[:12])
    assert np.all((within > 0.6) & (within < 0.8))


def test_a_hyperpriors_anchor_can_be_started_from(trained, tmp_path):
    """Its transforms are taken over, the prior begins anew."""
    params, _ = load_weights(trained / "anchor.safetensors")
    anchor = {part: jax.tree.map(lambda leaf: leaf + 1, params[part]) for part in ("analysis", "synthesis")}
    save_weights(tmp_path / "anchor.safetensors", {**anchor, "hyper_prior": params["latent_prior"]}, {})
    started = started_from(params, tmp_path / "anchor.safetensors")
    jax.tree.map(np.testing.assert_array_equal, started, {**anchor, "latent_prior": params["latent_prior"]})


@pytest.mark.parametrize("size", [(1, 1), (64, 64), (65, 63), (96, 128)])
@pytest.mark.parametrize("rate", [0, 0.3, 1])
def test_both_receivers_see_the_senders_symbols(codec, decoder, photographs, size, rate):
    image = np.resize(photographs[0], (*size, 3))
    analysed = codec.analyse(image)
    data = codec.code(analysed, rate)
    quantizer, _ = codec.bundle.quantizers_at(codec.bundle.rate_units(rate))
    hyper_symbols, symbols = decoder.symbols(data)
    assert hyper_symbols.size == 0 and container.unpack(data).hyper_latent == b""
    np.testing.assert_array_equal(symbols, quantizer.symbols(analysed.latent, np.arange(12)))
    decoded, in_numpy = codec.decompress(data), decoder.decompress(data)
    assert decoded.shape == in_numpy.shape == image.shape
    assert np.max(np.abs(decoded.astype(int) - in_numpy)) <= 1
    assert psnr(decoded, image) > 20


def test_bands_and_batches_make_no_difference(codec, decoder, photographs, monkeypatch):
    images = [np.concatenate(photographs[:3]), photographs[3][:70], photographs[4]]
    streams = codec.compress_batch(images, 1)
    assert streams == [codec.compress(image, 1) for image in images]
    expected = decoder.decompress(streams[0])
    monkeypatch.setattr("lic_jax.transforms.bands.BAND_PIXELS", 1)
    assert np.max(np.abs(decoder.decompress(streams[0]).astype(int) - expected)) <= 1


def test_bits_are_those_of_the_density(codec, photographs):
    """The model's masses and the stream's bytes, against the density written out: 1 % plus header and last words."""
    prior = codec.bundle.params["latent_prior"]
    quantizer = codec.bundle.quantizers_at(256)[0].at_row(0)  # all rows are alike
    image = np.concatenate(photographs[:8])
    analysed = codec.analyse(image)
    symbols = quantizer.symbols(analysed.latent)
    edges = np.concatenate([[-1e6], quantizer.thresholds * UNIT, [1e6]])
    masses = np.diff(cumulative(prior, edges), axis=0)
    expected = -np.sum(np.log2(masses[symbols, np.arange(12)]))

    edges = edges.astype(np.float32)
    masses_of = jax.jit(partial(CodecModel(CONFIG).apply, method="latent_mass"))
    found = masses_of({"params": codec.bundle.params}, edges[symbols], edges[symbols + 1], None)
    assert -np.sum(np.log2(np.asarray(found, np.float64))) == pytest.approx(expected, rel=1e-4)
    real = 8 * len(codec.code(analysed, 1))
    assert abs(real - expected) < 0.01 * expected + 8 * (container.HEADER_BYTES + 8)


@pytest.mark.parametrize("hyper_latent", [b"\0\0\0\0", bytes(8), b"not words", b"\xff" * 400])
def test_bytes_for_a_hyper_latent_that_is_none_are_refused(codec, decoder, photographs, hyper_latent):
    stream = container.unpack(codec.compress(photographs[0], 1))
    data = container.pack(dataclasses.replace(stream, hyper_latent=hyper_latent))
    for receiver in (codec, decoder):
        with pytest.raises(LicError, match=rf"segment of {len(hyper_latent)} bytes has no symbols to code[^\n]*$"):
            receiver.decompress(data)


@pytest.mark.parametrize(
    "change",
    [
        lambda params: params.pop("latent_prior"),
        lambda params: params["latent_prior"].update(factor_0=params["latent_prior"]["factor_0"][:5]),
        lambda params: params["synthesis"].pop("layer_0"),
    ],
)
def test_arrays_that_are_missing_or_of_another_shape_are_named(bundle, tmp_path, change):
    params = {part: dict(tree) for part, tree in bundle.params.items()}
    change(params)
    quantizers = bundle.latent_quantizers, bundle.hyper_quantizers
    save_bundle(tmp_path / "forged.safetensors", bundle.config, params, 0.01, bundle.lambdas, *quantizers)
    with pytest.raises(LicError, match=r"is damaged \(.* has shape"):
        load_bundle(tmp_path / "forged.safetensors")


def test_the_other_commands(model_file, photographs, tmp_path, capsys):
    folder = tmp_path / "photographs"
    folder.mkdir()
    Image.fromarray(photographs[0]).save(folder / "a.png")
    run("compress", folder / "a.png", tmp_path / "a.lic", "--model", model_file, "--rate", 1)
    run("decompress", tmp_path / "a.lic", tmp_path / "a.png", "--model", model_file)
    assert psnr(np.asarray(Image.open(tmp_path / "a.png")), photographs[0]) > 20
    run("evaluate", folder, "--model", model_file, "--rates", 1, "--csv", tmp_path / "rows.csv")
    assert "mean" in (tmp_path / "rows.csv").read_text()
    capsys.readouterr()
    run("info", tmp_path / "a.lic", "--json")
    assert json.loads(capsys.readouterr().out)["segments"]["hyper_latent"] == 0
    run("complexity", model_file, "--json")
    assert list(json.loads(capsys.readouterr().out)) == ["analysis", "synthesis", "encoding", "decoding"]
    run("complexity", model_file)
    rows = [line.split("  ")[0] for line in capsys.readouterr().out.splitlines()[1:]]
    assert rows == ["analysis", "synthesis", "encoding", "decoding"]


def test_the_file_holds_nothing_of_a_hyperprior(model_file):
    """But for the smallest quantizers that there are, one a rate."""
    tree, _ = load_weights(model_file)
    assert not [name for name in flatten(tree["params"]) if "hyper" in name]
    assert tree["quantizers"]["hyper_latent"]["thresholds"].shape == (2, 1)
