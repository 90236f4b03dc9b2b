"""The models that ship with the package, and how a name becomes a file."""

import json
from pathlib import Path

from lic_jax.config import ModelConfig
from lic_jax.errors import LicError
from lic_jax.io.files import read_bytes
from lic_jax.zoo.weights import load_metadata

FOLDER = Path(__file__).parent
DEFAULT = "default"


def names() -> list[str]:
    """The shipped models."""
    return sorted(path.stem for path in FOLDER.glob("*.safetensors"))


def measured_facts() -> dict[str, dict]:
    """What was measured of each shipped model and where it was trained, as its card says; by name."""
    return json.loads((FOLDER / "models.json").read_text(encoding="utf-8"))


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


def config_of(model: str | Path) -> ModelConfig:
    """The configuration of a shipped model's name, of a weights file, or in a JSON file; weights are not read.

    Raises:
      LicError: no such model, or the file holds no configuration.
    """
    path = path_of(model)
    if path.suffix == ".json":
        return ModelConfig.from_json(read_bytes(path).decode(errors="replace"))
    metadata = load_metadata(path)
    if "config" not in metadata:
        raise LicError(f"{path} does not say what model it is; give weights written by `lic train` or `lic refit`")
    return ModelConfig.from_json(metadata["config"])


def rd_lambda_of(model: str | Path) -> float:
    """The λ that a shipped model or a weights file was trained for, at quantization step 1.

    Raises:
      LicError: no such model, or it does not say.
    """
    path = path_of(model)
    try:
        return float(load_metadata(path)["rd_lambda"])
    except (KeyError, ValueError) as error:
        raise LicError(f"{path} does not say what λ it was trained for; give weights written by `lic train`") from error


def name_of(fingerprint: bytes) -> str | None:
    """The shipped model with this fingerprint, or None."""
    for name in names():
        if load_metadata(FOLDER / f"{name}.safetensors").get("fingerprint") == fingerprint.hex():
            return name
    return None
