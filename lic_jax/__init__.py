"""Learned image compression with shallow decoders and learnable quantizers.

    codec = lic_jax.load()
    data = codec.compress(image, rate=3)
    image = codec.decompress(data)

Names are imported when they are first used: importing the package imports no framework.
"""

import importlib

_HOMES = {
    "Codec": "codec",
    "HyperpriorModel": "model",
    "LicError": "errors",
    "ModelConfig": "config",
    "fit_rate_distortion_curve": "training.refit",
    "load": "codec",
}

__all__ = sorted(_HOMES)


def __getattr__(name: str):
    if name in _HOMES:
        return getattr(importlib.import_module(f"lic_jax.{_HOMES[name]}"), name)
    raise AttributeError(f"module 'lic_jax' has no attribute {name!r}")


def __dir__():
    return __all__
