"""Converts the published shallow-decoder models (Yang & Mandt, ICCV 2023): transforms by name, weights by order.

Weights come as arrays in the order of the signal path, one list for each transform. They are matched to our layers in
the order in which a model calls them. Every shape is checked, so any channel counts and kernel sizes load.
"""

import json
import re
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from zipfile import BadZipFile

import numpy as np

from lic_jax.config import ModelConfig
from lic_jax.entropy.tables import density_shapes
from lic_jax.errors import LicError, unknown_name
from lic_jax.io.files import read_bytes
from lic_jax.transforms.description import uses
from lic_jax.transforms.hyper_transforms import standard_analysis

ANALYSES = {"CNNAnalysis": "cnn", "ElicAnalysis": "elic", "MBT2018Analysis": "gdn"}
HYPER_SYNTHESES = {"HyperSynthesis": "standard", "JPEGLikeHyperSynthesis": "jpeg_like"}
SYNTHESES = {
    "CNNSynthesis": "cnn",
    "ElicSynthesis": "elic",
    "JPEGLikeSynthesis": "jpeg_like",
    "MBT2018Synthesis": "gdn",
    "TwoLayerResSynthesis": "two_layer_residual",
    "TwoLayerSynthesis": "two_layer",
}
_TWO_LAYERS = {"strides": [8, 2], "activation_type": ["igdn"]}
FIXED_ARGUMENTS = {
    "CNNAnalysis": {"activation_type": ["leaky_relu"]},
    "CNNSynthesis": {"activation_type": ["leaky_relu"]},
    "JPEGLikeSynthesis": {"strides": [16]},
    "TwoLayerResSynthesis": {**_TWO_LAYERS, "res_type": ["conv"]},
    "TwoLayerSynthesis": _TWO_LAYERS,
}
"""Arguments of published transforms that are fixed in ours, each with its default there."""

PARTS = ("analysis", "hyper_analysis", "hyper_synthesis", "synthesis")


def published_config(transforms: Mapping[str, Mapping]) -> ModelConfig:
    """Converts the configuration of a published model to ours.

    Args:
      transforms: `analysis`, `synthesis` and, where it is not the standard one, `hyper_synthesis`, each with its class'
        name as `cls` and the arguments that it was made with.

    Raises:
      LicError: a transform, or one of its arguments, is not supported.
    """
    analysis, synthesis = transforms["analysis"], transforms["synthesis"]
    hyper_synthesis = transforms.get("hyper_synthesis", {"cls": "HyperSynthesis"})
    analysis_kind = _known("published analysis", analysis["cls"], ANALYSES)
    kind = _known("published synthesis", synthesis["cls"], SYNTHESES)
    for description in (analysis, synthesis):
        _check_fixed(description)
    if "channels" in analysis:
        *analysis_channels, latent_channels = analysis["channels"]
    else:
        analysis_channels = 3 * [analysis["channels_base"]]
        latent_channels = analysis.get("output_channels") or analysis["channels_base"]
    return ModelConfig(
        analysis=analysis_kind,
        analysis_channels=tuple(analysis_channels),
        block_transform=False,
        latent_channels=latent_channels,
        hyper_channels=latent_channels,
        hyper_input="latent",
        hyper_synthesis=_known("published hyper synthesis", hyper_synthesis["cls"], HYPER_SYNTHESES),
        scale_output="log_index",
        synthesis=kind,
        **_synthesis_arguments(kind, synthesis),
    )


def _known(what: str, name: str, names: Mapping[str, str]) -> str:
    if name not in names:
        raise unknown_name(what, name, tuple(sorted(names)))
    return names[name]


def _check_fixed(description: Mapping) -> None:
    for name, expected in FIXED_ARGUMENTS.get(description["cls"], {}).items():
        found = description.get(name, expected)
        if (list(found) if isinstance(found, list | tuple) else [found]) != expected:
            raise LicError(f"a published {description['cls']} with {name} = {found} is not supported; use {expected}")


def _synthesis_arguments(kind: str, description: Mapping) -> dict:
    if kind == "jpeg_like":
        return {"synthesis_channels": (), "synthesis_kernels": (description.get("kernel_size", 16),)}
    if kind in ("two_layer", "two_layer_residual"):
        width = description.get("channels", (24 if kind == "two_layer" else 12, 3))[0]
        return {"synthesis_channels": (width,), "synthesis_kernels": tuple(description.get("kernel_sizes", (13, 5)))}
    channels = description["channels"][:3] if "channels" in description else 3 * [description["channels_base"]]
    return {"synthesis_channels": tuple(channels)}


