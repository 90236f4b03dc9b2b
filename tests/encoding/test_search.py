import time

import jax
import numpy as np
import pytest

from lic_jax.decoder import Decoder
from lic_jax.encoding.objective import RateDistortion, Symbols
from lic_jax.encoding.search import LOOKS, METHODS, Found, begin, update
from lic_jax.errors import LicError

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
    assert set(ITERATIONS) == set(METHODS)


@pytest.mark.parametrize("method", ITERATIONS)
def test_a_search_beats_one_shot(codec, images, one_shot, searched, method):
    """By real files."""
    for data, image, before in zip(searched[method][0], images, one_shot, strict=True):
        assert cost(codec, data, image) < 0.99 * before


def found_by_chance(rng, start, gain):
    """Random symbols near the middle ones, with this gain said of them."""
    latent, hyper_latent = (part.shape for part in start.one_shot)
    symbols = Symbols(127 + rng.integers(-2, 3, latent), 63 + rng.integers(-2, 3, hyper_latent))
    return Found(symbols, RateDistortion(1 - gain, 1.0, 0.0), RateDistortion(1.0, 1.0, 0.0))


def test_a_search_is_never_worse_than_one_shot(codec, images, monkeypatch):
    """Where its own figures leave a doubt, files are compared: here they are worse, and one shot's is written."""
    search = lambda model, variables, starts, *_: [found_by_chance(np.random.default_rng(0), starts[0], gain=1e-3)]
    monkeypatch.setattr("lic_jax.codec.search", search)
    assert codec.compress(images[0], RATE, iterations=1) == codec.compress(images[0], RATE)


def test_a_searched_stream_decodes_without_jax_to_the_symbols_that_were_found(codec, images, searched, monkeypatch):
    """Whatever symbols a search finds: here some that one shot would not give."""
    decoder = Decoder(codec.bundle)
    for data in searched["sga"][0]:
        assert np.max(np.abs(decoder.decompress(data).astype(int) - codec.decompress(data))) <= 1
    found = []

    def search(model, variables, starts, *_):
        found.append(found_by_chance(np.random.default_rng(0), starts[0], gain=0.9))
        return found

    monkeypatch.setattr("lic_jax.codec.search", search)
    hyper_symbols, symbols = decoder.symbols(codec.compress(images[0], RATE, iterations=1))
    np.testing.assert_array_equal(symbols, found[0].symbols.latent)
    np.testing.assert_array_equal(hyper_symbols, found[0].symbols.hyper_latent)


def test_an_image_alone_moves_as_it_does_in_a_batch(problem):
    """A few steps: later, what is rounded differently grows, as in any descent."""
    method, arguments = METHODS["sga"], (problem.model, problem.variables)
    ends = []
    for images in (problem.images, jax.tree.map(lambda of_batch: of_batch[1:], problem.images)):
        state = begin(method, images)
        for step in range(4):
            state = update(method, *arguments, images, problem.point, state, step / 4, 4)
        ends.append(jax.tree.map(lambda of_batch: of_batch[-1], state.latents))
    for in_batch, alone, start in zip(*ends, problem.images.analysed, strict=True):
        assert np.mean(np.abs(in_batch - start[1])) > 0.05
        np.testing.assert_allclose(in_batch, alone, atol=2e-3)


@pytest.mark.parametrize("method", ITERATIONS)
def test_reports_count_the_steps_and_never_get_worse(searched, method):
    _, reports = searched[method]
    steps = ITERATIONS[method]
    assert [report.step for report in reports] == [*range(steps + 1), steps]
    assert {report.steps for report in reports} == {steps}
    objectives = [report.objective for report in reports]
    assert np.all(np.diff(objectives) <= 0) and objectives[-1] < objectives[0]
    assert len(set(objectives)) <= LOOKS + 2


def test_a_refined_image_is_better_at_neighbouring_rates_too(codec, images):
    analysed = codec.analyse(images[1])
    refined = codec.refine(analysed, RATE, iterations=ITERATIONS["sga"])
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


def test_a_report_that_says_stop_ends_the_search_with_the_best_so_far(codec, images, one_shot):
    seen = []
    stop = lambda progress: seen.append(progress) or progress.step == 3
    data = codec.compress(images[1], RATE, iterations=100, on_progress=stop)
    assert max(progress.step for progress in seen) == 3
    assert cost(codec, data, images[1]) <= one_shot[1]


def test_a_search_ends_in_time(codec, images):
    codec.compress(images[1], RATE, iterations=1)  # compiles, which may take longer than the limit
    seen = []
    start = time.perf_counter()
    codec.compress(images[1], RATE, iterations=10**6, time_limit=1.0, on_progress=seen.append)
    assert time.perf_counter() - start < 30  # a million iterations take days
    assert 1 < seen[-1].step < 10**6


def test_no_iterations_are_one_shot(codec, images):
    analysed = codec.analyse(images[1])
    assert codec.refine(analysed, RATE, iterations=0) is analysed


@pytest.mark.parametrize(
    ("search", "message"),
    [
        ({"iterations": -1}, "-1 iterations"),
        ({"iterations": 1, "method": "magic"}, "known: refinement, rounding, sga"),
        ({"iterations": 1, "time_limit": 0.0}, "time limit of 0 seconds"),
    ],
)
def test_a_search_that_makes_no_sense_is_refused(codec, images, search, message):
    with pytest.raises(LicError, match=message):
        codec.compress(images[0], RATE, **search)
