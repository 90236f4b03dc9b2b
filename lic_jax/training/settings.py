"""The settings of a training and of a refit, as data. Imports no framework, because the command line reads it.

A training makes the anchor, a model for one λ. A refit fits quantizers for several λ to the frozen anchor.
"""

import dataclasses
from typing import TYPE_CHECKING, Literal, get_args

from lic_jax.config import HYPER_STRIDE, ModelConfig
from lic_jax.errors import LicError, unknown_name
from lic_jax.quantization.fixed_point import BIN_EDGES, EdgeKind
from lic_jax.registry import DISTORTIONS, QUANTIZERS, SCHEDULES, SOFT_DECISIONS, STAND_INS

if TYPE_CHECKING:
    from lic_jax.quantization.annealing import Range

LAMBDAS = (0.00125, 0.0025, 0.005, 0.01, 0.02, 0.04, 0.08)
"""The trade-offs of the published models, low rate first."""

HyperQuantizer = Literal["fitted", "kept"]
"""Whether the hyper latent's quantizer learns."""


def _check_crop_size(crop_size: int) -> None:
    if crop_size % HYPER_STRIDE or crop_size <= 0:
        raise LicError(f"crop size {crop_size} is not a positive multiple of {HYPER_STRIDE}; use 128 or 256")


def check_counts(settings, least: int, *names: str) -> None:
    """Raises LicError unless these fields of settings are at least `least`; names the first that is not."""
    for name in names:
        count = getattr(settings, name)
        if count < least:
            raise LicError(f"{name.replace('_', ' ')} {count} is too few; give {least} or more")


@dataclasses.dataclass(frozen=True)
class AnchorSettings:
    """Everything that decides a training's result.

    Attributes:
      model: the architecture.
      start: a weights file to begin from instead of the KLT codec. Parts of the prior that it lacks or has in another
        shape begin anew. A hyper synthesis in integers is converted to floats.
      rd_lambda: λ at quantization step 1; training minimizes bpp + λ·MSE.
      step_range: crops draw their quantization step from [1/step_range, step_range] (and λ/step² with it).
      relaxation: the stand-in for quantization in training, a name in `registry.STAND_INS`.
      distortion: the distortion that λ weighs, a name in `registry.DISTORTIONS`.
      crop_size: side of the training crops, a multiple of 64.
      batch_size: crops a step.
      prior_batch_size: crops a step while only the prior learns.
      prior_learning_rate: Adam's, meanwhile.
      hyperprior_steps: first steps, in which only the prior (of any kind) learns, on latents of the frozen starting
        codec.
      steps: steps in all.
      learning_rate: Adam's, after warm-up; linear transforms, whose weights are small, learn at a tenth.
      decay_fraction: the last part of the steps, over which the learning rate falls to a hundredth.
      seed: the seed of initialization, crops and noise.
      held_out: the fraction of the photographs kept for validation.
      validate_every: steps between validations; each also writes a log row and a checkpoint.
    """

    model: ModelConfig = ModelConfig()
    start: str | None = None
    rd_lambda: float = 0.01
    step_range: float = 2.0
    relaxation: str = "mixed"
    distortion: str = "mse"
    crop_size: int = 128
    batch_size: int = 8
    prior_batch_size: int = 8
    prior_learning_rate: float = 1e-3
    hyperprior_steps: int = 5_000
    steps: int = 20_000
    learning_rate: float = 5e-4
    decay_fraction: float = 0.3
    seed: int = 0
    held_out: float = 0.05
    validate_every: int = 500

    def __post_init__(self):
        _check_crop_size(self.crop_size)
        check_counts(self, 1, "batch_size", "prior_batch_size", "validate_every")
        for name, holds, remedy in (
            ("rd_lambda", self.rd_lambda > 0, "give a positive number, e.g. 0.01"),
            ("step_range", self.step_range >= 1, "give 1 or more"),
            ("learning_rate", self.learning_rate > 0, "give a positive number, e.g. 5e-4"),
            ("prior_learning_rate", self.prior_learning_rate > 0, "give a positive number, e.g. 1e-3"),
            ("decay_fraction", 0 <= self.decay_fraction <= 1, "give a fraction, 0 to 1"),
            ("held_out", 0 <= self.held_out < 1, "give a fraction, 0 to below 1"),
        ):
            if not holds:
                raise LicError(f"{name.replace('_', ' ')} {getattr(self, name)} cannot be trained with; {remedy}")
        STAND_INS.check(self.relaxation)
        DISTORTIONS.check(self.distortion)
        if not 0 <= self.hyperprior_steps <= self.steps:
            raise LicError(
                f"hyperprior steps {self.hyperprior_steps} are not within 0 to steps {self.steps}; change either"
            )
        if self.model.hyper_arithmetic != "float":
            raise LicError("hyper_arithmetic integer cannot be trained; use float, `lic refit` makes integers")
        linear = self.model.block_transform or self.model.analysis == "linear"
        if self.hyperprior_steps and not linear and self.start is None:
            raise LicError(
                f"hyperprior steps {self.hyperprior_steps} need a model with a block transform; "
                "give 0 hyperprior steps, or a block transform"
            )


