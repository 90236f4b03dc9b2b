import hashlib
import itertools
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import scipy.special
from hypothesis import given, settings
from hypothesis import strategies as st

from lic_jax.entropy.tables import (
    TOTAL,
    factorized_tables,
    gaussian_tables,
    information,
    scale_table,
    tables_of_cdf,
)
from lic_jax.errors import LicError
from lic_jax.quantization.fixed_point import UNIT, FixedPointQuantizer, to_fixed_point


def mixed(seed, low, high, shape):
    """Integers in [low, high) without an order that one sees, the same on every machine and with every NumPy."""
    values = np.arange(1, 1 + np.prod(shape, dtype=int), dtype=np.uint64) + np.uint64(seed * 1_000_003)
    for _ in range(2):
        values = (values ^ (values >> np.uint64(33))) * np.uint64(0xFF51AFD7ED558CCD)
    return (low + (values >> np.uint64(33)) % np.uint64(high - low)).astype(np.int64).reshape(shape)


def random_quantizer(seed, components=40):
    """Unequal steps of about 1."""
    thresholds = np.cumsum(mixed(seed, 2000, 8000, components))
    middle = thresholds[components // 2] + mixed(seed, 0, 4000, 1) - 2000
    return FixedPointQuantizer(mixed(seed + 1, 2000, 8000, components), thresholds - middle)


def random_prior(seed, channels=5):
    """Weights as training leaves them, of about 1."""
    prior = {}
    for layer, (width_in, width_out) in enumerate(itertools.pairwise((1, 3, 3, 1))):
        shapes = {"matrix": (channels, width_out, width_in), "bias": (channels, width_out)}
        if layer < 2:
            shapes["factor"] = (channels, width_out)
        for name, shape in shapes.items():
            values = mixed(seed + 100 * len(prior), 0, 3000, shape) - 1500
            prior[f"{name}_{layer}"] = (values / 1000).astype(np.float32)
    return prior


def prior_cdf(prior, edges):
    """The factorized prior's distribution with NumPy's own functions and a matrix product."""
    hidden = np.broadcast_to(edges, (prior["bias_0"].shape[0], 1, len(edges)))
    for layer in range(3):
        matrix = np.logaddexp(0, prior[f"matrix_{layer}"].astype(np.float64))
        hidden = matrix @ hidden + prior[f"bias_{layer}"][..., None]
        if layer < 2:
            hidden = hidden + np.tanh(prior[f"factor_{layer}"].astype(np.float64))[..., None] * np.tanh(hidden)
    return scipy.special.expit(hidden[:, 0])


def masses(cdf):
    return np.diff(np.pad(cdf, ((0, 0), (1, 1)), constant_values=((0, 0), (0, 1))), axis=1)


def assert_share_of(tables, mass):
    """A symbol owns one part and its mass' share of the others, to one part."""
    rest = TOTAL - tables.shape[1]
    assert np.max(np.abs(tables - 1 - rest * mass)) <= 1 + 1e-6


@settings(max_examples=100)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=60))
def test_rows_sum_to_two_to_the_24_and_no_symbol_is_left_out(probabilities):
    cdf = np.sort(probabilities)[None]
    tables = tables_of_cdf(cdf)
    assert tables.dtype == np.int64
    assert tables.shape == (1, len(probabilities) + 1)
    assert tables.sum() == TOTAL == 2**24
    assert tables.min() >= 1
    assert_share_of(tables, masses(cdf))


@settings(max_examples=50)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=60))
def test_a_distribution_that_falls_by_rounding_still_makes_a_table(probabilities):
    tables = tables_of_cdf(np.array(probabilities)[None])
    assert tables.sum() == TOTAL
    assert tables.min() >= 1


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("components", [1, 8, 255])
def test_gaussian_tables_are_the_gaussians_masses(seed, components):
    quantizer = random_quantizer(seed, components)
    tables = gaussian_tables(quantizer)
    scales = 0.11 * np.exp(np.arange(64) * np.log(256 / 0.11) / 63)
    assert tables.shape == (64, components + 1)
    assert np.all(tables.sum(axis=1) == TOTAL)
    assert tables.min() >= 1
    np.testing.assert_allclose(scale_table(), scales, rtol=1e-14)
    assert_share_of(tables, masses(scipy.special.ndtr(quantizer.thresholds * UNIT / scales[:, None])))


