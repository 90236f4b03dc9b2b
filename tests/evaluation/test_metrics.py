import io
import math
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from scipy.ndimage import gaussian_filter

from lic_jax.errors import LicError
from lic_jax.evaluation.metrics import blockiness, mean_squared_error, ms_ssim, psnr

skimage = pytest.importorskip("skimage", reason="scikit-image comes with the extra lic-jax[experiments]")

PHOTOGRAPHS = {  # all shipped inside scikit-image
    "all sides even": lambda: skimage.data.astronaut()[:256, 128:384],
    "odd height": lambda: skimage.data.rocket()[:, 200:424],
    "odd width": skimage.data.chelsea,
    "odd at every scale": lambda: skimage.data.coffee()[:161, 200:393],
}
WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)


def noise(image):
    spread = np.random.default_rng(7).normal(0, 12, image.shape)
    return np.clip(np.rint(image + spread), 0, 255).astype(np.uint8)


def blur(image):
    return np.rint(gaussian_filter(image.astype(np.float64), (2, 2, 0))).astype(np.uint8)


def jpeg_damage(image):
    stream = io.BytesIO()
    Image.fromarray(image).save(stream, "JPEG", quality=12)
    return np.asarray(Image.open(stream))


DAMAGES = {"noise": noise, "blur": blur, "jpeg": jpeg_damage}


def reference_ms_ssim(image, reference, weights):
    """MS-SSIM by SciPy's Gaussian filter on padded planes, the border cropped off afterwards, a channel at a time."""

    def local_mean(plane):
        return gaussian_filter(plane, 1.5, truncate=3.5)[5:-5, 5:-5]

    def halve(plane):
        even = np.pad(plane, [(0, side % 2) for side in plane.shape], mode="symmetric")
        return skimage.measure.block_reduce(even, (2, 2), np.mean)

    channels = []
    for channel in range(3):
        x, y = image[..., channel].astype(np.float64), reference[..., channel].astype(np.float64)
        product = 1.0
        for scale, weight in enumerate(weights):
            mean_x, mean_y = local_mean(x), local_mean(y)
            variance_x, variance_y = local_mean(x * x) - mean_x**2, local_mean(y * y) - mean_y**2
            covariance = local_mean(x * y) - mean_x * mean_y
            term = (2 * covariance + 58.5225) / (variance_x + variance_y + 58.5225)
            if scale == len(weights) - 1:
                term = term * (2 * mean_x * mean_y + 6.5025) / (mean_x**2 + mean_y**2 + 6.5025)
            product *= max(term.mean(), 0.0) ** weight
            x, y = halve(x), halve(y)
        channels.append(product)
    return np.mean(channels)


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("photograph", PHOTOGRAPHS)
def test_ms_ssim_agrees_with_an_independent_implementation(photograph, damage):
    image = PHOTOGRAPHS[photograph]()
    damaged = DAMAGES[damage](image)
    assert ms_ssim(damaged, image) == pytest.approx(reference_ms_ssim(damaged, image, WEIGHTS), abs=1e-6)


@pytest.mark.parametrize(
    ("side", "scales"), [(161, 5), (160, 4), (81, 4), (80, 3), (41, 3), (40, 2), (21, 2), (20, 1), (11, 1)]
)
def test_small_images_are_measured_at_the_scales_that_fit_with_renormalized_weights(side, scales):
    image = skimage.data.astronaut()[100 : 100 + side, 150:400]
    damaged = noise(image)
    weights = WEIGHTS if scales == 5 else np.array(WEIGHTS[:scales]) / sum(WEIGHTS[:scales])
    assert ms_ssim(damaged, image) == pytest.approx(reference_ms_ssim(damaged, image, weights), abs=1e-6)
    assert ms_ssim(damaged.swapaxes(0, 1), image.swapaxes(0, 1)) == pytest.approx(ms_ssim(damaged, image), abs=1e-9)


@pytest.mark.parametrize("damage", DAMAGES)
def test_one_scale_is_the_plain_ssim_of_scikit_image(damage):
    image = skimage.data.astronaut()[100:120, 150:400]
    damaged = DAMAGES[damage](image)
    expected = skimage.metrics.structural_similarity(
        damaged,
        image,
        gaussian_weights=True,
        sigma=1.5,
        use_sample_covariance=False,
        data_range=255,
        channel_axis=-1,
    )
    assert ms_ssim(damaged, image) == pytest.approx(expected, abs=1e-6)