def params_in_order(config: ModelConfig, arrays: Mapping[str, Mapping[str, np.ndarray]], prior: Mapping) -> dict:
    """Builds a tree of parameters from arrays in the order of the signal path.

    Args:
      config: the model.
      arrays: for each of `PARTS` its arrays by name: kernel and bias of every convolution, the stored (reparameterized)
        β and Γ of every GDN.
      prior: the hyper latent's prior: matrix_i, bias_i, factor_i, [channel, out, in] each.

    Raises:
      LicError: arrays are missing or left over, or the shape of an array is not that of its layer.
    """
    parts = {
        "analysis": (config.analysis_layers, 3),
        "hyper_analysis": (standard_analysis(config), config.latent_channels),
        "hyper_synthesis": (config.hyper_synthesis_layers, config.hyper_channels),
        "synthesis": (config.synthesis_layers, config.latent_channels),
    }
    shapes: dict[tuple[str, ...], tuple[int, ...]] = {
        (part, *use.path, name): shape
        for part, (layers, channels) in parts.items()
        for use in uses(layers, channels)
        for name, shape in use.parameter_shapes.items()
    }
    shapes |= {("hyper_prior", name): shape for name, shape in density_shapes(config.hyper_channels).items()}
    params: dict = {}
    for part in PARTS:
        slots = [path for path in shapes if path[0] == part]
        if len(slots) != len(arrays[part]):
            raise LicError(
                f"the published {part} has {len(arrays[part])} arrays, its configuration needs {len(slots)}: "
                f"{_without_partner(slots, arrays[part], shapes)}; check the transforms"
            )
        for path, array in zip(slots, arrays[part].values(), strict=True):
            _place(params, path, array, shapes)
    densities = {path[1]: shape for path, shape in shapes.items() if path[0] == "hyper_prior"}
    for name in prior:
        if name not in densities:
            raise unknown_name("array of the published prior", name, tuple(densities))
    for name, expected in sorted(densities.items()):
        if name not in prior:
            raise LicError(f"the published prior has no {name}, only {', '.join(sorted(prior))}; check the model")
        array = prior[name]
        matrix = array[..., 0] if array.ndim == len(expected) + 1 and array.shape[-1] == 1 else array
        _place(params, ("hyper_prior", name), matrix, shapes)
    return params


def _without_partner(slots: Sequence[tuple[str, ...]], arrays: Mapping[str, np.ndarray], shapes: dict) -> str:
    """Names the first array that is missing or left over: the first whose kind or shape does not fit its place.

    If a layer is missing before others of the same shape, the last of them is named.
    """
    expected = [(_kind(path[-1]), shapes[path]) for path in slots]
    found = [(_kind(name), array.shape) for name, array in arrays.items()]
    pairs = zip(expected, found, strict=False)
    first = next((place for place, (slot, array) in enumerate(pairs) if slot != array), min(len(slots), len(arrays)))
    if len(arrays) > len(slots):
        return f"{list(arrays)[first]} is left over"
    alike = first < len(slots) and expected[first] in expected[:first]
    return f"{'/'.join(slots[first])} is missing" + (", or one of its shape before it" if alike else "")


def _kind(name: str) -> str | None:
    """Returns an array's role in its layer, by the last part of its name that says it."""
    kinds = re.findall("kernel|bias|beta|gamma", name)
    return kinds[-1] if kinds else None


def _place(params: dict, path: tuple[str, ...], array: np.ndarray, shapes: dict) -> None:
    expected = shapes[path]
    for name in path[:-1]:
        params = params.setdefault(name, {})
    if array.shape != expected:
        raise LicError(
            f"the published {'/'.join(path)} has shape {list(array.shape)}, its configuration needs {list(expected)}; "
            "check the model"
        )
    params[path[-1]] = np.asarray(array, np.float32)


def load_published(path: Path) -> tuple[ModelConfig, dict]:
    """Loads a published model's configuration and parameters.

    Args:
      path: an `.npz` with arrays `weights/PART/NNN.NAME` in order and `weights/prior/NNN.NAME`; a `.json` beside it
        names the transforms.

    Raises:
      LicError: a file cannot be read, or the two do not fit each other.
    """
    path = Path(path)
    try:
        config = published_config(json.loads(read_bytes(path.with_suffix(".json"))))
        with np.load(path, allow_pickle=False) as file:
            weights = {name: file[name] for name in sorted(file) if name.startswith("weights/")}
    except (OSError, EOFError, ValueError, KeyError, TypeError, BadZipFile, zlib.error) as error:
        raise LicError(f"{path} and its .json are not a published model ({error!r}); check the path") from error
    arrays = {
        part: {name: array for name, array in weights.items() if name.startswith(f"weights/{part}/")} for part in PARTS
    }
    prior = {name.split(".", 1)[1]: array for name, array in weights.items() if name.startswith("weights/prior/")}
    return config, params_in_order(config, arrays, prior)
