"""What the experiment on iterative encoding makes of its measurements."""

import numpy as np
import pytest

from lic_jax.errors import LicError
from lic_jax.io.tables import read_csv


@pytest.fixture
def experiment():
    from experiments.questions import iterative_encoding

    return iterative_encoding


def test_a_search_that_saves_a_tenth_of_the_rate_has_a_bd_rate_of_minus_ten(experiment):
    bpp, psnr_db = np.array([0.2, 0.4, 0.8, 1.6]), np.array([26.0, 29.0, 32.0, 35.0])
    rates = np.arange(4.0)
    image = lambda share: [
        experiment.Measurement(*point) for point in zip(rates, share * bpp, psnr_db, share * bpp, strict=True)
    ]
    shot, search = experiment.Search(experiment.ONE_SHOT, 0), experiment.Search("sga", 50)
    seconds = {shot: 1.0, search: 3.0}
    rows = experiment.rows_of({shot: [image(1.0), image(1.0)], search: [image(0.9), image(0.9)]}, seconds)
    assert [row.encode_s for row in rows] == [1.0] * 4 + [3.0] * 4
    assert [row.bd_rate_percent for row in rows[:4]] == [0.0] * 4
    assert [row.bd_rate_percent for row in rows[4:]] == pytest.approx([-10.0] * 4)
    assert [row.bpp for row in rows[4:]] == pytest.approx(0.9 * bpp)


def test_published_curves_are_those_of_kodak(tmp_path):
    from experiments.lab.published import PublishedPoint, published_curves

    table = tmp_path / "published.csv"
    rows = [
        ("kodak", "JPEG", 0.2, 27.0),
        ("tecnick", "JPEG", 0.1, 30.0),
        ("kodak", "BPG", 0.18, 27.1),
    ]
    header = "dataset,codec,bpp,psnr_db\n"
    table.write_text(header + "".join(",".join(map(str, row)) + "\n" for row in rows))
    curves = published_curves(table, ("BPG", "JPEG"))
    assert curves == {
        "BPG": [PublishedPoint("kodak", "BPG", 0.18, 27.1)],
        "JPEG": [PublishedPoint("kodak", "JPEG", 0.2, 27.0)],
    }
    table.write_text(header)
    with pytest.raises(LicError, match="has no points of"):
        published_curves(table, ["JPEG"])
    table.write_text("bpp\n1\n")
    with pytest.raises(LicError, match="column 'dataset' is missing"):
        published_curves(table, ["JPEG"])


def test_what_was_measured_is_not_measured_again(experiment, tiny_model_file, photograph_folder, tmp_path, monkeypatch):
    settings = experiment.Settings(
        photograph_folder, str(tiny_model_file), count=1, crop=64, rates=(0.0, 0.7, 1.4, 2.0), rounding=(1,),
        refinement=(), sga=(), folder=tmp_path / "runs", out=tmp_path / "results",
    )  # fmt: skip
    experiment.main(settings)
    rows = read_csv(settings.out / "iterative_encoding.csv", experiment.Row)
    assert [(row.method, row.rate) for row in rows] == [
        (method, rate) for method in ("one shot", "rounding") for rate in settings.rates
    ]
    assert (settings.out / "iterative_encoding.png").stat().st_size > 10_000
    monkeypatch.setattr(experiment, "measure", lambda *_: pytest.fail("measured again"))
    experiment.main(settings)


def test_the_time_of_many_steps_is_that_of_few_and_of_what_each_takes(monkeypatch):
    from experiments.lab import searches

    now = [0.0]
    monkeypatch.setattr(searches.time, "perf_counter", lambda: now[0])

    def compress(codec, image, search, rate):
        now[0] += 0.5 + 0.1 * search.iterations

    monkeypatch.setattr(searches, "compress", compress)
    counts = (0, 3, 30, 50, 3000)
    seconds = searches.seconds_of(None, None, "sga", counts, 1.0)
    assert list(seconds) == [("sga", count) for count in counts]
    assert list(seconds.values()) == pytest.approx([0.5 + 0.1 * count for count in counts])


def test_a_photograph_smaller_than_its_crop_is_named(photograph_folder):
    from experiments.lab.photographs import read_photographs

    with pytest.raises(LicError, match="smaller than a crop of 4096"):
        read_photographs(photograph_folder, crop=4096)
