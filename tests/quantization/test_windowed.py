import contextlib
import functools

import jax
import jax.numpy as jnp
import numpy as np
from given_values import GivenValues
from hypothesis import given, settings
from hypothesis import strategies as st

from lic_jax.quantization.windowed import soft_windowed, window_of

COMPONENTS = 40


def quantizer_of(spacings, thresholds):
    """A quantizer with these very values, which are what gradients are taken in."""
    return GivenValues(spacings=spacings, thresholds=thresholds, components=thresholds.shape[-1])


def random_quantizer(seed, unevenness=1.5):
    """Spacings w and thresholds b, float32; both spacings and gaps are between 1/unevenness and unevenness."""
    spacings, gaps = unevenness ** np.random.default_rng(seed).uniform(-1, 1, (2, COMPONENTS))
    return spacings.astype(np.float32), (np.cumsum(gaps) - np.sum(gaps) / 2).astype(np.float32)


def values_and_weights(thresholds, seed):
    """500 values inside and outside of the thresholds, at them and far away, and the weight of each in a sum."""
    rng = np.random.default_rng(seed)
    anywhere = rng.uniform(1.5 * thresholds[0], 1.5 * thresholds[-1], 458)
    values = np.concatenate([anywhere, thresholds, [-1e6, 1e6]])
    return values.astype(np.float32), rng.normal(size=500).astype(np.float32)


@functools.partial(jax.jit, static_argnums=0)
def with_gradients(window, spacings, thresholds, beta, values, weights):
    """s_β(values), and the gradients of Σ weights · s_β(values) in w, b, β and the values."""

    def weighted(spacings, thresholds, beta, values):
        soft = soft_windowed(quantizer_of(spacings, thresholds), values, beta, window)
        return jnp.sum(weights * soft), soft

    gradients, soft = jax.grad(weighted, (0, 1, 2, 3), has_aux=True)(spacings, thresholds, beta, values)
    return soft, *gradients


def formula_with_gradients(spacings, thresholds, beta, values, weights):
    """The same in NumPy and float64, each with a scale: the levels' span, the largest entry, Σ |weights| / β for β."""
    spacings, thresholds, beta = map(np.float64, (spacings, thresholds, beta))
    values, weights = np.float64(values)[:, None], np.float64(weights)[:, None]
    steps = np.tanh(beta * (values - thresholds))
    slopes = weights * spacings / 2 * (1 - steps**2)
    soft, in_beta = np.sum(spacings / 2 * steps, axis=1), np.sum(slopes * (values - thresholds))
    gradients = np.sum(weights / 2 * steps, axis=0), -beta * np.sum(slopes, axis=0), beta * np.sum(slopes, axis=1)
    in_spacings, in_thresholds, in_values = ((gradient, np.max(np.abs(gradient))) for gradient in gradients)
    return (soft, np.sum(spacings)), in_spacings, in_thresholds, (in_beta, np.sum(np.abs(weights)) / beta), in_values


def relative_errors(found, expected):
    return [
        np.max(np.abs(np.float64(one) - other)) / scale for one, (other, scale) in zip(found, expected, strict=True)
    ]


@contextlib.contextmanager
def in_float64():
    """`jax.enable_x64`, whose place differs between versions of JAX."""
    jax.config.update("jax_enable_x64", True)
    try:
        yield
    finally:
        jax.config.update("jax_enable_x64", False)


@settings(max_examples=40)
@given(st.integers(0, 2**32 - 1), st.floats(3.2, 1000), st.sampled_from([1.0, 1.5, 4.0]))
def test_the_windowed_layer_is_the_plain_sum_with_its_gradients(seed, beta_times_gap, unevenness):
    """To 1e-6 for every β that the window is chosen for; in float64, where the formula itself loses nothing.

    Two programs, with windows of 3 and 7, serve all quantizers.
    """
    spacings, thresholds = random_quantizer(seed, unevenness)
    beta = beta_times_gap / np.min(np.diff(thresholds))
    window = window_of(quantizer_of(spacings, thresholds), beta)
    arguments = spacings, thresholds, beta, *values_and_weights(thresholds, seed)
    with in_float64():
        found = with_gradients(3 if window <= 3 else 7, *map(np.float64, arguments))
    assert window <= 7 and found[0].dtype == np.float64
    assert max(relative_errors(found, formula_with_gradients(*arguments))) < 1e-6


