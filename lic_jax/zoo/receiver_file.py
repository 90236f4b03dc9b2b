"""The receiver file: all that a device needs of a model, as one flat file that the C decoder reads (docs/native.md)."""

import struct
import zlib

import numpy as np

from lic_jax.entropy.priors.integers import LOG_INDEX_THRESHOLDS
from lic_jax.errors import LicError
from lic_jax.quantization.base import IntegerQuantizer
from lic_jax.quantization.fixed_point import FixedPointQuantizer
from lic_jax.quantization.fixed_rows import FixedPointRows
from lic_jax.transforms.description import Layers, Sum, TransposedConv, is_shallow
from lic_jax.transforms.hyper_transforms import transposed_layers
from lic_jax.transforms.receiver import norm_weights
from lic_jax.zoo.bundle import Bundle

MAGIC, VERSION = b"LICR", 1
_HEADER = struct.Struct("<4sIII4s24I12x")

_PRIORS = ("hyperprior", "context", "factorized")
_HYPER_SYNTHESES = ("standard", "jpeg_like")
_SYNTHESES = ("jpeg_like", "two_layer", "two_layer_gain", "two_layer_residual")
_TYPES = {np.dtype(np.float32): 0, np.dtype(np.float16): 1, np.dtype(np.int8): 2, np.dtype(np.int32): 3}


def check(bundle: Bundle) -> None:
    """Raises LicError if a part of a model is none that the C decoder knows."""
    config = bundle.config
    for name, value, known in (
        ("prior", config.prior, _PRIORS),
        ("synthesis", config.synthesis, _SYNTHESES),
        ("hyper synthesis", config.hyper_synthesis, _HYPER_SYNTHESES),
    ):
        if value not in known:
            raise LicError(
                f"the C decoder knows no {name} {value}; decode with NumPy or JAX, or use {', '.join(known)}"
            )
    for name, value, least, most in _limits(bundle):
        if not least <= value <= most:
            raise LicError(f"the C decoder takes {least} to {most} {name}, not {value}; decode with NumPy or JAX")
    for quantizer in (*bundle.latent_quantizers, *bundle.hyper_quantizers):
        if not isinstance(quantizer, FixedPointQuantizer | FixedPointRows):
            raise LicError(f"the C decoder knows no quantizer of kind {quantizer.kind}; decode with NumPy or JAX")


def _limits(bundle: Bundle) -> list[tuple[str, int, int, int]]:
    """Lists what the C decoder bounds, so that it needs no memory of unknown size: (name, value, least, most)."""
    config, stage = bundle.config, bundle.params.get("context", {}).get("stage_1")
    first, *others = _convolutions(config.synthesis_layers)
    return [
        ("channels of the latent", config.latent_channels, 3, 2048),
        ("channels of the hyper latent", config.hyper_channels, 0, 2048),
        ("channels of a hidden layer", max((0, *config.hyper_synthesis_channels)), 0, 2048),
        ("hidden channels of the synthesis", first.features, 1, 256),
        ("units of a stage", len(stage["bias"]) if stage else 0, 0, 256),
        ("taps of the synthesis' first kernel", first.kernel_size, 8, 64 if others else 256),
        ("taps of the synthesis' last kernel", others[-1].kernel_size if others else 2, 2, 64),
        *(
            ("components of a quantizer", quantizers[0].symbol_count - 1, 1, 8192)
            for quantizers in (bundle.latent_quantizers, bundle.hyper_quantizers)
        ),
    ]


def to_receiver_file(bundle: Bundle) -> bytes:
    """Converts a model to a receiver file.

    Raises:
      LicError: a part of the model is none that the C decoder knows.
    """
    check(bundle)
    arrays = [*_quantizers(bundle.latent_quantizers), *_quantizers(bundle.hyper_quantizers), *_prior(bundle)]
    body = b"".join(map(_packed, (*arrays, *_synthesis(bundle))))
    header = lambda checksum: _HEADER.pack(
        MAGIC, VERSION, _HEADER.size + len(body), checksum, bundle.fingerprint, *_fields(bundle)
    )
    return header(zlib.crc32(header(0)[16:] + body)) + body


