import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lic_jax.encoding.cost import relaxed_objective
from lic_jax.encoding.operating_point import code_length
from lic_jax.encoding.search import nearest_choice

RATE = 0


@pytest.fixture(scope="module")
def relaxed(problem):
    """(images, latents, weight of the upper levels: p where 0, round(p) where 1) → objective and gradient, compiled."""

    @jax.jit
    def evaluate(images, latents, hardness):
        def total(latents):
            weigh = lambda position: position + hardness * (jnp.round(position) - position)
            cost = relaxed_objective(*problem._replace(images=images), latents, weigh, weigh)
            return jnp.sum(cost.objective), cost

        gradient, cost = jax.grad(total, has_aux=True)(latents)
        return cost, gradient

    return evaluate


def test_the_levels_of_one_shot_are_their_own_nearest(problem):
    """And a choice that JAX makes is NumPy's, μ and index included."""
    one_shot = problem.images.one_shot
    nearest = nearest_choice(*problem, one_shot.latents(problem.point))
    for found, expected in zip(jax.tree.leaves(nearest), jax.tree.leaves(one_shot), strict=True):
        np.testing.assert_array_equal(found, expected)


def test_the_cost_of_a_choice_is_that_of_the_file(codec, images, one_shot):
    """Bits within the container's 31 bytes and the coder's few, the error of the decoded pixels."""
    streams = codec.compress_batch(images, RATE)
    for position, (image, data) in enumerate(zip(images, streams, strict=True)):
        pixels = image.shape[0] * image.shape[1]
        assert 0 <= 8 * len(data) - float(one_shot.bpp[position]) * pixels <= 8 * (31 + 16)
        mse = np.mean((codec.decompress(data).astype(float) - image) ** 2)
        assert float(one_shot.mse[position]) == pytest.approx(mse, rel=1e-3)
    rd_lambda = codec.bundle.rd_lambda_at(codec.bundle.rate_units(RATE))
    np.testing.assert_allclose(one_shot.objective, one_shot.bpp + rd_lambda * one_shot.mse, rtol=1e-6)


def test_the_relaxed_objective_at_whole_weights_is_the_hard_one(problem, relaxed, one_shot):
    """But for the pixels, which are not rounded there."""
    cost, _ = relaxed(problem.images, problem.images.one_shot.latents(problem.point), 1.0)
    np.testing.assert_allclose(cost.bpp, one_shot.bpp, rtol=1e-5)
    np.testing.assert_allclose(cost.mse, one_shot.mse, rtol=0.05)


def test_the_gradient_reaches_both_latents_and_nothing_beyond_the_image(problem, relaxed):
    """Latents of blocks beyond the image cost nothing and are not moved."""
    narrow = problem.images.replace(sizes=jnp.array([[60, 64], [64, 100]]))
    _, gradient = relaxed(narrow, problem.images.analysed, 0.0)
    for of_part in gradient:
        half = of_part.shape[2] // 2
        assert np.all(of_part[0, :, half:] == 0)
        assert np.any(of_part[0, :, :half] != 0) and np.any(of_part[1, :, half:] != 0)


def test_the_gradient_is_that_of_the_objective(problem, relaxed):
    """Uphill, where nothing is rounded: in the latent, since the hyper synthesis has floors."""
    latents = problem.images.analysed
    _, gradient = relaxed(problem.images, latents, 0.0)
    uphill = jnp.sign(gradient.latent)
    moved = lambda step: latents._replace(latent=latents.latent + step * uphill)
    objective = lambda step: float(jnp.sum(relaxed(problem.images, moved(step), 0.0)[0].objective))
    slope = (objective(2e-3) - objective(-2e-3)) / 4e-3
    assert slope == pytest.approx(float(jnp.sum(jnp.abs(gradient.latent))), rel=0.05)


def test_bits_follow_the_scale_index_as_their_tables_do(problem):
    """The gradient in the index: half the difference of the neighbouring tables, one table at the ends."""
    staircase = problem.point.latent
    index, symbols = jnp.array([0.0, 20, 63]), jnp.array([127, 130, 100])
    table = staircase.code_lengths
    slope = jax.grad(lambda index: jnp.sum(code_length(staircase, index, symbols)))(index)
    expected = [(table[1, 127] - table[0, 127]) / 2, (table[21, 130] - table[19, 130]) / 2]
    np.testing.assert_allclose(slope, [*expected, (table[63, 100] - table[62, 100]) / 2], rtol=1e-5)
    np.testing.assert_array_equal(code_length(staircase, index, symbols), table[jnp.array([0, 20, 63]), symbols])
