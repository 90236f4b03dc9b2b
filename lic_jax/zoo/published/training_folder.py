"""Imports the folder of a published training (`config.json` and TensorFlow's checkpoints) as an anchor.

The anchor is the trained model that quantizers are fitted to. The checkpoints are object-based: a variable is named by
the attributes that lead to it, for example
`model/_analysis/_transform/layer_with_weights-8/_trunk/layer_with_weights-0/_block/layer_with_weights-0/kernel`. The
names are sorted: components by their place in a layer or a model, numbers as numbers. Then a transform's variables
stand in the order of the signal path, and `zoo.published` matches them to our layers by this order.
"""

import json
import re
import string
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np

from lic_jax import extras
from lic_jax.config import ModelConfig
from lic_jax.errors import LicError
from lic_jax.io.files import read_bytes
from lic_jax.zoo.published.arrays import PARTS, params_in_order, published_config
from lic_jax.zoo.weights import anchor_metadata, save_weights

CHECKPOINTS = Path("train", "checkpoints")
"""The folder of the checkpoints, inside a published training's folder."""

_MODEL, _VALUE = "model/", "/.ATTRIBUTES/VARIABLE_VALUE"
_STEMS = (
    *("_transform", "_block", "layer_with_weights-"),
    *("_trunk", "_branch_layers", "_attention_branch", ""),  # an attention; "" is the number alone in a list of blocks
    *("conv", "base_conv", "kernel", "bias"),
    *("activation", "_beta_parameter", "_gamma_parameter", "variable"),
    *("res", "out_conv"),
)
"""The components of names without their numbers, in the order in which the signal meets them."""

_DENSITY = re.compile(r"_prior/_base/_(matrices|biases|factors)/(\d+)")
_DENSITIES = {"matrices": "matrix", "biases": "bias", "factors": "factor"}


class PublishedTraining(NamedTuple):
    """The model of a published training, which `lic refit` fits quantizers to."""

    config: ModelConfig
    params: dict
    rd_lambda: float


def newest_checkpoint(folder: Path) -> Path:
    """Finds a training's checkpoint with the highest number; returns the prefix of its files.

    Raises:
      LicError: the folder has no checkpoint.
    """
    numbers = [
        int(found[1])
        for path in (Path(folder) / CHECKPOINTS).glob("ckpt-*.index")
        if (found := re.fullmatch(r"ckpt-(\d+)", path.stem))
    ]
    if not numbers:
        raise LicError(f"{Path(folder) / CHECKPOINTS} has no checkpoint ckpt-*.index; give the folder of a training")
    return Path(folder) / CHECKPOINTS / f"ckpt-{max(numbers)}"


def read_weights(checkpoint: Path) -> dict[str, np.ndarray]:
    """Reads a checkpoint's weights by name; optimizer slots and counters are not read.

    Raises:
      LicError: TensorFlow is not installed, or it cannot read the checkpoint.
    """
    tensorflow = extras.import_tfc("tensorflow", "reading a TensorFlow checkpoint")
    try:
        reader = tensorflow.train.load_checkpoint(str(checkpoint))
        names = weight_names(reader.get_variable_to_shape_map())
        return {name: reader.get_tensor(f"{_MODEL}{name}{_VALUE}") for name in names}
    except (tensorflow.errors.OpError, IndexError, RuntimeError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise LicError(f"checkpoint {checkpoint} cannot be read ({reason}); copy its files again") from error


def weight_names(variables: Iterable[str]) -> list[str]:
    """Selects the model's weights among a checkpoint's variables, and strips the common parts of their names."""
    return sorted(
        name.removeprefix(_MODEL).removesuffix(_VALUE)
        for name in variables
        if name.startswith(_MODEL) and name.endswith(_VALUE) and "optimizer" not in name.lower()
    )


def in_signal_order(weights: Mapping[str, np.ndarray]) -> tuple[dict[str, dict[str, np.ndarray]], dict]:
    """Sorts weights for `params_in_order`: (for each of `PARTS`, its arrays by name, in order; the prior's arrays).

    Raises:
      LicError: a weight's name is unknown.
    """
    densities = {name: found for name in weights if (found := _DENSITY.fullmatch(name))}
    prior = {f"{_DENSITIES[found[1]]}_{found[2]}": weights[name] for name, found in densities.items()}
    transforms: dict[str, dict[str, np.ndarray]] = {part: {} for part in PARTS}
    for name in sorted(weights.keys() - densities.keys(), key=_place):
        transforms[name.split("/")[0].removeprefix("_")][name] = weights[name]
    return transforms, prior


def _place(name: str) -> list[tuple[int, int]]:
    """Returns the sort key of a weight among the others of its transform."""
    part, *components = name.split("/")
    places = [(stem := component.rstrip(string.digits), component[len(stem) :]) for component in components]
    if part not in {f"_{part}" for part in PARTS} or any(stem not in _STEMS for stem, _ in places):
        raise LicError(f"the checkpoint's weight {_MODEL}{name} is unknown; give a shallow-decoder model's training")
    return [(_STEMS.index(stem), int(number or 0)) for stem, number in places]


def load_training(folder: Path) -> PublishedTraining:
    """Loads a published training's newest checkpoint as a model of ours.

    Raises:
      LicError: TensorFlow is not installed, a file is missing or damaged, or a weight is unknown, missing or of another
        shape than the configuration says; the message names it.
    """
    described = Path(folder) / "config.json"
    try:
        settings = json.loads(read_bytes(described))["model_config"]
        config, rd_lambda = published_config(settings["transform_config"]), float(settings["rd_lambda"])
        if not 0 < rd_lambda < float("inf"):
            raise ValueError(f"rd_lambda {rd_lambda}")
    except (AttributeError, IndexError, KeyError, RecursionError, TypeError, ValueError) as error:
        raise LicError(f"{described} does not describe a published training ({error!r}); copy it again") from error
    arrays, prior = in_signal_order(read_weights(newest_checkpoint(folder)))
    return PublishedTraining(config, params_in_order(config, arrays, prior), rd_lambda)


def import_training(folder: Path, out: Path) -> None:
    """Writes a published training's model as an anchor, the way `lic train` does.

    Raises:
      LicError: as `load_training`, or `out` cannot be written.
    """
    training = load_training(folder)
    save_weights(out, training.params, anchor_metadata(training.config, training.rd_lambda))