def _fields(bundle: Bundle) -> tuple[int, ...]:
    config, latent, hyper = bundle.config, bundle.latent_quantizers[0], bundle.hyper_quantizers[0]
    first, *others = _convolutions(config.synthesis_layers)
    hidden = transposed_layers(config.hyper_synthesis_layers)[:-1] if config.has_hyper_latent else ()
    widths = [layer.features for layer in hidden] + [0, 0]
    stage = bundle.params.get("context", {}).get("stage_1")
    fields = (
        _PRIORS.index(config.prior),
        config.hyper_channels,
        config.latent_channels,
        config.mean_channels,
        _HYPER_SYNTHESES.index(config.hyper_synthesis),
        *widths[:2],
        int(config.scale_output == "log_index"),
        _SYNTHESES.index(config.synthesis),
        first.features if others else 0,
        first.kernel_size,
        others[-1].kernel_size if others else 0,
        len(bundle.lambdas),
        latent.symbol_count - 1,
        hyper.symbol_count - 1,
        len(latent.dead_zones) if isinstance(latent, FixedPointRows) else 0,
        int(latent.bin_edges == "midpoints"),
        len(stage["bias"]) if stage else 0,
    )
    return fields + (0,) * (24 - len(fields))


def _convolutions(layers: Layers) -> list[TransposedConv]:
    """Lists the layers with kernels, of a sum those of its first branch."""
    found = []
    for layer in layers:
        found += _convolutions(layer.branches[0]) if isinstance(layer, Sum) else [layer]
    return [layer for layer in found if isinstance(layer, TransposedConv)]


def _packed(array: np.ndarray) -> bytes:
    """Packs a type, a count and the values; large arrays in half precision, or as bytes, where nothing is lost."""
    array = np.ascontiguousarray(array)
    if array.dtype == np.float32 and array.size >= 256:
        for narrow in (np.int8, np.float16):
            with np.errstate(over="ignore", invalid="ignore"):
                narrowed = array.astype(narrow)
            if np.array_equal(narrowed.astype(np.float32), array):
                array = narrowed
                break
    data = array.astype(array.dtype.newbyteorder("<")).tobytes()
    return struct.pack("<II", _TYPES[array.dtype], array.size) + data + bytes(-len(data) % 4)


def _quantizers(quantizers: tuple[IntegerQuantizer, ...]) -> list[np.ndarray]:
    stored = [{"centre": np.zeros(1, np.int32), **quantizer.arrays()} for quantizer in quantizers]
    names = ("spacings", "thresholds", "centre", "dead_zones", "reconstructions")
    return [np.asarray([arrays[name] for arrays in stored], np.int32) for name in names if name in stored[0]]


def _densities(tree: dict[str, np.ndarray]) -> list[np.ndarray]:
    names = [f"{part}_{layer}" for layer in range(3) for part in ("matrix", "bias", "factor")]
    return [tree[name] for name in names if name in tree]


def _prior(bundle: Bundle) -> list[np.ndarray]:
    params, config = bundle.params, bundle.config
    if config.prior == "factorized":
        return _densities(params["latent_prior"])
    arrays, tree = _densities(params["hyper_prior"]), params["hyper_synthesis"]
    layers = [tree[layer.name] for layer in transposed_layers(config.hyper_synthesis_layers)]
    if config.prior == "hyperprior":
        arrays += [tree["input_scale"], np.asarray(LOG_INDEX_THRESHOLDS, np.float32)]
    arrays += [layer[name] for layer in layers for name in ("kernel", "bias")]
    if config.prior == "hyperprior":
        return arrays + [layer["scale"] for layer in layers]
    for _, stage in sorted(params["context"].items()):
        names = ("features", "bias", "near", "out", "out_bias", "linear")
        arrays += [stage[name] for name in names if name in stage]
    return arrays


def _synthesis(bundle: Bundle) -> list[np.ndarray]:
    if not is_shallow(bundle.config.synthesis_layers):
        raise LicError(f"the C decoder knows no synthesis {bundle.config.synthesis}; decode with JAX")
    params = bundle.params["synthesis"]
    layer = lambda name: [params[name]["kernel"], params[name]["bias"]]
    arrays = layer("layer_0")
    if "gain" in params:
        arrays += [params["gain"]["beta"], params["gain"]["gamma"]]
    if "inverse_gdn" in params:
        arrays += norm_weights(params["inverse_gdn"])
    for name in ("residual", "layer_1"):
        arrays += layer(name) if name in params else []
    return arrays
