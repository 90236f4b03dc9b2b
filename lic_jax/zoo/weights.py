"""Weights files: safetensors with the model's configuration in the header.

Writing takes the library; reading, which a device does that only decodes, needs NumPy alone.
"""

import json
import math
from pathlib import Path

import numpy as np

from lic_jax.errors import LicError
from lic_jax.files import make_folder, read_bytes, write_bytes


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
    from safetensors.numpy import save as serialize

    path = Path(path)
    make_folder(path.parent)
    arrays = {name: np.asarray(leaf, order="C") for name, leaf in flatten(tree).items()}
    write_bytes(path, serialize(arrays, metadata))


def load_weights(path: Path) -> tuple[dict, dict[str, str]]:
    """Reads a weights file: (tree of arrays, metadata).

    Raises:
      LicError: no such file, or not a safetensors file.
    """
    data = _read(path)
    try:
        header, body = _header(data), data[8 + int.from_bytes(data[:8], "little") :]
        metadata = _metadata(header)
        _check_tiling(body, header)
        return unflatten({name: _array(body, entry) for name, entry in header.items()}), metadata
    except _MALFORMED as error:
        raise _foreign(path, error) from error


def load_metadata(path: Path) -> dict[str, str]:
    """The metadata of a weights file alone.

    Raises:
      LicError: no such file, or not a safetensors file.
    """
    try:
        return _metadata(_header(_read(path)))
    except _MALFORMED as error:
        raise _foreign(path, error) from error


_MALFORMED = (AttributeError, KeyError, IndexError, OverflowError, RecursionError, TypeError, ValueError)

_DTYPES = {
    **{"F16": "<f2", "F32": "<f4", "F64": "<f8", "BOOL": "|b1"},
    **{f"{kind}{8 * size}": f"<{letter}{size}" for kind, letter in (("I", "i"), ("U", "u")) for size in (1, 2, 4, 8)},
}
"""safetensors' names of types."""


def _read(path: Path) -> bytes:
    if not Path(path).is_file():
        raise LicError(f"no weights file {path}; name a shipped model or a file written by `lic train` or `lic refit`")
    return read_bytes(path)


def _header(data: bytes) -> dict:
    """The JSON header of a safetensors file: 8 bytes of length, the text, then the arrays' bytes."""
    length = int.from_bytes(data[:8], "little")
    if len(data) < 8 or length > len(data) - 8:
        raise ValueError(f"a header of {length} bytes in a file of {len(data)}")
    return dict(json.loads(data[8 : 8 + length]))


def _metadata(header: dict) -> dict[str, str]:
    metadata = header.pop("__metadata__", None) or {}
    if not all(isinstance(value, str) for value in metadata.values()):
        raise ValueError("metadata that is no text")
    return metadata


def _check_tiling(body: bytes, header: dict) -> None:
    """Arrays lie one behind the other: none is read twice, so a file makes no more arrays than it has bytes."""
    end = 0
    for start, stop in sorted(entry["data_offsets"] for entry in header.values()):
        if start != end:
            raise ValueError(f"bytes {end} to {start} belong to no array or to two")
        end = stop
    if end != len(body):
        raise ValueError(f"{len(body) - end} bytes belong to no array")


def _array(body: bytes, entry: dict) -> np.ndarray:
    dtype, shape = np.dtype(_DTYPES[entry["dtype"]]), tuple(entry["shape"])
    start, stop = entry["data_offsets"]
    if min((0, *shape)) < 0 or not 0 <= start <= stop <= len(body) or stop - start != math.prod(shape) * dtype.itemsize:
        raise ValueError(f"an array of shape {list(shape)} in bytes {start} to {stop} of {len(body)}")
    return np.frombuffer(body[start:stop], dtype).reshape(shape).copy()


def _foreign(path: Path, error: Exception) -> LicError:
    return LicError(f"{path} is not a weights file of lic ({error}); train or copy it again")