@pytest.mark.parametrize("seed", range(4))
def test_factorized_tables_are_the_priors_masses(seed):
    quantizer, prior = random_quantizer(seed), random_prior(seed)
    tables = factorized_tables(prior, quantizer)
    assert tables.shape == (5, 41)
    assert np.all(tables.sum(axis=1) == TOTAL)
    assert tables.min() >= 1
    assert_share_of(tables, masses(prior_cdf(prior, quantizer.thresholds * UNIT)))


def test_the_tables_code_the_published_hyper_latent_in_the_published_bits(reference):
    """Estimated with float32 likelihoods there, with integers of 2⁻²⁴ here: a part in ten thousand apart."""
    quantizer = to_fixed_point(np.ones(256), np.arange(256) - 127.5)
    for model in ("cnn_jpeg_like", "elic_two_layer_res"):
        with np.load(reference / f"{model}.npz") as file:
            published = dict(file)
        prior = {
            name.split(".")[-1]: array if "matrix" in name else array[..., 0]
            for name, array in published.items()
            if name.startswith("weights/prior/")
        }
        symbols = quantizer.symbols(published["hyper_latent_quantized"])
        cost = information(factorized_tables(prior, quantizer))
        bits = np.sum(cost[np.arange(symbols.shape[-1]), symbols])
        assert bits == pytest.approx(published["hyper_latent_bits"][0], rel=1e-4)


def test_information_is_the_bits_of_a_symbol():
    np.testing.assert_array_equal(information(np.array([[2**23, 2**22, 2**22], [1, 2**24 - 2, 1]]))[0], [1, 2, 2])
    assert information(np.array([[1, 2**24 - 1]]))[0, 0] == 24


# One different rounding destroys the image


def all_tables():
    """Of several quantizers and priors."""
    return [
        table
        for seed in range(6)
        for table in (
            gaussian_tables(random_quantizer(seed, 60)),
            factorized_tables(random_prior(seed), random_quantizer(seed, 60)),
        )
    ]


def digest():
    return hashlib.sha256(b"".join(table.astype("<i8").tobytes() for table in all_tables())).hexdigest()


def test_the_tables_are_those_that_streams_were_written_with():
    """If this number changes, files that exist cannot be read any more: it takes a new version of the format."""
    assert digest() == "c6ff408b3ce8643edb325d475df50bac5bb1640bee0110870933c26f0a55ca63"


def test_nothing_that_libraries_round_in_their_own_ways_is_called(monkeypatch):
    """Neither libm's functions nor BLAS' and NumPy's sums of many products, which have no order of their own."""
    quantizer, prior = random_quantizer(0), random_prior(0)

    def refuse(*args, **kwargs):
        raise AssertionError("this function rounds differently from one machine to the next")

    for name in (
        *("exp", "exp2", "expm1", "log", "log2", "log10", "log1p", "logaddexp", "power", "float_power", "cbrt"),
        *("sin", "cos", "tan", "sinh", "cosh", "tanh", "arcsinh", "arccosh", "arctanh", "arctan", "arctan2", "hypot"),
        *(
            "dot",
            "vdot",
            "inner",
            "matmul",
            "einsum",
            "tensordot",
            "mean",
            "average",
            "prod",
            "trapezoid",
            "trapz",
            "convolve",
        ),
        *("geomspace", "logspace", "linspace"),
    ):
        monkeypatch.setattr(np, name, refuse, raising=False)  # NumPy's names come and go
    gaussian, factorized = gaussian_tables(quantizer), factorized_tables(prior, quantizer)
    monkeypatch.undo()
    assert np.all(gaussian.sum(axis=1) == TOTAL)
    assert np.all(factorized.sum(axis=1) == TOTAL)


