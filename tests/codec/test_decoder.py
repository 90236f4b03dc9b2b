import dataclasses
import importlib.util
import os
import subprocess
import sys
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from lic_jax.cli import main as cli
from lic_jax.codec.codec import Codec
from lic_jax.codec.decoder import Decoder, SymbolDecoder
from lic_jax.codec.loading import load_decoder
from lic_jax.config import ModelConfig
from lic_jax.errors import LicError
from lic_jax.io import container
from lic_jax.transforms import bands, receiver
from lic_jax.transforms.description import halo
from lic_jax.zoo.bundle import Bundle, load_bundle

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def codec(tiny_model_file):
    return Codec(load_bundle(tiny_model_file))


@pytest.fixture(scope="module")
def decoder(tiny_model_file):
    return Decoder(load_bundle(tiny_model_file))


def largest_difference(first, second):
    assert first.shape == second.shape and first.dtype == second.dtype == np.uint8
    return np.max(np.abs(first.astype(int) - second))


@pytest.mark.parametrize("size", [(1, 1), (64, 64), (65, 63), (96, 128), (40, 130)])
@pytest.mark.parametrize("rate", [0, 1.3, 2])
def test_numpy_decodes_what_jax_does(codec, decoder, photographs, size, rate):
    image = np.resize(photographs[0], (*size, 3))
    data = codec.compress(image, rate)
    assert largest_difference(decoder.decompress(data), codec.decompress(data)) <= 1


@st.composite
def shallow_models(draw):
    """Architectures of every shallow kind, of any widths and kernels."""
    synthesis = draw(st.sampled_from(["jpeg_like", "two_layer", "two_layer_gain", "two_layer_residual"]))
    kernels = (
        [draw(st.integers(16, 33))] if synthesis == "jpeg_like" else [draw(st.integers(8, 20)), draw(st.integers(2, 7))]
    )
    return ModelConfig(
        analysis="linear",
        latent_channels=draw(st.integers(4, 30)),
        hyper_channels=draw(st.integers(2, 9)),
        hyper_synthesis=draw(st.sampled_from(["standard", "jpeg_like"])),
        synthesis=synthesis,
        synthesis_channels=draw(st.integers(1, 20)),
        synthesis_kernels=tuple(kernels),
    )


@settings(max_examples=5, derandomize=True)
@given(shallow_models(), st.integers(0, 99))
def test_random_models_decode_alike(codec, config, seed):
    import jax

    from lic_jax.entropy.priors.integers import to_integers
    from lic_jax.model import CodecModel

    rng = np.random.default_rng(seed)
    shapes = jax.eval_shape(CodecModel(config).init, jax.random.key(0), np.zeros((1, 64, 64, 3), np.float32))
    params = jax.tree.map(lambda leaf: rng.normal(0, 0.05, leaf.shape).astype(np.float32), shapes["params"])
    hyper_latents = np.rint(rng.normal(0, 5, (16, 2, 2, config.hyper_channels)))
    config, integers = to_integers(params["hyper_synthesis"], config, hyper_latents)
    bundle = dataclasses.replace(codec.bundle, config=config, params={**params, "hyper_synthesis": integers})
    decoder = Decoder(bundle)
    data = benchmark("memory").random_stream(decoder, 288, 128, 1)
    last = max(name for name in params["synthesis"] if name.startswith("layer"))
    bundle.params["synthesis"][last]["kernel"] *= 40 / np.std(decoder.decompress(data))  # few pixels are clipped
    decoder = Decoder(bundle)
    expected = Codec(bundle).decompress(data)
    assert np.mean((expected > 0) & (expected < 255)) > 0.5
    for band_pixels in (bands.BAND_PIXELS, 64 * 128):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(bands, "BAND_PIXELS", band_pixels)
            assert largest_difference(decoder.decompress(data), expected) <= 1


def test_bands_make_no_difference(codec, decoder, photographs, monkeypatch):
    image = np.concatenate([*photographs[:5]], axis=0)[:450]
    data = codec.compress(image, 2)
    whole, symbols = decoder.decompress(data), decoder.symbols(data)
    for band_pixels in (1, 64 * 128, 3 * 64 * 128):
        monkeypatch.setattr(bands, "BAND_PIXELS", band_pixels)
        assert largest_difference(decoder.decompress(data), whole) <= 1
        for found, expected in zip(decoder.symbols(data), symbols, strict=True):
            np.testing.assert_array_equal(found, expected)


