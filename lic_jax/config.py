"""What a model is built from, as data. No framework is imported here: a device reads it, too."""

import dataclasses
import json

from lic_jax.entropy.scale_table import SCALE_COUNT
from lic_jax.errors import LicError, unknown_name

ARITHMETICS = ("float", "integer")
ANALYSES = ("cnn", "elic", "gdn", "linear")
HYPER_INPUTS = ("companded", "latent")
HYPER_SYNTHESES = ("jpeg_like", "standard")
PRIORS = ("factorized", "hyperprior")
SCALE_OUTPUTS = ("log_index", "log_scale")
SYNTHESES = ("cnn", "elic", "gdn", "jpeg_like", "two_layer", "two_layer_residual")

SYNTHESIS_KERNELS = {"jpeg_like": (18,), "two_layer": (13, 5), "two_layer_residual": (13, 5)}
"""Kernel sizes of the shallow syntheses, first layer first; the deep ones have kernels of 5."""

LATENT_STRIDE = 16
"""Pixels per latent, along each axis."""

_WIDEST = 1 << 16

SHALLOW_SYNTHESES = tuple(SYNTHESIS_KERNELS)
"""One or two transposed convolutions."""

HYPER_STRIDE = 64
"""Pixels per hyper latent, along each axis; images are padded to a multiple of it."""

LATENTS_PER_HYPER = HYPER_STRIDE // LATENT_STRIDE
"""Latents per hyper latent, along each axis."""


