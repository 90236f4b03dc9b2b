"""Trials: short trainings that have the same processor time and differ in one thing each.

How many steps that time is was measured before each, compilation left out. Trained models are judged with uniform
quantizers at a few λ: estimated rates.
"""

import dataclasses
import time
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import UInt8
from tqdm import tqdm

from experiments.lab.curves import estimated_points
from experiments.lab.kept import files_digest
from experiments.lab.photographs import middle_square
from experiments.lab.trainings import klt_params
from lic_jax.io.images import image_paths
from lic_jax.training import data
from lic_jax.training.anchor import begin_stage, take_step, training_stages
from lic_jax.training.refit import start_quantizers
from lic_jax.training.settings import AnchorSettings, RefitSettings

PACE_STEPS = 8
"""Steps whose time says how many the others are."""


@dataclasses.dataclass(frozen=True)
class Trial:
    """A training that differs in one thing.

    Attributes:
      question: the choice that it tries.
      settings: of the training; steps are not decided yet.
      averaging: the decay of a moving average of the weights, which is judged in their place; none if 0.
      has_prior_stage: whether the prior learns alone first.
    """

    question: str
    settings: AnchorSettings
    averaging: float = 0.0
    has_prior_stage: bool = True


class Images(NamedTuple):
    """The photographs: to train on, and the middles of those held out; `digest` is of the folder's files."""

    photographs: data.PhotographFolder
    squares: UInt8[np.ndarray, "count side side 3"]
    digest: str


def load_images(folder: Path, held_out: float, side: int) -> Images:
    """The photographs of a folder, a fraction of them held out and cut to squares.

    Raises:
      LicError: no such folder, or no usable photograph in it.
    """
    photographs, others = data.load_folder(folder, held_out, side)
    squares = np.stack([middle_square(photograph, side) for photograph in others.photographs])
    return Images(photographs, squares, files_digest(image_paths(folder)))


class Trained(NamedTuple):
    """A training when its time is over.

    Attributes:
      params: of the model.
      settings: with the steps that were taken.
      seconds: of the processor, that these took.
    """

    params: dict
    settings: AnchorSettings
    seconds: float


def trained(trial: Trial, images: Images, seconds: float, prior_share: float) -> Trained:
    """Trains for so many processor seconds, in part the prior alone if the trial has that stage."""
    paced = dataclasses.replace(trial.settings, hyperprior_steps=PACE_STEPS, steps=2 * PACE_STEPS)
    start = klt_params(paced.model, images.photographs, paced.rd_lambda, paced.seed)
    prior_share = prior_share if trial.has_prior_stage else 0.0
    counts = []
    for number, share in enumerate((prior_share, 1 - prior_share)):
        _, _, times = _take(paced, number, start, images, 2 * PACE_STEPS, 0.0)
        counts.append(round(share * seconds / np.median(times[PACE_STEPS:])))
    training = dataclasses.replace(trial.settings, hyperprior_steps=counts[0], steps=sum(counts))
    params, total = start, 0.0
    for number, count in enumerate(counts):
        params, averaged, times = _take(training, number, params, images, count, trial.averaging)
        total += sum(times)
    return Trained(averaged if trial.averaging else params, training, total)


def _take(
    training: AnchorSettings, number: int, params: dict, images: Images, count: int, averaging: float
) -> tuple[dict, dict, list[float]]:
    """Steps of a stage, from its first one on: the parameters, their moving average, processor seconds of each step."""
    stage = training_stages(training)[number]
    state = begin_stage(stage, jax.tree.map(jnp.array, params))
    averaged = jax.tree.map(jnp.array, params)
    batches = data.crop_batches(
        images.photographs, training.crop_size, training.batch_size, training.seed, start=stage.first_step
    )
    seconds = []
    for _ in tqdm(range(count), desc=stage.name, unit="step", leave=False):
        before = time.process_time()
        state, _ = jax.block_until_ready(take_step(training, stage, state, next(batches)))
        if averaging:
            averaged = _average(state.params, averaged, 1 - averaging)
        seconds.append(time.process_time() - before)
    return state.params, averaged, seconds


_average = jax.jit(optax.incremental_update)


def judged(trained: Trained, images: Images, lambdas: tuple[float, ...]) -> list[tuple[float, float]]:
    """Estimated bpp and PSNR at each λ, means over the photographs held out."""
    config = trained.settings.model
    quantizers = start_quantizers(config, RefitSettings(lambdas=lambdas), trained.settings.rd_lambda)
    progress = tqdm(images.squares, desc="held out", leave=False)
    points = [estimated_points(config, trained.params, quantizers, square, lambdas) for square in progress]
    return np.mean(points, axis=0).tolist()
