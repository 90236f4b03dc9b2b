"""The whole published models, from the uint8 image to bits and reconstruction."""

import functools
import json
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import log_ndtr

from lic_jax.cli import main as cli
from lic_jax.codec.codec import Codec
from lic_jax.codec.decoder import Decoder
from lic_jax.codec.encoder import pad_to_multiple
from lic_jax.distortion.base import to_network_domain
from lic_jax.entropy.priors.gaussian import scale_of_index
from lic_jax.entropy.priors.integers import integer_hyper_synthesis, to_integers
from lic_jax.errors import LicError
from lic_jax.evaluation.metrics import psnr
from lic_jax.model import CodecModel
from lic_jax.training.anchor_objective import bits
from lic_jax.training.deployment import in_fixed_point
from lic_jax.training.refit import start_quantizers
from lic_jax.training.settings import RefitSettings
from lic_jax.transforms.description import kernel_sizes, uses
from lic_jax.transforms.hyper_transforms import standard_analysis
from lic_jax.zoo.bundle import load_bundle, save_bundle
from lic_jax.zoo.published.arrays import load_published, params_in_order, published_config
from lic_jax.zoo.weights import anchor_metadata, load_weights, save_weights

NAMES = ("cnn_jpeg_like", "elic_two_layer_res")


def relative_error(found, expected):
    found, expected = np.asarray(found, np.float64), np.asarray(expected, np.float64)
    assert found.shape == expected.shape
    return np.max(np.abs(found - expected)) / np.max(np.abs(expected))


@pytest.fixture(scope="module", params=NAMES)
def published(request, reference):
    """(the numbers to agree with, ours)."""
    path = reference / f"{request.param}.npz"
    config, params = load_published(path)
    model = CodecModel(config)
    with np.load(path) as file:
        expected = {name: file[name] for name in file if not name.startswith("weights/")}

    def run(image):
        variables = {"params": params}
        latent, hyper_latent = model.apply(variables, image, method="encode")
        rounded = jnp.round(hyper_latent)
        hyper_mass = model.apply(variables, rounded - 0.5, rounded + 0.5, method="hyper_mass")
        mean, index = model.apply(variables, rounded, None, 0, method="predict_stage")
        residual = jnp.round(latent - mean)
        scale = scale_of_index(index)
        return {
            "latent": latent,
            "hyper_latent": hyper_latent,
            "hyper_latent_quantized": rounded,
            "loc": mean,
            "scale_index": index,
            "effective_scale": scale,
            "latent_mass": model.apply(variables, residual - 0.5, residual + 0.5, index, method="latent_mass"),
            "latent_quantized": mean + residual,
            "hyper_latent_bits": jnp.sum(bits(hyper_mass), keepdims=True).ravel(),
            "residual": residual,
            "reconstruction": model.apply(variables, mean + residual, method="decode"),
        }

    image = expected["image"]
    found = jax.jit(run)(to_network_domain(pad_to_multiple(image)[None]))
    height, width, _ = image.shape
    found["reconstruction"] = found["reconstruction"][:, :height, :width]
    expected["scale_index"] = np.minimum(expected["scale_index"], 63)  # stored before clipping
    return expected, found


@pytest.mark.parametrize(
    "name",
    [
        *("latent", "hyper_latent", "hyper_latent_quantized", "loc", "scale_index", "effective_scale"),
        *("latent_quantized", "hyper_latent_bits", "reconstruction"),
    ],
)
def test_every_step_agrees_with_the_published_model(published, name):
    expected, found = published
    assert relative_error(found[name], np.reshape(expected[name], found[name].shape)) < 1e-4


def test_the_bits_of_the_latent_agree(published):
    """The published ones have no lower bound of likelihoods, so they are summed in float64, in the log domain."""
    expected, found = published
    magnitude, scale = (np.asarray(np.abs(found[name]), np.float64) for name in ("residual", "effective_scale"))
    inner, outer = log_ndtr((0.5 - magnitude) / scale), log_ndtr((-0.5 - magnitude) / scale)
    found_bits = -np.sum(inner + np.log1p(-np.exp(outer - inner))) / np.log(2)
    assert found_bits == pytest.approx(expected["latent_bits"][0], rel=1e-4)
    likely = found["latent_mass"] > 1e-6  # where ours, which are bounded, agree with these
    likely_bits = -(inner + np.log1p(-np.exp(outer - inner)))[likely] / np.log(2)
    assert np.sum(likely) > 700
    np.testing.assert_allclose(bits(found["latent_mass"][likely]), likely_bits, rtol=1e-4, atol=1e-6)


