"""The distortion that a training sees is the measure that decoded images are judged by."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from lic_jax.distortion.base import to_network_domain
from lic_jax.distortion.ms_ssim import ms_ssim_loss
from lic_jax.errors import LicError
from lic_jax.evaluation.metrics import ms_ssim

SIZES = {
    "all five scales, the smallest": (161, 176),  # odd and even halfway down
    "all five scales, odd sides": (163, 165),
    "fewer scales": (96, 128),
    "fewer scales, odd sides": (75, 47),
    "one window": (11, 15),
}
loss_of = jax.jit(ms_ssim_loss)
gradients_of = jax.jit(jax.grad(lambda *pair: jnp.sum(ms_ssim_loss(*pair)), (0, 1)))


def noise(rng, size):
    return rng.integers(0, 256, (*size, 3), dtype=np.uint8)


def shading(rng, size):
    smooth = gaussian_filter(rng.normal(size=(*size, 3)), (8, 8, 0))
    return np.clip(127 + 50 * smooth / np.std(smooth), 0, 255).astype(np.uint8)


def with_grain(rng, image, amount):
    return np.clip(image + rng.normal(0, amount, image.shape), 0, 255).astype(np.uint8)


def pairs(size):
    """(image, reference) by name: alike, unlike, and with contrast terms that are negative."""
    rng = np.random.default_rng(0)
    yield from ((f"independent noise {index}", noise(rng, size), noise(rng, size)) for index in range(2))
    image = noise(rng, size)
    yield "noise with grain", with_grain(rng, image, 40), image
    yield "a negative", 255 - image, image
    image = shading(rng, size)
    yield "shading with grain", with_grain(rng, image, 5), image
    yield "shading and other shading", shading(rng, size), image
    yield "a flat image", np.full_like(image, 90), image
    yield "flat images", np.full_like(image, 90), np.full_like(image, 91)


@pytest.mark.parametrize("size", SIZES.values(), ids=SIZES)
def test_it_is_one_minus_the_measure_on_pixels(size):
    names, images, references = zip(*pairs(size), strict=True)
    losses = loss_of(to_network_domain(np.stack(images)), to_network_domain(np.stack(references)))
    for name, image, reference, loss in zip(names, images, references, losses, strict=True):
        assert float(loss) == pytest.approx(1 - ms_ssim(image, reference), abs=1e-4), name


@pytest.mark.parametrize("size", SIZES.values(), ids=SIZES)
def test_gradients_are_finite_for_equal_images_too(size):
    _, images, references = zip(*pairs(size), strict=True)
    images, references = (to_network_domain(np.stack(part)) for part in (images, references))
    for gradient in (*gradients_of(images, references), *gradients_of(references, references)):
        assert np.all(np.isfinite(gradient))


@pytest.mark.parametrize("size", SIZES.values(), ids=SIZES)
def test_equal_images_have_no_loss(size):
    _, images, references = zip(*pairs(size), strict=True)
    for batch in (images, references):
        equal = to_network_domain(np.stack(batch))
        np.testing.assert_allclose(loss_of(equal, equal), 0, atol=1e-5)


def test_a_step_against_the_gradient_makes_images_more_alike():
    for name, image, reference in pairs((96, 128)):
        image, reference = to_network_domain(image)[None], to_network_domain(reference)[None]
        loss = loss_of(image, reference)[0]
        if 0.01 < loss < 0.9:  # else a step this long goes too far, or a scale counts as zero
            gradient, _ = gradients_of(image, reference)
            step = 1e-3 * gradient / jnp.max(jnp.abs(gradient))
            assert loss_of(image - step, reference)[0] < loss, name


def test_a_negative_term_counts_as_zero_and_leaves_the_gradients_of_the_others():
    measures = []
    for name, image, reference in pairs((96, 128)):
        if name.startswith("independent noise"):
            measures.append(ms_ssim(image, reference))
            gradient, _ = gradients_of(to_network_domain(image)[None], to_network_domain(reference)[None])
            assert np.all(np.any(gradient != 0, axis=(0, 1, 2))), name  # in every channel, of which some are zero
    assert min(measures) < 0.05


def test_images_without_a_window_are_refused():
    image = jnp.zeros((1, 10, 64, 3))
    with pytest.raises(LicError, match="64×10 hold no 11×11 window"):
        ms_ssim_loss(image, image)
