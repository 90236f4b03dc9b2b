"""Image ↔ bytes in one shot: the model's transforms, its quantizers at a rate, the entropy coder and the container.

All in JAX, for whatever device it has; `lic_jax.codec.decoder` is the receiver alone, in NumPy.
"""

from collections.abc import Sequence
from functools import lru_cache, partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, UInt8

from lic_jax.codec.decoder import SymbolReader, channel_index
from lic_jax.config import HYPER_STRIDE, LATENTS_PER_HYPER
from lic_jax.encoding.choice import Choice, Symbols
from lic_jax.entropy.coders.coding import DEFAULT, decode, encode
from lic_jax.errors import LicError
from lic_jax.io import container
from lic_jax.model import CodecModel, model_of, to_network_domain, to_pixels
from lic_jax.transforms.buckets import Bucketed
from lic_jax.zoo.bundle import Bundle


class Analysed(NamedTuple):
    """An image after analysis: what every rate of it starts from."""

    height: int
    width: int
    latent: Float[np.ndarray, "1 h w latent"]
    hyper_latent: Float[np.ndarray, "1 h/4 w/4 hyper"]
    pixels: UInt8[np.ndarray, "height width 3"]


def pad_to_multiple(image: UInt8[np.ndarray, "height width 3"], multiple: int = HYPER_STRIDE) -> np.ndarray:
    """Pads at the bottom and right: reflected, or the edge repeated along an axis that is too short to reflect."""
    for axis in (0, 1):
        missing = -image.shape[axis] % multiple
        padding = [(0, 0)] * 3
        padding[axis] = (0, missing)
        image = np.pad(image, padding, mode="reflect" if missing < image.shape[axis] else "edge")
    return image


class OneShotCodec(SymbolReader):
    """Analyses, quantizes, codes and decodes; each latent is quantized by itself.

    Programs are compiled for a few sizes of arrays and serve images of every size (`transforms.buckets`).

    Attributes:
      bundle: the model, its quantizers and its fingerprint.
    """

    def __init__(self, bundle: Bundle):
        super().__init__(bundle)
        self._variables = {"params": jax.tree.map(jnp.asarray, bundle.params)}
        self._model = model_of(bundle.config)
        self._encode, self._predict, self._decode = _programs(self._model)

    def analyse(self, image: UInt8[np.ndarray, "height width 3"]) -> Analysed:
        """Runs analysis and hyper analysis; every rate of the image starts from the result.

        Raises:
          LicError: not a uint8 RGB array, or of a size outside the format.
        """
        return self._analyse([image])[0]

    def code(self, analysed: Analysed, rate: float | None = None, coder: str = DEFAULT) -> bytes:
        """Quantizes and codes an analysed image at a rate, the middle one by default."""
        return self._code([analysed], self._rate_units(rate), coder)[0]

    def decompress(self, data: bytes) -> UInt8[np.ndarray, "height width 3"]:
        """The image in a stream.

        Raises:
          LicError: the bytes are not a whole, undamaged stream of this model.
        """
        return self.decompress_batch([data])[0]

    def decompress_batch(self, streams: Sequence[bytes]) -> list[UInt8[np.ndarray, "height width 3"]]:
        """The images in streams of any sizes and rates.

        Raises:
          LicError: as `decompress`.
        """
        streams = [self.unpack(data) for data in streams]
        pairs = [self.bundle.quantizers_at(stream.rate_units) for stream in streams]
        hyper_latents = [
            hyper_quantizer.levels_of(self.hyper_symbols(stream))
            for stream, (_, hyper_quantizer) in zip(streams, pairs, strict=True)
        ]
        predictions = self._predict(self._variables, hyper_latents)
        latents = []
        for stream, (quantizer, _), (mean, index) in zip(streams, pairs, predictions, strict=True):
            symbols = decode(stream.latent, index.ravel(), self.tables(stream.rate_units).latent, stream.coder)
            latents.append(mean + quantizer.levels_of(symbols.reshape(mean.shape), index))
        images = self._decode(self._variables, latents)
        return [image[0, : stream.height, : stream.width] for stream, image in zip(streams, images, strict=True)]

    def _analyse(self, images: Sequence[UInt8[np.ndarray, "height width 3"]]) -> list[Analysed]:
        for image in images:
            if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
                shape = list(image.shape)
                raise LicError(f"an image must be uint8 [height, width, 3], not {image.dtype} {shape}; convert it")
            container.check_size(*image.shape[:2])
        outputs = self._encode(self._variables, [pad_to_multiple(image)[None] for image in images])
        return [Analysed(*image.shape[:2], *output, image) for image, output in zip(images, outputs, strict=True)]

    def _code(self, batch: Sequence[Analysed], rate_units: int, coder: str = DEFAULT) -> list[bytes]:
        """Analysed images as streams."""
        choices = self._choose(batch, rate_units)
        return [self._pack(*of_image, rate_units, coder) for of_image in zip(batch, choices, strict=True)]

    def _choose(self, batch: Sequence[Analysed], rate_units: int) -> list[Choice]:
        """Quantizes analysed images at a rate."""
        quantizer, hyper_quantizer = self.bundle.quantizers_at(rate_units)
        hyper_symbols = [hyper_quantizer.symbols(analysed.hyper_latent) for analysed in batch]
        predictions = self._predict(self._variables, [hyper_quantizer.levels_of(symbols) for symbols in hyper_symbols])
        return [
            Choice(Symbols(quantizer.symbols(analysed.latent - mean, index), of_hyper), mean, index)
            for analysed, of_hyper, (mean, index) in zip(batch, hyper_symbols, predictions, strict=True)
        ]

    def _pack(self, analysed: Analysed, choice: Choice, rate_units: int, coder: str = DEFAULT) -> bytes:
        """Codes the symbols of an image at a rate into a stream."""
        hyper_tables, tables = self.tables(rate_units)
        symbols, hyper_symbols = choice.symbols
        segments = (
            encode(hyper_symbols.ravel(), channel_index(hyper_symbols.shape), hyper_tables, coder),
            encode(symbols.ravel(), choice.index.ravel(), tables, coder),
        )
        of_image = analysed.height, analysed.width, rate_units
        return container.pack(container.Stream(self.bundle.fingerprint, *of_image, *segments, coder))

    def _rate_units(self, rate: float | None) -> int:
        return self.bundle.rate_units(self.bundle.highest_rate // 2 if rate is None else rate)


@lru_cache(maxsize=16)
def _programs(model: CodecModel) -> tuple[Bucketed, Bucketed, Bucketed]:
    """What encodes, predicts and decodes; codecs whose models differ in their weights alone share what is compiled."""
    return (
        Bucketed(partial(model.apply, method="encode"), HYPER_STRIDE, to_network_domain),
        Bucketed(partial(_mean_and_index, model), 1),
        Bucketed(partial(_pixels, model), LATENTS_PER_HYPER),
    )


def _mean_and_index(model: CodecModel, variables: dict, hyper_latent: Array) -> tuple[Array, Array]:
    """μ and the index of the coding table; both are exact (`transforms.integer`)."""
    mean, index = model.apply(variables, hyper_latent, method="predict")
    return mean, index.astype(jnp.uint16)


def _pixels(model: CodecModel, variables: dict, latent: Array) -> Array:
    return to_pixels(model.apply(variables, latent, method="decode"))
