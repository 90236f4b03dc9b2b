import csv
import sys
from pathlib import Path

import pytest
from PIL import Image

from lic_jax.errors import LicError

EXPERIMENTS = Path(__file__).parents[2] / "experiments"


@pytest.fixture
def experiments(monkeypatch):
    """Scripts import what lies beside them."""
    monkeypatch.syspath_prepend(EXPERIMENTS)


@pytest.fixture
def tiny(experiments, tmp_path):
    from equal_training import EqualTraining

    return EqualTraining(
        folder=tmp_path / "trainings",
        analysis_channels=(4, 4, 4),
        latent_channels=12,
        hyper_channels=4,
        hyperprior_steps=1,
        synthesis_steps=1,
        steps=1,
        refit_steps=1,
        crop_size=64,
        batch_size=2,
        held_out=0.3,
        measured=2,
    )


def test_an_experiment_writes_its_table_and_its_picture_and_goes_on_from_what_is_there(
    tiny, tmp_path, photograph_folder
):
    from equal_training import MeasuredPoint
    from shrunk_decoder import Settings, main

    settings = Settings(photograph_folder, budgets=(), hidden_channels=12, out=tmp_path / "results", training=tiny)
    main(settings)
    results = tmp_path / "results" / "shrunk_decoder.csv"
    with results.open(newline="") as file:
        table = csv.DictReader(file)
        rows = list(table)
    assert tuple(table.fieldnames) == MeasuredPoint._fields
    assert [float(row["rd_lambda"]) for row in rows] == list(tiny.lambdas)
    assert all(float(row["bpp"]) > 0 and float(row["psnr_db"]) > 10 for row in rows)
    with Image.open(results.with_suffix(".png")) as picture:
        assert picture.width > 600

    (trained,) = tiny.folder.rglob("model.safetensors")
    made, text = trained.stat().st_mtime_ns, results.read_bytes()
    main(settings)
    assert trained.stat().st_mtime_ns == made
    assert results.read_bytes() == text


def test_a_narrowed_synthesis_is_the_widest_that_costs_no_more(tiny):
    from equal_training import narrowed, synthesis_flops

    deep = tiny.model("cnn", (1, 1, 1))
    narrow = narrowed(deep, 5_000)
    (width,) = set(narrow.synthesis_channels)
    assert synthesis_flops(narrow) <= 5_000 < synthesis_flops(tiny.model("cnn", (width + 1,) * 3))
    with pytest.raises(LicError, match="or more, not 10"):
        narrowed(deep, 10)


def test_bad_input_is_refused_in_one_line(experiments, tmp_path):
    import subprocess

    command = [sys.executable, EXPERIMENTS / "kernel_size.py", tmp_path / "nowhere"]
    finished = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert finished.returncode == 2
    assert "nowhere is not a folder" in finished.stderr and len(finished.stderr.splitlines()) == 1
