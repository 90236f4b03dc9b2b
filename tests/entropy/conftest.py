"""What tests of the entropy coding need: tables, messages, and a machine with fewer instructions than this one."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from lic_jax.entropy.tables import TOTAL, tables_of_cdf

REPOSITORY = Path(__file__).resolve().parents[2]
SWITCHED_OFF = 'import numpy; assert not numpy.show_config(mode="dicts")["SIMD Extensions"].get("found")'


@pytest.fixture(scope="session")
def random_tables():
    def draw(seed, count=5, symbols=40):
        """Tables of all characters: some almost flat, some with one symbol that has nearly everything."""
        rng = np.random.default_rng(seed)
        weights = rng.exponential(size=(count, symbols)) ** rng.integers(1, 12, (count, 1))
        return tables_of_cdf(np.cumsum(weights, axis=1)[:, :-1] / weights.sum(axis=1, keepdims=True))

    return draw


@pytest.fixture(scope="session")
def random_message():
    def draw(tables, length, seed):
        """Symbols drawn from tables drawn at random."""
        rng = np.random.default_rng(seed)
        index = rng.integers(len(tables), size=length)
        quantiles = rng.integers(TOTAL, size=length)
        edges = np.cumsum(tables, axis=1)
        return np.sum(quantiles[:, None] >= edges[index], axis=1).astype(np.int32), index

    return draw


@pytest.fixture(scope="session")
def plain_machine():
    """Gives a test file's `digest()` as a machine without this one's vector instructions computes it.

    NumPy picks its kernels by the processor; here it is told that the processor has none of what they were made for.
    """
    found = np.show_config(mode="dicts")["SIMD Extensions"].get("found", [])
    if not found:
        pytest.skip("this NumPy uses no vector instructions beyond its baseline: there is nothing to switch off")

    def run(path):
        environment = os.environ | {"NPY_DISABLE_CPU_FEATURES": " ".join(found), "OPENBLAS_CORETYPE": "Prescott"}
        program = f"{SWITCHED_OFF}; import runpy; print(runpy.run_path({str(path)!r})['digest']())"
        result = subprocess.run(
            [sys.executable, "-W", "error::ImportWarning", "-c", program],
            cwd=REPOSITORY,
            env=environment,
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert result.returncode == 0, result.stderr
        return result.stdout.strip()

    return run
