import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lic_jax.config import ModelConfig
from lic_jax.evaluation.complexity import complexity, with_sums
from lic_jax.model import CodecModel

PUBLISHED = {
    "block_transform": False,
    "hyper_channels": 320,
    "hyper_input": "latent",
    "scale_output": "log_index",
}
FIGURES = [
    ({"synthesis": "jpeg_like"}, {"synthesis": 2433}),
    ({"synthesis": "two_layer_residual", "synthesis_channels": 12}, {"synthesis": 10677}),
    ({}, {"hyper_synthesis": 30355, "hyper_analysis": 13452}),
    (
        {
            kind: value
            for side in ("analysis", "synthesis")
            for kind, value in ((side, "gdn"), (f"{side}_channels", (192,) * 3))
        },
        {"analysis": 187583, "synthesis": 187585},
    ),
    (
        {
            kind: value
            for side in ("analysis", "synthesis")
            for kind, value in ((side, "elic"), (f"{side}_channels", (192,) * 3))
        },
        {"analysis": 510564, "synthesis": 510566},
    ),
]


@pytest.mark.parametrize(("settings", "figures"), FIGURES, ids=lambda value: " ".join(map(str, value)))
def test_the_published_costs(settings, figures):
    """Yang & Mandt, ICCV 2023, table 1: FLOPs per pixel, multiply and add counted apart."""
    costs = complexity(ModelConfig(**PUBLISHED, **settings))
    for part, expected in figures.items():
        assert costs[part].flops == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize(
    ("synthesis", "hyper_synthesis"),
    [("jpeg_like", "standard"), ("two_layer", "jpeg_like"), ("two_layer_residual", "standard"), ("elic", "jpeg_like")],
)
def test_every_parameter_is_counted(synthesis, hyper_synthesis):
    config = ModelConfig(
        analysis_channels=(4, 6, 8),
        latent_channels=10,
        hyper_channels=6,
        hyper_synthesis=hyper_synthesis,
        synthesis=synthesis,
        synthesis_channels=(12, 4, 6),
    )
    shapes = jax.eval_shape(CodecModel(config).init, jax.random.key(0), jnp.zeros((1, 64, 64, 3)))["params"]
    for part, cost in complexity(config).items():
        assert cost.parameters == sum(np.prod(leaf.shape) for leaf in jax.tree.leaves(shapes[part]))


def test_a_contexts_parameters_are_counted_and_belong_to_encoding_and_decoding():
    config = ModelConfig(prior="context", latent_channels=40, hyper_channels=4, hyper_synthesis_channels=(6, 5))
    costs = with_sums(complexity(config))
    shapes = jax.eval_shape(CodecModel(config).init, jax.random.key(0), jnp.zeros((1, 64, 64, 3)))["params"]["context"]
    assert costs["context"].parameters == sum(leaf.size for leaf in jax.tree.leaves(shapes))
    receiver = ("hyper_synthesis", "context", "synthesis")
    assert costs["decoding"].flops == pytest.approx(sum(costs[part].flops for part in receiver))
    assert costs["encoding"].flops > costs["context"].flops
