"""One description, several readers: they agree for every transform that has a name."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from lic_jax import registry
from lic_jax.config import ModelConfig
from lic_jax.errors import LicError
from lic_jax.transforms.description import is_shallow, parameter_shapes, uses
from lic_jax.transforms.gdn import Normalization, SignedGain
from lic_jax.transforms.hyper_transforms import standard_analysis
from lic_jax.transforms.layers import Convolution, TransposedConvolution
from lic_jax.transforms.module import as_module
from lic_jax.transforms.receiver import synthesis
from lic_jax.zoo.weights import unflatten

SETTINGS = {
    "analysis_channels": (4, 6, 8),
    "latent_channels": 10,
    "hyper_channels": 6,
    "synthesis_channels": (12, 8, 6),
}
NAMES = [
    (part, name)
    for part, names in (
        ("analysis", registry.ANALYSES),
        ("hyper_synthesis", registry.HYPER_SYNTHESES),
        ("synthesis", registry.SYNTHESES),
    )
    for name in names
]


@pytest.mark.parametrize(("part", "name"), NAMES)
def test_weights_have_the_shapes_that_the_description_says(part, name):
    layers = getattr(ModelConfig(**SETTINGS, **{part: name}), f"{part}_layers")
    channels, side = {"analysis": (3, 64), "hyper_synthesis": (6, 2), "synthesis": (10, 4)}[part]
    shapes = jax.eval_shape(as_module(layers).init, jax.random.key(0), jnp.zeros((1, side, side, channels)))["params"]
    found = {path: leaf.shape for path, leaf in flatten_shapes(shapes).items()}
    assert found == parameter_shapes(layers, channels)


def flatten_shapes(tree, prefix=""):
    flat = {}
    for name, leaf in tree.items():
        flat.update(flatten_shapes(leaf, f"{prefix}{name}/") if isinstance(leaf, dict) else {f"{prefix}{name}": leaf})
    return flat


PARTS = [*NAMES, ("hyper_analysis", "standard")]


@pytest.mark.parametrize(("part", "name"), PARTS)
def test_layers_with_weights_stand_in_the_order_in_which_the_signal_meets_them(part, name):
    """As Flax calls them, with the channels and the sizes that they have then: published weights are in this order."""
    is_part = {} if part == "hyper_analysis" else {part: name}
    config = ModelConfig(**SETTINGS, **is_part)
    layers = standard_analysis(config) if part == "hyper_analysis" else getattr(config, f"{part}_layers")
    channels, side = {"hyper_analysis": (10, 16), "analysis": (3, 64), "hyper_synthesis": (6, 2)}.get(part, (10, 4))
    calls = []

    def record(call, positional, keywords, context):
        output = call(*positional, **keywords)
        is_layer = isinstance(context.module, Convolution | TransposedConvolution | Normalization | SignedGain)
        if is_layer and context.method_name == "__call__":
            ends = ((array.shape[-1], array.shape[1]) for array in (positional[0], output))
            calls.append((context.module.path, *ends))
        return output

    with nn.intercept_methods(record):
        jax.eval_shape(as_module(layers).init, jax.random.key(0), jnp.zeros((1, side, side, channels)))
    described = [
        (use.path, (use.in_channels, use.in_scale * side), (use.out_channels, use.out_scale * side))
        for use in uses(layers, channels)
    ]
    assert described == calls


@pytest.mark.parametrize("name", [name for part, name in NAMES if part == "synthesis"])
def test_numpy_runs_the_shallow_ones_as_flax_does(name):
    layers = ModelConfig(**SETTINGS, synthesis=name).synthesis_layers
    rng = np.random.default_rng(0)
    latent = rng.normal(size=(1, 5, 4, 10)).astype(np.float32)
    shapes = parameter_shapes(layers, 10)
    flat = {path: rng.normal(0, 0.1, shape).astype(np.float32) for path, shape in shapes.items()}
    params = unflatten(flat)
    if not is_shallow(layers):
        with pytest.raises(LicError, match=f"a {name} synthesis needs JAX"):
            synthesis(name, layers, params)
        return
    expected = as_module(layers).apply({"params": params}, latent)
    np.testing.assert_allclose(synthesis(name, layers, params)(latent), expected, atol=1e-4)
