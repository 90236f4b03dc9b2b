"""What an extra of the package brings: imported when it is asked for, and named where it is missing."""

import importlib
import os
from types import ModuleType

from lic_jax.errors import LicError


def quiet_tensorflow() -> None:
    """Keeps TensorFlow, not yet imported, from greeting on the standard error; its own variable comes first."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")


def of_tfc(module: str, user: str) -> ModuleType:
    """A module of the extra `tfc`: TensorFlow or tensorflow-compression.

    Args:
      module: its name.
      user: who needs it, for the error.

    Raises:
      LicError: it is not installed.
    """
    quiet_tensorflow()
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise LicError(
            f"{user} needs {module}, which is not installed here; install lic-jax[tfc] with Python 3.11"
        ) from error
