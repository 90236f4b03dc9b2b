"""The one kind of error a user's input can cause, and the one kind of warning.

Every message is one line that names the thing, its value and the remedy. The command line prints it; after an error it
exits with code 2. Any other exception is a defect of ours and keeps its traceback.
"""


class LicError(ValueError):
    """Something the user gave (a file, a name, a number) cannot be used; the message says which and what to do."""


class LicWarning(UserWarning):
    """Something the user asked for could be done only nearly; the message says how nearly."""


def unknown_name(kind: str, name: str, known) -> LicError:
    """The error for a name that is not in a registry; it lists the names that are."""
    return LicError(f"{kind} {name!r} is unknown; known: {', '.join(sorted(known))}")
