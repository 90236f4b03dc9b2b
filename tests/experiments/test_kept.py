import dataclasses
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from experiments.lab.kept import Origin, files_digest, find_or_make, kept_path, pixels_digest
from lic_jax.errors import LicError

ORIGIN = Origin("weights", {"steps": 60, "lambdas": (0.01, 0.02)}, "photographs")


@pytest.fixture
def ask(tmp_path):
    """Asks for the result of an origin; `ask.made` counts how often it was made."""

    def ask(origin, write=lambda path, text: path.write_text(text)):
        def make():
            ask.made += 1
            return f"result {ask.made}"

        return find_or_make(
            kept_path(tmp_path / "kept", "fit", origin, ".txt"), make, write, lambda path: path.read_text()
        )

    ask.made = 0
    return ask


def test_the_same_question_finds_its_result_again(ask):
    assert ask(ORIGIN) == "result 1"
    assert ask(Origin("weights", {"lambdas": [0.01, 0.02], "steps": 60}, "photographs")) == "result 1"
    assert ask.made == 1


@pytest.mark.parametrize(
    "change", [{"weights": "others"}, {"settings": {"steps": 61}}, {"data": "other photographs"}], ids=str
)
def test_another_origin_has_another_result(ask, change):
    assert ask(ORIGIN) == "result 1"
    assert ask(ORIGIN._replace(**change)) == "result 2"
    assert ask(ORIGIN) == "result 1"


def test_half_a_file_is_never_read(ask, tmp_path):
    def killed(path, text):
        path.write_text(text[:3])
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        ask(ORIGIN, killed)
    assert not list((tmp_path / "kept").iterdir())
    (tmp_path / "kept" / f".123.{kept_path(tmp_path, 'fit', ORIGIN, '.txt').name}").write_text("res")
    assert ask(ORIGIN) == "result 2"


def test_photographs_are_told_apart_by_name_and_content_not_by_folder(photograph_folder, tmp_path):
    paths = sorted(photograph_folder.iterdir())
    copies = [tmp_path / path.name for path in paths]
    for path, copy in zip(paths, copies, strict=True):
        copy.write_bytes(path.read_bytes())
    assert files_digest(copies) == files_digest(reversed(paths))
    assert files_digest(copies[1:]) != files_digest(paths)
    before = files_digest(copies)
    copies[0].write_bytes(copies[0].read_bytes() + b"\0")
    assert files_digest(copies) != before
    copies[1].rename(tmp_path / "renamed.png")
    with pytest.raises(LicError, match="cannot be read"):
        files_digest(copies)


def test_one_pixel_makes_another_digest(photographs):
    images = {"a": photographs[0], "b": photographs[1]}
    changed = photographs[1].copy()
    changed[5, 7, 1] ^= 1
    digests = {
        pixels_digest(images),
        pixels_digest({**images, "b": changed}),
        pixels_digest({"a": photographs[0], "c": photographs[1]}),
        pixels_digest({"a": photographs[0]}),
        pixels_digest({"a": photographs[0].reshape(128, 96, 3), "b": photographs[1]}),
    }
    assert len(digests) == 5
    assert pixels_digest({"a": np.asfortranarray(photographs[0]), "b": photographs[1]}) in digests


@given(st.text(min_size=1))
def test_any_name_makes_a_file_name(name):
    path = kept_path(Path("kept"), name, ORIGIN, ".csv")
    assert path.parent.name == "kept"
    assert path.name.endswith(f"_{ORIGIN.digest}.csv")


def test_settings_of_a_dataclass_can_be_an_origin():
    from lic_jax.training.settings import RefitSettings

    few, more = (Origin("", dataclasses.asdict(RefitSettings(steps=steps)), "") for steps in (1, 2))
    assert few.digest != more.digest
