"""The C decoder against NumPy's: random models of every shallow kind, random streams, damaged and hostile ones."""

import os
import shutil
import struct
import subprocess
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from benchmarks.memory import random_stream
from lic_jax.cli.main import main
from lic_jax.codec import native_decoder
from lic_jax.codec.decoder import Decoder
from lic_jax.codec.loading import load_decoder
from lic_jax.codec.native_decoder import NativeDecoder, library
from lic_jax.config import ModelConfig
from lic_jax.entropy.priors.base import prior_of
from lic_jax.entropy.priors.integers import to_integers
from lic_jax.errors import LicError
from lic_jax.quantization.fixed_point import to_fixed_point
from lic_jax.quantization.fixed_rows import FixedPointRows
from lic_jax.transforms.description import parameter_shapes
from lic_jax.zoo import shipped
from lic_jax.zoo.bundle import Bundle, load_receiver
from lic_jax.zoo.receiver_file import to_receiver_file
from lic_jax.zoo.weights import unflatten

ROOT = Path(__file__).parents[2]
EXAMPLES = int(os.environ.get("LIC_NATIVE_EXAMPLES", "30"))

pytestmark = pytest.mark.skipif(library() is None, reason="the C decoder was not built: no C compiler")


@st.composite
def models(draw):
    """Configurations of every prior and every shallow synthesis, of any widths and kernels; and how to quantize."""
    synthesis = draw(st.sampled_from(["jpeg_like", "two_layer", "two_layer_gain", "two_layer_residual"]))
    kernels = (draw(st.integers(16, 33)),)
    if synthesis != "jpeg_like":
        kernels = draw(st.integers(8, 20)), draw(st.integers(2, 7))
    prior = draw(st.sampled_from(["hyperprior", "context", "factorized"]))
    config = ModelConfig(
        latent_channels=draw(st.integers(3, 70)),
        prior=prior,
        hyper_channels=draw(st.integers(2, 9)),
        hyper_synthesis="standard" if prior == "context" else draw(st.sampled_from(["standard", "jpeg_like"])),
        hyper_synthesis_channels=(draw(st.integers(1, 20)), draw(st.integers(1, 20))),
        scale_output=draw(st.sampled_from(["log_scale", "log_index"])),
        synthesis=synthesis,
        synthesis_channels=draw(st.integers(1, 40)),
        synthesis_kernels=kernels,
    )
    edges = draw(st.sampled_from(["thresholds", "midpoints"]))
    return config, edges, 2 * draw(st.integers(1, 60)), draw(st.booleans()), draw(st.booleans())


def bundle_of(model, rng) -> Bundle:
    """Draws the weights and quantizers of two rates."""
    config, edges, components, rows, alike = model
    hyper = [_quantizer(rng, 40, edges)] * 2 if alike else [_quantizer(rng, 40, edges) for _ in range(2)]
    config, params = _weights(config, rng)
    quantizers = [_quantizer(rng, components, edges) for _ in range(2)]
    if rows:
        tables = prior_of(config).table_count
        quantizers = [FixedPointRows(each, *rng.integers(0, 2000, (2, tables))) for each in quantizers]
    return Bundle(config, params, 0.01, (0.01, 0.02), tuple(quantizers), tuple(hyper), rng.bytes(4))


def _quantizer(rng, components, edges):
    gaps = rng.uniform(0.2, 1.5, components)
    thresholds = np.cumsum(gaps) - np.sum(gaps) / 2
    return to_fixed_point(gaps * rng.uniform(0.9, 1.1, components), thresholds, edges)


def _weights(config, rng):
    """Draws weights of every part that a receiver computes with; the networks in the arithmetic of a receiver."""
    shapes = {
        f"synthesis/{name}": shape
        for name, shape in parameter_shapes(config.synthesis_layers, config.latent_channels).items()
    }
    prior = prior_of(config)
    shapes |= {name: shape for name, shape in prior.receiver_shapes().items() if "hyper_synthesis" not in name}
    if config.has_hyper_latent:
        layers = parameter_shapes(config.hyper_synthesis_layers, config.hyper_channels)
        shapes |= {f"hyper_synthesis/{name}": shape for name, shape in layers.items()}
    spread = lambda name: 0.5 if "prior" in name else 0.15 if "synthesis/" not in name[:10] else 0.05
    tree = unflatten({name: rng.normal(0, spread(name), shape).astype(np.float32) for name, shape in shapes.items()})
    for name in ("gain", "inverse_gdn"):
        if name in tree["synthesis"]:
            largest = max(tree["synthesis"][name])
            tree["synthesis"][name] = {
                part: abs(leaf) + (part != largest) for part, leaf in tree["synthesis"][name].items()
            }
    if config.prior == "hyperprior":
        hyper_latents = np.rint(rng.normal(0, 5, (16, 2, 2, config.hyper_channels)))
        config, tree["hyper_synthesis"] = to_integers(tree["hyper_synthesis"], config, hyper_latents)
        return config, tree
    return prior.to_exact(tree, np.zeros((1, 1, 1, config.hyper_channels)))


