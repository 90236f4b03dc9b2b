"""What the end of every experiment has in common."""

import os
import sys
from collections.abc import Callable

import jax
import matplotlib
import tyro

from lic_jax.cli.main import exit_code_of
from lic_jax.cli.sender import keep_compiled_programs
from lic_jax.errors import LicError


def run(main: Callable, settings: type, description: str | None) -> None:
    """Runs an experiment with the settings that the command line gives; pictures are files, no windows.

    What JAX compiles is kept, as `lic` keeps it. Exits with code 2 and one line on the terminal where what was given
    cannot be used.
    """
    matplotlib.use("Agg")
    keep_compiled_programs()
    jax.config.update("jax_compilation_cache_dir", os.environ["JAX_COMPILATION_CACHE_DIR"])
    try:
        main(tyro.cli(settings, description=description))
    except LicError as error:
        sys.exit(exit_code_of(error))
