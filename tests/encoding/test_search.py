import itertools
import time

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lic_jax.codec.decoder import Decoder
from lic_jax.distortion.base import RateDistortion
from lic_jax.encoding.choice import Choice, Symbols
from lic_jax.encoding.search import LOOKS, Found, begin, update
from lic_jax.errors import LicError, LicWarning
from lic_jax.evaluation.metrics import psnr
from lic_jax.io import container
from lic_jax.registry import SEARCHES

RATE = 0
ITERATIONS = {"rounding": 2, "refinement": 10, "sga": 60}


def cost(codec, data, image, rate=RATE):
    error = np.mean((codec.decompress(data).astype(float) - image) ** 2)
    rd_lambda = codec.bundle.rd_lambda_at(codec.bundle.rate_units(rate))
    return 8 * len(data) / (image.shape[0] * image.shape[1]) + rd_lambda * error


@pytest.fixture(scope="module")
def one_shot(codec, images):
    return [cost(codec, data, image) for data, image in zip(codec.compress_batch(images, RATE), images, strict=True)]


@pytest.fixture(scope="module")
def searched(codec, images):
    """Each method's streams of both images together, and what was reported."""
    found = {}
    for method, iterations in ITERATIONS.items():
        reports = []
        streams = codec.compress_batch(images, RATE, iterations=iterations, method=method, on_progress=reports.append)
        found[method] = streams, reports
    return found


def test_all_methods_are_tried():
    assert set(ITERATIONS) == set(SEARCHES)


@pytest.mark.parametrize("method", ITERATIONS)
def test_a_search_beats_one_shot(codec, images, one_shot, searched, method):
    """By real files."""
    for data, image, before in zip(searched[method][0], images, one_shot, strict=True):
        assert cost(codec, data, image) < 0.99 * before


@pytest.mark.parametrize("method", ITERATIONS)
def test_no_image_at_no_rate_is_worse_than_one_shot(codec, images, method):
    """By real files, whatever the image: a photograph, one colour, noise, a strip."""
    noise = np.random.default_rng(0).integers(0, 256, (50, 100, 3), dtype=np.uint8)
    one_colour = np.full((40, 90, 3), 77, np.uint8)
    for pair, rate in itertools.product(
        ([images[1], one_colour], [noise, images[0][:3, :70]]), (0, 1.5, codec.bundle.highest_rate)
    ):
        streams = codec.compress_batch(pair, rate, iterations=min(ITERATIONS[method], 12), method=method)
        for data, before, image in zip(streams, codec.compress_batch(pair, rate), pair, strict=True):
            assert cost(codec, data, image, rate) <= cost(codec, before, image, rate)


@pytest.fixture
def search_by_chance(codec, monkeypatch):
    """A gain → the search that finds random symbols near the middle ones and says that gain of them."""

    def replace_search(gain):
        found = []

        def search(model, variables, starts, *_):
            rng = np.random.default_rng(0)
            (start,) = starts
            shift = lambda symbols, middle: (middle + rng.integers(-2, 3, symbols.shape)).astype(np.int32)
            symbols, hyper_symbols = start.one_shot.symbols
            symbols = Symbols(shift(symbols, 127), shift(hyper_symbols, 63))
            hyper_latent = codec.bundle.quantizers_at(RATE)[1].levels_of(symbols.hyper_latent)
            ((mean, index),) = codec._programs.stage(0, [hyper_latent], [])
            costs = RateDistortion(1 - gain, 1.0, 0.0, 0.0, 0.0), RateDistortion(1.0, 1.0, 0.0, 0.0, 0.0)
            found.append(Found(Choice(symbols, mean, index), *costs))
            return found

        monkeypatch.setattr("lic_jax.codec.searcher.search", search)
        return found

    return replace_search


def test_a_search_is_never_worse_than_one_shot(codec, images, search_by_chance):
    """Where its own figures leave a doubt, files are compared: here they are worse, and one shot's is written."""
    search_by_chance(gain=1e-3)
    assert codec.compress(images[0], RATE, iterations=1) == codec.compress(images[0], RATE)


def test_a_searched_stream_decodes_without_jax_to_the_symbols_that_were_found(
    codec, images, searched, search_by_chance
):
    """Whatever symbols a search finds: here some that one shot would not give, as a stream and as latents to code."""
    decoder = Decoder(codec.bundle)
    for data in searched["sga"][0]:
        assert np.max(np.abs(decoder.decompress(data).astype(int) - codec.decompress(data))) <= 1
    found = search_by_chance(gain=0.9)
    refined = codec.refine(codec.analyse(images[0]), RATE, iterations=1)
    for data in (codec.compress(images[0], RATE, iterations=1), codec.code(refined, RATE)):
        hyper_symbols, symbols = decoder.symbols(data)
        np.testing.assert_array_equal(symbols, found[0].choice.symbols.latent)
        np.testing.assert_array_equal(hyper_symbols, found[0].choice.symbols.hyper_latent)


