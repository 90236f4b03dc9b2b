"""Sample photographs for whoever has none at hand: those inside the scikit-image package."""

from pathlib import Path

import skimage

from lic_jax.io.images import RGB, read_image

PHOTOGRAPHS = ("astronaut.png", "chelsea.png", "coffee.png", "motorcycle_left.png", "rocket.jpg")
"""The colour photographs inside the package."""


def sample_image(name: str) -> RGB:
    """One image inside the package, by the name of its file."""
    return read_image(Path(skimage.__file__).parent / "data" / name)


def sample_photographs() -> dict[str, RGB]:
    """The colour photographs by name."""
    return {Path(name).stem: sample_image(name) for name in PHOTOGRAPHS}
