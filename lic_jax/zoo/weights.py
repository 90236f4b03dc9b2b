"""Weights files: safetensors with the model's configuration in the header. Reading one needs NumPy alone."""

import contextlib
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save as serialize

from lic_jax.errors import LicError
from lic_jax.files import make_folder, write_bytes


def flatten(tree: dict, prefix: str = "") -> dict[str, np.ndarray]:
    """Nested dicts of arrays → one dict, names joined by slashes."""
    flat = {}
    for name, leaf in tree.items():
        path = f"{prefix}{name}"
        if isinstance(leaf, dict):
            flat.update(flatten(leaf, f"{path}/"))
        else:
            flat[path] = np.asarray(leaf)
    return flat


def unflatten(flat: dict[str, np.ndarray]) -> dict:
    """The inverse of `flatten`."""
    tree: dict = {}
    for path, leaf in flat.items():
        *parents, name = path.split("/")
        node = tree
        for parent in parents:
            node = node.setdefault(parent, {})
        node[name] = leaf
    return tree


def save_weights(path: Path, tree: dict, metadata: dict[str, str]) -> None:
    """Writes a tree of arrays as safetensors, whole or not at all."""
    path = Path(path)
    make_folder(path.parent)
    arrays = {name: np.asarray(leaf, order="C") for name, leaf in flatten(tree).items()}
    write_bytes(path, serialize(arrays, metadata))


def load_weights(path: Path) -> tuple[dict, dict[str, str]]:
    """Reads a weights file: (tree of arrays, metadata).

    Raises:
      LicError: no such file, or not a safetensors file.
    """
    with _opened(path) as file:
        flat = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
        return unflatten(flat), file.metadata() or {}


def load_metadata(path: Path) -> dict[str, str]:
    """The metadata of a weights file alone.

    Raises:
      LicError: no such file, or not a safetensors file.
    """
    with _opened(path) as file:
        return file.metadata() or {}


@contextlib.contextmanager
def _opened(path: Path):
    path = Path(path)
    if not path.is_file():
        raise LicError(f"no weights file {path}; name a shipped model or a file written by `lic train` or `lic refit`")
    try:
        with safe_open(path, framework="numpy") as file:
            yield file
    except (SafetensorError, AttributeError, IndexError, TypeError, ValueError) as error:
        raise LicError(f"{path} is not a weights file of lic ({error}); train or copy it again") from error
