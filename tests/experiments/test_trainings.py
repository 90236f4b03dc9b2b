import dataclasses

import pytest
from PIL import Image

from lic_jax.errors import LicError
from lic_jax.io.tables import read_csv


@pytest.fixture
def tiny(tmp_path):
    from experiments.lab.trainings import EqualTraining

    return EqualTraining(
        folder=tmp_path / "trainings",
        analysis_channels=(4, 4, 4),
        latent_channels=12,
        hyper_channels=4,
        hyperprior_steps=1,
        synthesis_steps=0,
        steps=0,
        refit_steps=1,
        crop_size=64,
        batch_size=2,
        held_out=0.3,
        measured=2,
    )


def test_an_experiment_writes_its_table_and_its_picture_and_goes_on_from_what_is_there(
    training_works, tiny, tmp_path, photograph_folder, monkeypatch
):
    from experiments.lab import trainings
    from experiments.lab.measurements import MeasuredPoint
    from experiments.questions.shrunk_decoder import Settings, main
    from lic_jax.training.refit import start_quantizers

    # What is left out is tested where it lives, and compiles for longer than all else here.
    unfitted = lambda model, _, __, settings, anchor_lambda, *___: start_quantizers(
        model.config, settings, anchor_lambda
    )
    monkeypatch.setattr(trainings, "fit_quantizers", unfitted)
    settings = Settings(photograph_folder, budgets=(), hidden_channels=12, out=tmp_path / "results", training=tiny)
    main(settings)
    results = tmp_path / "results" / "shrunk_decoder.csv"
    rows = read_csv(results, MeasuredPoint)
    assert [row.rd_lambda for row in rows] == list(tiny.lambdas)
    assert all(row.bpp > 0 and row.psnr_db > 10 for row in rows)
    with Image.open(results.with_suffix(".png")) as picture:
        assert picture.width > 600

    (trained,) = tiny.folder.rglob("model.safetensors")
    made, text = trained.stat().st_mtime_ns, results.read_bytes()
    main(settings)
    assert trained.stat().st_mtime_ns == made
    assert results.read_bytes() == text


def test_a_narrowed_synthesis_is_the_widest_that_costs_no_more(tiny):
    from experiments.lab.trainings import narrowed, synthesis_flops

    deep = tiny.model("cnn", (1, 1, 1))
    narrow = narrowed(deep, 5_000)
    (width,) = set(narrow.synthesis_channels)
    assert synthesis_flops(narrow) <= 5_000 < synthesis_flops(tiny.model("cnn", (width + 1,) * 3))
    with pytest.raises(LicError, match="or more, not 10"):
        narrowed(deep, 10)


def test_the_objective_compares_curves_that_have_no_quality_in_common():
    from experiments.lab.curves import cost_against
    from experiments.lab.measurements import ReferencePoint

    good, bad = ([ReferencePoint("", 0, bpp, psnr_db, 0, 0)] for bpp, psnr_db in ((1, 30), (1, 20)))
    mse = 255**2 / 1000
    assert cost_against(good, good, 0.01) == 0
    assert cost_against(bad, good, 0.01) == pytest.approx(100 * ((1 + 0.1 * mse) / (1 + 0.01 * mse) - 1))
    assert cost_against(bad + good, good, 0.01) == 0


def test_bad_input_is_refused(tiny, tmp_path, photograph_folder):
    from experiments.questions.kernel_size import Settings, main

    with pytest.raises(LicError, match="nowhere is not a folder"):
        main(Settings(tmp_path / "nowhere", out=tmp_path, training=tiny))
    with pytest.raises(LicError, match="no comparison"):
        Settings(photograph_folder, kernels=(16, 16))
    with pytest.raises(LicError, match="is held out; raise"):
        main(Settings(photograph_folder, out=tmp_path, training=dataclasses.replace(tiny, held_out=0.0)))
