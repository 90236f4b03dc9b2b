"""Reads and writes files: errors in one line, and nothing half-written."""

import contextlib
import errno
import os
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from lic_jax.errors import LicError


@contextlib.contextmanager
def opened(path: Path) -> Iterator[BinaryIO]:
    """Opens a file to read from.

    Raises:
      LicError: it cannot be read.
    """
    try:
        with open(path, "rb") as file:
            yield file
    except OSError as error:
        raise LicError(f"{path} cannot be read ({error.strerror}); check the path") from error


def read_bytes(path: Path) -> bytes:
    """Reads the bytes of a file.

    Raises:
      LicError: it cannot be read.
    """
    with opened(path) as file:
        return file.read()


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Gives a temporary path beside `path` to write to, and renames the written file to `path` in the end.

    Readers see the old file or the whole new one, and an error leaves the old one unchanged.

    Raises:
      LicError: it cannot be written.
    """
    with _beside(path) as unfinished:
        yield unfinished
        os.replace(unfinished, path)


def check_writable(path: Path) -> None:
    """Raises LicError unless a file can be written at `path`; call it before the work whose result goes there."""
    with _beside(path) as unfinished:
        if Path(path).is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        unfinished.touch()


@contextlib.contextmanager
def _beside(path: Path) -> Iterator[Path]:
    """Gives a temporary path beside `path` and removes it in the end; errors of writing name `path`."""
    path = Path(path)
    if not path.name:
        raise LicError(f"{str(path)!r} is not the name of a file; give a file's name")
    unfinished = path.with_name(f".{os.getpid()}.{path.name}")
    try:
        yield unfinished
    except OSError as error:
        raise LicError(f"{path} cannot be written ({error.strerror}); check the folder and its permissions") from error
    finally:
        with contextlib.suppress(OSError):
            unfinished.unlink()


def write_bytes(path: Path, data: bytes) -> None:
    """Writes a file, whole or not at all.

    Raises:
      LicError: it cannot be written.
    """
    with replacing(path) as unfinished:
        unfinished.write_bytes(data)


def make_folder(path: Path) -> None:
    """Makes a folder and those above it, unless they exist.

    Raises:
      LicError: a file is in the way, or the folder cannot be made there.
    """
    try:
        Path(path).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise LicError(f"folder {path} cannot be made ({error.strerror}); give another place") from error
