import dataclasses
import json
from pathlib import Path
from typing import NamedTuple

import pytest

from experiments.lab.provenance import Answer, Output, code_version, provenance
from lic_jax.errors import LicError
from lic_jax.io.tables import read_csv


@dataclasses.dataclass(frozen=True)
class Training:
    steps: int = 3
    folder: Path = Path("runs")
    seed: int = 7


@dataclasses.dataclass(frozen=True)
class Settings(Output):
    images: Path
    lambdas: tuple[float, ...] = (0.01, 0.02)
    model: str = "default"
    folder: Path = Path("runs")
    training: Training = Training()


class Row(NamedTuple):
    rate: int
    bpp: float


ROWS = [Row(0, 0.25), Row(1, 0.5)]


@pytest.fixture
def settings(photograph_folder, tmp_path):
    return Settings(photograph_folder, out=tmp_path / "results")


def answer(settings):
    answer = Answer(settings, "question.csv", "question.png")
    answer.write("question.csv", ROWS)
    return answer


def test_a_table_is_plain_and_its_provenance_lies_beside_it(settings, photograph_folder):
    written = answer(settings)
    assert read_csv(written.path("question.csv"), Row) == ROWS
    told = json.loads((settings.out / "question.json").read_text())
    assert told == provenance(settings)
    assert told["platform"] == "cpu"
    assert told["seed"] == 7
    assert told["settings"]["lambdas"] == [0.01, 0.02]
    assert told["settings"]["images"]["name"] == photograph_folder.name
    assert str(photograph_folder) not in json.dumps(told)
    assert told.keys() >= code_version().keys() == {"commit", "uncommitted_changes"}
    assert str(written) == f"{settings.out / 'question.csv'}, question.png written"


def test_the_same_settings_may_write_again(settings):
    answer(settings)
    answer(settings)
    answer(dataclasses.replace(settings, folder=Path("elsewhere")))


@pytest.mark.parametrize(
    ("change", "difference"),
    [
        ({"lambdas": (0.04,)}, r"lambdas \[0.01, 0.02\], now \[0.04\]"),
        ({"model": "small"}, 'model "default", now "small"'),
        ({"training": Training(steps=4)}, "steps 3, now 4"),
    ],
)
def test_other_settings_are_refused_before_any_work(settings, change, difference):
    answer(settings)
    other = dataclasses.replace(settings, **change)
    with pytest.raises(
        LicError, match=rf"question\.csv was made with other settings .*{difference}.*--out.*--overwrite"
    ):
        Answer(other, "question.csv", "question.png")
    answer(dataclasses.replace(other, overwrite=True))
    answer(dataclasses.replace(settings, overwrite=True))


def test_another_photograph_is_another_setting_and_a_moved_folder_is_not(settings, tmp_path):
    answer(settings)
    copies = tmp_path / "moved" / settings.images.name
    copies.mkdir(parents=True)
    for path in settings.images.iterdir():
        (copies / path.name).write_bytes(path.read_bytes())
    answer(dataclasses.replace(settings, images=copies))
    next(iter(sorted(copies.iterdir()))).unlink()
    with pytest.raises(LicError, match=f"images: {settings.images.name} holds other files now"):
        answer(dataclasses.replace(settings, images=copies))


def test_a_table_of_unknown_origin_is_not_replaced(settings):
    answer(settings)
    (settings.out / "question.json").write_text('{"settings"')
    with pytest.raises(LicError, match=r"question\.json is damaged"):
        answer(settings)
    (settings.out / "question.json").write_text('{"recorded": "afterwards, from the history"}')
    with pytest.raises(LicError, match=r"^\S+question\.csv is there and does not say with which settings"):
        answer(settings)
    (settings.out / "question.json").unlink()
    with pytest.raises(LicError, match=r"question\.csv is there and does not say with which settings"):
        answer(settings)


def test_a_place_that_cannot_be_written_to_is_refused_before_any_work(settings):
    settings.out.write_text("a file")
    with pytest.raises(LicError, match="cannot be made"):
        answer(settings)
