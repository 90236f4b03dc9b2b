from pathlib import Path

import pytest

EXPERIMENTS = Path(__file__).parents[2] / "experiments"


@pytest.fixture(autouse=True)
def experiments(monkeypatch):
    """Scripts import what lies beside them."""
    monkeypatch.syspath_prepend(EXPERIMENTS)
