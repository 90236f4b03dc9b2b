"""The anchor's training loop: photographs in; checkpoints, a log and weights out; resumable at any moment.

The anchor is the trained model, whose weights are frozen afterwards; a refit then fits quantizers to it.
"""

import dataclasses
import itertools
import json
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple, get_type_hints

import jax
import numpy as np
from jaxtyping import UInt8
from tqdm import tqdm

from lic_jax.config import LATENT_STRIDE, ModelConfig
from lic_jax.distortion.base import Distortion, RateDistortion, psnr
from lic_jax.errors import LicError
from lic_jax.io.files import make_folder, read_bytes, write_bytes
from lic_jax.io.tables import read_csv, write_csv
from lic_jax.model import initialize
from lic_jax.quantization.relaxation import StandIn
from lic_jax.training import checkpoint, data, latents
from lic_jax.training.anchor import (
    MakeOptimizer,
    Stage,
    TrainingState,
    begin_stage,
    default_optimizer,
    started_from,
    take_step,
    training_stages,
    validate,
)
from lic_jax.training.health import Health, inspect
from lic_jax.training.klt import klt_start, prior_start
from lic_jax.training.settings import AnchorSettings
from lic_jax.zoo import shipped
from lic_jax.zoo.weights import anchor_metadata, save_weights

_INSPECTED = 16
"""Held-out crops on which `health` looks for dead units."""


class LogRow(NamedTuple):
    """A row of log.csv: means over the steps since the last one, and over the crops held out; `health` in the end."""

    step: int
    minutes: float
    stage: str
    objective: float
    bpp: float
    psnr_db: float
    held_out_objective: float
    held_out_bpp: float
    held_out_psnr_db: float
    dead_units: int = 0
    at_floor: int = 0
    channels_with_means: int = 0


class Data(NamedTuple):
    """The data of a training.

    Attributes:
      batches: a step → the batches from that step on, uint8 [batch, height, width, 3] with sides a multiple of 64. If
        this depends on the step alone, a resumed training sees the same batches as one without a break.
      held_out: crops to validate on, uint8 [count, height, width, 3].
      photographs: images of any sizes, for the KLT start and the latents that the prior learns on first.
    """

    batches: Callable[[int], Iterable[np.ndarray]]
    held_out: UInt8[np.ndarray, "count height width 3"]
    photographs: Sequence[UInt8[np.ndarray, "_height _width 3"]]


def load_data(settings: AnchorSettings, images: Path) -> Data:
    """Loads a folder of photographs and holds a part of them out. Names unusable files on the terminal and skips them.

    Raises:
      LicError: the folder has no usable photographs.
    """
    photographs, held_out = data.load_folder(images, settings.held_out, settings.crop_size)
    crops = data.fixed_crops(held_out, settings.crop_size, max(32, len(held_out)), settings.seed)
    sizes = settings.crop_size, settings.batch_size, settings.seed
    return Data(lambda step: data.crop_batches(photographs, *sizes, start=step), crops, photographs.photographs)


def train_anchor(
    settings: AnchorSettings,
    images: Path | Data,
    out: Path,
    *,
    make_optimizer: MakeOptimizer = default_optimizer,
    relaxation: StandIn | None = None,
    distortion: Distortion | None = None,
) -> dict:
    """Trains an anchor; continues from the last checkpoint in `out` if there is one.

    Writes `out/checkpoints/`, `out/log.csv`, `out/settings.json` and `out/anchor.safetensors`, the newest weights.

    Args:
      settings: what to train and how.
      images: a folder of photographs, or your own `Data`.
      out: a folder; made if it is missing.
      make_optimizer: (settings, steps) → the optimizer of a stage of that many steps.
      relaxation, distortion: replace those that the settings name; the log names them.

    Returns:
      The trained parameters.

    Raises:
      LicError: the folder has no usable photographs, or `out` holds a training with other settings.
    """
    seen = images if isinstance(images, Data) else load_data(settings, images)
    out = Path(out)
    make_folder(out)
    manager = checkpoint.open_checkpoints(out / "checkpoints")
    stages = training_stages(settings, make_optimizer)
    step = manager.latest_step() or 0
    params = initialize(settings.model, jax.random.key(settings.seed))
    if step > settings.steps:
        raise LicError(
            f"{out} holds a training of {step} steps, more than --steps {settings.steps}; "
            "raise --steps, or give another --out"
        )
    _check_settings(out / "settings.json", settings)
    if step:
        stage = next(stage for stage in stages if step <= stage.last_step)
        state = checkpoint.restore(manager, step, begin_stage(stage, params))
    else:
        start = prior_start if settings.start else klt_start
        params = start(params, settings.model, list(seen.photographs), settings.rd_lambda, settings.seed)
        if settings.start:
            params = started_from(params, shipped.path_of(settings.start))
        state = begin_stage(stages[0], params)

    def keep(state: TrainingState) -> None:
        checkpoint.save(manager, int(state.step), state)
        save_weights(out / "anchor.safetensors", state.params, anchor_metadata(settings.model, settings.rd_lambda))

    loss = {"relaxation": relaxation, "distortion": distortion}
    log = TrainingLog(out / "log.csv", step, _name_of(distortion, settings.distortion))
    progress = tqdm(total=settings.steps, initial=step, unit="step", dynamic_ncols=True, smoothing=0.05)
    for stage in stages:
        step = int(state.step)
        if step >= stage.last_step:
            continue
        if step == stage.first_step:
            state = begin_stage(stage, state.params)
        trains_transforms = "analysis" in stage.trainable
        batches = iter(seen.batches(step)) if trains_transforms else _latents(settings, stage, state, seen.photographs)
        state = _run_stage(settings, stage, state, batches, seen.held_out, loss, keep, log, progress)
    save_weights(out / "anchor.safetensors", state.params, anchor_metadata(settings.model, settings.rd_lambda))
    progress.close()
    manager.close()
    return state.params


