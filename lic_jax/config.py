"""What a model is built from, as data. No framework is imported here: a device reads it, too."""

import dataclasses
import json

from lic_jax.errors import LicError, unknown_name

ANALYSES = ("cnn", "linear")
SYNTHESES = ("jpeg_like", "two_layer")

LATENT_STRIDE = 16
"""Pixels per latent, along each axis."""

HYPER_STRIDE = 64
"""Pixels per hyper latent, along each axis; images are padded to a multiple of it."""


@dataclasses.dataclass(frozen=True)
class ModelConfig:
    """What a model is built from; it travels with the weights as JSON.

    Attributes:
      analysis: one of `ANALYSES`.
      analysis_channels: widths of the analysis' hidden convolutions.
      latent_channels: C.
      hyper_channels: channels of the hyper latent and of the hyper transforms' hidden layers.
      synthesis: one of `SYNTHESES`.
      synthesis_channels: width of the synthesis' hidden layer, where it has one.
    """

    analysis: str = "cnn"
    analysis_channels: tuple[int, ...] = (48, 96, 128)
    latent_channels: int = 320
    hyper_channels: int = 96
    synthesis: str = "two_layer"
    synthesis_channels: int = 24

    def __post_init__(self):
        if self.analysis not in ANALYSES:
            raise unknown_name("analysis", self.analysis, ANALYSES)
        if self.synthesis not in SYNTHESES:
            raise unknown_name("synthesis", self.synthesis, SYNTHESES)
        object.__setattr__(self, "analysis_channels", tuple(self.analysis_channels))

    def to_json(self) -> str:
        return json.dumps(dataclasses.asdict(self))

    @classmethod
    def from_json(cls, text: str) -> "ModelConfig":
        try:
            return cls(**json.loads(text))
        except (TypeError, json.JSONDecodeError) as error:
            raise LicError(f"the model configuration cannot be read ({error}); is the file from lic?") from error
