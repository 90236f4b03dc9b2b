"""A codec's model as one file: configuration, weights and the fitted quantizers of every rate. NumPy alone reads it."""

import dataclasses
import hashlib
import json
from pathlib import Path

import numpy as np

from lic_jax.config import ModelConfig
from lic_jax.errors import LicError
from lic_jax.quantization.fixed_point import RATE_UNITS, FixedPointQuantizer, at_rate
from lic_jax.transforms.integer import check_integers
from lic_jax.zoo.weights import flatten, load_weights, save_weights

_HALF_PRECISION_FROM = 1024
"""Kernels of at least this many weights are stored in half precision; a hyper synthesis' integers fit it exactly."""


@dataclasses.dataclass(frozen=True, eq=False)
class Bundle:
    """Everything that sender and receiver must share.

    Attributes:
      config: the architecture.
      params: the anchor's weights, float32.
      rd_lambda: the λ that the anchor was trained for, at quantization step 1.
      lambdas: the trade-off of each fitted rate, increasing.
      latent_quantizers, hyper_quantizers: one of each per fitted rate.
      fingerprint: 4 bytes of a hash over what a receiver computes with: configuration, weights, quantizers.
    """

    config: ModelConfig
    params: dict
    rd_lambda: float
    lambdas: tuple[float, ...]
    latent_quantizers: tuple[FixedPointQuantizer, ...]
    hyper_quantizers: tuple[FixedPointQuantizer, ...]
    fingerprint: bytes

    @property
    def highest_rate(self) -> int:
        """Rates run from 0 to this; whole numbers are the fitted ones."""
        return len(self.lambdas) - 1

    def rate_units(self, rate: float) -> int:
        """A rate in the stream's units of 1/256.

        Raises:
          LicError: outside this model's rates.
        """
        if not 0 <= rate <= self.highest_rate:
            raise LicError(f"rate {rate:g} is outside this model's rates, 0 to {self.highest_rate}")
        return round(rate * RATE_UNITS)

    def quantizers_at(self, rate_units: int) -> tuple[FixedPointQuantizer, FixedPointQuantizer]:
        """The quantizers of latent and hyper latent at a rate, interpolated between the fitted ones."""
        return at_rate(self.latent_quantizers, rate_units), at_rate(self.hyper_quantizers, rate_units)


def in_stored_precision(params: dict) -> dict:
    """The weights as a file of them gives them back: large kernels rounded to half precision, all float32.

    Quantizers must be fitted to these, not to the weights before rounding.
    """
    return {name: _stored(leaf, np.float32) for name, leaf in params.items()}


def _stored(leaf, dtype) -> dict | np.ndarray:
    if isinstance(leaf, dict):
        return {name: _stored(inner, dtype) for name, inner in leaf.items()}
    leaf = np.asarray(leaf, np.float32)
    return leaf.astype(np.float16).astype(dtype) if leaf.ndim > 1 and leaf.size >= _HALF_PRECISION_FROM else leaf


def _fingerprint(config: str, arrays: dict[str, np.ndarray]) -> bytes:
    digest = hashlib.sha256(config.encode())
    for name in sorted(arrays):
        digest.update(name.encode())
        digest.update(np.ascontiguousarray(arrays[name]).astype(arrays[name].dtype.newbyteorder("<")).tobytes())
    return digest.digest()[:4]


def _stack(quantizers) -> dict[str, np.ndarray]:
    return {
        "spacings": np.stack([quantizer.spacings for quantizer in quantizers]).astype(np.int32),
        "thresholds": np.stack([quantizer.thresholds for quantizer in quantizers]).astype(np.int32),
    }


def save_bundle(
    path: Path,
    config: ModelConfig,
    params: dict,
    rd_lambda: float,
    lambdas: tuple[float, ...],
    latent_quantizers: tuple[FixedPointQuantizer, ...],
    hyper_quantizers: tuple[FixedPointQuantizer, ...],
) -> None:
    """Writes a codec's model as safetensors."""
    tree = {
        "params": {name: _stored(leaf, np.float16) for name, leaf in params.items()},
        "quantizers": {"latent": _stack(latent_quantizers), "hyper_latent": _stack(hyper_quantizers)},
    }
    fingerprint = _fingerprint(config.to_json(), flatten(tree))
    metadata = {
        "config": config.to_json(),
        "rd_lambda": repr(rd_lambda),
        "lambdas": json.dumps(list(lambdas)),
        "fingerprint": fingerprint.hex(),
    }
    save_weights(path, tree, metadata)


def load_bundle(path: Path) -> Bundle:
    """Reads a codec's model.

    Raises:
      LicError: no such file, not a model, an anchor without quantizers, or damaged.
    """
    tree, metadata = load_weights(path)
    if "quantizers" not in tree or "config" not in metadata:
        raise LicError(f"{path} holds no quantizers; fit some with `lic refit` and use the file that it writes")
    missing = [name for name in ("rd_lambda", "lambdas", "fingerprint") if name not in metadata]
    if missing:
        raise LicError(f"{path} is damaged (it does not say its {missing[0]}); copy it again")
    config = ModelConfig.from_json(metadata["config"])
    fingerprint = _fingerprint(metadata["config"], flatten(tree))
    if fingerprint.hex() != metadata["fingerprint"]:
        raise LicError(f"{path} is damaged (its fingerprint is not that of its contents); copy it again")
    if not all(np.all(np.isfinite(leaf)) for leaf in flatten(tree["params"]).values()):
        raise LicError(f"{path} holds weights that are no numbers; train it again from an earlier checkpoint")
    if config.hyper_arithmetic != "integer":
        raise LicError(f"{path} computes scale indexes in floating point, which differ between machines; refit it")
    check_integers(tree["params"]["hyper_synthesis"])
    quantizers = {
        name: tuple(
            FixedPointQuantizer(spacings.astype(np.int64), thresholds.astype(np.int64))
            for spacings, thresholds in zip(stack["spacings"], stack["thresholds"], strict=True)
        )
        for name, stack in tree["quantizers"].items()
    }
    lambdas = tuple(json.loads(metadata["lambdas"]))
    counts = {len(lambdas), len(quantizers["latent"]), len(quantizers["hyper_latent"])}
    if len(counts) != 1:
        raise LicError(
            f"{path} is damaged (its numbers of rates and quantizers, {sorted(counts)}, differ); copy it again"
        )
    return Bundle(
        config,
        {name: _stored(leaf, np.float32) for name, leaf in tree["params"].items()},
        float(metadata["rd_lambda"]),
        lambdas,
        quantizers["latent"],
        quantizers["hyper_latent"],
        fingerprint,
    )