def test_a_published_model_is_a_codec_once_its_hyper_synthesis_is_in_integers(reference, tmp_path):
    path = reference / "cnn_jpeg_like.npz"
    config, params = load_published(path)
    with np.load(path) as file:
        image, hyper_latent, index = (file[name] for name in ("image", "hyper_latent_quantized", "scale_index"))
    config, integers = to_integers(params["hyper_synthesis"], config, hyper_latent)
    _, found = integer_hyper_synthesis(np, integers, config)(hyper_latent)
    nearest = np.rint(np.clip(index, 0, 63)).reshape(found.shape)
    assert np.mean(np.abs(found - nearest) <= 1) > 0.99 and np.mean(found == nearest) > 0.8

    settings = RefitSettings(lambdas=(0.01, 0.02), latent_components=30, hyper_components=30)
    quantizers = in_fixed_point(start_quantizers(config, settings, 0.01))
    params = {**params, "hyper_synthesis": integers}
    save_bundle(tmp_path / "codec.safetensors", config, params, 0.01, settings.lambdas, *quantizers)
    bundle = load_bundle(tmp_path / "codec.safetensors")
    codec = Codec(bundle)
    analysed = codec.analyse(image)
    hyper_symbols, symbols = Decoder(bundle).symbols(codec.code(analysed, 0))
    np.testing.assert_array_equal(hyper_symbols, bundle.hyper_quantizers[0].symbols(analysed.hyper_latent))
    hyper_latent = bundle.hyper_quantizers[0].levels()[hyper_symbols]
    mean, index = integer_hyper_synthesis(np, integers, config)(hyper_latent)
    quantizer = bundle.latent_quantizers[0]
    np.testing.assert_array_equal(symbols, quantizer.symbols(analysed.latent - mean, index.astype(int)))


def test_a_published_model_is_trained_on_refitted_and_codes(
    reference, photographs, photograph_folder, tmp_path, training_works
):
    """What `lic import` writes: the arrays are these (`test_training_folder`)."""
    config, params = load_published(reference / "cnn_jpeg_like.npz")
    save_weights(tmp_path / "imported.safetensors", params, anchor_metadata(config, 0.02))
    steps = ("--steps", "1", "--hyperprior-steps", "0", "--crop-size", "64", "--batch-size", "2")
    start = ("--start", tmp_path / "imported.safetensors")
    assert cli.main(list(map(str, ("train", photograph_folder, "--out", tmp_path / "run", *start, *steps)))) == 0
    anchor, model = tmp_path / "run" / "anchor.safetensors", tmp_path / "model.safetensors"
    trained, metadata = load_weights(anchor)
    assert float(metadata["rd_lambda"]) == 0.02
    moved = jax.tree.map(lambda new, old: np.max(np.abs(new - old)), trained, params)
    assert 0 < max(jax.tree.leaves(moved)) < 1e-2
    refit = ("--lambdas", "0.02", "--steps", "1", "--crop-size", "64", "--batch-size", "2")
    assert cli.main(list(map(str, ("refit", anchor, photograph_folder, "--out", model, *refit)))) == 0
    codec = Codec(load_bundle(model))
    image = codec.decompress(codec.compress(photographs[0], 0))
    assert psnr(image, photographs[0]) > 20


def test_any_published_transforms_have_a_configuration():
    config = published_config(
        {
            "analysis": {"cls": "MBT2018Analysis", "channels_base": 192, "output_channels": 320},
            "synthesis": {"cls": "TwoLayerSynthesis", "channels": [24, 3], "kernel_sizes": [13, 5]},
            "hyper_synthesis": {"cls": "JPEGLikeHyperSynthesis"},
        }
    )
    assert (config.analysis, config.synthesis, config.hyper_synthesis) == ("gdn", "two_layer", "jpeg_like")
    assert (config.analysis_channels, config.latent_channels) == ((192, 192, 192), 320)
    assert (config.synthesis_channels, kernel_sizes(config.synthesis_layers)) == ((24,), (13, 5))
    for description, message in (
        ({"cls": "Nonsense"}, "published synthesis 'Nonsense' is unknown.*TwoLayerResSynthesis"),
        ({"cls": "TwoLayerResSynthesis", "res_type": "d2s"}, "res_type = d2s"),
        ({"cls": "TwoLayerSynthesis", "strides": [4, 4]}, "strides"),
    ):
        with pytest.raises(LicError, match=message):
            published_config({"analysis": {"cls": "CNNAnalysis", "channels_base": 8}, "synthesis": description})
    analysis = {"cls": "CNNAnalysis", "channels_base": 8, "activation_type": "gdn"}
    with pytest.raises(LicError, match="CNNAnalysis with activation_type = gdn"):
        published_config({"analysis": analysis, "synthesis": {"cls": "JPEGLikeSynthesis"}})


