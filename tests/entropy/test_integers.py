"""docs/design.md, rule 1: the hyper synthesis gives the same integers everywhere."""

import dataclasses
import decimal
import hashlib
import itertools
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lic_jax.codec.codec import Codec
from lic_jax.config import ModelConfig
from lic_jax.entropy.priors.integers import (
    LOG_INDEX_THRESHOLDS,
    check_integers,
    integer_hyper_synthesis,
    to_integers,
)
from lic_jax.errors import LicError
from lic_jax.model import CodecModel, initialize
from lic_jax.training.anchor import started_from
from lic_jax.transforms.hyper_transforms import transposed_layers
from lic_jax.zoo import shipped
from lic_jax.zoo.bundle import load_bundle
from lic_jax.zoo.weights import save_weights

LATENTS_A_QUANTIZER = 144


@pytest.fixture(scope="module")
def bundle():
    return load_bundle(shipped.path_of("small"))  # the shipped model whose prior is a hyperprior


def random_latents(bundle, seed=0):
    """A thousand random hyper latents: levels of every shipped quantizer, most near zero and some far out.

    And a third as many of quantizers that could be: any multiples of 2⁻¹³.
    """
    rng = np.random.default_rng(seed)
    latents = []
    for quantizer in bundle.hyper_quantizers:
        spread = rng.choice([0.5, 2, 8, 40], size=(LATENTS_A_QUANTIZER, 1, 2, bundle.config.hyper_channels))
        values = rng.normal(scale=spread).astype(np.float32)
        latents += [quantizer.levels()[quantizer.symbols(values)], np.rint(values[::3] * 2**13) / 2**13]
    return np.concatenate(latents)


def digest(mean, index):
    return hashlib.sha256(np.asarray(mean, np.float32).tobytes() + np.asarray(index, np.uint8).tobytes()).hexdigest()


@pytest.fixture(scope="module")
def expected(bundle):
    latents = random_latents(bundle)
    assert len(latents) >= 1000
    return integer_hyper_synthesis(np, bundle.params["hyper_synthesis"], bundle.config)(latents)


def test_numpy_has_no_rounding_to_do(bundle, expected):
    """The same in float64, where every sum is exact with 29 bits to spare."""
    wide = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), bundle.params["hyper_synthesis"])
    latents = random_latents(bundle)[::7].astype(np.float64)
    mean, index = integer_hyper_synthesis(np, wide, bundle.config)(latents)
    np.testing.assert_array_equal(mean, expected[0][::7])
    np.testing.assert_array_equal(index, expected[1][::7])


def test_scale_indexes_take_many_values(expected):
    assert len(np.unique(expected[1])) > 40


ELSEWHERE = """
import sys
sys.path.insert(0, sys.argv[1])
import jax
import numpy as np
from lic_jax.config import ModelConfig
from lic_jax.model import CodecModel
from lic_jax.entropy.priors.integers import integer_hyper_synthesis
from lic_jax.zoo.weights import load_weights
from test_integers import digest
params, metadata = load_weights(sys.argv[2])
latents, config = np.load(sys.argv[3]), ModelConfig.from_json(metadata["config"])
predict = lambda params, latents: CodecModel(config).apply(
    {"params": {"hyper_synthesis": params}}, latents, None, 0, method="predict_stage"
)
print(digest(*jax.jit(predict)(params, latents)), digest(*integer_hyper_synthesis(np, params, config)(latents)))
"""


@pytest.fixture(scope="module")
def digests_elsewhere(run_python, tmp_path_factory):
    """(configuration, integer parameters, hyper latents) → digests of JAX and of NumPy in another process."""

    def run(config, params, latents, **settings):
        folder = tmp_path_factory.mktemp("elsewhere")
        save_weights(folder / "weights.safetensors", params, {"config": config.to_json()})
        np.save(folder / "latents.npy", latents)
        files = folder / "weights.safetensors", folder / "latents.npy"
        return run_python(ELSEWHERE, Path(__file__).parent, *files, **settings).split()

    return run


@pytest.mark.parametrize(
    "settings",
    [
        {"XLA_FLAGS": ""},
        {"XLA_FLAGS": "--xla_cpu_enable_fast_math=true --xla_cpu_multi_thread_eigen=false", "JAX_ENABLE_X64": "1"},
        {"XLA_FLAGS": "", "other_environment": True},
    ],
    ids=["default", "fast math, one thread, x64", "other versions"],
)
def test_jax_and_numpy_give_the_same_integers_whatever_their_flags(bundle, expected, digests_elsewhere, settings):
    found = digests_elsewhere(bundle.config, bundle.params["hyper_synthesis"], random_latents(bundle), **settings)
    assert found == 2 * [digest(*expected)]