@settings(max_examples=EXAMPLES, derandomize=EXAMPLES < 100, deadline=None)
@given(models(), st.integers(1, 150), st.integers(1, 150), st.integers(0, 256), st.integers(0, 999))
def test_c_decodes_what_numpy_does(model, height, width, rate_units, seed):
    rng = np.random.default_rng(seed)
    bundle = bundle_of(model, rng)
    decoder, native = Decoder(bundle), NativeDecoder(bundle)
    data = random_stream(decoder, height, width, rate_units / 256, seed)
    expected, found = decoder.decompress(data), native.decompress(data)
    differences = np.abs(expected.astype(int) - found)
    assert differences.max() <= 1 and np.mean(differences) < 0.01
    with pytest.MonkeyPatch.context() as patch:  # one thread or several, the same pixels
        patch.setattr(native_decoder, "_PIXELS_PER_THREAD", 1)
        native.threads = 1 + seed % 7
        np.testing.assert_array_equal(native.decompress(data), found)


@pytest.mark.parametrize("name", shipped.names())
def test_shipped_models_decode_alike(name):
    bundle = load_receiver(shipped.path_of(name))
    decoder, native = Decoder(bundle), load_decoder(name)
    assert isinstance(native, NativeDecoder)
    data = random_stream(decoder, 130, 200, 300 / 256)
    assert np.abs(decoder.decompress(data).astype(int) - native.decompress(data)).max() <= 1
    np.testing.assert_array_equal(native.symbols(data)[1], decoder.symbols(data)[1])


@settings(max_examples=EXAMPLES, deadline=None)
@given(st.integers(0, 999))
def test_damaged_code_is_refused_or_decodes_to_some_image(small, seed):
    """Checksums are right, symbols are not: nothing is read or written outside of the memory given."""
    native, data = small
    rng = np.random.default_rng(seed)
    damaged = bytearray(data)
    for _ in range(rng.integers(1, 9)):
        damaged[rng.integers(31, len(data))] ^= 1 << rng.integers(8)
    end = 31 + struct.unpack_from("<I", damaged, 15)[0]
    checksums = zlib.crc32(damaged[31:end], zlib.crc32(damaged[:23])), zlib.crc32(damaged[end:])
    damaged[23:31] = struct.pack("<II", *checksums)
    try:
        assert native.decompress(bytes(damaged)).shape == (70, 90, 3)
    except LicError as error:
        assert "damaged" in str(error)


@settings(max_examples=EXAMPLES, deadline=None)
@given(st.integers(0, 999))
def test_damaged_receiver_files_are_refused(small, seed):
    """Fields are changed and the checksum is right: a file is refused, or opened within the memory that it names."""
    rng = np.random.default_rng(seed)
    file = bytearray(to_receiver_file(small[0].bundle))
    for _ in range(rng.integers(1, 4)):
        file[rng.integers(20, 140)] = rng.integers(256)
    file[12:16] = struct.pack("<I", zlib.crc32(file[16:]))
    needed = library().lic_model_memory(bytes(file), len(file))
    assert needed < 1 << 34
    assert library().lic_model_memory(bytes(file[:-1]), len(file) - 1) == 0


@pytest.fixture(scope="module")
def small():
    bundle = load_receiver(shipped.path_of("small"))
    return NativeDecoder(bundle), random_stream(Decoder(bundle), 70, 90, 1)


def test_numpy_is_chosen_by_the_environment(monkeypatch):
    monkeypatch.setenv("LIC_DECODER", "numpy")
    assert isinstance(load_decoder("small"), Decoder)
    monkeypatch.setenv("LIC_DECODER", "fortran")
    with pytest.raises(LicError, match="LIC_DECODER is 'fortran', and no decoder; set it to c or numpy"):
        load_decoder("small")


@pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler")
def test_lic_decode_writes_the_same_image(small, tmp_path):
    """Built without optimization and with warnings as errors; a PNG and a PPM; errors in one line."""
    native, data = small
    program, model, stream = tmp_path / "lic-decode", tmp_path / "small.licr", tmp_path / "a.lic"
    sources = [ROOT / "native" / name for name in ("lic-decode.c", "lic.c", "threads.c")]
    flags = [
        "-std=c99",
        "-DLIC_THREADS=3",
        "-D_POSIX_C_SOURCE=200809L",
        "-pthread",
        "-O0",
        "-ffp-contract=off",
        "-Wall",
        "-Wextra",
        "-Werror",
    ]
    compiling = ["cc", *flags, *sources, "-o", program, "-lm"]
    if subprocess.run([*compiling, "-fsanitize=undefined,address"], stderr=subprocess.DEVNULL).returncode:
        subprocess.run(compiling, check=True)  # a compiler without sanitizers
    assert main(["export-receiver", "small", str(model)]) == 0
    stream.write_bytes(data)
    for name in ("a.png", "a.ppm"):
        subprocess.run([program, model, stream, tmp_path / name], check=True)
        assert np.abs(np.asarray(Image.open(tmp_path / name), int) - native.decompress(data)).max() <= 1
    stream.write_bytes(data[:-1])
    failed = subprocess.run([program, model, stream, tmp_path / "b.png"], capture_output=True, text=True)
    assert failed.returncode == 2 and failed.stderr.count("\n") == 1 and "truncated" in failed.stderr
    assert not (tmp_path / "b.png").exists()
