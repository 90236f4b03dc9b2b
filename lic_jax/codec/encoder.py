"""Encodes images in one shot: the transforms, the quantizers at a rate, the entropy coder."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, UInt8

from lic_jax.codec.programs import Programs
from lic_jax.codec.symbols import SymbolCoding
from lic_jax.config import HYPER_STRIDE
from lic_jax.encoding.choice import Choice, Symbols
from lic_jax.entropy.priors.base import Mask
from lic_jax.errors import LicError
from lic_jax.io import container
from lic_jax.registry import DEFAULT_CODER


class Analysed(NamedTuple):
    """An image after analysis, from which it can be coded at every rate."""

    height: int
    width: int
    latent: Float[np.ndarray, "1 h w latent"]
    hyper_latent: Float[np.ndarray, "1 hyper_h hyper_w hyper"]
    pixels: UInt8[np.ndarray, "height width 3"]


def pad_to_multiple(image: UInt8[np.ndarray, "height width 3"], multiple: int = HYPER_STRIDE) -> np.ndarray:
    """Pads at the bottom and right: reflects, or repeats the edge along an axis that is too short to reflect."""
    for axis in (0, 1):
        missing = -image.shape[axis] % multiple
        padding = [(0, 0)] * 3
        padding[axis] = (0, missing)
        image = np.pad(image, padding, mode="reflect" if missing < image.shape[axis] else "edge")
    return image


class Encoder:
    """Analyses images, quantizes each latent by itself, and codes them.

    Args:
      coding: writes the segments of the model's streams.
      programs: the model's transforms.
    """

    def __init__(self, coding: SymbolCoding, programs: Programs):
        self._coding, self._programs = coding, programs
        self._bundle = coding.bundle

    def analyse(self, images: Sequence[UInt8[np.ndarray, "_height _width 3"]]) -> list[Analysed]:
        """Runs analysis and hyper analysis on images of any sizes.

        Raises:
          LicError: an image is not a uint8 RGB array, or its size is outside the format.
        """
        for image in images:
            _check(image)
        padded = [pad_to_multiple(image)[None] for image in images]
        outputs = self._programs.encode(self._programs.variables, padded)
        return [
            Analysed(image.shape[0], image.shape[1], latent, hyper_latent, image.copy())
            for image, (latent, hyper_latent) in zip(images, outputs, strict=True)
        ]

    def choose(self, batch: Sequence[Analysed], rate_units: int) -> list[Choice]:
        """Quantizes analysed images at a rate, stage after stage of the prior."""
        quantizer, hyper_quantizer = self._bundle.quantizers_at(rate_units)
        hyper_symbols = [hyper_quantizer.symbols(analysed.hyper_latent) for analysed in batch]
        hyper_latents = [hyper_quantizer.levels_of(symbols) for symbols in hyper_symbols]
        masks = [self._coding.prior.masks(analysed.latent.shape) for analysed in batch]
        choices: list[Choice] = []
        latents = [np.zeros_like(analysed.latent) for analysed in batch] if len(masks[0]) > 1 else []
        for stage in range(self._coding.prior.stage_count):
            predictions = self._programs.stage(stage, hyper_latents, latents)
            for position, (mean, index) in enumerate(predictions):
                symbols = quantizer.symbols(batch[position].latent - mean, index)
                own = masks[position][stage]
                chosen = Choice(Symbols(symbols, hyper_symbols[position]), mean, index)
                if stage:
                    choices[position] = _merged(choices[position], chosen, own)
                else:
                    choices.append(chosen)
                if latents:
                    values = mean + quantizer.levels_of(symbols, index)
                    latents[position] = np.where(own, values, latents[position])
        return choices

    def code(self, batch: Sequence[Analysed], rate_units: int, coder: str = DEFAULT_CODER) -> list[bytes]:
        """Codes analysed images at a rate into streams."""
        choices = self.choose(batch, rate_units)
        return [self.pack(*pair, rate_units, coder) for pair in zip(batch, choices, strict=True)]

    def pack(self, analysed: Analysed, choice: Choice, rate_units: int, coder: str = DEFAULT_CODER) -> bytes:
        """Codes an image's symbols at a rate into a stream."""
        symbols, hyper_symbols, index = map(np.asarray, (*choice.symbols, choice.index))
        size = analysed.height, analysed.width
        return self._coding.pack(size, rate_units, hyper_symbols, symbols, index, coder)


def _merged(choice: Choice, of_stage: Choice, own: Mask) -> Choice:
    """Merges a stage's own positions into a choice."""
    merge = lambda new, old: np.where(own, new, old)
    symbols = Symbols(merge(of_stage.symbols.latent, choice.symbols.latent), choice.symbols.hyper_latent)
    return Choice(symbols, merge(of_stage.mean, choice.mean), merge(of_stage.index, choice.index))


def _check(image: np.ndarray) -> None:
    """Raises LicError unless the format can hold this image."""
    if not isinstance(image, np.ndarray) or image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        found = f"{image.dtype} {list(image.shape)}" if isinstance(image, np.ndarray) else f"a {type(image).__name__}"
        raise LicError(f"the image is {found}; convert it to a NumPy array, uint8 [height, width, 3]")
    container.check_size(*image.shape[:2])
