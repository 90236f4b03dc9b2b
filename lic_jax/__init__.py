"""Learned image compression with shallow decoders and learnable quantizers.

    codec = lic_jax.load()
    data = codec.compress(image, rate=3)
    image = codec.decompress(data)

Names are imported when they are first used: importing the package imports no framework.
"""

import importlib
from typing import TYPE_CHECKING, Any

# A checker and the documentation read these imports. `lazy_loader` would make them from a stub, but a receiver's bare
# device has NumPy, constriction and Pillow alone (tests/codec/test_decoder.py), so the lines below do the same.
if TYPE_CHECKING:
    from lic_jax.codec.codec import Codec, load
    from lic_jax.codec.decoder import Decoder
    from lic_jax.codec.loading import load_decoder
    from lic_jax.config import ModelConfig
    from lic_jax.errors import LicError, LicWarning
    from lic_jax.model import CodecModel
    from lic_jax.training.curve import fit_rate_distortion_curve

_HOMES = {
    "Codec": "lic_jax.codec.codec",
    "CodecModel": "lic_jax.model",
    "Decoder": "lic_jax.codec.decoder",
    "LicError": "lic_jax.errors",
    "LicWarning": "lic_jax.errors",
    "ModelConfig": "lic_jax.config",
    "fit_rate_distortion_curve": "lic_jax.training.curve",
    "load": "lic_jax.codec.codec",
    "load_decoder": "lic_jax.codec.loading",
}

__all__ = [
    "Codec",
    "CodecModel",
    "Decoder",
    "LicError",
    "LicWarning",
    "ModelConfig",
    "fit_rate_distortion_curve",
    "load",
    "load_decoder",
]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'lic_jax' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
