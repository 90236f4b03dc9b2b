import dataclasses
import functools
import itertools
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lic_jax.codec.codec import Codec
from lic_jax.codec.encoder import pad_to_multiple
from lic_jax.distortion.base import to_network_domain, to_pixels
from lic_jax.entropy.priors.gaussian import gaussian_mass, scale_of_index
from lic_jax.errors import LicError, LicWarning
from lic_jax.evaluation.metrics import psnr
from lic_jax.io import container
from lic_jax.model import CodecModel
from lic_jax.quantization import staircase, stanh
from lic_jax.quantization.bins import bin_edges
from lic_jax.quantization.fixed_point import UNIT
from lic_jax.zoo.bundle import load_bundle

SIZES = [(1, 1), (1, 130), (64, 64), (65, 63), (70, 3), (130, 17)]


@pytest.fixture(scope="module")
def codec(tiny_model_file):
    return Codec(load_bundle(tiny_model_file))


@pytest.fixture(scope="module")
def apply(codec):
    """The model's methods on arrays of one size, compiled."""
    model, variables = CodecModel(codec.bundle.config), {"params": codec.bundle.params}
    compiled = jax.jit(model.apply, static_argnums=3, static_argnames="method")
    return functools.partial(compiled, variables)


@pytest.fixture(scope="module")
def image(photographs):
    return photographs[0]


@pytest.mark.parametrize(("height", "width"), SIZES)
def test_any_size_comes_back_whole(codec, photographs, height, width):
    image = np.tile(photographs[1], (3, 2, 1))[:height, :width]
    decoded = codec.decompress(codec.compress(image, 2))
    assert decoded.shape == image.shape and decoded.dtype == np.uint8
    assert psnr(decoded, image) > 20


@given(rate=st.floats(0, 2))
@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_the_receiver_sees_what_the_sender_computed(codec, apply, image, rate):
    """Whatever the rate: the decoded image is the synthesis of the sender's own quantized latent."""
    analysed = codec.analyse(image)
    quantizer, hyper_quantizer = codec.bundle.quantizers_at(codec.bundle.rate_units(rate))
    hyper_latent = hyper_quantizer.levels_of(hyper_quantizer.symbols(np.asarray(analysed.hyper_latent)))
    mean, index = apply(hyper_latent, None, 0, method="predict_stage")
    index = np.asarray(index).astype(int)
    symbols = quantizer.symbols(np.asarray(analysed.latent - mean), index)
    expected = to_pixels(apply(mean + quantizer.levels_of(symbols, index), method="decode"))
    decoded = codec.decompress(codec.code(analysed, rate)).astype(int)
    assert np.max(np.abs(decoded - np.asarray(expected)[0, : image.shape[0], : image.shape[1]])) <= 1


def test_images_of_many_sizes_share_programs_and_come_back_as_each_alone(tiny_model_file, photographs):
    codec = Codec(load_bundle(tiny_model_file))
    large = np.tile(photographs[1], (6, 1, 1))
    images = [large[:height] for height in (580, 640, 600, 639)]
    counts = lambda: [part.program_count for part in (codec._programs.encode, codec._programs.predict[0])]
    before = counts()
    streams = codec.compress_batch(images, 1)
    assert counts() == [count + 1 for count in before]
    decoded = codec.decompress_batch([*streams[1:], streams[0]])
    for image, data, found in zip(images, streams, [decoded[-1], *decoded], strict=False):
        alone = codec.compress(image, 1)
        assert abs(len(alone) - len(data)) <= 8
        assert found.shape == image.shape
        assert np.mean(np.abs(codec.decompress(alone).astype(int) - found)) < 0.05


def test_rates_are_monotone_between_and_at_the_fitted_ones(codec, image):
    analysed = codec.analyse(image)
    points = []
    for rate in np.linspace(0, 2, 9):
        data = codec.code(analysed, rate)
        points.append((len(data), psnr(codec.decompress(data), image)))
    assert all(a[0] < b[0] and a[1] < b[1] for a, b in itertools.pairwise(points))