def test_a_window_too_small_is_not_exact():
    spacings, thresholds = random_quantizer(0)
    assert window_of(quantizer_of(spacings, thresholds), 2.0) > 3
    arguments = spacings, thresholds, np.float32(2), *values_and_weights(thresholds, 0)
    error, *_ = relative_errors(with_gradients(3, *arguments), formula_with_gradients(*arguments))
    assert 1e-4 < error < 0.1


def test_windows_shrink_as_the_staircase_hardens_and_do_not_grow_with_it():
    for components in (COMPONENTS, 400):
        thresholds = np.arange(components, dtype=np.float32)
        windows = [window_of(quantizer_of(None, thresholds), beta) for beta in (0.5, 1.0, 3.0, 10.0, 100.0)]
        assert windows == sorted(windows, reverse=True)
        assert windows[2:] == [7, 2, 1]


def test_a_stack_shares_the_largest_window_and_works_under_vmap():
    stack = [np.stack(arrays) for arrays in zip(*map(random_quantizer, range(3)), strict=True)]
    assert window_of(quantizer_of(*stack), 10.0) == 3
    betas = np.array([10, 20, 40], np.float32)
    values, weights = values_and_weights(stack[1][0], 0)
    stacked = jax.vmap(with_gradients, (None, 0, 0, 0, None, None))(3, *stack, betas, values, weights)
    for index, beta in enumerate(betas):
        expected = formula_with_gradients(stack[0][index], stack[1][index], beta, values, weights)
        assert max(relative_errors([found[index] for found in stacked], expected)) < 2e-6


def test_half_precision_is_that_of_the_arguments_and_the_result_alone():
    """In between it is float32, which is exact to 2e-6 itself."""
    quantizer = [array.astype(jnp.bfloat16) for array in random_quantizer(1)]
    half = *quantizer, jnp.bfloat16(10), *(array.astype(jnp.bfloat16) for array in values_and_weights(quantizer[1], 1))
    single = [np.float32(array) for array in half]
    in_single = with_gradients(3, *single)
    assert max(relative_errors(in_single, formula_with_gradients(*single))) < 2e-6
    for found, expected in zip(with_gradients(3, *half), in_single, strict=True):
        assert found.dtype == jnp.bfloat16
        np.testing.assert_array_equal(found, expected.astype(jnp.bfloat16))


ON_FOUR_DEVICES = """
import jax, numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from lic_jax.quantization import stanh
from lic_jax.quantization.windowed import soft_windowed

quantizer = jax.jit(lambda: stanh.uniform(40))()
values = np.random.default_rng(0).normal(0, 8, (8, 6, 10)).astype(np.float32)

def gradients(soft_of):
    def loss(quantizer, values):
        soft = soft_of(quantizer, values)
        return (soft**2).sum(), soft
    return jax.jit(jax.grad(loss, (0, 1), has_aux=True))

batch = NamedSharding(Mesh(jax.devices(), "batch"), PartitionSpec("batch"))
sharded = jax.device_put(values, batch)
step = gradients(lambda quantizer, values: soft_windowed(quantizer, values, 10.0, 2))
step = step.lower(quantizer, sharded).compile()
found = step(quantizer, sharded)
(_, of_values), soft = found
for array in (soft, of_values):
    assert len(array.sharding.device_set) == 4 and array.sharding.is_equivalent_to(batch, 3)
assert "all-gather" not in step.as_text() and "all-reduce" in step.as_text()
expected = gradients(lambda quantizer, values: stanh.soft(quantizer, values, 10.0))(quantizer, values)
for one, other in zip(jax.tree.leaves(found), jax.tree.leaves(expected)):
    np.testing.assert_allclose(one, other, rtol=1e-5, atol=2e-4)
"""


def test_values_stay_on_their_devices(run_python):
    """The gradients in the quantizer are all that devices exchange."""
    run_python(ON_FOUR_DEVICES, XLA_FLAGS="--xla_force_host_platform_device_count=4 --xla_backend_optimization_level=0")