def test_a_machine_without_vector_instructions_makes_the_same_tables(plain_machine):
    assert plain_machine(__file__) == digest()


@pytest.mark.parametrize("seed", range(4))
def test_the_memory_order_of_what_tables_are_made_from_does_not_matter(seed):
    quantizer, prior = random_quantizer(seed), random_prior(seed)
    expected = (gaussian_tables(quantizer), factorized_tables(prior, quantizer))
    strided = FixedPointQuantizer(
        np.repeat(quantizer.spacings, 3)[::3], np.flip(np.ascontiguousarray(np.flip(quantizer.thresholds)))
    )
    transposed = {name: np.asfortranarray(array) for name, array in prior.items()}
    wide = {name: array.astype(np.float64) for name, array in prior.items()}
    for other_quantizer, other_prior in ((strided, transposed), (quantizer, wide)):
        found = (gaussian_tables(other_quantizer), factorized_tables(other_prior, other_quantizer))
        for table, reference in zip(found, expected, strict=True):
            np.testing.assert_array_equal(table, reference)


def test_a_channel_alone_and_a_threshold_alone_get_the_same_parts():
    """No sum runs over channels or thresholds, so that their number and order cannot change a rounding."""
    quantizer, prior = random_quantizer(0), random_prior(0)
    together = factorized_tables(prior, quantizer)
    for channel in range(5):
        alone = {name: array[channel : channel + 1] for name, array in prior.items()}
        np.testing.assert_array_equal(factorized_tables(alone, quantizer)[0], together[channel])
    gaussian = np.cumsum(gaussian_tables(quantizer), axis=1)
    rest = TOTAL - quantizer.symbol_count
    for index, threshold in enumerate(quantizer.thresholds):
        single = FixedPointQuantizer(np.array([4096]), np.array([threshold]))
        below = gaussian_tables(single)[:, 0] - 1  # ⌊(2²⁴ − 2) F⌋, against ⌊(2²⁴ − 41) F⌋ there
        assert np.all(np.abs(gaussian[:, index] - index - 1 - below * (rest / (TOTAL - 2))) <= 1)


def test_quantizers_that_any_order_of_operations_computed_are_the_same_integers():
    """w and b of fixed-point values come back from the floating-point quantizer to well within half a unit."""
    import jax

    from lic_jax.quantization import stanh

    quantizers = [random_quantizer(seed) for seed in range(3)]
    spacings, thresholds = (
        np.stack([getattr(quantizer, name) * UNIT for quantizer in quantizers]).astype(np.float32)
        for name in ("spacings", "thresholds")
    )

    def values(spacings, thresholds):
        quantizer = stanh.from_values(spacings, thresholds)
        return quantizer.spacings, quantizer.thresholds

    orders = {"eager": values, "jit": jax.jit(values), "vmap": jax.jit(jax.vmap(values)), "map": None}
    orders["map"] = lambda *stacks: jax.lax.map(lambda arrays: values(*arrays), stacks)
    for name, compute in orders.items():
        found = [
            to_fixed_point(*map(np.asarray, arrays)) for arrays in zip(*compute(spacings, thresholds), strict=True)
        ]
        for quantizer, expected in zip(found, quantizers, strict=True):
            np.testing.assert_array_equal(gaussian_tables(quantizer), gaussian_tables(expected), err_msg=name)


def test_a_receiver_makes_tables_and_decodes_without_a_machine_learning_framework():
    program = "import sys, lic_jax.entropy.coders.coding, lic_jax.entropy.tables; print('jax' in sys.modules)"
    root = Path(__file__).resolve().parents[2]
    assert subprocess.check_output([sys.executable, "-c", program], cwd=root, text=True).strip() == "False"


@pytest.mark.filterwarnings("ignore:invalid value")
def test_weights_that_are_no_numbers_make_no_table():
    prior = random_prior(0)
    prior["bias_1"][0, 0] = np.nan
    with pytest.raises(LicError, match="infinite or undefined weights"):
        factorized_tables(prior, random_quantizer(0))
