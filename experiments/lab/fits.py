"""Fits of quantizers to a frozen anchor: each is kept, and judged on crops that none was fitted to.

The anchor's weights never change, so the latents of its crops do not either: they are computed once and serve all fits.
A fit is kept in `runs/refits`: a killed experiment goes on behind its last whole fit.
"""

import dataclasses
import functools
import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int
from tqdm import tqdm

from experiments.lab.anchors import Anchor, FitSettings
from experiments.lab.kept import Origin, find_or_make, kept_path, pixels_digest
from lic_jax.distortion.base import psnr
from lic_jax.model import CodecModel
from lic_jax.training.refit import refit, start_quantizers
from lic_jax.training.refit_objective import Quantizers, hard_objective
from lic_jax.training.settings import RefitSettings

SMOOTHED = 10
"""Most steps whose mean is drawn: batches differ more than fits do."""


class Fit(NamedTuple):
    """K fitted pairs of quantizers, with the course of the fit.

    Attributes:
      quantizers: the stack of K.
      beta: the inverse temperature that each step used, in units of 1/step of the uniform quantizer.
      gap: mean |s_β(v) − hard(v)| of the latents of each step's batch, in steps of the uniform quantizer.
      objective: bpp + λ·MSE of each step's batch and each pair, with soft decisions, estimated.
    """

    quantizers: Quantizers
    beta: Float[np.ndarray, " steps"]
    gap: Float[np.ndarray, " steps"]
    objective: Float[np.ndarray, "steps K"]


class Judged(NamedTuple):
    """K pairs on the crops held out: means with hard decisions and estimated rates."""

    bpp: Float[np.ndarray, " K"]
    psnr_db: Float[np.ndarray, " K"]
    objective: Float[np.ndarray, " K"]


class Start(NamedTuple):
    """The quantizers that a fit begins with.

    Attributes:
      quantizers: a stack of K pairs.
      origin: the settings that decide them beside the anchor, as JSON holds them. Not their numbers, which change with
        the compiler's flags.
    """

    quantizers: Quantizers
    origin: object


def batch_indices(count: int, batch_size: int, seed: int) -> Iterator[Int[np.ndarray, " batch"]]:
    """Draws the crops of each batch, out of `count`, without end."""
    rng = np.random.default_rng(seed)
    while True:
        yield rng.integers(count, size=batch_size)


def fit(
    experiment: FitSettings,
    anchor: Anchor,
    settings: RefitSettings,
    name: str,
    seed: int = 0,
    start: Start | None = None,
) -> Fit:
    """Fits quantizers to the anchor's crops, or reads the fit that is kept.

    Args:
      experiment: names the folder of the fits.
      anchor: the model and the crops.
      settings: of the refit; their seed is that of the stochastic annealing, and their crop size has no effect here.
      name: of the file and beside the progress bar.
      seed: of the drawing of batches.
      start: the quantizers to begin with; uniform ones if None.
    """
    if start is None:
        uniform = start_quantizers(anchor.bundle.config, settings, anchor.bundle.rd_lambda)
        start = Start(uniform, "uniform")
    decisive = [dataclasses.asdict(settings), seed, start.origin]
    origin = Origin(anchor.weights, decisive, pixels_digest({"crops": anchor.to_fit.pixels}))
    return find_or_make(
        kept_path(experiment.folder, name, origin, ".npz"),
        lambda: _fit(anchor, settings, name, seed, start.quantizers),
        _write_fit,
        lambda path: _read_fit(path, start.quantizers),
    )


def _fit(anchor: Anchor, settings: RefitSettings, name: str, seed: int, start: Quantizers) -> Fit:
    bundle = anchor.bundle
    params = jax.tree.map(jnp.asarray, bundle.params)
    process = refit(anchor.model, params, settings, bundle.rd_lambda, settings.seed, start)
    state = process.init()
    seen = []
    batches = itertools.islice(batch_indices(len(anchor.to_fit.pixels), settings.batch_size, seed), settings.steps)
    progress = tqdm(batches, total=settings.steps, desc=name, unit="step")
    for index in progress:
        state, results = process.update_encoded(state, *anchor.to_fit.batch(index))
        seen.append((float(state.beta), float(state.gap), np.asarray(results.objective)))
        progress.set_postfix_str(f"loss {float(jnp.mean(results.objective)):.3f}", refresh=False)
    return Fit(state.quantizers, *(np.asarray(column) for column in zip(*seen, strict=True)))


def smoothing_window(steps: int) -> int:
    """Steps whose mean is drawn: `SMOOTHED`, or a third of a fit that is short, so that a line remains."""
    return min(SMOOTHED, max(steps // 3, 1))


def smooth(values: Float[np.ndarray, " steps"]) -> Float[np.ndarray, " means"]:
    """Averages over `smoothing_window` neighbouring steps."""
    width = smoothing_window(len(values))
    return np.convolve(values, np.full(width, 1 / width), mode="valid")


_SEEN = Fit._fields[1:]


def _write_fit(path: Path, fitted: Fit) -> None:
    np.savez(path, *jax.tree.leaves(fitted.quantizers), **dict(zip(_SEEN, fitted[1:], strict=True)))


def _read_fit(path: Path, start: Quantizers) -> Fit:
    """The fit of a file; its quantizers have the structure of those that it began with."""
    with np.load(path) as file:
        leaves = [jnp.asarray(file[name]) for name in file if name not in _SEEN]
        quantizers = jax.tree.unflatten(jax.tree.structure(start), leaves)
        return Fit(quantizers, *(file[name] for name in _SEEN))


@functools.partial(jax.jit, static_argnums=0)
def _measure(model: CodecModel, params: dict, quantizers: Quantizers, lambdas: Array, *batch):
    results = jax.vmap(lambda pair, rd_lambda: hard_objective(model, params, pair, *batch, rd_lambda))(
        quantizers, lambdas
    )
    return results.bpp, results.mse


def judge(anchor: Anchor, quantizers: Quantizers, lambdas: tuple[float, ...]) -> Judged:
    """Measures K pairs on the crops held out, with hard decisions."""
    batches = np.array_split(np.arange(len(anchor.to_judge.pixels)), -(-len(anchor.to_judge.pixels) // 16))
    measured = [
        _measure(anchor.model, anchor.bundle.params, quantizers, jnp.asarray(lambdas), *anchor.to_judge.batch(index))
        for index in batches
    ]
    bpp, mse = np.average(np.asarray(measured), axis=0, weights=[len(index) for index in batches])
    return Judged(bpp, np.asarray(psnr(mse)), bpp + np.asarray(lambdas) * mse)
