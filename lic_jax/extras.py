"""Imports the modules of the package's extras on demand, and names an extra that is missing."""

import importlib
import os
from types import ModuleType

from lic_jax.errors import LicError


def quiet_tensorflow() -> None:
    """Silences TensorFlow's start messages, before its import; a TF_CPP_MIN_LOG_LEVEL that is set stays."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")


def import_tfc(module: str, user: str) -> ModuleType:
    """Imports a module of the extra `tfc`: TensorFlow or tensorflow-compression.

    Args:
      module: its name.
      user: the feature that needs it, for the error.

    Raises:
      LicError: it is not installed.
    """
    quiet_tensorflow()
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise LicError(
            f"{user} needs {module}, which is not installed; install lic-jax[tfc] with Python 3.11"
        ) from error
