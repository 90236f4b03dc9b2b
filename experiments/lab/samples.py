"""Sample images for whoever has no photographs at hand: those inside the scikit-image package."""

import importlib.util
from pathlib import Path

from lic_jax.errors import LicError
from lic_jax.io.images import RGB, read_image

PHOTOGRAPHS = ("astronaut.png", "chelsea.png", "coffee.png", "motorcycle_left.png", "rocket.jpg")
"""The colour photographs inside the package."""


def sample_image(name: str) -> RGB:
    """Reads one image inside the package, by the name of its file.

    Raises:
      LicError: scikit-image is not installed.
    """
    package = importlib.util.find_spec("skimage")
    if package is None:
        raise LicError(
            f"sample image {name} needs scikit-image, which is not installed here; install lic-jax[experiments], "
            "or give images of your own"
        )
    return read_image(Path(package.origin).parent / "data" / name)


def sample_photographs() -> dict[str, RGB]:
    """The colour photographs by name."""
    return {Path(name).stem: sample_image(name) for name in PHOTOGRAPHS}
