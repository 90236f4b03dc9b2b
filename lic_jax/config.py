"""The configuration of a model, as data. Imports no framework, because decoding devices read it, too."""

import dataclasses
import json
from typing import Any

from lic_jax.errors import LicError, unknown_name
from lic_jax.registry import ANALYSES, HYPER_SYNTHESES, PRIORS, SYNTHESES

ARITHMETICS = ("float", "integer")
HYPER_INPUTS = ("companded", "latent")
SCALE_OUTPUTS = ("log_index", "log_scale")

Transform = Any
"""The layers of a transform (`transforms.description.Layers`), or a Flax module if it was registered as one."""

LATENT_STRIDE = 16
"""Pixels per latent, along each axis."""

HYPER_STRIDE = 64
"""Pixels per hyper latent, along each axis; images are padded to a multiple of it."""

LATENTS_PER_HYPER = HYPER_STRIDE // LATENT_STRIDE
"""Latents per hyper latent, along each axis."""

_WIDEST = 1 << 16


@dataclasses.dataclass(frozen=True)
class ModelConfig:
    """The configuration of a model; it is stored with the weights as JSON.

    Attributes:
      analysis: a name in `registry.ANALYSES`.
      analysis_channels: widths of the analysis' hidden convolutions; three for the deep ones.
      analysis_kernel: kernel size of the analysis' convolutions.
      block_transform: whether a linear 16×16 block transform runs beside the analysis; the KLT start needs it.
      latent_channels: C, the channels of the latent, which is the transformed image that streams carry.
      prior: a name in `registry.PRIORS`. "hyperprior" sends a hyper latent, side information that gives each latent's
        mean and scale; "factorized" has one density for each channel and ignores the hyper settings below.
      hyper_channels: channels of the hyper latent and of the hyper transforms' hidden layers; 0 beside a factorized
        prior.
      hyper_input: the input of the hyper analysis: the latent itself, or "companded" (log(1 + |y|) and tanh(y/4)).
      hyper_synthesis: a name in `registry.HYPER_SYNTHESES`.
      hyper_synthesis_channels: widths of its hidden layers; the usual ones if empty.
      scale_output: the hyper synthesis' output for the scale: its logarithm ("log_scale"), or the logarithm of its
        index in the scale table ("log_index", as published).
      hyper_arithmetic: the arithmetic of the hyper synthesis: "float" for training, "integer" for coding
        (`entropy.priors.integers`).
      synthesis: a name in `registry.SYNTHESES`.
      synthesis_channels: widths of the synthesis' hidden layers: none for jpeg_like, one for the two-layer ones, three
        for the deep ones.
      synthesis_kernels: kernel sizes of the synthesis' layers, first layer first; the published ones if empty.
    """

    analysis: str = "cnn"
    analysis_channels: tuple[int, ...] = (48, 96, 128)
    analysis_kernel: int = 5
    block_transform: bool = True
    latent_channels: int = 320
    prior: str = "hyperprior"
    hyper_channels: int = 96
    hyper_input: str = "companded"
    hyper_synthesis: str = "standard"
    hyper_synthesis_channels: tuple[int, ...] = ()
    scale_output: str = "log_scale"
    hyper_arithmetic: str = "float"
    synthesis: str = "two_layer"
    synthesis_channels: tuple[int, ...] = (24,)
    synthesis_kernels: tuple[int, ...] = ()

    def __post_init__(self):
        for name, known in (
            ("hyper_input", HYPER_INPUTS),
            ("scale_output", SCALE_OUTPUTS),
            ("hyper_arithmetic", ARITHMETICS),
        ):
            if getattr(self, name) not in known:
                raise unknown_name(name.replace("_", " "), getattr(self, name), known)
        for name in ("analysis_channels", "hyper_synthesis_channels", "synthesis_channels", "synthesis_kernels"):
            value = getattr(self, name)
            object.__setattr__(self, name, (value,) if isinstance(value, int) else tuple(value))
        if not isinstance(self.block_transform, bool):
            raise LicError(f"block_transform is {self.block_transform!r}; give true or false")
        if not self.has_hyper_latent:
            object.__setattr__(self, "hyper_channels", 0)
        self._check_counts()

    def _check_counts(self) -> None:
        channels = ("latent_channels", "hyper_channels")[: 1 + self.has_hyper_latent]
        lists = ("analysis_channels", "hyper_synthesis_channels", "synthesis_channels", "synthesis_kernels")
        for name in (*channels, "analysis_kernel", *lists):
            value = getattr(self, name)
            values = value if isinstance(value, tuple) else (value,)
            if not all(isinstance(item, int) and 1 <= item <= _WIDEST for item in values):
                raise LicError(f"{name} is {value}; give whole numbers from 1 to {_WIDEST}")
        for build in (ANALYSES[self.analysis], HYPER_SYNTHESES[self.hyper_synthesis], SYNTHESES[self.synthesis]):
            build(self)

    @property
    def has_hyper_latent(self) -> bool:
        """Whether streams carry a hyper latent."""
        return PRIORS[self.prior].has_hyper_latent

    @property
    def mean_channels(self) -> int:
        """How many channels of the latent, the first ones, have means."""
        return PRIORS[self.prior].mean_channels(self.latent_channels)

    @property
    def analysis_layers(self) -> Transform:
        """The analysis' layers, or a Flax module if it was registered as one."""
        return ANALYSES[self.analysis](self)

    @property
    def hyper_synthesis_layers(self) -> Transform:
        """The hyper synthesis' layers."""
        return HYPER_SYNTHESES[self.hyper_synthesis](self)

    @property
    def synthesis_layers(self) -> Transform:
        """The synthesis' layers, or a Flax module if it was registered as one."""
        return SYNTHESES[self.synthesis](self)

    def to_json(self) -> str:
        """Writes the configuration as JSON text, which `from_json` reads."""
        return json.dumps(dataclasses.asdict(self))

    @classmethod
    def from_json(cls, text: str) -> "ModelConfig":
        """Reads the configuration in a JSON text.

        Raises:
          LicError: the text is not a configuration, or its model is not possible.
        """
        try:
            entries = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise LicError(f"the model configuration cannot be read as JSON ({error}); give a file from lic") from error
        if not isinstance(entries, dict):
            raise LicError(f"the model configuration {text[:40]!r} has no named entries; give a file from lic")
        names = [field.name for field in dataclasses.fields(cls)]
        for name in entries:
            if name not in names:
                raise unknown_name("entry of a model configuration", name, names)
        try:
            return cls(**entries)
        except TypeError as error:
            raise LicError(f"the model configuration has an entry of another type ({error}); correct it") from error


def widths(config: ModelConfig, name: str, count: int) -> tuple[int, ...]:
    """Returns the first `count` widths of a list of the configuration.

    Raises:
      LicError: the list has fewer.
    """
    values = getattr(config, name)
    if len(values) < count:
        raise LicError(f"{name} {values} are too few for this model; give {count}")
    return values[:count]
