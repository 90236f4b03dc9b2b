"""Reading and writing whole files: errors in one line, and nothing half-written."""

import os
from pathlib import Path

from lic_jax.errors import LicError


def read_bytes(path: Path) -> bytes:
    """The bytes of a file.

    Raises:
      LicError: it cannot be read.
    """
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise LicError(f"{path} cannot be read ({error.strerror}); check the path") from error


def write_bytes(path: Path, data: bytes) -> None:
    """Writes beside `path` and renames: whoever looks sees the old file or the whole new one.

    Raises:
      LicError: it cannot be written.
    """
    path = Path(path)
    if not path.name:
        raise LicError(f"{str(path)!r} is not the name of a file; give one")
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        unfinished.write_bytes(data)
        os.replace(unfinished, path)
    except OSError as error:
        unfinished.unlink(missing_ok=True)
        raise LicError(f"{path} cannot be written ({error.strerror}); check the folder and its permissions") from error


def make_folder(path: Path) -> None:
    """Makes a folder and those above it, unless they are there.

    Raises:
      LicError: a file is in the way, or the place cannot be written to.
    """
    try:
        Path(path).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise LicError(f"folder {path} cannot be made ({error.strerror}); give another place") from error
