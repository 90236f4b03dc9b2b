"""Results that are kept: whoever asks the same question again finds the answer in a file.

A result's file is named after a digest of its origin, that is of everything that decides it: the weights' file, the
settings and the photographs. Another origin has another file, so nothing is ever out of date, and a killed experiment
goes on behind its last whole result. Code is no part of an origin: after a change to the code that makes a result,
delete the folder.

    origin = Origin(files_digest([path]), dataclasses.asdict(settings), pixels_digest(photographs))
    rows = find_or_make(kept_path(folder, "sga_50", origin, ".csv"), measure, write_csv, read)

What was computed from photographs, latents above all, is no part of an origin either: its last bits change with the
compiler's flags, and with them the digest would.
"""

import functools
import hashlib
import json
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np

from lic_jax.errors import LicError
from lic_jax.io.files import make_folder, opened, replacing

Result = TypeVar("Result")

DIGITS = 12
"""Digits of a digest that a file's name carries."""


class Origin(NamedTuple):
    """Everything that decides a result.

    Attributes:
      weights: the digest of the weights' file, see `files_digest`; empty if the result begins without weights.
      settings: anything that JSON holds; paths, and settings that decide nothing, do not belong here.
      data: the digest of the photographs, see `files_digest` and `pixels_digest`.
    """

    weights: str
    settings: object
    data: str

    @property
    def digest(self) -> str:
        """Hexadecimal digits that differ wherever weights, settings or photographs do."""
        return hashlib.sha256(json.dumps(self, sort_keys=True).encode()).hexdigest()[:DIGITS]


def files_digest(paths: Iterable[Path]) -> str:
    """Digests files by name and content, in the order of their names; folders above them do not matter.

    Raises:
      LicError: a file cannot be read.
    """
    digest = hashlib.sha256()
    for path in sorted(map(Path, paths), key=lambda path: path.name):
        try:
            status = path.stat()
        except OSError as error:
            raise LicError(f"{path} cannot be read ({error.strerror}); check the path") from error
        digest.update(f"{path.name}\0{_file_digest(path, status.st_size, status.st_mtime_ns)}\0".encode())
    return digest.hexdigest()


@functools.cache
def _file_digest(path: Path, size: int, modified: int) -> str:
    """Size and time of modification are arguments so that a file that has changed is read again."""
    with opened(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def pixels_digest(images: Mapping[str, np.ndarray]) -> str:
    """Digests images by name, shape and pixels, in the order given."""
    digest = hashlib.sha256()
    for name, image in images.items():
        digest.update(f"{name}\0{image.dtype}{image.shape}\0".encode())
        digest.update(np.ascontiguousarray(image))
    return digest.hexdigest()


def kept_path(folder: Path, name: str, origin: Origin, suffix: str = "") -> Path:
    """The path at which the result of an origin is kept.

    Args:
      folder: of results.
      name: tells people what the file holds; punctuation and spaces become underscores.
      origin: of the result.
      suffix: of the file; without one, the path may serve as a folder.
    """
    words = "".join(letter if letter.isalnum() or letter in ".-" else "_" for letter in name)
    return folder / f"{words}_{origin.digest}{suffix}"


def find_or_make(
    path: Path, make: Callable[[], Result], write: Callable[[Path, Result], object], read: Callable[[Path], Result]
) -> Result:
    """Reads the result that is kept at a path; makes and keeps it first if there is none.

    The result is written beside its place and renamed when it is whole: a file that is there is never half a result.

    Args:
      path: from `kept_path`.
      make: computes the result.
      write: writes a result to a path.
      read: reads it from there. A result that was just made is read, too, so that both runs go on with the same digits.
    """
    if not path.exists():
        result = make()
        make_folder(path.parent)
        with replacing(path) as unfinished:
            write(unfinished, result)
    return read(path)