def test_a_stream_is_31_bytes_over_its_segments_and_always_the_same(codec, image):
    data = codec.compress(image, 1)
    stream = container.unpack(data)
    assert len(data) - len(stream.hyper_latent) - len(stream.latent) == container.HEADER_BYTES <= 32
    assert codec.compress(image, 1) == data


def test_estimated_and_real_rate_agree(codec, photographs):
    """The priors' −log₂ mass, with the real-valued scale index, against bytes: 1 % plus the header and word padding."""
    image = np.concatenate(photographs[:8])
    estimate = estimated_bits(codec, image, rate_units=256)
    real = 8 * len(codec.compress(image, 1))
    assert abs(real - estimate) < 0.01 * estimate + 8 * (container.HEADER_BYTES + 16)


def estimated_bits(codec, image, rate_units):
    model, variables = CodecModel(codec.bundle.config), {"params": codec.bundle.params}
    quantizer, hyper_quantizer = (
        stanh.from_values(q.spacings * UNIT, q.thresholds * UNIT)
        for q in (quantizer.at_row(0) for quantizer in codec.bundle.quantizers_at(rate_units))  # all rows are alike
    )

    @jax.jit
    def total(variables, padded):
        latent, hyper_latent = model.apply(variables, to_network_domain(padded), method="encode")
        hyper_symbols = staircase.symbols(hyper_quantizer, hyper_latent)
        edges = bin_edges(hyper_quantizer)
        hyper_mass = model.apply(variables, edges[hyper_symbols], edges[hyper_symbols + 1], method="hyper_mass")
        quantized = hyper_quantizer.levels[hyper_symbols]
        mean, index = model.apply(variables, quantized, None, 0, method="predict_stage")
        symbols = staircase.symbols(quantizer, latent - mean)
        edges = bin_edges(quantizer)
        mass = gaussian_mass(edges[symbols], edges[symbols + 1], scale_of_index(index))
        return sum(-jnp.sum(jnp.log2(jnp.maximum(m, 1e-9))) for m in (hyper_mass, mass))

    return float(total(variables, pad_to_multiple(image)[None]))


def test_another_model_is_refused(codec, tmp_path, image):
    from lic_jax.training.deployment import in_fixed_point
    from lic_jax.training.refit import start_quantizers
    from lic_jax.training.settings import RefitSettings
    from lic_jax.zoo.bundle import save_bundle

    refitted = RefitSettings(lambdas=(0.005, 0.02))
    quantizers = in_fixed_point(start_quantizers(codec.bundle.config, refitted, 0.01))
    bundle = codec.bundle
    save_bundle(tmp_path / "other.safetensors", bundle.config, bundle.params, 0.01, refitted.lambdas, *quantizers)
    other = Codec(load_bundle(tmp_path / "other.safetensors"))
    with pytest.raises(LicError, match="made by model"):
        other.decompress(codec.compress(image, 1))


@pytest.fixture
def passes(codec, monkeypatch):
    """A list that grows by a rate whenever the codec quantizes and codes."""
    rates, code = [], codec.encoder.code

    def counted(batch, rate_units, *coder):
        rates.append(rate_units)
        return code(batch, rate_units, *coder)

    monkeypatch.setattr(codec.encoder, "code", counted)
    return rates


def test_a_stream_has_the_size_or_the_quality_asked_for(codec, image, passes):
    """Of the real file and what its receiver sees, in eight passes after one analysis."""
    smallest, largest = (codec.compress(image, rate) for rate in (0, 2))
    pixels = image.shape[0] * image.shape[1]
    for share in (0.2, 0.7):
        size = int(len(smallest) ** (1 - share) * len(largest) ** share)
        quality = (1 - share) * psnr(codec.decompress(smallest), image) + share * psnr(codec.decompress(largest), image)
        passes.clear()
        assert len(codec.compress(image, bpp=8 * size / pixels)) == pytest.approx(size, rel=0.01)
        assert psnr(codec.decompress(codec.compress(image, psnr=quality)), image) == pytest.approx(quality, abs=0.05)
        assert 0.99 * size < len(codec.compress(image, max_bytes=size)) <= size
        assert len(passes) <= 3 * 8
    assert codec.compress(image, max_bytes=len(smallest)) == smallest


