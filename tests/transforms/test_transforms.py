import dataclasses
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lic_jax.config import ModelConfig
from lic_jax.distortion.base import to_network_domain
from lic_jax.errors import LicError
from lic_jax.model import CodecModel
from lic_jax.training.klt import klt_start, optimal_step, principal_axes
from lic_jax.transforms.description import kernel_sizes
from lic_jax.transforms.hyper_transforms import standard_analysis, transposed_layers
from lic_jax.transforms.module import as_module

LATENT, HYPER = 24, 6
RD_LAMBDA, SEED = 0.01, 3
SETTINGS = {"analysis_channels": (5, 6, 7), "latent_channels": LATENT, "hyper_channels": HYPER}


def shape_of(transform, *shape):
    """Shapes of what a transform puts out; nothing is computed."""
    module = as_module(transform)
    outputs, _ = jax.eval_shape(module.init_with_output, jax.random.key(0), jnp.zeros(shape))
    return jax.tree.map(lambda leaf: leaf.shape, outputs)


def test_the_shapes_of_the_signal_path():
    height, width = 128, 192
    image, latent = (2, height, width, 3), (2, height // 16, width // 16, LATENT)
    hyper_latent = (2, height // 64, width // 64, HYPER)
    config = lambda **settings: ModelConfig(**{**SETTINGS, "analysis_channels": (4, 6, 8), **settings})
    for kind in ("cnn", "gdn", "elic"):
        for kernel_size, block_transform in ((5, True), (3, False)):
            of_kind = config(analysis=kind, analysis_kernel=kernel_size, block_transform=block_transform)
            assert shape_of(of_kind.analysis_layers, *image) == latent
    assert shape_of(config(analysis="linear").analysis_layers, *image) == latent
    assert shape_of(standard_analysis(config()), *latent) == hyper_latent
    for hyper_synthesis in ("standard", "jpeg_like"):
        layers = config(hyper_synthesis=hyper_synthesis).hyper_synthesis_layers
        assert shape_of(layers, *hyper_latent) == (*latent[:3], 2 * LATENT)
    for kernel_size in (16, 18, 20, 26, 32):
        jpeg_like = config(synthesis="jpeg_like", synthesis_kernels=kernel_size)
        assert shape_of(jpeg_like.synthesis_layers, *latent) == image
    for kind in ("two_layer", "two_layer_gain", "two_layer_residual"):
        shallow = config(synthesis=kind, synthesis_channels=12, synthesis_kernels=(10, 4))
        assert shape_of(shallow.synthesis_layers, *latent) == image
    for kind in ("cnn", "gdn", "elic"):
        assert shape_of(config(synthesis=kind, synthesis_channels=(8, 6, 4)).synthesis_layers, *latent) == image


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"analysis": "dct"}, "analysis 'dct' is unknown; known: cnn, elic, gdn, linear, residual"),
        ({"synthesis": "dct"}, "synthesis 'dct' is unknown; known: cnn, elic, gdn, jpeg_like, two_layer"),
        ({"prior": "gaussian"}, "prior 'gaussian' is unknown; known: context, factorized, hyperprior"),
        ({"hyper_synthesis": "dct"}, "hyper synthesis 'dct' is unknown; known: jpeg_like, standard"),
        ({"synthesis": "elic", "synthesis_channels": (8, 8)}, "too few for this model; give 3"),
        ({"latent_channels": 0}, "latent_channels is 0; give whole numbers from 1"),
        ({"latent_channels": 2.5}, "latent_channels is 2.5; give whole numbers"),
        ({"synthesis_kernels": (4, 2)}, "smaller than the strides"),
    ],
)
def test_a_configuration_that_cannot_be_built_is_refused(settings, message):
    with pytest.raises(LicError, match=message):
        ModelConfig(**settings)


ANALYSES = ("cnn", "gdn", "elic", "linear", "residual")
SYNTHESES = ("jpeg_like", "two_layer", "two_layer_gain", "two_layer_residual", "cnn", "gdn", "elic")


