"""The anchor's training loop: a function of (settings, step), resumable at any moment.

First the prior alone learns on the frozen codec that the training begins from, the linear KLT or another anchor,
which is cheap; then everything learns. The learning rate warms up, stays, and falls linearly over the last part
("warm-up, stable, decay"): a training can be prolonged from any checkpoint before the fall.
"""

import csv
import dataclasses
import functools
import io
import itertools
import json
import time
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Int
from tqdm import tqdm

from lic_jax import zoo
from lic_jax.config import SHALLOW_SYNTHESES, ModelConfig
from lic_jax.errors import LicError
from lic_jax.files import make_folder, read_bytes, write_bytes
from lic_jax.model import CodecModel, initialize, model_of
from lic_jax.quantization.rounding import NOISE
from lic_jax.training import checkpoint, data
from lic_jax.training.klt import klt_start
from lic_jax.training.objective import RateDistortion, anchor_objective, psnr
from lic_jax.training.settings import AnchorSettings
from lic_jax.zoo.weights import anchor_metadata, flatten, load_weights, save_weights


class TrainingState(NamedTuple):
    """A whole training at one moment; the photographs and the settings give the rest."""

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


def _optimizer(settings: AnchorSettings, steps: int) -> optax.GradientTransformation:
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

    shallow = settings.model.synthesis in SHALLOW_SYNTHESES

    def pace(params):
        return jax.tree_util.tree_map_with_path(
            lambda path, _: "slow" if (shallow and path[0].key == "synthesis") or path[1].key == "linear" else "normal",
            params,
        )

    return optax.chain(
        optax.clip_by_global_norm(1.0),
        optax.scale_by_adam(),
        optax.partition({"slow": optax.scale(0.1), "normal": optax.identity()}, pace),
        optax.scale_by_learning_rate(schedule),
    )


def training_stages(settings: AnchorSettings) -> tuple[Stage, Stage]:
    """The prior on the codec that the training begins from, then everything."""
    whole = model_of(settings.model)
    frozen = whole if settings.start else model_of(dataclasses.replace(settings.model, analysis="linear"))
    first, last = settings.hyperprior_steps, settings.steps
    every_part = ("analysis", *whole.prior_parts, "synthesis")
    return (
        Stage(settings.model.prior, frozen, 0, first, whole.prior_parts, _optimizer(settings, first)),
        Stage("everything", whole, first, last, every_part, _optimizer(settings, last - first)),
    )


def _select(params: dict, parts: tuple[str, ...]) -> dict:
    return {part: params[part] for part in parts}


def begin_stage(stage: Stage, params: dict) -> TrainingState:
    """The state at a stage's first step, on the device as a restored one is: what was compiled serves both."""
    optimizer_state = stage.optimizer.init(_select(params, stage.trainable))
    state = TrainingState(jnp.int32(stage.first_step), params, optimizer_state)
    return jax.device_put(state, jax.devices()[0])


def training_step(
    settings: AnchorSettings, stage: Stage, state: TrainingState, pixels: Array
) -> tuple[TrainingState, RateDistortion]:
    """One step: a pure function of the state and a batch of uint8 crops."""
    key = jax.random.fold_in(jax.random.key(settings.seed, impl=NOISE), state.step)

    def objective(trainable):
        result = anchor_objective(
            stage.model,
            {**state.params, **trainable},
            pixels,
            key,
            settings.rd_lambda,
            settings.step_range,
            settings.relaxation,
        )
        return result.objective, result

    trainable = _select(state.params, stage.trainable)
    gradients, result = jax.grad(objective, has_aux=True)(trainable)
    updates, optimizer_state = stage.optimizer.update(gradients, state.optimizer_state, trainable)
    params = {**state.params, **optax.apply_updates(trainable, updates)}
    return TrainingState(state.step + 1, params, optimizer_state), result


def started_from(params: dict, path: Path) -> dict:
    """Parameters with an anchor's in their place; its prior's as far as it has them.

    Raises:
      LicError: not an anchor, or one of another analysis or synthesis.
    """
    tree, _ = load_weights(path)
    anchor = tree.get("params", tree)
    shapes = lambda part: {name: leaf.shape for name, leaf in flatten(part).items()}
    fits = {
        part: isinstance(anchor.get(part), dict) and shapes(anchor[part]) == shapes(params[part]) for part in params
    }
    for part in params:
        if not fits[part] and part in ("analysis", "synthesis"):
            raise LicError(f"{path} has another {part} than the model to train; give it the same, or another --start")
    return {part: jax.tree.map(jnp.float32, anchor[part]) if fits[part] else params[part] for part in params}


LOG_COLUMNS = (
    "step",
    "minutes",
    "stage",
    "objective",
    "bpp",
    "psnr_db",
    "held_out_objective",
    "held_out_bpp",
    "held_out_psnr_db",
)


class TrainingLog:
    """A CSV with a row a validation. Reopened at a step, it forgets the rows after it: they will be written again."""

    def __init__(self, path: Path, step: int):
        rows = []
        if path.exists():
            with path.open(newline="") as file:
                rows = [
                    row for row in csv.DictReader(file) if row.get("step", "").isdigit() and int(row["step"]) <= step
                ]
        self.minutes_before = float(rows[-1]["minutes"]) if rows else 0.0
        self._started = time.monotonic()
        text = io.StringIO()
        writer = csv.DictWriter(text, LOG_COLUMNS, extrasaction="ignore")
        writer.writeheader()
        writer.writerows(rows)
        write_bytes(path, text.getvalue().encode())
        self._path = path

    def minutes(self) -> float:
        return self.minutes_before + (time.monotonic() - self._started) / 60

    def append(self, step: int, stage: str, training: RateDistortion, held_out: RateDistortion) -> None:
        values = (training.objective, training.bpp, psnr(training.mse))
        values += (held_out.objective, held_out.bpp, psnr(held_out.mse))
        with self._path.open("a", newline="") as file:
            csv.writer(file).writerow([step, f"{self.minutes():.2f}", stage, *(f"{float(v):.5f}" for v in values)])