@dataclasses.dataclass(frozen=True)
class RefitSettings:
    """The settings of a refit, which fits quantizers to a frozen anchor.

    Attributes:
      lambdas: the trade-offs, one pair of quantizers each; they do not decrease, and may repeat (for seeds).
      quantizer: the latent's: a name in `registry.QUANTIZERS`.
      latent_components: T of the latent's quantizer, which has T + 1 levels.
      hyper_components: T of the hyper latent's quantizer.
      learning_rate: Adam's at the start; it falls to zero along a cosine.
      steps: batches seen.
      shared_steps: batches of a first fit to one λ in the middle of all, whose result starts the fits to all λ. With
        many λ they cost little, and a few own steps after them are worth several times as many.
      crop_size: side of the crops that a folder's photographs are cut into, a multiple of 64.
      batch_size: crops a step.
      seed: the seed of the crops and of stochastic annealing.
      inverse_temperature: the initial β, in units of 1/step of each quantizer's start.
      growth: the ratio of the last β to the first, for schedules of the step alone.
      gap_rate: β grows by this times the gap (soft − hard) each step, for the schedules that use the gap.
      schedule: how β grows, a name in `registry.SCHEDULES`.
      relaxation: the stand-in for hard decisions, a name in `registry.SOFT_DECISIONS`.
      distortion: the distortion that λ weighs, a name in `registry.DISTORTIONS`.
      row_knots: how many numbers describe how dead zones differ from row to row of the latent's coding tables, and as
        many how levels do (`quantization.rows`), 2 or more; 0 gives all rows the same quantizer.
      bin_edges: the edges of a symbol's bin in the coding tables: "thresholds", where symbols change, or "midpoints"
        between levels.
      hyper_quantizer: "fitted", or "kept" as it starts, uniform with step 1.
      symmetric: whether the latent's quantizer treats ±v alike, which keeps the level at zero there.
    """

    lambdas: tuple[float, ...] = LAMBDAS
    quantizer: str = "stanh"
    latent_components: int = 254
    hyper_components: int = 126
    learning_rate: float = 1e-2
    steps: int = 300
    shared_steps: int = 0
    crop_size: int = 128
    batch_size: int = 8
    seed: int = 0
    inverse_temperature: float = 10.0
    growth: float = 10.0
    gap_rate: float = 15.0
    schedule: str = "linear"
    relaxation: str = "expected"
    distortion: str = "mse"
    row_knots: int = 8
    bin_edges: EdgeKind = "thresholds"
    hyper_quantizer: HyperQuantizer = "kept"
    symmetric: bool = True

    def __post_init__(self):
        if not self.lambdas or any(value <= 0 for value in self.lambdas):
            raise LicError(f"lambdas {self.lambdas} are not positive numbers; give one or more, e.g. 0.005 0.01 0.02")
        if list(self.lambdas) != sorted(self.lambdas):
            raise LicError(f"lambdas {self.lambdas} decrease; sort them")
        _check_crop_size(self.crop_size)
        check_counts(self, 1, "steps", "batch_size")
        check_counts(self, 0, "shared_steps")
        if self.inverse_temperature < 1:
            raise LicError(f"inverse temperature {self.inverse_temperature} is too soft for a fit; use 1 or more")
        if self.row_knots < 0 or self.row_knots == 1:
            raise LicError(f"row knots {self.row_knots} are not enough to interpolate; use 0 for none, or 2 or more")
        if self.row_knots and self.latent_components % 2:
            raise LicError(
                f"latent components {self.latent_components} give no middle level, which row knots need; "
                f"use {self.latent_components + 1}, or row knots 0"
            )
        for name, known in (("bin_edges", BIN_EDGES), ("hyper_quantizer", get_args(HyperQuantizer))):
            if getattr(self, name) not in known:
                raise unknown_name(name.replace("_", " "), getattr(self, name), known)
        for registry, name in (
            (SCHEDULES, self.schedule),
            (QUANTIZERS, self.quantizer),
            (SOFT_DECISIONS, self.relaxation),
            (DISTORTIONS, self.distortion),
        ):
            registry.check(name)

    @property
    def inverse_temperatures(self) -> "Range":
        """The range over which β grows."""
        from lic_jax.quantization.annealing import Range

        last = self.growth * self.inverse_temperature
        return Range(self.inverse_temperature, last, self.steps, self.gap_rate)


AS_PUBLISHED = {"row_knots": 0, "bin_edges": "thresholds", "hyper_quantizer": "fitted", "symmetric": False}
"""Settings for a refit as in the paper: one staircase for all latents, free on both sides, and one for hyper latents.

The bins are ours: they end where symbols change."""