def test_bands_bound_the_memory(decoder, monkeypatch):
    """Beyond the image and its symbols, memory is a band's: an eighth of the image takes far less than all at once."""
    data = benchmark("memory").random_stream(decoder, 512, 1024, 1)
    peaks = []
    for band_pixels in (512 * 1024, 64 * 1024):
        monkeypatch.setattr(bands, "BAND_PIXELS", band_pixels)
        tracemalloc.start()
        decoder.decompress(data)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < peaks[0] / 3


@pytest.mark.parametrize("band_pixels", [1, bands.BAND_PIXELS])
def test_a_model_may_have_more_tables_than_a_byte_counts(monkeypatch, band_pixels):
    monkeypatch.setattr(bands, "BAND_PIXELS", band_pixels)
    config = ModelConfig(prior="factorized", latent_channels=300, synthesis="jpeg_like", synthesis_channels=())
    synthesis = {"layer_0": {"kernel": np.zeros((18, 18, 3, 300), np.float32), "bias": np.zeros(3, np.float32)}}
    decoder = Decoder(Bundle(config, {"synthesis": synthesis}, 0.01, (), (), (), b""))
    _, index = decoder.symbol_decoder.mean_and_table_index(np.zeros((1, 2, 1, 0), np.float32))
    np.testing.assert_array_equal(index, np.broadcast_to(np.arange(300), (1, 8, 4, 300)))


def benchmark(name):
    """A benchmark's own functions."""
    spec = importlib.util.spec_from_file_location(name, ROOT / "benchmarks" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("synthesis", "kernels", "rows"),
    [("two_layer", (13, 5), 1), ("two_layer", (8, 5), 1), ("two_layer", (26, 5), 2), ("jpeg_like", (18,), 1)],
)
def test_a_pixel_sees_as_far_as_the_halo_and_no_further(synthesis, kernels, rows):
    width = (3,) if synthesis == "jpeg_like" else (2, 3)
    layers = {
        f"layer_{index}": {"kernel": np.ones((size, size, out, 2), np.float32), "bias": np.zeros(out, np.float32)}
        for index, (size, out) in enumerate(zip(kernels, width, strict=True))
    }
    layers["inverse_gdn"] = {"beta_root": np.ones(2, np.float32), "gamma_root": np.ones((2, 2), np.float32)}
    widths = {"latent_channels": 2, "synthesis_channels": 2, "synthesis_kernels": kernels}
    config = ModelConfig(prior="factorized", synthesis=synthesis, **widths)
    run = receiver.synthesis(synthesis, config.synthesis_layers, layers)
    latent = np.zeros((1, 9, 3, 2), np.float32)
    latent[:, 4] = 1
    seen = np.flatnonzero(np.any(run(latent) != 0, axis=(0, 2, 3))) // 16
    assert (4 - seen.min(), seen.max() - 4) == (rows, rows) and halo(config.synthesis_layers) == rows


def test_symbols_sought_in_pieces_are_the_same(codec, decoder, photographs, monkeypatch):
    from lic_jax.entropy.coders import constriction_coder

    data = codec.compress(photographs[0], 2)
    expected = decoder.decompress(data)
    monkeypatch.setattr(constriction_coder, "_CHUNK", 100)
    assert codec.compress(photographs[0], 2) == data
    np.testing.assert_array_equal(decoder.decompress(data), expected)


@pytest.mark.parametrize("size", [(1, 1), (96, 128)])
def test_a_transcoded_stream_has_the_same_symbols(codec, decoder, photographs, size):
    """From one coder to the other and back: the very bytes again, and both decoders read both."""
    data = codec.compress(np.resize(photographs[0], (*size, 3)), 1.3)
    assert decoder.transcode(data, "constriction") == data
    pytest.importorskip("tensorflow_compression", reason="needs the extra tfc (make test-tfc)")
    other = decoder.transcode(data, "tfc")
    assert container.unpack(other).coder == "tfc"
    assert other == codec.compress(np.resize(photographs[0], (*size, 3)), 1.3, coder="tfc")
    assert decoder.transcode(other, "constriction") == data
    for either in (codec, decoder):
        np.testing.assert_array_equal(either.decompress(other), either.decompress(data))


