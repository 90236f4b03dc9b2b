"""The models that ship with the package, and how a name becomes a file."""

from pathlib import Path

from safetensors import safe_open

from lic_jax.errors import LicError

FOLDER = Path(__file__).parent
DEFAULT = "default"


def names() -> list[str]:
    """The shipped models."""
    return sorted(path.stem for path in FOLDER.glob("*.safetensors"))


def path_of(model: str | Path = DEFAULT) -> Path:
    """The weights file of a shipped model's name, or the path that was given.

    Raises:
      LicError: neither a shipped name nor a file.
    """
    shipped = FOLDER / f"{model}.safetensors"
    if shipped.is_file():
        return shipped
    if Path(model).is_file():
        return Path(model)
    raise LicError(f"model {str(model)!r} is neither a file nor a shipped model ({', '.join(names())})")


def name_of(fingerprint: bytes) -> str | None:
    """The shipped model with this fingerprint, or None."""
    for name in names():
        with safe_open(FOLDER / f"{name}.safetensors", framework="numpy") as file:
            if (file.metadata() or {}).get("fingerprint") == fingerprint.hex():
                return name
    return None
