"""What the end of every experiment has in common."""

import sys
from collections.abc import Callable

import matplotlib
import tyro

from lic_jax.cli import exit_code_of
from lic_jax.errors import LicError


def run(main: Callable, settings: type, description: str | None) -> None:
    """Runs an experiment with the settings that the command line gives; pictures are files, no windows.

    Exits with code 2 and one line on the terminal where what was given cannot be used.
    """
    matplotlib.use("Agg")
    try:
        main(tyro.cli(settings, description=description))
    except LicError as error:
        sys.exit(exit_code_of(error))
