"""The checks of signatures (tests/typechecks.py) are awake: a wrong shape or number type does not pass."""

import jax
import jax.numpy as jnp
import jaxtyping
import numpy as np
import pytest
from jaxtyping import TypeCheckError

from lic_jax.evaluation.metrics import mean_squared_error
from lic_jax.quantization import counting

if jaxtyping.Array is jax.Array:
    pytest.skip("the oldest lane checks no signatures", allow_module_level=True)


def test_a_wrong_shape_is_found():
    with pytest.raises(TypeCheckError):
        mean_squared_error(np.zeros((4, 4), np.uint8), np.zeros((4, 4, 3), np.uint8))


def test_a_wrong_number_type_is_found():
    with pytest.raises(TypeCheckError):
        counting.count_below(jnp.arange(3), jnp.zeros(2))


def test_a_right_call_passes():
    assert mean_squared_error(np.zeros((4, 4, 3), np.uint8), np.zeros((4, 4, 3), np.uint8)) == 0
    assert counting.count_below(jnp.arange(3.0), np.ones(2, np.float32)).tolist() == [1, 1]
