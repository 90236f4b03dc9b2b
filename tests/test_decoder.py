import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lic_jax import cli
from lic_jax.codec import Codec
from lic_jax.config import ModelConfig
from lic_jax.decoder import Decoder, load_decoder
from lic_jax.errors import LicError
from lic_jax.transforms import portable
from lic_jax.zoo.bundle import load_bundle, save_bundle

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def codec(tiny_model_file):
    return Codec(load_bundle(tiny_model_file))


@pytest.fixture(scope="module")
def decoder(tiny_model_file):
    return Decoder(load_bundle(tiny_model_file))


def largest_difference(first, second):
    assert first.shape == second.shape and first.dtype == second.dtype == np.uint8
    return np.max(np.abs(first.astype(int) - second))


@pytest.mark.parametrize("size", [(1, 1), (64, 64), (65, 63), (96, 128), (40, 200)])
@pytest.mark.parametrize("rate", [0, 1.3, 2])
def test_numpy_decodes_what_jax_does(codec, decoder, photographs, size, rate):
    image = np.resize(photographs[0], (*size, 3))
    data = codec.compress(image, rate)
    assert largest_difference(decoder.decompress(data), codec.decompress(data)) <= 1


@pytest.mark.parametrize("synthesis", ["jpeg_like", "two_layer_residual"])
@pytest.mark.parametrize("hyper_synthesis", ["standard", "jpeg_like"])
@pytest.mark.parametrize("seed", range(3))
def test_random_models_of_every_shallow_kind(
    codec, photographs, tmp_path, monkeypatch, synthesis, hyper_synthesis, seed
):
    import jax

    from lic_jax.model import HyperpriorModel
    from lic_jax.training.refit import in_integers

    rng = np.random.default_rng(seed)
    config = ModelConfig(
        analysis="linear",
        latent_channels=int(rng.integers(4, 30)),
        hyper_channels=int(rng.integers(2, 9)),
        hyper_synthesis=hyper_synthesis,
        synthesis=synthesis,
        synthesis_channels=int(rng.integers(3, 20)),
        synthesis_kernels=(int(rng.integers(16, 33)),) if synthesis == "jpeg_like" else (int(rng.integers(8, 20)), 5),
    )
    shapes = jax.eval_shape(HyperpriorModel(config).init, jax.random.key(0), np.zeros((1, 64, 64, 3), np.float32))
    params = jax.tree.map(lambda leaf: rng.normal(0, 0.1, leaf.shape).astype(np.float32), shapes["params"])
    config, params = in_integers(config, params, np.stack(photographs)[:, :64, :64])
    bundle = codec.bundle
    path = tmp_path / "model.safetensors"
    save_bundle(path, config, params, 0.01, bundle.lambdas, bundle.latent_quantizers, bundle.hyper_quantizers)
    model = load_bundle(path)
    jax_codec, decoder = Codec(model), Decoder(model)
    data = jax_codec.compress(np.concatenate(photographs[seed : seed + 3]), 1)
    assert largest_difference(decoder.decompress(data), jax_codec.decompress(data)) <= 1
    monkeypatch.setattr(portable, "BAND_PIXELS", 64 * 128)
    assert largest_difference(decoder.decompress(data), jax_codec.decompress(data)) <= 1


def test_bands_make_no_difference(codec, decoder, photographs, monkeypatch):
    image = np.concatenate([*photographs[:5]], axis=0)[:450]
    data = codec.compress(image, 2)
    whole, symbols = decoder.decompress(data), decoder.symbols(data)
    for band_pixels in (1, 64 * 128, 3 * 64 * 128):
        monkeypatch.setattr(portable, "BAND_PIXELS", band_pixels)
        assert largest_difference(decoder.decompress(data), whole) <= 1
        for found, expected in zip(decoder.symbols(data), symbols, strict=True):
            np.testing.assert_array_equal(found, expected)


def test_symbols_sought_in_pieces_are_the_same(codec, decoder, photographs, monkeypatch):
    from lic_jax.entropy import coder

    data = codec.compress(photographs[0], 2)
    expected = decoder.decompress(data)
    monkeypatch.setattr(coder, "_CHUNK", 100)
    assert codec.compress(photographs[0], 2) == data
    np.testing.assert_array_equal(decoder.decompress(data), expected)


def test_a_deep_synthesis_needs_jax(codec, tiny_config):
    config = ModelConfig(**{**vars(tiny_config), "synthesis": "elic", "synthesis_channels": (4, 4, 4)})
    with pytest.raises(LicError, match="elic synthesis needs JAX"):
        portable.PortableTransforms(config, codec.bundle.params)


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
        "from lic_jax.cli import main; code = main(sys.argv[1:]); "
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
    process = run_bare(bare, "compress", tmp_path / "a.png", tmp_path / "b.lic")
    assert process.returncode == 2 and "this installation decodes only" in process.stderr


def test_a_decoder_leaves_the_encoders_weights_on_the_disk(tiny_model_file):
    assert load_decoder(tiny_model_file).bundle.params.keys() == {"hyper_prior", "hyper_synthesis", "synthesis"}


def test_the_shipped_models_streams_decode_in_numpy(photographs):
    from lic_jax.codec import load

    data = load().compress(photographs[1], 2.5)
    assert largest_difference(load_decoder().decompress(data), load().decompress(data)) <= 1


def test_the_command_line_of_the_two_commands(capsys, tmp_path):
    for arguments in (["decompress", "--help"], ["info", "--help"]):
        with pytest.raises(SystemExit) as stopped:
            cli.main(arguments)
        assert stopped.value.code == 0
    assert cli.main(["info", str(tmp_path / "none")]) == 2
    with pytest.raises(SystemExit) as stopped:
        cli.main(["decompress", "only-one"])
    assert stopped.value.code == 2