def test_a_deep_models_stream_is_transcoded_without_jax(codec, photographs):
    """Symbols take no synthesis."""
    bundle = dataclasses.replace(
        codec.bundle, config=dataclasses.replace(codec.bundle.config, synthesis="cnn", synthesis_channels=(4, 4, 4))
    )
    data = codec.compress(photographs[0], 1)
    assert SymbolDecoder(bundle).transcode(data, "constriction") == data
    with pytest.raises(LicError, match="cnn synthesis needs JAX"):
        Decoder(bundle)


def test_a_deep_synthesis_needs_jax(codec, tiny_config):
    config = ModelConfig(**{**vars(tiny_config), "synthesis": "elic", "synthesis_channels": (4, 4, 4)})
    with pytest.raises(LicError, match="elic synthesis needs JAX"):
        Decoder(dataclasses.replace(codec.bundle, config=config))


def test_another_models_stream_is_refused(codec, photographs):
    with pytest.raises(LicError, match="made by model"):
        load_decoder().decompress(codec.compress(photographs[0], 1))


@pytest.fixture(scope="module")
def bare(tmp_path_factory):
    """A folder with this package, NumPy, constriction and Pillow, for a Python that sees nothing else."""
    import constriction
    import PIL

    site = tmp_path_factory.mktemp("site")
    (site / "lic_jax").symlink_to(ROOT / "lic_jax")
    for module in (np, constriction, PIL):
        folder = Path(module.__file__).parent
        (site / folder.name).symlink_to(folder)
        for libraries in folder.parent.glob(f"{ {'PIL': 'pillow'}.get(folder.name, folder.name) }.libs"):
            (site / libraries.name).symlink_to(libraries)
    return site


def run_bare(site, *arguments):
    code = (
        f"import sys; sys.path = [{str(site)!r}, *(p for p in sys.path if 'packages' not in p and p)]; "
        "from lic_jax.cli.main import main; code = main(sys.argv[1:]); "
        "foreign = {'jax', 'flax', 'tyro', 'safetensors', 'jaxtyping', 'scipy', 'PIL.WebPImagePlugin'}; "
        "print('FOREIGN', sorted(foreign & set(sys.modules))); "
        "sys.exit(code)"
    )
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    return subprocess.run(
        [sys.executable, "-S", "-E", "-c", code, *map(str, arguments)], capture_output=True, text=True, env=environment
    )


def test_a_device_without_any_framework_decodes(bare, photographs, codec, tiny_model_file, tmp_path):
    data = codec.compress(photographs[3], 1.5)
    (tmp_path / "a.lic").write_bytes(data)
    process = run_bare(bare, "decompress", tmp_path / "a.lic", tmp_path / "a.png", "--model", tiny_model_file)
    assert (process.returncode, process.stdout) == (0, "FOREIGN []\n"), process.stderr
    assert largest_difference(np.asarray(Image.open(tmp_path / "a.png")), codec.decompress(data)) <= 1
    process = run_bare(bare, "info", tmp_path / "a.lic")
    assert process.returncode == 0 and "FOREIGN []" in process.stdout
    arguments = ("--coder", "constriction", "--model", tiny_model_file)
    process = run_bare(bare, "transcode", tmp_path / "a.lic", tmp_path / "b.lic", *arguments)
    assert process.returncode == 0 and "FOREIGN []" in process.stdout, process.stderr
    assert (tmp_path / "b.lic").read_bytes() == data
    process = run_bare(bare, "compress", tmp_path / "a.png", tmp_path / "b.lic")
    assert process.returncode == 2 and "this installation only decodes" in process.stderr


def test_a_decoder_leaves_the_encoders_weights_on_the_disk(tiny_model_file):
    assert load_decoder(tiny_model_file).bundle.params.keys() == {"hyper_prior", "hyper_synthesis", "synthesis"}


def test_the_shipped_models_streams_decode_in_numpy(photographs):
    from lic_jax.codec.codec import load

    data = load().compress(photographs[1], 2.5)
    assert largest_difference(load_decoder().decompress(data), load().decompress(data)) <= 1


def test_the_command_line_of_a_device_that_only_decodes(capsys, tmp_path):
    for arguments in (["decompress", "--help"], ["info", "--help"], ["transcode", "--help"]):
        with pytest.raises(SystemExit) as stopped:
            cli.main(arguments)
        assert stopped.value.code == 0
    assert cli.main(["info", str(tmp_path / "none")]) == 2
    with pytest.raises(SystemExit) as stopped:
        cli.main(["decompress", "only-one"])
    assert stopped.value.code == 2
