"""The training of an anchor as pure functions: its stages, and a step as a function of settings and state.

First the prior alone learns, on latents of the frozen codec that the training begins from: the linear KLT or another
anchor. They are kept in memory, so this is fast. Then everything learns. The learning rate warms up, stays, and falls
linearly over the last part ("warm-up, stable, decay"). So a training can be prolonged from any checkpoint before the
fall.
"""

import dataclasses
import functools
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Int

from lic_jax.config import ModelConfig
from lic_jax.distortion.base import Distortion, RateDistortion
from lic_jax.entropy.priors.base import prior_of
from lic_jax.errors import LicError
from lic_jax.model import CodecModel
from lic_jax.quantization.noise import NOISE
from lic_jax.quantization.relaxation import StandIn
from lic_jax.registry import DISTORTIONS, STAND_INS
from lic_jax.training.anchor_objective import anchor_objective, prior_objective
from lic_jax.training.optimization import updated
from lic_jax.training.settings import AnchorSettings
from lic_jax.zoo.weights import flatten, load_weights


class TrainingState(NamedTuple):
    """A training at one moment; with the photographs and the settings it determines all later steps."""

    step: Int[Array, ""]
    params: dict
    optimizer_state: optax.OptState


@dataclasses.dataclass(frozen=True)
class Stage:
    """A stretch of the training: which parts learn, on which model, over which steps."""

    name: str
    model: CodecModel
    first_step: int
    last_step: int
    trainable: tuple[str, ...]
    optimizer: optax.GradientTransformation


MakeOptimizer = Callable[[AnchorSettings, int], optax.GradientTransformation]
"""(settings, steps of the stage) → its optimizer; masks see the stage's tree {part: {layer: {name: leaf}}}."""


