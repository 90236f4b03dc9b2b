"""A codec's model as one file: configuration, weights and the fitted quantizers of every rate. NumPy alone reads it.

A receiver reads only the parts that it computes with. A stream's fingerprint is the hash of these parts: the encoder
can be improved, and old streams still decode. For the sender, the whole file has a digest (`zoo.weights`).
"""

import dataclasses
import json
from pathlib import Path
from typing import cast

import numpy as np

from lic_jax.config import ModelConfig
from lic_jax.entropy.priors.base import prior_of
from lic_jax.errors import LicError
from lic_jax.quantization.base import IntegerQuantizer
from lic_jax.quantization.fixed_point import BIN_EDGES, RATE_UNITS, FixedPointQuantizer, at_rate
from lic_jax.transforms.description import is_shallow, parameter_shapes
from lic_jax.zoo.quantizer_arrays import kind_of, stack, unstack
from lic_jax.zoo.weights import flatten, load_metadata, load_part, load_weights, save_weights, sha256, unflatten

_SENDER_ENTRIES = ("analysis", "analysis_channels", "analysis_kernel", "block_transform", "hyper_input")
"""Entries of a configuration that concern the sender alone."""

_BIN_EDGES_ENTRY = "bin_edges"
"""The metadata's entry for bin edges other than thresholds."""

_KIND_ENTRY = "latent_quantizer"
"""The metadata's entry for a kind of integer quantizer that the arrays' names do not show."""

_DISTORTION_ENTRY = "distortion"
"""The metadata's entry for a distortion other than MSE that the rates' λ weigh; receivers ignore it."""

_HALF_PRECISION_FROM = 1024
"""Kernels of at least this many weights are stored in half precision, or as bytes if they are whole numbers."""


def receiver_parts(config: ModelConfig) -> tuple[str, ...]:
    """Returns the names of the weights that a receiver computes with."""
    return (*prior_of(config).receiver_parts, "synthesis")


@dataclasses.dataclass(frozen=True, eq=False)
class Bundle:
    """Everything that sender and receiver share; also the sender's own weights, unless `load_receiver` read it.

    Attributes:
      config: the architecture.
      params: the weights of the anchor (the trained model), float32; only the receiver's if `load_receiver` read them.
      rd_lambda: the λ that the anchor was trained for, at quantization step 1.
      lambdas: the trade-off of each fitted rate, increasing.
      latent_quantizers, hyper_quantizers: one of each per fitted rate; all of the latent's are of one kind.
      fingerprint: 4 bytes of a hash over the receiver's share of configuration and weights, and the quantizers.
      distortion: the distortion that the λ weigh, a name in `registry.DISTORTIONS`.
    """

    config: ModelConfig
    params: dict
    rd_lambda: float
    lambdas: tuple[float, ...]
    latent_quantizers: tuple[IntegerQuantizer, ...]
    hyper_quantizers: tuple[FixedPointQuantizer, ...]
    fingerprint: bytes
    distortion: str = "mse"

    @property
    def highest_rate(self) -> int:
        """The highest rate; rates run from 0 to it, and whole numbers are the fitted ones."""
        return len(self.lambdas) - 1

    def rate_units(self, rate: float) -> int:
        """Converts a rate to the stream's units of 1/256.

        Raises:
          LicError: the rate is outside this model's rates.
        """
        if not 0 <= rate <= self.highest_rate:
            raise LicError(f"rate {rate:g} is outside this model's rates, 0 to {self.highest_rate}")
        return round(rate * RATE_UNITS)

    def rd_lambda_at(self, rate_units: int) -> float:
        """Returns the λ of a rate, interpolated in its logarithm between the fitted rates."""
        fitted = np.arange(len(self.lambdas)) * RATE_UNITS
        return float(np.exp(np.interp(rate_units, fitted, np.log(self.lambdas))))

    def quantizers_at(self, rate_units: int) -> tuple[IntegerQuantizer, FixedPointQuantizer]:
        """Returns the quantizers of latent and hyper latent at a rate, interpolated between the fitted ones."""
        return at_rate(self.latent_quantizers, rate_units), at_rate(self.hyper_quantizers, rate_units)