def test_what_cannot_be_reached_is_said(codec, image):
    smallest, largest = (codec.compress(image, rate) for rate in (0, 2))
    for name, low, high in ("bpp", 1e-3, 90), ("psnr", 5, 90):
        with pytest.warns(LicWarning, match="outside of this image's range") as said:
            assert codec.compress(image, **{name: low}) == smallest
            assert codec.compress(image, **{name: high}) == largest
        assert "lic_jax" not in Path(said[0].filename).parts, "a warning names its caller"
    with pytest.raises(LicError, match=f"smallest stream has {len(smallest)}"):
        codec.compress(image, max_bytes=len(smallest) - 1)
    with pytest.raises(LicError, match="rate and bpp are given"):
        codec.compress(image, 1, bpp=0.5)


@pytest.mark.parametrize("rate", [-0.1, 2.01, float("nan")])
def test_a_rate_outside_the_models_is_refused(codec, image, rate):
    with pytest.raises(LicError, match="outside this model's rates, 0 to 2"):
        codec.compress(image, rate)


@pytest.mark.parametrize("pixels", [np.zeros((4, 4), np.uint8), np.zeros((4, 4, 4), np.uint8), np.zeros((4, 4, 3))])
def test_what_is_not_rgb_is_refused(unchecked, codec, pixels):
    with pytest.raises(LicError, match="uint8"):
        codec.compress(pixels)


@given(hyper=st.binary(max_size=24), latent=st.binary(max_size=64), rate_units=st.integers(0, 0xFFFF))
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_hostile_streams_give_an_image_or_an_error(codec, hyper, latent, rate_units):
    """With every checksum right: nothing but an image of the promised size or a one-line error comes out."""
    stream = container.Stream(codec.bundle.fingerprint, 30, 40, rate_units, hyper, latent)
    try:
        assert codec.decompress(container.pack(stream)).shape == (30, 40, 3)
    except LicError as error:
        assert "\n" not in str(error)


def test_a_damaged_stream_never_passes_for_a_whole_one(codec, image):
    data = bytearray(codec.compress(image, 0))
    for position in range(0, len(data), 7):
        damaged = bytearray(data)
        damaged[position] ^= 0x10
        with pytest.raises(LicError):
            codec.decompress(bytes(damaged))


def test_a_damaged_model_is_refused(tiny_model_file, tmp_path):
    data = bytearray(tiny_model_file.read_bytes())
    data[-1000] ^= 1
    (tmp_path / "damaged.safetensors").write_bytes(data)
    with pytest.raises(LicError, match="damaged"):
        load_bundle(tmp_path / "damaged.safetensors")
    (tmp_path / "text.safetensors").write_text("not a model")
    with pytest.raises(LicError, match="not a weights file"):
        load_bundle(tmp_path / "text.safetensors")


def test_the_rate_is_part_of_the_header(codec, image):
    stream = container.unpack(codec.compress(image, 1.5))
    assert stream.rate_units == 384
    too_high = dataclasses.replace(stream, rate_units=513)
    with pytest.raises(LicError, match="rate"):
        codec.decompress(container.pack(too_high))


def test_a_model_in_floating_point_is_no_codec(codec, tiny_config, tiny_params, tmp_path):
    """One index rounded differently on another machine would destroy the image."""
    from lic_jax.zoo.bundle import save_bundle

    quantizers = codec.bundle.latent_quantizers, codec.bundle.hyper_quantizers
    path = tmp_path / "float.safetensors"
    save_bundle(path, tiny_config, tiny_params, 0.01, codec.bundle.lambdas, *quantizers)
    with pytest.raises(LicError, match=r"floating point.*write it with"):
        load_bundle(path)
