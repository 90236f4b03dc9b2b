import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lic_jax.config import ModelConfig
from lic_jax.encoding.objective import code_length, predict
from lic_jax.encoding.rounding import gradient_and_gains
from lic_jax.encoding.search import METHODS, begin, update
from lic_jax.model import model_of


def test_the_gain_of_a_linear_synthesis_without_overlap_is_its_kernels_energy(problem):
    """A unit of a latent of channel c adds the squares of its 16×16×3 pixels."""
    config = ModelConfig(
        analysis="linear", latent_channels=5, hyper_channels=2, synthesis="jpeg_like", synthesis_kernels=16
    )
    spread = np.array([0.01, 0.02, 0.04, 0.08, 0.16])
    kernel = np.random.default_rng(0).normal(0, spread, (16, 16, 3, 5)).astype(np.float32)
    params = {"synthesis": {"layer_0": {"kernel": kernel, "bias": np.zeros(3, np.float32)}}}
    latent = jnp.zeros((2, 4, 8, 5))
    model, variables = model_of(config), {"params": params}
    _, gains = jax.jit(lambda latent: gradient_and_gains(model, variables, problem.images, latent))(latent)
    for of_image in gains[:, 0, 0]:
        np.testing.assert_allclose(of_image, np.sum(kernel**2, axis=(0, 1, 2)), rtol=0.6)


@pytest.fixture(scope="module")
def choose(problem, solve):
    """λ's factor → one shot and the solution after a pass, both measured at the model's own λ."""
    method = METHODS["rounding"]
    start = lambda: begin(method, problem.images)

    def run(factor):
        point = problem.point.replace(rd_lambda=jnp.float32(factor * problem.point.rd_lambda))
        state = update(method, problem.model, problem.variables, problem.images, point, start(), 0.0, 1)
        return solve(state.latents)

    return run


def test_a_pass_makes_the_objective_smaller(choose, one_shot):
    assert np.all(choose(1.0).cost.objective < 0.99 * one_shot.cost.objective)


def test_where_error_weighs_nothing_every_symbol_is_the_cheapest_of_three(problem, choose, one_shot):
    predictions = jax.jit(predict, static_argnums=0)
    _, index = predictions(problem.model, problem.variables, problem.images, problem.images.one_shot.hyper_latent)
    bits = lambda symbols: np.asarray(code_length(problem.point.latent, index, symbols))
    symbols, after = one_shot.symbols.latent, choose(0.0)
    least = np.minimum(bits(symbols), np.minimum(bits(symbols - 1), bits(symbols + 1)))
    np.testing.assert_array_equal(bits(after.symbols.latent), least)
    np.testing.assert_array_equal(after.symbols.hyper_latent, one_shot.symbols.hyper_latent)


def test_where_error_weighs_all_the_error_falls(choose, one_shot):
    assert np.sum(choose(1e4).cost.mse) < np.sum(one_shot.cost.mse)
