"""Learned image compression with shallow decoders and learnable quantizers.

    codec = lic_jax.load()
    data = codec.compress(image, rate=3)
    image = codec.decompress(data)

Names are imported when they are first used: importing the package imports no framework.
"""

from lic_jax.lazy import lazy_names

_HOMES = {
    "Codec": "codec.codec",
    "FactorizedModel": "model",
    "HyperpriorModel": "model",
    "LicError": "errors",
    "ModelConfig": "config",
    "fit_rate_distortion_curve": "training.curve",
    "load": "codec.codec",
    "model_of": "model",
}

__all__ = sorted(_HOMES)
__getattr__, __dir__ = lazy_names(__name__, _HOMES)