@pytest.mark.parametrize(
    "trained", [("standard", "log_index"), ("jpeg_like", "log_scale")], indirect=True, ids=" ".join
)
def test_other_versions_give_the_same_integers_for_other_weights(trained, digests_elsewhere):
    config, _, params, latents = trained
    config, integers = to_integers(params["hyper_synthesis"], config, latents)
    expected = digest(*integer_hyper_synthesis(np, integers, config)(latents))
    assert digests_elsewhere(config, integers, latents, other_environment=True) == [expected, expected]


def prediction(model):
    """(variables, ẑ) → (μ, index) of a model of one stage."""
    return lambda variables, latents: model.apply(variables, latents, None, 0, method="predict_stage")


def compiled(model):
    return jax.jit(prediction(model))


def test_one_image_and_a_batch_give_the_same_integers(bundle, expected):
    """Other shapes are other programs with other orders of summation; these are compiled unoptimized, too."""
    model = CodecModel(bundle.config)
    latents = random_latents(bundle)
    predict = partial(compiled(model), {"params": bundle.params})
    for part, precision in ((slice(0, 1), None), (slice(17, 19), "highest")):
        with jax.default_matmul_precision(precision):
            mean, index = predict(latents[part])
        np.testing.assert_array_equal(mean, expected[0][part])
        np.testing.assert_array_equal(index, expected[1][part])


@pytest.fixture(params=itertools.product(["standard", "jpeg_like"], ["log_scale", "log_index"]), ids=" ".join)
def trained(request):
    """A float hyper synthesis with random weights, and hyper latents to calibrate on."""
    hyper_synthesis, scale_output = request.param
    config = ModelConfig(
        analysis_channels=(4, 4, 4),
        latent_channels=6,
        hyper_channels=8,
        hyper_synthesis=hyper_synthesis,
        scale_output=scale_output,
    )
    rng = np.random.default_rng(0)
    model = CodecModel(config)
    shapes = jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, 64, 64, 3)))["params"]
    params = jax.tree.map(lambda leaf: rng.normal(0, 0.2, leaf.shape).astype(np.float32), shapes)
    last_layer = params["hyper_synthesis"][max(params["hyper_synthesis"])]
    if scale_output == "log_index":  # most of them between 1 and 63
        last_layer["kernel"][:, :, 6:] *= 0.2
        last_layer["bias"][6:] += 2
    return config, model, params, np.rint(rng.normal(0, 3, (40, 2, 3, 8))).astype(np.float32)


def test_integers_are_close_to_what_was_trained(trained):
    config, model, params, latents = trained
    _, integers = to_integers(params["hyper_synthesis"], config, latents)
    check_integers(integers)
    mean, index = integer_hyper_synthesis(np, integers, config)(latents)
    float_mean, float_index = compiled(model)({"params": params}, latents)
    assert np.sqrt(np.mean((mean - float_mean) ** 2)) < 0.02 * np.std(float_mean)
    assert np.mean(np.abs(index - np.rint(float_index)) <= 1) > 0.99
    assert 0 <= index.min() < index.max() <= 63 and len(np.unique(index)) > 30


def test_numpy_and_jax_agree_exactly_on_other_weights_too(trained):
    config, _, params, latents = trained
    config, integers = to_integers(params["hyper_synthesis"], config, latents)
    expected = integer_hyper_synthesis(np, integers, config)(latents)
    predict = compiled(CodecModel(config))
    assert digest(*predict({"params": {"hyper_synthesis": integers}}, latents)) == digest(*expected)


@pytest.mark.parametrize(
    "trained", [("standard", "log_index"), ("jpeg_like", "log_scale")], indirect=True, ids=" ".join
)
def test_gradients_pass_the_steps(trained):
    config, _, params, latents = trained
    integer_config, integers = to_integers(params["hyper_synthesis"], config, latents)

    def pull_back(config, hyper_synthesis):
        variables = {"params": {"hyper_synthesis": hyper_synthesis}}
        return jax.vjp(partial(prediction(CodecModel(config)), variables), latents)

    @jax.jit
    def gradients(params, integers):
        (mean, index), of_float = pull_back(config, params["hyper_synthesis"])
        _, of_integers = pull_back(integer_config, integers)
        inside = ((index > 1) & (index < 62)).astype(index.dtype)  # and so clipped in neither form
        cotangents = (mean, jnp.zeros_like(index)), (jnp.zeros_like(mean), inside)
        return [(of_float(cotangent)[0].ravel(), of_integers(cotangent)[0].ravel()) for cotangent in cotangents]

    for pair in gradients(params, integers):
        assert np.corrcoef(*pair)[0, 1] > 0.98


