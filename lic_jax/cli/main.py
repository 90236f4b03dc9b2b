"""The command `lic`: sends each command line to the receiver's parser or to the sender's.

A receiver's commands import no framework. The sender's parser is imported only for the other commands.
"""

import contextlib
import os
import sys
import warnings
from collections.abc import Iterator
from typing import TextIO

from lic_jax.cli import receiver
from lic_jax.errors import LicError
from lic_jax.registry import import_plugins


def _run(arguments: list[str]) -> int:
    import_plugins()
    if not arguments or arguments[0] not in receiver.COMMANDS:
        try:
            from lic_jax.cli import sender
        except ModuleNotFoundError as error:
            if not arguments or arguments[0].startswith("-"):
                receiver.parser().parse_args(arguments)
            raise LicError(
                f"lic {arguments[0]} needs {error.name}, but this installation only decodes; "
                "install lic-jax with its dependencies"
            ) from error
        return sender.run(arguments)
    settings = vars(receiver.parser().parse_args(arguments))
    settings.pop("run")(**settings)
    return 0


@contextlib.contextmanager
def _warnings_as_lines() -> Iterator[None]:
    """Prints each warning in one line, like an error."""
    with warnings.catch_warnings():
        warnings.showwarning = lambda message, *_: print(f"lic: {message}", file=sys.stderr)
        yield


@contextlib.contextmanager
def _flushed(stream: TextIO) -> Iterator[None]:
    """Writes all that was printed before it leaves."""
    try:
        yield
    finally:
        stream.flush()


def exit_code_of(error: LicError) -> int:
    """Prints an error in one line and returns its exit code."""
    print(f"lic: {error}", file=sys.stderr)
    return 2


def main(arguments: list[str] | None = None) -> int:
    """Runs a command and returns its exit code.

    It is 0 for done, 1 for a part left out, 2 for unusable input, 130 for interrupted, 141 where nobody reads on.
    """
    try:
        with _warnings_as_lines(), _flushed(sys.stdout):
            return _run(sys.argv[1:] if arguments is None else arguments)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for what Python writes when it ends
        return 141
    except LicError as error:
        return exit_code_of(error)
    except KeyboardInterrupt:
        print("lic: interrupted", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