def test_an_image_moves_the_same_whatever_shares_its_batch(problem):
    """A few steps: later, what is rounded differently grows, as in any descent."""
    sga = SEARCHES["sga"]
    twice_the_second = jax.tree.map(lambda of_batch: of_batch[jnp.array([1, 1])], problem.images)
    ends = []
    for images in (problem.images, twice_the_second):
        state = begin(sga, images, problem.point)
        for step in range(4):
            state = update(sga, *problem._replace(images=images), state, step / 4, 4)
        ends.append(jax.tree.map(lambda of_batch: of_batch[1], state.latents))
    for with_another, with_itself, start in zip(*ends, problem.images.analysed, strict=True):
        assert np.mean(np.abs(with_another - start[1])) > 0.05
        np.testing.assert_allclose(with_another, with_itself, atol=2e-3)


@pytest.mark.parametrize("method", ITERATIONS)
def test_reports_count_the_steps_and_never_get_worse(searched, method):
    _, reports = searched[method]
    steps = ITERATIONS[method]
    at_the_end = [] if method == "rounding" else [steps]  # of the passes that finish a descent
    assert [report.step for report in reports] == [*range(steps + 1), *at_the_end]
    assert {report.steps for report in reports} == {steps}
    objectives = [report.objective for report in reports]
    assert np.all(np.diff(objectives) <= 0) and objectives[-1] < objectives[0]
    assert len(set(objectives)) <= LOOKS + 2


@pytest.mark.parametrize("method", ["rounding", "sga"])
def test_a_refined_image_is_better_at_neighbouring_rates_too(codec, images, method):
    analysed = codec.analyse(images[1])
    refined = codec.refine(analysed, RATE, iterations=ITERATIONS[method], method=method)
    for rate in (RATE, RATE + 2 / 256, RATE + 4 / 256):
        before, after = (cost(codec, codec.code(latents, rate), images[1], rate) for latents in (analysed, refined))
        assert after < before


def test_what_was_asked_for_is_hit_by_the_stream_that_was_searched_for(codec, images):
    image = images[0]
    pixels = image.shape[0] * image.shape[1]
    size = len(codec.compress(image, 1))
    search = {"iterations": 2, "method": "rounding"}
    assert len(codec.compress(image, bpp=8 * size / pixels, **search)) == pytest.approx(size, rel=0.01)
    assert 0.95 * size < len(codec.compress(image, max_bytes=size, **search)) <= size
    quality = psnr(codec.decompress(codec.compress(image, 1)), image)
    searched = codec.compress(image, psnr=quality, iterations=20)
    assert psnr(codec.decompress(searched), image) == pytest.approx(quality, abs=0.05) and len(searched) < size


def test_a_search_that_is_stopped_on_the_way_to_a_size_keeps_what_it_found(codec, images):
    """Later probes are not searched any more: they go on from what the first one found."""
    image, probes, steps = images[0], [], ITERATIONS["sga"]
    size = len(codec.compress(image, 1))

    def report(progress):
        probes.extend([progress.step] if progress.step == 0 else [])
        return len(probes) > 1 or progress.step == steps

    data = codec.compress(image, max_bytes=size, iterations=steps, on_progress=report)
    assert 0.95 * size < len(data) <= size and len(probes) > 1
    rate = container.unpack(data).rate_units / 256
    assert cost(codec, data, image, rate) < 0.99 * cost(codec, codec.compress(image, rate), image, rate)


def test_too_few_bytes_are_too_few_for_a_search_too(codec, images):
    with pytest.raises(LicError, match="too few for this image"):
        codec.compress(images[0], max_bytes=40, iterations=2, method="rounding")


@pytest.mark.parametrize(("wish", "nearest"), [({"bpp": 90.0}, 2), ({"psnr": 5.0}, 0)])
def test_what_cannot_be_reached_is_searched_for_at_the_nearest_rate(codec, images, wish, nearest):
    search = {"iterations": 2, "method": "rounding"}
    with pytest.warns(LicWarning, match="outside of this image's range, .* to .*; it gets .*; with iterations"):
        data = codec.compress(images[0], **wish, **search)
    assert data == codec.compress(images[0], nearest, **search)


def test_a_report_that_says_stop_ends_the_search_with_the_best_so_far(codec, images, one_shot):
    seen = []
    stop = lambda progress: seen.append(progress) or progress.step == 3
    streams = codec.compress_batch(images, RATE, iterations=100, on_progress=stop)
    assert max(progress.step for progress in seen) == 3
    assert all(cost(codec, *of_image) <= before for *of_image, before in zip(streams, images, one_shot, strict=True))


def test_a_search_ends_in_time(codec, images, searched):
    """Of what was compiled before, which may take longer than the limit."""
    seen = []
    start = time.perf_counter()
    codec.compress_batch(images, RATE, iterations=10**6, time_limit=1.0, on_progress=seen.append)
    assert time.perf_counter() - start < 30  # a million iterations take days
    assert 1 < seen[-1].step < 10**6


def test_no_iterations_are_one_shot(codec, images):
    analysed = codec.analyse(images[1])
    assert codec.refine(analysed, RATE, iterations=0) is analysed


@pytest.mark.parametrize(
    ("search", "message"),
    [
        ({"iterations": -1}, "iterations is -1; give 0"),
        ({"iterations": 2.5}, "iterations is 2.5; give a whole number"),
        ({"iterations": 1, "method": "magic"}, "known: refinement, rounding, sga"),
        ({"iterations": 1, "time_limit": 0.0}, "time limit is 0 seconds"),
    ],
)
def test_a_search_that_makes_no_sense_is_refused(codec, images, search, message):
    with pytest.raises(LicError, match=message):
        codec.compress(images[0], RATE, **search)
