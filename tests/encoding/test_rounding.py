import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lic_jax.config import ModelConfig
from lic_jax.encoding.operating_point import code_length
from lic_jax.encoding.search import assess, improve, local_gains
from lic_jax.model import CodecModel


def test_the_gain_of_a_linear_synthesis_is_its_kernels_energy():
    config = ModelConfig(analysis="linear", latent_channels=5, hyper_channels=2, synthesis="jpeg_like")
    kernel = np.random.default_rng(0).normal(0, [0.01, 0.02, 0.04, 0.08, 0.16], (18, 18, 3, 5)).astype(np.float32)
    params = {"synthesis": {"layer_0": {"kernel": kernel, "bias": np.full(3, 0.3, np.float32)}}}
    gains = local_gains(CodecModel(config), {"params": params})
    np.testing.assert_allclose(gains, np.sum(kernel**2, axis=(0, 1, 2)), rtol=1e-4)


@pytest.fixture(scope="module")
def pass_with(problem):
    """λ's factor → the choice after a pass."""

    def run(factor):
        point = problem.point.replace(rd_lambda=jnp.float32(factor * problem.point.rd_lambda))
        _, choice = improve(*problem._replace(point=point), problem.images.one_shot)
        return choice

    return run


def test_a_pass_makes_the_objective_smaller(problem, pass_with, one_shot):
    assert np.all(assess(*problem, pass_with(1.0)).objective < 0.99 * one_shot.objective)


def test_a_pass_says_what_it_starts_from_costs(problem, one_shot):
    cost, _ = improve(*problem, problem.images.one_shot)
    jax.tree.map(lambda found, expected: np.testing.assert_allclose(found, expected, rtol=1e-5), cost, one_shot)


def test_where_error_weighs_nothing_every_symbol_is_the_cheapest_of_three(problem, pass_with):
    before, after = problem.images.one_shot, pass_with(0.0)
    bits = lambda symbols: np.asarray(code_length(problem.point.latent, before.index, symbols))
    symbols = before.symbols.latent
    least = np.minimum(bits(symbols), np.minimum(bits(symbols - 1), bits(symbols + 1)))
    np.testing.assert_array_equal(bits(after.symbols.latent), least)
    np.testing.assert_array_equal(after.symbols.hyper_latent, before.symbols.hyper_latent)


def test_where_error_weighs_all_the_error_falls(problem, pass_with, one_shot):
    assert np.sum(assess(*problem, pass_with(1e4)).mse) < np.sum(one_shot.mse)
