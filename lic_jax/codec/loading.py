"""Loads the decoder of a model: in C where the package was built with a compiler, else in NumPy."""

from lic_jax.codec.decoder import Decoder
from lic_jax.codec.native_decoder import NativeDecoder, reason_against
from lic_jax.zoo import shipped
from lic_jax.zoo.bundle import load_receiver


def load_decoder(model: str = shipped.DEFAULT) -> Decoder | NativeDecoder:
    """Loads the decoder of a shipped model, by name, or of a file written by `lic refit`.

    Symbols are the same in C and in NumPy; pixels may differ by one grey level. The environment's `LIC_DECODER=numpy`
    keeps the C decoder out, which a model with parts of one's own never uses.

    Raises:
      LicError: no such model, its file is damaged, or its synthesis needs JAX.
    """
    bundle = load_receiver(shipped.path_of(model))
    return Decoder(bundle) if reason_against(bundle) else NativeDecoder(bundle)
