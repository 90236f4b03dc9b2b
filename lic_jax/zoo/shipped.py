"""The models that ship with the package, and the files of their names."""

import json
from pathlib import Path

from lic_jax.config import ModelConfig
from lic_jax.errors import LicError
from lic_jax.io.files import read_bytes
from lic_jax.zoo.weights import load_metadata

FOLDER = Path(__file__).parent
DEFAULT = "default"


def names() -> list[str]:
    """Lists the names of the shipped models."""
    return sorted(path.stem for path in FOLDER.glob("*.safetensors"))


def measured_facts() -> dict[str, dict]:
    """Reads the measured facts of each shipped model and where it was trained, as on its card; by name."""
    return json.loads((FOLDER / "models.json").read_text(encoding="utf-8"))


def path_of(model: str | Path = DEFAULT) -> Path:
    """Finds the weights file of a shipped model's name; a path to a file is returned as given.

    Raises:
      LicError: neither a shipped name nor a file.
    """
    shipped = FOLDER / f"{model}.safetensors"
    if shipped.is_file():
        return shipped
    if Path(model).is_file():
        return Path(model)
    raise LicError(f"model {str(model)!r} is no file and no shipped model; shipped models: {', '.join(names())}")


def config_of(model: str | Path) -> ModelConfig:
    """Reads the configuration of a shipped model, a weights file or a JSON file, without the weights.

    Raises:
      LicError: no such model, or the file holds no configuration.
    """
    path = path_of(model)
    if path.suffix == ".json":
        return ModelConfig.from_json(read_bytes(path).decode(errors="replace"))
    metadata = load_metadata(path)
    if "config" not in metadata:
        raise LicError(f"{path} holds no model configuration; give weights written by `lic train` or `lic refit`")
    return ModelConfig.from_json(metadata["config"])


def rd_lambda_of(model: str | Path) -> float:
    """Reads the λ that a shipped model or a weights file was trained for, at quantization step 1.

    Raises:
      LicError: no such model, or the file holds no λ.
    """
    path = path_of(model)
    try:
        return float(load_metadata(path)["rd_lambda"])
    except (KeyError, ValueError) as error:
        raise LicError(f"{path} does not name the λ of its training; give weights written by `lic train`") from error


def name_of(fingerprint: bytes) -> str | None:
    """Returns the name of the shipped model with this fingerprint, or None."""
    for name in names():
        if load_metadata(FOLDER / f"{name}.safetensors").get("fingerprint") == fingerprint.hex():
            return name
    return None