def default_optimizer(settings: AnchorSettings, steps: int) -> optax.GradientTransformation:
    """Makes Adam with clipped gradients; the learning rate warms up, stays, and falls linearly over the last part.

    Linear transforms, whose weights are small, learn at a tenth.
    """
    warm_up = min(200, steps // 10)
    decay = int(steps * settings.decay_fraction)
    schedule = optax.join_schedules(
        [
            optax.linear_schedule(0.0, settings.learning_rate, warm_up),
            optax.constant_schedule(settings.learning_rate),
            optax.linear_schedule(settings.learning_rate, settings.learning_rate / 100, max(decay, 1)),
        ],
        [warm_up, steps - decay],
    )

    def pace(params):
        return jax.tree_util.tree_map_with_path(lambda path, _: "slow" if path[1].key == "linear" else "normal", params)

    return optax.chain(
        optax.clip_by_global_norm(1.0),
        optax.scale_by_adam(),
        optax.partition({"slow": optax.scale(0.1), "normal": optax.identity()}, pace),
        optax.scale_by_learning_rate(schedule),
    )


@functools.lru_cache(maxsize=32)
def training_stages(settings: AnchorSettings, make_optimizer: MakeOptimizer = default_optimizer) -> tuple[Stage, Stage]:
    """Returns the two stages: the prior on the codec that the training begins from, then everything."""
    whole = CodecModel(settings.model)
    frozen = whole if settings.start else CodecModel(dataclasses.replace(settings.model, analysis="linear"))
    first, last = settings.hyperprior_steps, settings.steps
    parts = whole.prior.parts
    of_prior = dataclasses.replace(settings, learning_rate=settings.prior_learning_rate)
    return (
        Stage(settings.model.prior, frozen, 0, first, parts, make_optimizer(of_prior, first)),
        Stage(
            "everything", whole, first, last, ("analysis", *parts, "synthesis"), make_optimizer(settings, last - first)
        ),
    )


def _select(params: dict, parts: tuple[str, ...]) -> dict:
    return {part: params[part] for part in parts}


def begin_stage(stage: Stage, params: dict) -> TrainingState:
    """Makes the state at a stage's first step, placed like a restored state, so that one compiled program serves both.

    The parameters are copied, so the caller keeps its own.
    """
    params = jax.tree.map(lambda leaf: jnp.array(leaf, copy=True), params)
    optimizer_state = stage.optimizer.init(_select(params, stage.trainable))
    state = TrainingState(jnp.int32(stage.first_step), params, optimizer_state)
    return jax.device_put(state, jax.devices()[0])


def training_step(
    settings: AnchorSettings,
    stage: Stage,
    state: TrainingState,
    batch: Array,
    relaxation: StandIn | None = None,
    distortion: Distortion | None = None,
) -> tuple[TrainingState, RateDistortion]:
    """Takes one step: a pure function of the state and a batch of uint8 crops, or of latents for the prior alone.

    Args:
      settings, stage: the training's settings and its present stage.
      state: the state before this step.
      batch: uint8 crops [batch, height, width, 3], sides a multiple of 64; or, in a stage of the prior alone, float32
        latents [batch, h, w, C] of crops, whose analysis is frozen.
      relaxation, distortion: replace those that the settings name.
    """
    key = jax.random.fold_in(jax.random.key(settings.seed, impl=NOISE), state.step)

    def objective(trainable):
        params = {**state.params, **trainable}
        stand_in = relaxation or STAND_INS[settings.relaxation]
        if batch.dtype != jnp.uint8:
            result = prior_objective(stage.model, params, batch, key, settings.step_range, stand_in)
            return result.objective, result
        result = anchor_objective(
            stage.model,
            params,
            batch,
            key,
            settings.rd_lambda,
            settings.step_range,
            stand_in,
            distortion=distortion or DISTORTIONS[settings.distortion],
        )
        return result.objective, result

    trainable = _select(state.params, stage.trainable)
    gradients, result = jax.grad(objective, has_aux=True)(trainable)
    trained, optimizer_state = updated(stage.optimizer, gradients, state.optimizer_state, trainable)
    return TrainingState(state.step + 1, {**state.params, **trained}, optimizer_state), result


take_step = jax.jit(training_step, static_argnums=(0, 1), static_argnames=("relaxation", "distortion"))
"""`training_step`, compiled; trainings of the same settings, stage, relaxation and distortion share the program."""


def started_from(params: dict, path: Path) -> dict:
    """Replaces parameters by an anchor's; parts of the prior that do not fit keep the given values.

    A codec's hyper synthesis in integers is converted to the floats that the integers stand for.

    Raises:
      LicError: the file is not an anchor, or its analysis or synthesis is another.
    """
    tree, metadata = load_weights(path)
    anchor = tree.get("params", tree)
    if "config" in metadata:
        config = ModelConfig.from_json(metadata["config"])
        anchor = anchor if config.hyper_arithmetic == "float" else prior_of(config).to_float(anchor)
    shapes = lambda part: {name: leaf.shape for name, leaf in flatten(part).items()}
    fits = {
        part: isinstance(anchor.get(part), dict) and shapes(anchor[part]) == shapes(params[part]) for part in params
    }
    for part in params:
        if not fits[part] and part in ("analysis", "synthesis"):
            raise LicError(f"{path} has another {part} than the model to train; give the same model or another --start")
    return {part: jax.tree.map(jnp.float32, anchor[part]) if fits[part] else params[part] for part in params}


@functools.partial(jax.jit, static_argnums=(0, 1), static_argnames=("relaxation", "distortion"))
def validate(
    settings: AnchorSettings,
    model: CodecModel,
    params: dict,
    crops: Array,
    relaxation: StandIn | None = None,
    distortion: Distortion | None = None,
) -> RateDistortion:
    """Computes the objective at quantization step 1, with the same noise at every call."""
    return anchor_objective(
        model,
        params,
        crops,
        jax.random.key(settings.seed, impl=NOISE),
        settings.rd_lambda,
        relaxation=relaxation or STAND_INS[settings.relaxation],
        distortion=distortion or DISTORTIONS[settings.distortion],
    )
