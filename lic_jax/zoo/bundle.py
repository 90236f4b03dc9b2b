"""A codec's model as one file: configuration, weights and the fitted quantizers of every rate. NumPy alone reads it.

A receiver reads of the file what it computes with, and a stream's fingerprint is the hash of that: an encoder can be
improved, and the streams of the old one still decode. The whole file has a digest (`zoo.weights`), for the sender.
"""

import dataclasses
import json
from pathlib import Path

import numpy as np

from lic_jax.config import SHALLOW_SYNTHESES, ModelConfig
from lic_jax.entropy.priors.integers import check_integers
from lic_jax.errors import LicError
from lic_jax.quantization.fixed_point import BIN_EDGES, RATE_UNITS, FixedPointQuantizer, at_rate
from lic_jax.quantization.fixed_rows import FixedPointRows
from lic_jax.zoo.quantizer_arrays import stack, stack_rows, unstack, unstack_rows
from lic_jax.zoo.weights import flatten, load_part, load_weights, save_weights, sha256, unflatten

RECEIVER_PARTS = ("hyper_prior", "hyper_synthesis", "latent_prior", "synthesis")
"""The weights that a receiver computes with, where a model has them."""

_SENDER_ENTRIES = ("analysis", "analysis_channels", "analysis_kernel", "block_transform", "hyper_input")
"""What of a configuration concerns the sender alone."""

_BIN_EDGES_ENTRY = "bin_edges"
"""The metadata's entry for other edges of bins than thresholds."""

_HALF_PRECISION_FROM = 1024
"""Kernels of at least this many weights are stored in half precision, or as bytes if that is what they are."""


@dataclasses.dataclass(frozen=True, eq=False)
class Bundle:
    """Everything that sender and receiver must share, and the sender's own weights unless a receiver loaded it.

    Attributes:
      config: the architecture.
      params: the anchor's weights, float32; `RECEIVER_PARTS` alone if `load_receiver` read them.
      rd_lambda: the λ that the anchor was trained for, at quantization step 1.
      lambdas: the trade-off of each fitted rate, increasing.
      latent_quantizers, hyper_quantizers: one of each per fitted rate; all of the latent's are of one kind.
      fingerprint: 4 bytes of a hash over what a receiver computes with: its share of configuration and weights, and
        the quantizers.
    """

    config: ModelConfig
    params: dict
    rd_lambda: float
    lambdas: tuple[float, ...]
    latent_quantizers: tuple[FixedPointQuantizer, ...] | tuple[FixedPointRows, ...]
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

    def rd_lambda_at(self, rate_units: int) -> float:
        """The trade-off of a rate: the fitted rates' λ, interpolated in its logarithm between them."""
        fitted = np.arange(len(self.lambdas)) * RATE_UNITS
        return float(np.exp(np.interp(rate_units, fitted, np.log(self.lambdas))))

    def quantizers_at(self, rate_units: int) -> tuple[FixedPointQuantizer | FixedPointRows, FixedPointQuantizer]:
        """The quantizers of latent and hyper latent at a rate, interpolated between the fitted ones."""
        return at_rate(self.latent_quantizers, rate_units), at_rate(self.hyper_quantizers, rate_units)


def in_stored_precision(params: dict) -> dict:
    """The weights as a file of them gives them back: large kernels rounded to half precision, all float32.

    Quantizers must be fitted to these, not to the weights before rounding.
    """
    return unflatten({name: _stored(leaf).astype(np.float32) for name, leaf in flatten(params).items()})


def _stored(leaf: np.ndarray) -> np.ndarray:
    if leaf.ndim < 2 or leaf.size < _HALF_PRECISION_FROM:
        return leaf.astype(np.float32)
    as_bytes = np.clip(np.rint(leaf), -128, 127).astype(np.int8)  # a hyper synthesis' integers
    return as_bytes if np.array_equal(as_bytes, leaf) else leaf.astype(np.float16)


def _fingerprint(metadata: dict[str, str], tree: dict) -> bytes:
    """The hash that docs/bitstream.md specifies.

    Args:
      metadata: the configuration's JSON text, and what else of the file's metadata a receiver computes with.
      tree: params and quantizers as they are stored; the sender's parts are passed over.
    """
    entries = {name: value for name, value in json.loads(metadata["config"]).items() if name not in _SENDER_ENTRIES}
    if _BIN_EDGES_ENTRY in metadata:
        entries[_BIN_EDGES_ENTRY] = metadata[_BIN_EDGES_ENTRY]
    parts = {name: tree["params"][name] for name in RECEIVER_PARTS if name in tree["params"]}
    return sha256(json.dumps(entries), flatten({"params": parts, "quantizers": tree["quantizers"]}))[:4]


def save_bundle(
    path: Path,
    config: ModelConfig,
    params: dict,
    rd_lambda: float,
    lambdas: tuple[float, ...],
    latent_quantizers: tuple[FixedPointQuantizer, ...] | tuple[FixedPointRows, ...],
    hyper_quantizers: tuple[FixedPointQuantizer, ...],
) -> None:
    """Writes a codec's model as safetensors."""
    tree = {
        "params": unflatten({name: _stored(leaf) for name, leaf in flatten(params).items()}),
        "quantizers": {"latent": stack_rows(latent_quantizers), "hyper_latent": stack(hyper_quantizers)},
    }
    metadata = {
        "config": config.to_json(),
        "rd_lambda": repr(rd_lambda),
        "lambdas": json.dumps(list(lambdas)),
    }
    if hyper_quantizers[0].bin_edges != BIN_EDGES[0]:
        metadata[_BIN_EDGES_ENTRY] = hyper_quantizers[0].bin_edges
    save_weights(path, tree, {**metadata, "fingerprint": _fingerprint(metadata, tree).hex()})


