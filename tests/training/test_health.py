import dataclasses

import jax
import numpy as np
import pytest

from lic_jax.model import CodecModel, initialize
from lic_jax.training.health import Part, inspect


@pytest.fixture(scope="module")
def crops(photographs):
    return np.stack(photographs[:4])[:, :64, :64]


@pytest.mark.parametrize("prior", ["hyperprior", "context"])
def test_dead_units_and_entries_at_a_floor_are_found(tiny_config, crops, prior):
    """Three units whose bias is far below zero, in two layers; a quarter of the inverse GDN's entries at the floor."""
    config = dataclasses.replace(tiny_config, prior=prior)
    params = jax.tree.map(np.array, initialize(config, jax.random.key(0)))
    params["hyper_analysis"]["convolution_1"]["bias"][1] = -1e6
    params["hyper_synthesis"]["layer_0"]["bias"][:2] = -1e6
    params["synthesis"]["inverse_gdn"]["gamma_root"][:3] = 0
    if prior == "context":
        params["context"]["stage_4"]["bias"][:] = -1e6
    after = inspect(CodecModel(config), params, crops)
    dead = {part.name: part.idle for part in after.units}
    assert dead["hyper_analysis 1"] >= 1 and dead["hyper_synthesis 0"] >= 2
    assert after.floors == (Part("synthesis/inverse_gdn/gamma_root", 36, 144),)
    assert f"{after.dead_units} of " in str(after) and f"hyper_synthesis 0 {dead['hyper_synthesis 0']}" in str(after)
    if prior == "context":
        assert dead["context/stage_4"] == 64
        assert any("context/stage_4 has stalled: 64 of its 64 units never fire" in line for line in after.stalled())
        assert after.channels == 12 and np.all(np.isfinite(after.means))