@pytest.mark.parametrize(("analysis", "synthesis"), zip(itertools.cycle(ANALYSES), SYNTHESES))
def test_any_transforms_make_a_model_that_travels_as_json(analysis, synthesis):
    config = ModelConfig(
        **{**SETTINGS, "analysis_channels": (4, 6, 8)},
        analysis_kernel=3,
        analysis=analysis,
        synthesis=synthesis,
        synthesis_channels=(12, 8, 6),
        hyper_synthesis="jpeg_like",
    )
    assert ModelConfig.from_json(config.to_json()) == config
    model = CodecModel(config)
    assert shape_of(model, 1, 64, 64, 3) == (1, 64, 64, 3)
    if analysis != "linear":
        shapes = jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, 64, 64, 3)))["params"]
        assert shapes["analysis"]["convolution_0"]["kernel"].shape == (3, 3, 3, 4)


def test_a_layers_width_is_what_the_design_says():
    """Kernel shapes of the published two-layer model: 13×13 stride 8 to 24, 5×5 stride 2 to 3."""
    variables = jax.eval_shape(
        as_module(ModelConfig().synthesis_layers).init, jax.random.key(0), jnp.zeros((1, 2, 2, 320))
    )["params"]
    assert variables["layer_0"]["kernel"].shape == (13, 13, 24, 320)
    assert variables["layer_1"]["kernel"].shape == (5, 5, 3, 24)
    assert variables["inverse_gdn"]["gamma_root"].shape == (24, 24)
    jpeg_like = as_module(ModelConfig(synthesis="jpeg_like").synthesis_layers)
    variables = jax.eval_shape(jpeg_like.init, jax.random.key(0), jnp.zeros((1, 2, 2, 320)))["params"]
    assert variables["layer_0"]["kernel"].shape == (18, 18, 3, 320)
    layers = ModelConfig(hyper_channels=96, latent_channels=320).hyper_synthesis_layers
    variables = jax.eval_shape(as_module(layers).init, jax.random.key(0), jnp.zeros((1, 2, 2, 96)))["params"]
    shapes = [variables[f"layer_{index}"]["kernel"].shape for index in range(3)]
    assert shapes == [(5, 5, 96, 96), (5, 5, 144, 96), (3, 3, 640, 144)]


@pytest.fixture(scope="module")
def photographs(samples):
    return [samples.astronaut(), samples.coffee()]


@pytest.fixture(scope="module")
def axes(photographs):
    return principal_axes(photographs, LATENT, seed=SEED)


@pytest.fixture(scope="module", params=["jpeg_like", "two_layer", "two_layer_residual"])
def klt(request, photographs):
    """(configuration, some parameters, the KLT start made from them)."""
    hyper_synthesis = "jpeg_like" if request.param == "jpeg_like" else "standard"
    config = ModelConfig(synthesis=request.param, synthesis_channels=14, hyper_synthesis=hyper_synthesis, **SETTINGS)
    image = jnp.zeros((1, 64, 64, 3))
    shapes = jax.eval_shape(CodecModel(config).init, jax.random.key(0), image)["params"]
    rng = np.random.default_rng(0)

    def fill(path, leaf):
        """What an initialization would give, roughly: biases 0, β 1 and the rest random."""
        ends = {"bias": np.zeros, "beta_root": np.ones}
        make = ends.get(path[-1].key, lambda shape: rng.normal(0, 0.2, shape))
        return make(leaf.shape).astype(np.float32)

    parameters = jax.tree_util.tree_map_with_path(fill, shapes)
    return config, parameters, klt_start(parameters, config, photographs, RD_LAMBDA, seed=SEED)


def test_principal_axes_are_orthonormal_and_sorted_by_the_spread_along_them(axes):
    basis, spread = axes
    assert basis.shape == (768, LATENT)
    np.testing.assert_allclose(basis.T @ basis, np.eye(LATENT), atol=1e-10)
    assert np.all(np.diff(spread) <= 0)