def _check_settings(path: Path, settings: AnchorSettings) -> None:
    """Writes the settings beside the checkpoints, or refuses to go on with others.

    What shapes the time to come alone may change: the number of steps and when the learning rate begins to fall.
    """
    asked = json.loads(json.dumps(dataclasses.asdict(settings)))
    if path.exists():
        try:
            found = dict(json.loads(read_bytes(path)))
            found["model"] = json.loads(ModelConfig(**found["model"]).to_json())  # written before a field existed
        except (KeyError, TypeError, ValueError) as error:
            raise LicError(f"{path} is damaged ({error}); restore it, or give another --out") from error
        differing = [
            name for name in asked if asked[name] != found.get(name) and name not in ("steps", "decay_fraction")
        ]
        if differing:
            name = differing[0]
            raise LicError(
                f"{path.parent} holds a training with {name} = {found.get(name)}, not {asked[name]}; "
                "give the same settings or another --out"
            )
    write_bytes(path, json.dumps(asked, indent=1).encode())


def train_anchor(settings: AnchorSettings, images: Path, out: Path) -> dict:
    """Trains an anchor, going on from the last checkpoint in `out` if there is one.

    Writes `out/checkpoints/`, `out/log.csv`, `out/settings.json` and `out/anchor.safetensors`, the newest weights.

    Args:
      settings: what to train and how.
      images: a folder of photographs. Unusable files are named on the way and skipped.
      out: a folder; made if need be.

    Returns:
      The trained parameters.

    Raises:
      LicError: the folder has no usable photographs, or `out` holds a training with other settings.
    """
    photographs, held_out = data.load_folder(images, settings.held_out, settings.crop_size)
    validation_crops = data.fixed_crops(held_out, settings.crop_size, max(32, len(held_out)), settings.seed)

    out = Path(out)
    make_folder(out)
    manager = checkpoint.open_checkpoints(out / "checkpoints")
    stages = training_stages(settings)
    step = manager.latest_step() or 0
    params = initialize(settings.model, jax.random.key(settings.seed))
    if step > settings.steps:
        raise LicError(f"{out} holds a training of {step} steps, more than {settings.steps}; raise --steps")
    _check_settings(out / "settings.json", settings)
    if step:
        stage = next(stage for stage in stages if step <= stage.last_step)
        state = checkpoint.restore(manager, step, begin_stage(stage, params))
    else:
        params = klt_start(params, settings.model, photographs.photographs, settings.rd_lambda, settings.seed)
        if settings.start:
            params = started_from(params, zoo.path_of(settings.start))
        state = begin_stage(stages[0], jax.tree.map(jnp.asarray, params))

    def keep(state: TrainingState) -> None:
        checkpoint.save(manager, int(state.step), state)
        save_weights(out / "anchor.safetensors", state.params, anchor_metadata(settings.model, settings.rd_lambda))

    log = TrainingLog(out / "log.csv", step)
    batches = data.crop_batches(photographs, settings.crop_size, settings.batch_size, settings.seed, start=step)
    progress = tqdm(total=settings.steps, initial=step, unit="step", dynamic_ncols=True, smoothing=0.05)
    for number, stage in enumerate(stages):
        if int(state.step) > stage.last_step:
            continue
        if int(state.step) == stage.first_step:
            state = begin_stage(stage, state.params)
        state = _run_stage(settings, number, state, batches, validation_crops, keep, log, progress)
    save_weights(out / "anchor.safetensors", state.params, anchor_metadata(settings.model, settings.rd_lambda))
    progress.close()
    manager.close()
    return state.params


@functools.partial(jax.jit, static_argnums=(0, 1), donate_argnums=2)
def take_step(settings: AnchorSettings, stage: int, state: TrainingState, pixels: Array):
    """`training_step` of the stage of this number, compiled; trainings with the same settings share the program.

    The last state's memory is used again.
    """
    return training_step(settings, training_stages(settings)[stage], state, pixels)


@functools.partial(jax.jit, static_argnums=(0, 1))
def _validate(settings: AnchorSettings, model: CodecModel, params: dict, crops: Array) -> RateDistortion:
    """The objective at step 1, with the same noise whenever it is asked for."""
    return anchor_objective(model, params, crops, jax.random.key(settings.seed, impl=NOISE), settings.rd_lambda)


def _run_stage(settings, number, state, batches, validation_crops, keep, log, progress) -> TrainingState:
    stage, recent = training_stages(settings)[number], []
    remaining = stage.last_step - int(state.step)
    for pixels in itertools.islice(batches, remaining):
        state, result = take_step(settings, number, state, pixels)
        recent.append(result)
        step = int(state.step)
        progress.update()
        if step % 20 == 0:
            quality = (
                f"bpp {float(result.bpp):.3f} psnr {float(psnr(result.mse)):.2f} loss {float(result.objective):.3f}"
            )
            progress.set_postfix_str(quality, refresh=False)
        if step % settings.validate_every == 0 or step == stage.last_step:
            average = RateDistortion(*(np.mean(np.asarray(term)) for term in zip(*recent, strict=True)))
            held_out = _validate(settings, stage.model, state.params, validation_crops)
            log.append(step, stage.name, average, held_out)
            keep(state)
            recent = []
    return state