def test_parameters_beyond_the_bounds_are_refused(trained):
    config, _, params, latents = trained
    _, integers = to_integers(params["hyper_synthesis"], config, latents)
    for factor in (1 / 3, np.inf, 0):
        with pytest.raises(LicError, match="input_scale breaks the bounds"):
            check_integers({**integers, "input_scale": integers["input_scale"] * np.float32(factor)})
    for name, factor in (("kernel", 300), ("kernel", 0.5), ("bias", 1e6), ("scale", 3)):
        layer = {**integers["layer_0"], name: integers["layer_0"][name] * np.float32(factor)}
        with pytest.raises(LicError, match="layer_0 breaks the bounds"):
            check_integers({**integers, "layer_0": layer})


def test_weights_and_activations_are_exact_in_bfloat16(bundle):
    """So a device that multiplies in bfloat16 and adds in float32 has nothing to round either."""
    kernels = [layer["kernel"] for name, layer in bundle.params["hyper_synthesis"].items() if name != "input_scale"]
    for numbers in (*kernels, np.arange(-128, 256, dtype=np.float32)):
        np.testing.assert_array_equal(np.asarray(jnp.asarray(numbers).astype(jnp.bfloat16), np.float32), numbers)


def test_hidden_channels_that_never_fire_are_left_out(trained):
    config, model, params, latents = trained
    if config.hyper_synthesis == "jpeg_like":
        pytest.skip("it has no hidden channels")
    layer = params["hyper_synthesis"]["layer_1"]
    dead = {**layer, "bias": np.where(np.arange(len(layer["bias"])) % 3 == 0, -1e3, layer["bias"])}
    params = {**params, "hyper_synthesis": {**params["hyper_synthesis"], "layer_1": dead}}
    smaller, integers = to_integers(params["hyper_synthesis"], config, latents)
    assert smaller.hyper_synthesis_channels[1] <= transposed_layers(config.hyper_synthesis_layers)[1].features * 2 / 3
    check_integers(integers)
    mean, _ = integer_hyper_synthesis(np, integers, smaller)(latents)
    float_mean, _ = compiled(model)({"params": params}, latents)
    assert np.sqrt(np.mean((mean - float_mean) ** 2)) < 0.02 * np.std(float_mean)


def test_the_thresholds_of_indexes_are_the_float32_numbers_nearest_to_logarithms():
    """By decimal arithmetic of 40 digits."""
    with decimal.localcontext(prec=40):
        logarithms = [(decimal.Decimal(k) + decimal.Decimal("0.5")).ln() for k in range(63)]
        for threshold, logarithm in zip(LOG_INDEX_THRESHOLDS, logarithms, strict=True):
            found, *neighbours = (
                abs(decimal.Decimal(float(number)) - logarithm)
                for number in (threshold, *np.nextafter(threshold, np.float32([-np.inf, np.inf])))
            )
            assert found < min(neighbours)


@pytest.mark.parametrize("name", ["small"])
def test_a_training_goes_on_from_the_floats_that_integers_stand_for(name, samples):
    """Outputs differ by what activations are rounded by; in integers again they are hardly others."""
    bundle = load_bundle(shipped.path_of(name))
    config = dataclasses.replace(bundle.config, hyper_arithmetic="float")
    model = CodecModel(config)
    hyper_latents = np.rint(Codec(bundle).analyse(samples.astronaut()[:256, :256]).hyper_latent)
    mean, index = integer_hyper_synthesis(np, bundle.params["hyper_synthesis"], bundle.config)(hyper_latents)

    params = started_from(initialize(config, jax.random.key(0)), shipped.path_of(name))
    of_floats, real_index = map(np.asarray, prediction(model)({"params": params}, hyper_latents))
    assert np.sqrt(np.mean((of_floats - mean) ** 2)) < 0.01 * np.std(mean)
    assert np.mean(np.rint(real_index) == index) > 0.9

    again_config, again = to_integers(params["hyper_synthesis"], config, hyper_latents)
    _, index_again = integer_hyper_synthesis(np, again, again_config)(hyper_latents)
    assert np.mean(index_again == index) > 0.9
