"""Decodes streams by the C decoder (`native/lic.c`), where the package was built with one."""

import ctypes
import functools
import os
from pathlib import Path
from typing import ClassVar

import numpy as np

from lic_jax.arrays import RGB
from lic_jax.codec.decoder import Decoder
from lic_jax.codec.symbols import SymbolCoding
from lic_jax.errors import LicError
from lic_jax.registry import DEFAULT_CODER
from lic_jax.zoo import receiver_file
from lic_jax.zoo.bundle import Bundle

SWITCH = "LIC_DECODER"
"""The environment's variable that chooses the decoder: "numpy" keeps the C decoder out."""

_ALIGNMENT = 64

_PIXELS_PER_THREAD = 1 << 16
"""Smaller parts of an image are not worth a thread."""


class _Workers(ctypes.Structure):
    """lic.h's `struct lic_workers`."""

    _fields_: ClassVar = [("count", ctypes.c_int), ("run", ctypes.c_void_p), ("pool", ctypes.c_void_p)]


@functools.cache
def library() -> ctypes.CDLL | None:
    """Loads the C decoder; None where the package was built without a compiler."""
    for path in sorted(Path(__file__).parent.glob("_native*.so")):
        try:
            loaded = ctypes.CDLL(str(path))
        except OSError:
            continue
        pointer, size = ctypes.c_void_p, ctypes.c_size_t
        loaded.lic_message.restype = ctypes.c_char_p
        loaded.lic_model_memory.restype = loaded.lic_decode_memory.restype = size
        loaded.lic_model_memory.argtypes = [ctypes.c_char_p, size]
        loaded.lic_open.argtypes = [ctypes.c_char_p, size, pointer, size, ctypes.POINTER(pointer)]
        loaded.lic_decode_memory.argtypes = [pointer, ctypes.c_uint32, ctypes.c_uint32, ctypes.c_int]
        loaded.lic_decode.argtypes = [pointer, ctypes.c_char_p, size, pointer, size, pointer, ctypes.POINTER(_Workers)]
        return loaded
    return None


def reason_against(bundle: Bundle) -> str | None:
    """Returns why the C decoder is not used for a model, or None if it is."""
    chosen = os.environ.get(SWITCH, "")
    if chosen not in ("", "c", "numpy"):
        raise LicError(f"{SWITCH} is {chosen!r}, and no decoder; set it to c or numpy, or leave it out")
    if chosen == "numpy":
        return f"{SWITCH} is numpy"
    if library() is None:
        return "it was not built (the package was installed without a C compiler)"
    try:
        receiver_file.check(bundle)
    except LicError as error:
        return str(error)
    return None


class NativeDecoder:
    """Decodes a model's streams to images in C; symbols are those of `Decoder`, pixels within one grey level.

    Attributes:
      bundle: the model, its quantizers and its fingerprint.
      threads: the most threads for an image; by default as many as there are processors, up to 8. Their number changes
        no pixel.

    Raises:
      LicError: the decoder was not built, or does not know a part of the model.
    """

    def __init__(self, bundle: Bundle, threads: int | None = None):
        found = library()
        if found is None:
            raise LicError("the C decoder was not built; install lic-jax where there is a C compiler, or use NumPy's")
        self.bundle, self._library, self._coding = bundle, found, SymbolCoding(bundle)
        self.threads = threads or min(os.cpu_count() or 1, 8)
        file = receiver_file.to_receiver_file(bundle)
        needed = found.lic_model_memory(file, len(file))
        self._memory, address, size = _aligned(needed)
        self._model = ctypes.c_void_p()
        self._check(found.lic_open(file, len(file), address, size, ctypes.byref(self._model)))

    @functools.cached_property
    def _in_numpy(self) -> Decoder:
        return Decoder(self.bundle)

    def decompress(self, data: bytes) -> RGB:
        """Decompresses a stream to its image.

        Raises:
          LicError: the bytes are not a whole, undamaged stream of this model.
        """
        stream = self._coding.unpack(data)
        if stream.coder != DEFAULT_CODER:
            return self._in_numpy.decompress(data)
        image = np.empty((stream.height, stream.width, 3), np.uint8)
        count = max(1, min(self.threads, stream.height * stream.width // _PIXELS_PER_THREAD))
        workers = _Workers(count, ctypes.cast(self._library.lic_run_threads, ctypes.c_void_p), None)
        needed = self._library.lic_decode_memory(self._model, stream.width, stream.height, count)
        memory, address, size = _aligned(needed)
        decode = self._library.lic_decode
        self._check(decode(self._model, data, len(data), address, size, image.ctypes.data, ctypes.byref(workers)))
        del memory
        return image

    def symbols(self, data: bytes):
        """Does the same as `Decoder.symbols`, in NumPy."""
        return self._in_numpy.symbols(data)

    def transcode(self, data: bytes, to_coder: str) -> bytes:
        """Does the same as `Decoder.transcode`, in NumPy."""
        return self._in_numpy.transcode(data, to_coder)

    def _check(self, status: int) -> None:
        if status:
            raise LicError(self._library.lic_message(status).decode())


def _aligned(size: int) -> tuple[np.ndarray, int, int]:
    """Takes memory: (its owner, the address of `size` bytes, size)."""
    owner = np.empty(size + _ALIGNMENT, np.uint8)
    return owner, owner.ctypes.data + -owner.ctypes.data % _ALIGNMENT, size