def load_bundle(path: Path) -> Bundle:
    """Reads a codec's model, all of it.

    Raises:
      LicError: no such file, not a model, an anchor without quantizers, or damaged.
    """
    return _bundle(path, *load_weights(path))


def load_receiver(path: Path) -> Bundle:
    """Reads of a codec's model what a receiver computes with, and nothing else of the file.

    Raises:
      LicError: no such file, not a model, an anchor without quantizers, or damaged in what is read.
    """
    return _bundle(path, *load_part(path, (*(f"params/{part}/" for part in RECEIVER_PARTS), "quantizers/")))


def _bundle(path: Path, tree: dict, metadata: dict[str, str]) -> Bundle:
    if "quantizers" not in tree or "config" not in metadata:
        raise LicError(f"{path} holds no quantizers; fit some with `lic refit` and use the file that it writes")
    if "digest" not in metadata:
        raise LicError(f"{path} was written by an earlier lic (it has no digest); write it again with `lic refit`")
    missing = [name for name in ("rd_lambda", "lambdas", "fingerprint") if name not in metadata]
    if missing:
        raise LicError(f"{path} is damaged (it does not say its {missing[0]}); copy it again")
    config = ModelConfig.from_json(metadata["config"])
    if not isinstance(tree.get("params"), dict):
        raise LicError(f"{path} is damaged (it holds no weights); copy it again")
    fingerprint = _fingerprint(metadata, tree)
    if fingerprint.hex() != metadata["fingerprint"]:
        raise LicError(
            f"{path} is damaged (its fingerprint is not that of what a receiver computes with); copy it again"
        )
    params = {name: leaf.astype(np.float32) for name, leaf in flatten(tree["params"]).items()}
    if not all(np.all(np.isfinite(leaf)) for leaf in params.values()):
        raise LicError(f"{path} holds weights that are no numbers; train it again from an earlier checkpoint")
    if not config.is_exact:
        raise LicError(f"{path} computes scale indexes in floating point, which differ between machines; refit it")
    _check_receiver(path, config, params)
    params = unflatten(params)
    if config.has_hyper_latent:
        check_integers(params["hyper_synthesis"])
    try:
        rd_lambda, lambdas = float(metadata["rd_lambda"]), tuple(map(float, json.loads(metadata["lambdas"])))
        bin_edges, stacks = metadata.get(_BIN_EDGES_ENTRY, BIN_EDGES[0]), tree["quantizers"]
        if not isinstance(stacks, dict) or stacks.keys() != {"latent", "hyper_latent"}:
            raise ValueError("its quantizers are not those of latent and hyper_latent")
        latent_quantizers = unstack_rows(stacks["latent"], bin_edges, config.latent_tables)
        hyper_quantizers = unstack(stacks["hyper_latent"], bin_edges)
    except LicError:
        raise
    except (KeyError, TypeError, ValueError) as error:
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
        hyper_quantizers,
        fingerprint,
    )


def _check_receiver(path: Path, config: ModelConfig, params: dict[str, np.ndarray]) -> None:
    """Raises LicError unless every array that a receiver computes with is there, in the configuration's shape.

    Args:
      path: of the file.
      config: what it says it holds.
      params: the arrays by name, as `flatten` names them.

    Deep syntheses, which only JAX runs, are left to it.
    """
    expected = (
        _hyperprior_shapes(config)
        if config.has_hyper_latent
        else _density_shapes("latent_prior", config.latent_channels)
    )
    if config.synthesis in SHALLOW_SYNTHESES:
        first, *last = config.kernel_sizes
        features = config.synthesis_channels[0] if last else 3
        layers = {"layer_0": (first, first, features, config.latent_channels)}
        if last:
            layers["layer_1"] = (last[0], last[0], 3, features)
            expected["synthesis/inverse_gdn/beta_root"] = (features,)
            expected["synthesis/inverse_gdn/gamma_root"] = (features, features)
        if config.synthesis == "two_layer_residual":
            layers["residual"] = layers["layer_0"]
        for name, shape in layers.items():
            expected[f"synthesis/{name}/kernel"], expected[f"synthesis/{name}/bias"] = shape, (shape[2],)
    parts = {name.split("/")[0] for name in expected}
    found = {name: leaf.shape for name, leaf in params.items() if name.split("/")[0] in parts}
    if found != expected:
        name = min(found.items() ^ expected.items())[0]
        raise LicError(
            f"{path} is damaged ({name} has shape {found.get(name)}, its configuration says {expected.get(name)}); "
            "copy it again"
        )


def _hyperprior_shapes(config: ModelConfig) -> dict[str, tuple[int, ...]]:
    features = config.hyper_channels
    expected = {"hyper_synthesis/input_scale": (features,), **_density_shapes("hyper_prior", features)}
    for index, (kernel_size, _, out_features) in enumerate(config.hyper_synthesis_layers):
        layer = f"hyper_synthesis/layer_{index}"
        expected[f"{layer}/kernel"] = (kernel_size, kernel_size, out_features, features)
        expected[f"{layer}/bias"] = expected[f"{layer}/scale"] = (out_features,)
        features = out_features
    return expected


def _density_shapes(prior: str, channels: int) -> dict[str, tuple[int, ...]]:
    expected = {}
    for index, (width_in, width_out) in enumerate(((1, 3), (3, 3), (3, 1))):
        expected[f"{prior}/matrix_{index}"] = (channels, width_out, width_in)
        expected[f"{prior}/bias_{index}"] = (channels, width_out)
        if index < 2:
            expected[f"{prior}/factor_{index}"] = (channels, width_out)
    return expected
