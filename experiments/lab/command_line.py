"""Runs a script from the command line: its settings are flags, its errors one line."""

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
    """Runs a script with the settings of the command line; pictures go to files, not to windows.

    Compiled programs are kept in the folder that `lic` uses. Settings that cannot be used end with exit code 2 and one
    line on the terminal.

    Args:
      main: takes the settings.
      settings: a dataclass; its fields are the flags, its docstring their help.
      description: the text above the flags: the script's docstring.
    """
    matplotlib.use("Agg")
    keep_compiled_programs()
    jax.config.update("jax_compilation_cache_dir", os.environ["JAX_COMPILATION_CACHE_DIR"])
    try:
        main(tyro.cli(settings, description=description))
    except LicError as error:
        sys.exit(exit_code_of(error))
