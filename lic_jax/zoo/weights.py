"""Weights files: safetensors with the model's configuration in the header.

Writing uses the library safetensors. Reading needs NumPy alone, for devices that only decode.
"""

import contextlib
import hashlib
import json
import math
import os
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np

from lic_jax.config import ModelConfig
from lic_jax.errors import LicError
from lic_jax.io.files import make_folder, opened, write_bytes


def flatten(tree: dict, prefix: str = "") -> dict[str, np.ndarray]:
    """Flattens nested dicts of arrays to one dict, names joined by slashes."""
    flat = {}
    for name, leaf in tree.items():
        path = f"{prefix}{name}"
        if isinstance(leaf, dict):
            flat.update(flatten(leaf, f"{path}/"))
        else:
            flat[path] = np.asarray(leaf)
    return flat


def unflatten(flat: dict[str, np.ndarray]) -> dict:
    """Inverts `flatten`."""
    tree: dict = {}
    for path, leaf in flat.items():
        *parents, name = path.split("/")
        node = tree
        for parent in parents:
            node = node.setdefault(parent, {})
        node[name] = leaf
    return tree


def anchor_metadata(config: ModelConfig, rd_lambda: float) -> dict[str, str]:
    """Makes the metadata of an anchor's file: the model's configuration, and the λ of its training."""
    return {"config": config.to_json(), "rd_lambda": repr(rd_lambda)}


def save_weights(path: Path, tree: dict, metadata: dict[str, str]) -> None:
    """Writes a tree of arrays as safetensors, whole or not at all; adds the entry `digest` to the metadata."""
    from safetensors.numpy import save as serialize

    path = Path(path)
    make_folder(path.parent)
    arrays = {name: np.asarray(leaf, order="C") for name, leaf in flatten(tree).items()}
    write_bytes(path, serialize(arrays, {**metadata, "digest": _digest(metadata, arrays)}))


def load_weights(path: Path) -> tuple[dict, dict[str, str]]:
    """Reads a weights file: (tree of arrays, metadata).

    Raises:
      LicError: no such file, not a safetensors file, or its contents do not match its digest (if it has one).
    """
    tree, metadata = load_part(path, ("",))
    if "digest" in metadata and metadata["digest"] != _digest(metadata, flatten(tree)):
        raise LicError(f"{path} is damaged (its contents do not match its digest); copy it again")
    return tree, metadata


def load_part(path: Path, prefixes: tuple[str, ...]) -> tuple[dict, dict[str, str]]:
    """Reads the arrays whose names begin with one of the prefixes: (tree of arrays, metadata).

    The other arrays' bytes are not read, so the digest is not checked.

    Raises:
      LicError: no such file, or not a safetensors file.
    """
    with _malformed_named(path), _opened(path) as file:
        entries, metadata = _header(file)
        body = file.tell()
        flat = {name: _array(file, body, entry) for name, entry in entries.items() if name.startswith(prefixes)}
        return unflatten(flat), metadata


def load_metadata(path: Path) -> dict[str, str]:
    """Reads only the metadata of a weights file.

    Raises:
      LicError: no such file, or not a safetensors file.
    """
    with _malformed_named(path), _opened(path) as file:
        return _header(file)[1]


def sha256(text: str, arrays: dict[str, np.ndarray]) -> bytes:
    """Hashes a text and arrays: the text, then each array's name and bytes, in the order of their names.

    Texts are in UTF-8, arrays little-endian and row-major.
    """
    digest = hashlib.sha256(text.encode())
    for name in sorted(arrays):
        digest.update(name.encode())
        digest.update(arrays[name].astype(arrays[name].dtype.newbyteorder("<"), copy=False).tobytes())
    return digest.digest()


_MALFORMED = (AttributeError, KeyError, IndexError, OverflowError, RecursionError, TypeError, ValueError)

_DTYPES = {
    **{"F16": "<f2", "F32": "<f4", "F64": "<f8", "BOOL": "|b1"},
    **{f"{kind}{8 * size}": f"<{letter}{size}" for kind, letter in (("I", "i"), ("U", "u")) for size in (1, 2, 4, 8)},
}
"""The names of types in safetensors."""


def _digest(metadata: dict[str, str], arrays: dict[str, np.ndarray]) -> str:
    """Hashes all of a file: metadata except the digest, types, shapes and values; in hexadecimal digits."""
    said = {name: text for name, text in metadata.items() if name != "digest"}
    layout = {name: [array.dtype.newbyteorder("<").str, *array.shape] for name, array in arrays.items()}
    return sha256(json.dumps([said, layout], sort_keys=True), arrays).hex()


@contextlib.contextmanager
def _malformed_named(path: Path) -> Iterator[None]:
    try:
        yield
    except _MALFORMED as error:
        raise LicError(f"{path} is not a weights file of lic ({error}); train or copy it again") from error


def _opened(path: Path) -> contextlib.AbstractContextManager[BinaryIO]:
    if not Path(path).is_file():
        raise LicError(f"no weights file {path}; name a shipped model or a file written by `lic train` or `lic refit`")
    return opened(path)


def _header(file: BinaryIO) -> tuple[dict[str, dict], dict[str, str]]:
    """Reads a safetensors header: (an entry for each array, metadata). Leaves the file at the arrays' bytes.

    The file is 8 bytes of length, a JSON text, then the arrays.
    """
    size = os.fstat(file.fileno()).st_size
    length = int.from_bytes(file.read(8), "little")
    if length > size - 8:
        raise ValueError(f"its header should have {length} bytes, the file has {size}")
    entries = dict(json.loads(file.read(length)))
    metadata = entries.pop("__metadata__", None) or {}
    if not all(isinstance(value, str) for value in metadata.values()):
        raise ValueError("its metadata is not text")
    _check_tiling(entries, size - file.tell())
    return entries, metadata


def _check_tiling(entries: dict[str, dict], size: int) -> None:
    """Checks that the arrays fill the file without gap or overlap: a file makes no more bytes than it has."""
    end = 0
    for start, stop in sorted(entry["data_offsets"] for entry in entries.values()):
        if start != end:
            raise ValueError(f"bytes {end} to {start} belong to no array or to two arrays")
        end = stop
    if end != size:
        raise ValueError(f"{size - end} bytes belong to no array")


def _array(file: BinaryIO, body: int, entry: dict) -> np.ndarray:
    """Reads the array of an entry, whose offsets count from `body`."""
    dtype, shape = np.dtype(_DTYPES[entry["dtype"]]), tuple(entry["shape"])
    start, stop = entry["data_offsets"]
    if min((0, *shape)) < 0 or start > stop or stop - start != math.prod(shape) * dtype.itemsize:
        raise ValueError(f"an array of shape {list(shape)} does not fit bytes {start} to {stop}")
    file.seek(body + start)
    return np.frombuffer(bytearray(file.read(stop - start)), dtype).reshape(shape)