def in_stored_precision(params: dict) -> dict:
    """Rounds the weights as a file stores them: large kernels to half precision; returns float32.

    Quantizers must be fitted to these weights, not to those before rounding.
    """
    return unflatten({name: _stored(leaf).astype(np.float32) for name, leaf in flatten(params).items()})


def _stored(leaf: np.ndarray) -> np.ndarray:
    if leaf.ndim < 2 or leaf.size < _HALF_PRECISION_FROM:
        return leaf.astype(np.float32)
    as_bytes = np.clip(np.rint(leaf), -128, 127).astype(np.int8)  # a hyper synthesis' integers
    return as_bytes if np.array_equal(as_bytes, leaf) else leaf.astype(np.float16)


def _fingerprint(metadata: dict[str, str], tree: dict) -> bytes:
    """Computes the hash that docs/bitstream.md specifies.

    Args:
      metadata: the configuration's JSON text, and the other metadata that a receiver computes with.
      tree: params and quantizers as stored; the sender's parts are ignored.
    """
    entries = {name: value for name, value in json.loads(metadata["config"]).items() if name not in _SENDER_ENTRIES}
    for name in (_BIN_EDGES_ENTRY, _KIND_ENTRY):
        if name in metadata:
            entries[name] = metadata[name]
    names = _receiver_parts(metadata)
    parts = {name: part for name, part in tree["params"].items() if name in names}
    return sha256(json.dumps(entries), flatten({"params": parts, "quantizers": tree["quantizers"]}))[:4]


def _receiver_parts(metadata: dict[str, str]) -> tuple[str, ...]:
    return receiver_parts(ModelConfig.from_json(metadata["config"]))


def save_bundle(
    path: Path,
    config: ModelConfig,
    params: dict,
    rd_lambda: float,
    lambdas: tuple[float, ...],
    latent_quantizers: tuple[IntegerQuantizer, ...],
    hyper_quantizers: tuple[FixedPointQuantizer, ...],
    distortion: str = "mse",
) -> None:
    """Writes a codec's model as safetensors; the arguments are the attributes of `Bundle`."""
    tree = {
        "params": unflatten({name: _stored(leaf) for name, leaf in flatten(params).items()}),
        "quantizers": {"latent": stack(latent_quantizers), "hyper_latent": stack(hyper_quantizers)},
    }
    metadata = {
        "config": config.to_json(),
        "rd_lambda": repr(rd_lambda),
        "lambdas": json.dumps(list(lambdas)),
    }
    if hyper_quantizers[0].bin_edges != BIN_EDGES[0]:
        metadata[_BIN_EDGES_ENTRY] = hyper_quantizers[0].bin_edges
    if latent_quantizers[0].kind != kind_of(tree["quantizers"]["latent"]):
        metadata[_KIND_ENTRY] = latent_quantizers[0].kind
    if distortion != "mse":
        metadata[_DISTORTION_ENTRY] = distortion
    save_weights(path, tree, {**metadata, "fingerprint": _fingerprint(metadata, tree).hex()})


def load_bundle(path: Path) -> Bundle:
    """Reads all of a codec's model.

    Raises:
      LicError: no such file, not a model, an anchor without quantizers, or damaged.
    """
    return _bundle(path, *load_weights(path))


def load_receiver(path: Path) -> Bundle:
    """Reads only the parts of a codec's model that a receiver computes with.

    Raises:
      LicError: no such file, not a model, an anchor without quantizers, or the parts are damaged.
    """
    metadata = load_metadata(path)
    parts = _receiver_parts(metadata) if "config" in metadata else ()
    return _bundle(path, *load_part(path, (*(f"params/{part}/" for part in parts), "quantizers/")))


