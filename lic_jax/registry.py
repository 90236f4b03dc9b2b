"""The names of everything that can be replaced, on one page.

A new quantizer, schedule, transform, prior, distortion, relaxation, search or coder is one file and one line here. Code
outside of this package registers itself: `registry.SYNTHESES.register("mine", build)`; a file that names it loads after
that. The command line imports the modules that the variable LIC_PLUGINS names, separated by commas.

Modules are imported at first use, so a device that only decodes loads no framework.
"""

import importlib
import os
import sys
from collections.abc import Iterator, Mapping
from typing import Any

from lic_jax.errors import LicError, unknown_name


class Registry(Mapping[str, Any]):
    """Functions or classes of one kind, by name.

    Args:
      kind: the kind's name in errors.
      homes: for each name its "module:attribute".
    """

    def __init__(self, kind: str, homes: Mapping[str, str]):
        self._kind = kind
        self._homes: dict[str, Any] = dict(homes)

    def __getitem__(self, name: str) -> Any:
        """Imports and returns the function or class of this name.

        Raises:
          LicError: no such name; the message lists the known names.
        """
        self.check(name)
        home = self._homes[name]
        if isinstance(home, str):
            module, attribute = home.split(":")
            home = self._homes[name] = getattr(importlib.import_module(module), attribute)
        return home

    def __iter__(self) -> Iterator[str]:
        return iter(self._homes)

    def __len__(self) -> int:
        return len(self._homes)

    def __contains__(self, name: object) -> bool:
        return name in self._homes

    def check(self, name: str) -> None:
        """Raises LicError unless the name is known."""
        if name not in self._homes:
            raise unknown_name(self._kind, name, self)

    def register(self, name: str, thing: Any) -> None:
        """Adds a function or class from outside of the package under a new name.

        Raises:
          LicError: the name is taken.
        """
        if name in self._homes and self._homes[name] is not thing:
            raise LicError(f"{self._kind} {name!r} is taken; register yours under another name")
        self._homes[name] = thing


def import_plugins() -> None:
    """Imports the modules that LIC_PLUGINS names; each registers its own functions and classes.

    Modules are looked up in the current folder, too, which a console script's path lacks.

    Raises:
      LicError: a module is missing.
    """
    modules = [module.strip() for module in os.environ.get("LIC_PLUGINS", "").split(",") if module.strip()]
    if modules and "" not in sys.path:
        sys.path.append("")
    for module in modules:
        try:
            importlib.import_module(module)
        except ModuleNotFoundError as error:
            raise LicError(
                f"LIC_PLUGINS names {module}, which cannot be imported ({error}); modules are looked up in the current "
                "folder and in PYTHONPATH, and are named without .py"
            ) from error


ANALYSES = Registry(
    "analysis",
    {
        "cnn": "lic_jax.transforms.analyses:cnn",
        "elic": "lic_jax.transforms.analyses:elic",
        "gdn": "lic_jax.transforms.analyses:gdn",
        "linear": "lic_jax.transforms.analyses:linear",
        "residual": "lic_jax.transforms.analyses:residual",
    },
)
"""ModelConfig → the layers of an analysis, or a Flax module: image → latent."""

SYNTHESES = Registry(
    "synthesis",
    {
        "cnn": "lic_jax.transforms.syntheses:cnn",
        "elic": "lic_jax.transforms.syntheses:elic",
        "gdn": "lic_jax.transforms.syntheses:gdn",
        "jpeg_like": "lic_jax.transforms.syntheses:jpeg_like",
        "two_layer": "lic_jax.transforms.syntheses:two_layer",
        "two_layer_gain": "lic_jax.transforms.syntheses:two_layer_gain",
        "two_layer_residual": "lic_jax.transforms.syntheses:two_layer_residual",
    },
)
"""ModelConfig → the layers of a synthesis, or a Flax module: latent → image."""

HYPER_SYNTHESES = Registry(
    "hyper synthesis",
    {
        "jpeg_like": "lic_jax.transforms.hyper_transforms:jpeg_like_synthesis",
        "standard": "lic_jax.transforms.hyper_transforms:standard_synthesis",
    },
)
"""ModelConfig → the layers of a hyper synthesis; transposed convolutions and ReLU, so that integers compute it."""

PRIORS = Registry(
    "prior",
    {
        "context": "lic_jax.entropy.priors.context:Context",
        "factorized": "lic_jax.entropy.priors.factorized:Factorized",
        "hyperprior": "lic_jax.entropy.priors.hyperprior:Hyperprior",
    },
)
"""ModelConfig → a prior (`entropy.priors.base.Prior`)."""

QUANTIZERS = Registry("quantizer", {"stanh": "lic_jax.quantization.stanh:STanH"})
"""Fitted quantizers (`quantization.base.FittedQuantizer`)."""

INTEGER_QUANTIZERS = Registry(
    "integer quantizer",
    {
        "staircase": "lic_jax.quantization.fixed_point:FixedPointQuantizer",
        "rows": "lic_jax.quantization.fixed_rows:FixedPointRows",
    },
)
"""Quantizers as stored in a model's file (`quantization.base.IntegerQuantizer`)."""

SCHEDULES = Registry(
    "annealing schedule",
    {
        "constant": "lic_jax.quantization.annealing:constant",
        "linear": "lic_jax.quantization.annealing:linear",
        "exponential": "lic_jax.quantization.annealing:exponential",
        "gap": "lic_jax.quantization.annealing:gap_driven",
        "stochastic_gap": "lic_jax.quantization.annealing:stochastic_gap",
    },
)
"""`annealing.Range` → how β grows during a refit (`annealing.Schedule`)."""

STAND_INS = Registry(
    "relaxation",
    {"mixed": "lic_jax.quantization.relaxation:mixed", "noise": "lic_jax.quantization.relaxation:noise"},
)
"""Stand-ins for a uniform quantizer in the training of an anchor (`relaxation.StandIn`)."""

SOFT_DECISIONS = Registry(
    "soft decision",
    {
        "expected": "lic_jax.quantization.relaxation:expected",
        "staircase": "lic_jax.quantization.relaxation:staircase",
    },
)
"""Stand-ins for a fitted quantizer's decisions in a refit (`relaxation.SoftDecision`)."""

DISTORTIONS = Registry(
    "distortion", {"mse": "lic_jax.distortion.mse:mse", "ms_ssim": "lic_jax.distortion.ms_ssim:ms_ssim_loss"}
)
"""(image, reference) → a number for each image (`distortion.base.Distortion`)."""

SEARCHES = Registry(
    "search method",
    {
        "sga": "lic_jax.encoding.sga:DESCENT",
        "refinement": "lic_jax.encoding.refinement:DESCENT",
        "rounding": "lic_jax.encoding.rounding:improve",
    },
)
"""A sender's searches for symbols: an `encoding.descent.Descent`, or a pass like `encoding.rounding.improve`."""

CODERS = Registry(
    "coder",
    {
        "constriction": "lic_jax.entropy.coders.constriction_coder:CODER",
        "tfc": "lic_jax.entropy.coders.tfc_coder:CODER",
    },
)
"""Entropy coders; a stream's header holds the position in this list.

Coders of plug-ins come after these in the order of registration: both sides name the same plug-ins in one order."""

DEFAULT_CODER = next(iter(CODERS))
"""The coder of streams that ask for no other."""