def test_an_image_without_room_for_a_window_gets_the_ssim_of_its_whole_statistics():
    image = skimage.data.astronaut()[100:110, 150:300]
    damaged = noise(image)
    channels = []
    for x, y in zip(np.moveaxis(damaged.astype(float), -1, 0), np.moveaxis(image.astype(float), -1, 0), strict=True):
        covariance = np.cov(x.ravel(), y.ravel(), bias=True)
        luminance = (2 * x.mean() * y.mean() + 6.5025) / (x.mean() ** 2 + y.mean() ** 2 + 6.5025)
        channels.append(luminance * (2 * covariance[0, 1] + 58.5225) / (np.trace(covariance) + 58.5225))
    assert ms_ssim(damaged, image) == pytest.approx(np.mean(channels), abs=1e-9)


def test_negative_similarity_counts_as_zero():
    image = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    assert ms_ssim(255 - image, image) == 0.0
    assert ms_ssim(255 - image[:8], image[:8]) == 0.0


images_and_errors = st.tuples(st.integers(1, 48), st.integers(1, 48), st.integers(0, 2**32 - 1)).map(
    lambda drawn: np.random.default_rng(drawn[2]).integers(0, 256, (2, drawn[0], drawn[1], 3), np.uint8)
)


@settings(max_examples=40)
@given(images_and_errors)
def test_metrics_of_any_size_are_symmetric_bounded_and_perfect_for_the_image_itself(pair):
    image, other = pair
    assert ms_ssim(image, image) == 1.0
    assert psnr(image, image) == math.inf
    assert mean_squared_error(image, image) == 0.0
    assert 0.0 <= ms_ssim(image, other) <= 1.0
    assert ms_ssim(image, other) == pytest.approx(ms_ssim(other, image), abs=1e-12)
    assert mean_squared_error(image, other) == mean_squared_error(other, image)


@given(st.integers(1, 255))
def test_psnr_of_a_constant_error_is_its_formula(error):
    black = np.zeros((5, 7, 3), np.uint8)
    assert mean_squared_error(black + np.uint8(error), black) == error**2
    assert psnr(black, black + np.uint8(error)) == pytest.approx(20 * math.log10(255 / error))


def test_more_damage_measures_worse():
    image = skimage.data.chelsea()[:176, 100:300]
    blurred = [np.rint(gaussian_filter(image.astype(float), (s, s, 0))).astype(np.uint8) for s in (0.5, 1, 2, 4)]
    for metric in (psnr, ms_ssim):
        values = [metric(damaged, image) for damaged in blurred]
        assert values == sorted(values, reverse=True)


@pytest.mark.parametrize("metric", [mean_squared_error, psnr, ms_ssim])
@pytest.mark.parametrize(
    ("image", "message"),
    [
        (np.zeros((4, 6, 3), np.uint8), "image is 6x4 and reference is 5x4"),
        (np.zeros((4, 5, 3), np.float32), r"image is float32 \[4, 5, 3\]"),
        (np.zeros((4, 5), np.uint8), r"image is uint8 \[4, 5\]"),
        (np.zeros((4, 5, 4), np.uint8), r"image is uint8 \[4, 5, 4\]"),
        (np.zeros((0, 5, 3), np.uint8), r"image is uint8 \[0, 5, 3\]"),
    ],
)
def test_images_that_cannot_be_compared_are_refused(unchecked, metric, image, message):
    with pytest.raises(LicError, match=message):
        metric(image, np.zeros((4, 5, 3), np.uint8))


def stairs(size, within, across, period=16):
    """Grey levels that rise by `within` from pixel to pixel, and by `across` from block to block."""
    steps = np.where(np.arange(size) % period == 0, across, within)
    rise = np.cumsum(steps) - steps[0]
    return np.repeat((rise[:, None] + rise)[..., None], 3, axis=2).astype(np.uint8)


@pytest.mark.parametrize(("within", "across", "expected"), [(1, 5, 5), (2, 2, 1), (2, 1, 0.5), (0, 7, math.inf)])
def test_blockiness_is_the_ratio_of_steps_across_the_grid_to_steps_elsewhere(within, across, expected):
    assert blockiness(stairs(48, within, across)) == pytest.approx(expected)


def test_blockiness_sees_its_own_grid_alone():
    image = stairs(48, 1, 5)
    assert blockiness(image, period=8) == pytest.approx(((2 * 5 + 3 * 1) / 5) / 1)
    assert blockiness(image[3:, 3:]) < 1
    assert blockiness(np.full((48, 48, 3), 9, np.uint8)) == 1


def test_jpeg_makes_blocks_of_eight():
    image = skimage.data.chelsea()[:240, 100:340]
    assert abs(blockiness(image, period=8) - 1) < 0.05
    assert blockiness(jpeg_damage(image), period=8) > 1.5


def test_blockiness_needs_a_grid_line():
    with pytest.raises(LicError, match="no line of a grid of 16 pixels runs through this 16x12 image"):
        blockiness(np.zeros((12, 16, 3), np.uint8))


def test_evaluation_needs_no_machine_learning_framework():
    program = "import sys, lic_jax.evaluation; sys.exit('jax' in sys.modules or 'matplotlib' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