def _latents(settings: AnchorSettings, stage: Stage, state: TrainingState, photographs: Sequence) -> Iterator:
    """Returns batches of latents by the stage's frozen analysis, from the state's step on."""
    found = latents.latents_of(stage.model, state.params, photographs, settings.crop_size, settings.seed)
    side, batch_size = settings.crop_size // LATENT_STRIDE, settings.prior_batch_size
    return latents.latent_batches(found, side, batch_size, settings.seed, start=int(state.step))


def _name_of(function: Callable | None, name: str) -> str:
    return name if function is None else getattr(function, "__name__", type(function).__name__)


def _run_stage(settings, stage: Stage, state, batches, held_out, loss, keep, log, progress) -> TrainingState:
    recent = []
    remaining = stage.last_step - int(state.step)
    for batch in itertools.islice(batches, remaining):
        state, result = take_step(settings, stage, state, batch, **loss)
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
            validated = validate(settings, stage.model, state.params, held_out, **loss)
            health = inspect(stage.model, state.params, held_out[:_INSPECTED])
            progress.write(f"step {step}: " + "\n  ".join((str(health), *health.stalled())))
            log.append(step, stage.name, average, validated, health)
            keep(state)
            recent = []
    return state


class TrainingLog:
    """A CSV with a row for each validation. Reopened at a step, it drops later rows, which will be written again."""

    def __init__(self, path: Path, step: int, distortion: str = "mse"):
        self._kind = _row_kind(distortion)
        rows = read_csv(path, self._kind) if path.exists() else []
        self._rows = [row for row in rows if row.step <= step]
        self.minutes_before = self._rows[-1].minutes if self._rows else 0.0
        self._started = time.monotonic()
        self._path = path

    def minutes(self) -> float:
        """Returns the minutes of training so far, earlier runs included."""
        return self.minutes_before + (time.monotonic() - self._started) / 60

    def append(self, step: int, stage: str, training: RateDistortion, held_out: RateDistortion, health: Health) -> None:
        """Writes a row: the averages since the last one, and the validation. The file is always whole."""
        values = (training.objective, training.bpp, psnr(training.mse))
        values += (held_out.objective, held_out.bpp, psnr(held_out.mse))
        numbers = [*map(float, values), health.dead_units, health.at_floor, health.means]
        if self._kind is not LogRow:
            numbers += [float(training.distortion), float(held_out.distortion)]
        self._rows.append(self._kind(step, round(self.minutes(), 2), stage, *numbers))
        write_csv(self._path, self._rows)


def _row_kind(distortion: str) -> Any:
    """Returns the kind of a log's rows; one's own distortion has two columns more, which bear its name."""
    if distortion == "mse":
        return LogRow
    name = distortion if distortion.isidentifier() else "distortion"
    fields: list[tuple[str, Any]] = [*get_type_hints(LogRow).items(), (name, float), (f"held_out_{name}", float)]
    return NamedTuple("LogRow", fields)  # pyright: ignore[reportArgumentType]  # it wants the fields spelled out


def _check_settings(path: Path, settings: AnchorSettings) -> None:
    """Writes the settings beside the checkpoints, or refuses to continue with others.

    Settings that shape only future steps may change: the number of steps, and when the learning rate begins to fall.
    """
    asked = json.loads(json.dumps(dataclasses.asdict(settings)))
    if path.exists():
        unchanged = {field.name: field.default for field in dataclasses.fields(AnchorSettings) if field.name != "model"}
        try:
            found = {**unchanged, **json.loads(read_bytes(path))}  # older files lack newer fields
            found["model"] = json.loads(ModelConfig(**found["model"]).to_json())
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
