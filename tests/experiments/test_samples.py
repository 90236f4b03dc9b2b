import importlib.util

import pytest

from experiments.lab.samples import PHOTOGRAPHS, sample_image, sample_photographs
from lic_jax.errors import LicError


def test_sample_photographs_are_large_enough_to_crop(samples):
    photographs = sample_photographs()
    assert len(photographs) == len(PHOTOGRAPHS)
    assert all(min(image.shape[:2]) >= 256 for image in photographs.values())


def test_a_missing_scikit_image_is_one_line_that_names_the_extra(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(LicError, match=r"astronaut\.png needs scikit-image.*install lic-jax\[experiments\]") as error:
        sample_image("astronaut.png")
    assert "\n" not in str(error.value)