@dataclasses.dataclass(frozen=True)
class ModelConfig:
    """What a model is built from; it travels with the weights as JSON.

    Attributes:
      analysis: one of `ANALYSES`.
      analysis_channels: widths of the analysis' three hidden convolutions.
      analysis_kernel: kernel size of the analysis' four convolutions.
      block_transform: whether a linear 16×16 block transform stands beside the analysis; the KLT start needs it.
      latent_channels: C.
      prior: one of `PRIORS`. "hyperprior" sends a hyper latent that says each latent's mean and scale; "factorized" is
        one density a channel and nothing else, so that what is said below of hyper transforms means nothing.
      hyper_channels: channels of the hyper latent and of the hyper transforms' hidden layers; none beside a factorized
        prior.
      hyper_input: what the hyper analysis sees: the latent itself, or "companded" (log(1 + |y|) and tanh(y/4)).
      hyper_synthesis: one of `HYPER_SYNTHESES`.
      hyper_synthesis_channels: widths of its hidden layers, if other than N and ⌊3N/2⌋ for "standard", none for
        "jpeg_like".
      scale_output: what the hyper synthesis puts out for the scale: its logarithm ("log_scale"), or the logarithm of
        its index in the scale table ("log_index", as published).
      hyper_arithmetic: what the hyper synthesis computes in: "float" to train, "integer" to code with
        (`transforms.integer`).
      synthesis: one of `SYNTHESES`.
      synthesis_channels: widths of the synthesis' hidden layers: none for jpeg_like, one for the two-layer ones, three
        for the deep ones.
      synthesis_kernels: kernel sizes of the synthesis' layers, first one first; the published ones if empty.
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
        for kind, known in (
            ("analysis", ANALYSES),
            ("prior", PRIORS),
            ("hyper_input", HYPER_INPUTS),
            ("hyper_synthesis", HYPER_SYNTHESES),
            ("scale_output", SCALE_OUTPUTS),
            ("hyper_arithmetic", ARITHMETICS),
            ("synthesis", SYNTHESES),
        ):
            if getattr(self, kind) not in known:
                raise unknown_name(kind.replace("_", " "), getattr(self, kind), known)
        for name in ("analysis_channels", "hyper_synthesis_channels", "synthesis_channels", "synthesis_kernels"):
            value = getattr(self, name)
            object.__setattr__(self, name, (value,) if isinstance(value, int) else tuple(value))
        if not isinstance(self.block_transform, bool):
            raise LicError(f"block_transform {self.block_transform!r} is neither true nor false; change it")
        if not self.has_hyper_latent:
            object.__setattr__(self, "hyper_channels", 0)
        self._check_counts()

    def _check_counts(self) -> None:
        widths = 2 if self.hyper_synthesis == "standard" else 0
        counts = {
            "analysis_channels": 0 if self.analysis == "linear" else 3,
            "hyper_synthesis_channels": widths if self.hyper_synthesis_channels else 0,
            "synthesis_channels": {"jpeg_like": 0, "two_layer": 1, "two_layer_residual": 1}.get(self.synthesis, 3),
            "synthesis_kernels": len(self._published_kernels) if self.synthesis_kernels else 0,
        }
        channels = ("latent_channels", "hyper_channels")[: 1 + self.has_hyper_latent]
        for name in (*channels, "analysis_kernel", *counts):
            value = getattr(self, name)
            values = value if isinstance(value, tuple) else (value,)
            if not all(isinstance(item, int) and 1 <= item <= _WIDEST for item in values):
                raise LicError(f"{name} {value} must be whole numbers from 1 to {_WIDEST}; change them")
            if name in counts and len(values) < counts[name]:
                raise LicError(f"{name} {value} are too few for this model; give {counts[name]}")
        if any(kernel < stride for kernel, stride in zip(self.kernel_sizes, self.synthesis_strides, strict=False)):
            raise LicError(
                f"synthesis kernels {self.kernel_sizes} are smaller than the strides {self.synthesis_strides}; "
                "give larger ones"
            )

    @property
    def has_hyper_latent(self) -> bool:
        """Whether a stream tells its receiver more about the latent's distribution than the model knows."""
        return self.prior == "hyperprior"

    @property
    def latent_tables(self) -> int:
        """How many coding tables the latent has: one for each scale, or for each channel beside a factorized prior."""
        return SCALE_COUNT if self.has_hyper_latent else self.latent_channels

    @property
    def is_exact(self) -> bool:
        """Whether all receivers get the same symbols: no floating-point sum decides about a table."""
        return not self.has_hyper_latent or self.hyper_arithmetic == "integer"

    @property
    def _published_kernels(self) -> tuple[int, ...]:
        return SYNTHESIS_KERNELS.get(self.synthesis, (5,))

    @property
    def kernel_sizes(self) -> tuple[int, ...]:
        """Of the synthesis' layers, first one first; a deep synthesis has one size for all."""
        return self.synthesis_kernels or self._published_kernels

    @property
    def synthesis_strides(self) -> tuple[int, ...]:
        """Of the synthesis' layers, first one first."""
        return {"jpeg_like": (16,), "two_layer": (8, 2), "two_layer_residual": (8, 2)}.get(self.synthesis, (2,) * 4)

    @property
    def hyper_synthesis_layers(self) -> tuple[tuple[int, int, int], ...]:
        """(kernel size, stride, output channels) of the hyper synthesis' transposed convolutions."""
        if self.hyper_synthesis == "jpeg_like":
            return ((6, 4, 2 * self.latent_channels),)
        widths = self.hyper_synthesis_channels or (self.hyper_channels, self.hyper_channels * 3 // 2)
        first, second = widths[:2]
        return ((5, 2, first), (5, 2, second), (3, 1, 2 * self.latent_channels))

    def to_json(self) -> str:
        return json.dumps(dataclasses.asdict(self))

    @classmethod
    def from_json(cls, text: str) -> "ModelConfig":
        """The configuration in a JSON text.

        Raises:
          LicError: it is none, or of no model that can be.
        """
        try:
            entries = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise LicError(
                f"the model configuration cannot be read as JSON ({error}); is the file from lic?"
            ) from error
        if not isinstance(entries, dict):
            raise LicError(f"the model configuration {text[:40]!r} has no named entries; is the file from lic?")
        names = [field.name for field in dataclasses.fields(cls)]
        for name in entries:
            if name not in names:
                raise unknown_name("entry of a model configuration", name, names)
        try:
            return cls(**entries)
        except TypeError as error:
            raise LicError(f"the model configuration has an entry of another type ({error}); correct it") from error
