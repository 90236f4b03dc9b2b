import hashlib
import math
from types import SimpleNamespace

import numpy as np
import pytest
import scipy.special
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from lic_jax.entropy import exact

FUNCTIONS = {
    "exp": exact.exp,
    "log": exact.log,
    "sigmoid": exact.sigmoid,
    "tanh": exact.tanh,
    "softplus": exact.softplus,
    "normal_cdf": exact.normal_cdf,
}


def arguments(name):
    """Some thousand values over all that a function is used for, multiples of powers of two: the same everywhere."""
    index = np.arange(-3001, 3002, dtype=np.float64)
    if name == "log":
        return np.concatenate(
            [(index[3002:]) / 64, np.ldexp(1 + (index + 3001) / 8192, (index % 401).astype(int) - 200)]
        )
    widest = {"exp": 0.25, "normal_cdf": 2**-8, "tanh": 2**-7}.get(name, 2**-5)
    return np.concatenate([index * widest, index * 2.0**-20, np.float64([-710, -9, 0, 9, 710])])


def bits(values):
    return np.asarray(values, np.float64).view(np.uint64)


def float64s(low, high):
    return arrays(np.float64, 20, elements=st.floats(low, high))


@settings(max_examples=100)
@given(float64s(-700, 700))
def test_exp(values):
    np.testing.assert_allclose(exact.exp(values), np.exp(values), rtol=1e-15)


@settings(max_examples=100)
@given(float64s(1e-300, 1e300))
def test_log(values):
    np.testing.assert_allclose(exact.log(values), np.log(values), rtol=1e-15)


@settings(max_examples=100)
@given(float64s(-600, 600))
def test_sigmoid(values):
    np.testing.assert_allclose(exact.sigmoid(values), scipy.special.expit(values), rtol=2e-15)


@settings(max_examples=100)
@given(float64s(-1000, 1000))
def test_tanh(values):
    np.testing.assert_allclose(exact.tanh(values), np.tanh(values), rtol=0, atol=1e-15)


@settings(max_examples=100)
@given(float64s(-1000, 1000))
def test_softplus(values):
    np.testing.assert_allclose(exact.softplus(values), np.logaddexp(0, values), rtol=1e-15, atol=1e-15)


@settings(max_examples=100)
@given(float64s(-12, 12))
def test_normal_cdf(values):
    np.testing.assert_allclose(exact.normal_cdf(values), scipy.special.ndtr(values), rtol=0, atol=3e-15)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_grid_of_arguments(name):
    """The same claims as above at thousands of places."""
    values = arguments(name)
    true = {
        "exp": lambda v: np.exp(np.clip(v, -700, 700)),
        "log": np.log,
        "sigmoid": scipy.special.expit,
        "tanh": np.tanh,
        "softplus": lambda v: np.logaddexp(0, v),
        "normal_cdf": scipy.special.ndtr,
    }[name]
    np.testing.assert_allclose(FUNCTIONS[name](values), true(values), rtol=1e-15, atol=3e-15)


def test_ends_are_exact(unchecked):
    assert exact.exp(0.0) == 1
    assert exact.log(1.0) == 0
    assert exact.sigmoid(0.0) == 0.5
    assert exact.tanh(0.0) == 0
    assert exact.normal_cdf(0.0) == 0.5
    np.testing.assert_array_equal(exact.normal_cdf(np.array([-np.inf, -8, 8, np.inf])), [0, 0, 1, 1])
    np.testing.assert_array_equal(exact.tanh(np.array([-1e300, 1e300])), [-1, 1])
    np.testing.assert_array_equal(exact.sigmoid(np.array([1e300, np.inf])), [1, 1])
    assert np.all(exact.sigmoid(np.array([-1e300, -np.inf])) < 1e-300)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_the_order_and_layout_of_an_array_do_not_matter(name):
    """Vector kernels treat aligned blocks, strided arrays and leftovers by different code."""
    function, values = FUNCTIONS[name], arguments(name)
    whole = bits(function(values))
    np.testing.assert_array_equal(bits(function(values[::-1])), whole[::-1])
    spread = np.zeros((len(values), 3))
    spread[:, 1] = values
    np.testing.assert_array_equal(bits(function(spread[:, 1])), whole)
    unaligned = np.zeros(8 * len(values) + 4, np.uint8)[4:].view(np.float64)
    unaligned[:] = values
    np.testing.assert_array_equal(bits(function(unaligned)), whole)
    for chunk in (1000, 7, 3):
        chunks = [function(values[start : start + chunk]) for start in range(0, 2100, chunk)]
        np.testing.assert_array_equal(bits(np.concatenate(chunks))[:2100], whole[:2100])
    square = values[:5000].reshape(50, 100)
    np.testing.assert_array_equal(bits(function(np.asfortranarray(square))), whole[:5000].reshape(50, 100))
    singly = [function(np.array([value]))[0] for value in values[::5]]
    np.testing.assert_array_equal(bits(singly), whole[::5])


class Number(float):
    """A Python float that can be cast, as an array of one can."""

    def astype(self, kind):
        return kind(self)


PYTHONS_OWN = SimpleNamespace(
    float64=Number,
    int32=int,
    asarray=lambda value, kind: kind(value),
    clip=lambda value, low, high: min(max(value, low), high),
    maximum=max,
    abs=abs,
    rint=lambda value: Number(round(value)),
    ldexp=math.ldexp,
    frexp=lambda value: tuple(Number(part) for part in math.frexp(value)),
    where=lambda condition, yes, no: Number(yes if condition else no),
    ones_like=lambda value: 1.0,
    zeros_like=lambda value: 0.0,
)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_python_without_numpy_computes_the_same_bits(unchecked, name, monkeypatch):
    """+, −, ×, ÷, comparison, rint, ldexp and frexp are all there is in PYTHONS_OWN, so they are all that is used."""
    values = arguments(name)[::7]
    expected = bits(FUNCTIONS[name](values))
    monkeypatch.setattr(exact, "np", PYTHONS_OWN)
    found = [float(FUNCTIONS[name](value)) for value in values.tolist()]
    monkeypatch.undo()
    np.testing.assert_array_equal(bits(found) << 1, expected << 1)  # but for the sign of a zero


def digest():
    """Of all functions' values at all their arguments."""
    return hashlib.sha256(b"".join(bits(FUNCTIONS[name](arguments(name))).tobytes() for name in FUNCTIONS)).hexdigest()


def test_a_machine_without_vector_instructions_computes_the_same_bits(plain_machine):
    assert plain_machine(__file__) == digest()