@pytest.mark.parametrize(
    ("analysis", "synthesis", "hyper_synthesis"),
    [
        ("CNNAnalysis", "CNNSynthesis", "HyperSynthesis"),
        ("MBT2018Analysis", "MBT2018Synthesis", "JPEGLikeHyperSynthesis"),
        ("ElicAnalysis", "ElicSynthesis", "HyperSynthesis"),
        ("CNNAnalysis", "TwoLayerSynthesis", "JPEGLikeHyperSynthesis"),
    ],
)
def test_arrays_in_the_order_of_the_signal_path_load(analysis, synthesis, hyper_synthesis, tmp_path):
    description = {
        "analysis": {"cls": analysis, "channels_base": 4, "output_channels": 6},
        "synthesis": {"cls": synthesis, **({} if "Two" in synthesis else {"channels_base": 4})},
        "hyper_synthesis": {"cls": hyper_synthesis},
    }
    config, rng = published_config(description), np.random.default_rng(0)
    model, image = CodecModel(config), jnp.zeros((1, 64, 64, 3))
    shapes = jax.eval_shape(model.init, jax.random.key(0), image)["params"]
    arrays = {}
    channels = config.latent_channels
    parts = {"analysis": (config.analysis_layers, 3), "hyper_analysis": (standard_analysis(config), channels)}
    parts |= {"hyper_synthesis": (config.hyper_synthesis_layers, channels)}
    parts |= {"synthesis": (config.synthesis_layers, channels)}
    for part, (layers, inputs) in parts.items():
        for use in uses(layers, inputs):
            of_layer = functools.reduce(dict.__getitem__, (part, *use.path), shapes)
            for name in sorted(of_layer, key=["kernel", "bias", "beta_root", "gamma_root"].index):
                array = rng.normal(size=of_layer[name].shape).astype(np.float32)
                arrays[f"weights/{part}/{len(arrays):03}.{name}"] = array
    for name, leaf in shapes["hyper_prior"].items():
        arrays[f"weights/prior/{len(arrays):03}.{name}"] = rng.normal(size=leaf.shape).astype(np.float32)
    np.savez(tmp_path / "model.npz", **arrays)
    (tmp_path / "model.json").write_text(json.dumps(description))
    found, params = load_published(tmp_path / "model.npz")
    assert found == config
    assert jax.tree.map(np.shape, params) == jax.tree.map(lambda leaf: leaf.shape, shapes)
    for part in ("analysis", "hyper_analysis", "hyper_synthesis", "synthesis"):
        in_order = [array for name, array in arrays.items() if name.startswith(f"weights/{part}/")]
        in_signal_order = uses(*parts[part])
        for use, array in ((in_signal_order[0], in_order[0]), (in_signal_order[-1], in_order[-2])):
            found = functools.reduce(dict.__getitem__, (part, *use.path), params)["kernel"]
            np.testing.assert_array_equal(found, array)


def test_weights_that_do_not_fit_are_named(reference, tmp_path):
    path = tmp_path / "model.npz"
    shutil.copy(reference / f"{NAMES[0]}.npz", path)
    described = json.loads((reference / f"{NAMES[0]}.json").read_text())
    described["analysis"]["channels_base"] = 8
    path.with_suffix(".json").write_text(json.dumps(described))
    with pytest.raises(
        LicError,
        match=r"analysis/convolution_0/kernel has shape \[5, 5, 3, 16\], its configuration needs \[5, 5, 3, 8\]",
    ):
        load_published(path)
    described["analysis"] = {"cls": "MBT2018Analysis", "channels_base": 16, "output_channels": 24}
    path.with_suffix(".json").write_text(json.dumps(described))
    with pytest.raises(
        LicError, match=r"analysis has 8 arrays, its configuration needs 14: analysis/\S*beta_root is missing"
    ):
        load_published(path)
    path.with_suffix(".json").unlink()
    with pytest.raises(LicError, match="cannot be read"):
        load_published(path)


def test_a_missing_prior_is_named(reference):
    config, params = load_published(reference / f"{NAMES[0]}.npz")
    arrays = {
        part: {f"{layer}/{name}": leaf for layer, of_layer in params[part].items() for name, leaf in of_layer.items()}
        for part in ("analysis", "hyper_analysis", "hyper_synthesis", "synthesis")
    }
    with pytest.raises(LicError, match="no bias_0"):
        params_in_order(config, arrays, {})