def test_the_principal_axes_keep_more_of_the_patches_than_cosines_do(photographs, axes):
    """More than the first DCT frequencies of luma and of one colour difference, over patches on a grid."""
    basis, spread = axes
    patches = np.concatenate(
        [
            photograph[top : top + 16, left : left + 16].reshape(1, -1) / 255 - 0.5
            for photograph in photographs
            for top in range(0, 380, 20)
            for left in range(0, 480, 20)
        ]
    )
    np.testing.assert_allclose(np.std(patches @ basis[:, 1:], axis=0), spread[1:], rtol=0.5)
    waves = np.cos(np.pi * (np.arange(16) + 0.5) * np.arange(4)[:, None] / 16)
    cosines = np.stack(
        [
            np.einsum("r,c,k->rck", waves[down], waves[across], colour).ravel()
            for colour, size in (((1, 1, 1), 4), ((1, 0, -1), 3))
            for down, across in np.ndindex(size, size)
        ]
    )[:LATENT]
    cosines /= np.linalg.norm(cosines, axis=1, keepdims=True)
    assert np.sum((patches @ basis) ** 2) > np.sum((patches @ cosines.T) ** 2)


def test_a_codec_at_its_klt_start_projects_each_block_onto_the_principal_axes(klt, photographs, axes):
    config, _, start = klt
    image = np.asarray(to_network_domain(photographs[0][None, 64:128, 128:192]))

    def encode_and_decode(model, image):
        latent, _ = model.encode(image)
        return latent, model.decode(latent)

    run = jax.jit(lambda image: CodecModel(config).apply({"params": start}, image, method=encode_and_decode))
    latent, found = run(image)
    basis, _ = axes
    blocks = image.reshape(4, 16, 4, 16, 3).transpose(0, 2, 1, 3, 4).reshape(4, 4, 768)
    coefficients = blocks @ basis
    projection = (coefficients @ basis.T).reshape(4, 4, 16, 16, 3).transpose(0, 2, 1, 3, 4).reshape(1, 64, 64, 3)
    np.testing.assert_allclose(found, projection, atol=1e-4)
    np.testing.assert_allclose(latent[0], coefficients / optimal_step(RD_LAMBDA), atol=1e-3)
    assert np.std(image - projection) > 0.01  # the projection is not the image itself


def test_the_klt_start_predicts_each_channels_spread(klt, axes):
    """The scale bias of the hyper synthesis is the log of the spread in steps, and the mean's bias is zero."""
    layers = klt[2]["hyper_synthesis"]
    mean, log_scale = np.split(layers[max(layers)]["bias"], 2)
    np.testing.assert_array_equal(mean, 0)
    np.testing.assert_allclose(np.exp(log_scale), axes[1] / optimal_step(RD_LAMBDA), rtol=1e-4)


def test_the_klt_start_keeps_shapes_and_writes_into_nothing_it_was_given(klt):
    _, parameters, start = klt
    assert jax.tree.map(np.shape, start) == jax.tree.map(np.shape, parameters)
    shared = [
        np.shares_memory(before, after)
        for before, after in zip(jax.tree.leaves(parameters), jax.tree.leaves(start), strict=True)
    ]
    assert not any(shared)
    kernel = parameters["analysis"]["convolution_3"]["kernel"]
    assert np.std(kernel) == pytest.approx(0.2, rel=0.05)  # the start has zeros there


def test_the_klt_start_is_float32(klt):
    assert {leaf.dtype for leaf in jax.tree.leaves(klt[2])} == {np.dtype(np.float32)}


@pytest.mark.parametrize("rd_lambda", [0.00125, 0.01, 0.08])
def test_the_optimal_step_is_where_rate_and_distortion_balance(rd_lambda):
    """3 log₂(1/Δ) bits a pixel + λ 255² Δ²/12: the derivative is zero, by central differences."""
    cost = lambda step: -3 * np.log2(step) + rd_lambda * 255**2 * step**2 / 12
    step = optimal_step(rd_lambda)
    assert cost(step) < min(cost(0.99 * step), cost(1.01 * step))


def test_what_a_configuration_leaves_open_follows_what_it_says():
    """A command line changes one thing of the default model; the rest is then that thing's own."""
    jpeg_like = dataclasses.replace(ModelConfig(), synthesis="jpeg_like")
    assert kernel_sizes(jpeg_like.synthesis_layers) == (18,)
    narrow = dataclasses.replace(ModelConfig(), hyper_channels=48)
    assert [layer.features for layer in transposed_layers(narrow.hyper_synthesis_layers)] == [48, 72, 640]
