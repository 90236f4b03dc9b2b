"""The one kind of error that a user's input can cause, and the one kind of warning.

Every message is one line that names the thing, its value and the remedy. The command line prints it; after an error it
exits with code 2. Any other exception is a bug of lic and keeps its traceback.
"""

import contextlib
from collections.abc import Iterator
from pathlib import Path


class LicError(Exception):
    """A file, name or number from the user cannot be used; the message names it and says what to do."""


@contextlib.contextmanager
def naming(path: Path) -> Iterator[None]:
    """Puts a file's name before the errors that a block raises."""
    try:
        yield
    except LicError as error:
        raise LicError(f"{path}: {error}") from error


class LicWarning(UserWarning):
    """A target was reached only nearly; the message says how nearly."""


def unknown_name(kind: str, name: str, known) -> LicError:
    """Makes the error for a name that is not in a registry; it lists the known names."""
    return LicError(f"{kind} {name!r} is unknown; known: {', '.join(sorted(known))}")