def _bundle(path: Path, tree: dict, metadata: dict[str, str]) -> Bundle:
    if "quantizers" not in tree or "config" not in metadata:
        raise LicError(f"{path} holds no quantizers; fit some with `lic refit` and use the file that it writes")
    if "digest" not in metadata:
        raise LicError(f"{path} was written by an earlier lic (it has no digest); write it again with `lic refit`")
    missing = [name for name in ("rd_lambda", "lambdas", "fingerprint") if name not in metadata]
    if missing:
        raise LicError(f"{path} is damaged (it has no {missing[0]}); copy it again")
    config = ModelConfig.from_json(metadata["config"])
    if not isinstance(tree.get("params"), dict):
        raise LicError(f"{path} is damaged (it holds no weights); copy it again")
    fingerprint = _fingerprint(metadata, tree)
    if fingerprint.hex() != metadata["fingerprint"]:
        raise LicError(f"{path} is damaged (its receiver's parts do not match its fingerprint); copy it again")
    params = {name: leaf.astype(np.float32) for name, leaf in flatten(tree["params"]).items()}
    if not all(np.all(np.isfinite(leaf)) for leaf in params.values()):
        raise LicError(f"{path} holds infinite or undefined weights; train it again from an earlier checkpoint")
    prior = prior_of(config)
    if not prior.is_exact:
        raise LicError(
            f"{path} computes scale indexes in floating point, so machines differ; write it with `lic refit`"
        )
    _check_receiver(path, config, params)
    params = unflatten(params)
    prior.check_receiver(params)
    try:
        rd_lambda, lambdas = float(metadata["rd_lambda"]), tuple(map(float, json.loads(metadata["lambdas"])))
        bin_edges, stacks = metadata.get(_BIN_EDGES_ENTRY, BIN_EDGES[0]), tree["quantizers"]
        if not isinstance(stacks, dict) or stacks.keys() != {"latent", "hyper_latent"}:
            raise ValueError("its quantizers are not named latent and hyper_latent")
        kind = metadata.get(_KIND_ENTRY, kind_of(stacks["latent"]))
        latent_quantizers = unstack(stacks["latent"], bin_edges, kind, prior.table_count)
        hyper_quantizers = unstack(stacks["hyper_latent"], bin_edges, FixedPointQuantizer.kind)
    except (IndexError, KeyError, TypeError, ValueError) as error:
        raise LicError(f"{path} is damaged ({error!r}); copy it again") from error
    counts = {len(lambdas), len(latent_quantizers), len(hyper_quantizers)}
    if len(counts) != 1:
        raise LicError(
            f"{path} is damaged (its numbers of rates and quantizers, {sorted(counts)}, differ); copy it again"
        )
    return Bundle(
        config,
        params,
        rd_lambda,
        lambdas,
        latent_quantizers,
        cast(tuple[FixedPointQuantizer, ...], hyper_quantizers),  # as their kind says
        fingerprint,
        metadata.get(_DISTORTION_ENTRY, "mse"),
    )


def _check_receiver(path: Path, config: ModelConfig, params: dict[str, np.ndarray]) -> None:
    """Raises LicError unless every array that a receiver computes with is there, in the configuration's shape.

    Deep syntheses are not checked here; only JAX runs them.

    Args:
      path: the file's path.
      config: the file's configuration.
      params: the arrays by name, as `flatten` names them.
    """
    expected = prior_of(config).receiver_shapes()
    layers = config.synthesis_layers
    if is_shallow(layers):
        shapes = parameter_shapes(layers, config.latent_channels)
        expected |= {f"synthesis/{name}": shape for name, shape in shapes.items()}
    parts = {name.split("/")[0] for name in expected}
    found = {name: leaf.shape for name, leaf in params.items() if name.split("/")[0] in parts}
    if found != expected:
        name = min(found.items() ^ expected.items())[0]
        raise LicError(
            f"{path} is damaged ({name} has shape {found.get(name)}, its configuration needs {expected.get(name)}); "
            "copy it again"
        )
