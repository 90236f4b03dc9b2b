"""Models that differ in their synthesis alone, trained equally.

Every training begins from one file but for its synthesis, and each later step is the same for all (crops, λ, seed):

1. *hyperprior*: the KLT start, on which the hyperprior learns; once, for all models together.
2. *synthesis*: the synthesis learns alone, the rest stays. A shallow one begins as the inverse KLT; a deep one, for
   which no such start exists, begins at random, scaled to its latents. These steps teach it the knowledge that the
   others begin with.
3. *everything* learns.
4. *refit*: quantizers for a few λ, with the hyper synthesis in integers, as a codec's model has it.

Each training is kept in a folder of its own in `runs/equal_training`: experiments that ask for the same model share it,
and a killed experiment goes on from its last checkpoint. `measurements` measures the models.
"""

import bisect
import dataclasses
import functools
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from tqdm import tqdm

from experiments.lab.kept import Origin, files_digest, find_or_make, kept_path
from lic_jax.config import ModelConfig
from lic_jax.distortion.base import to_network_domain
from lic_jax.errors import LicError
from lic_jax.evaluation.complexity import complexity
from lic_jax.io.files import make_folder
from lic_jax.io.images import image_paths
from lic_jax.model import CodecModel, initialize
from lic_jax.training import checkpoint, data
from lic_jax.training.anchor import Stage, begin_stage, training_stages, training_step
from lic_jax.training.deployment import in_fixed_point, in_integers
from lic_jax.training.klt import klt_start
from lic_jax.training.refit import fit_quantizers
from lic_jax.training.settings import AS_PUBLISHED, AnchorSettings, RefitSettings, check_counts
from lic_jax.transforms.description import is_shallow, kernel_sizes
from lic_jax.zoo.bundle import in_stored_precision, save_bundle

NARROWEST, WIDEST = 2, 512
"""The widths of a deep synthesis among which `narrowed` looks."""

CHECKPOINT_EVERY = 100
"""Steps between the checkpoints that a killed training goes on from."""

KLT_PHOTOGRAPHS = 256
"""The KLT is computed from about this many photographs."""

CALIBRATION_CROPS = 256
"""Crops that calibrate the integers of the hyper synthesis."""


@dataclasses.dataclass(frozen=True)
class EqualTraining:
    """The settings that all models of an experiment share. The defaults suit two processor cores.

    Attributes:
      folder: where trainings are kept.
      analysis_channels: widths of the analysis' three hidden convolutions.
      latent_channels: C.
      hyper_channels: channels of the hyper latent and of the hyper transforms' hidden layers.
      hyperprior_steps: of the hyperprior alone, once for all models.
      synthesis_steps: of each synthesis alone.
      steps: of everything together.
      refit_steps: of the quantizers.
      lambdas: the trade-offs that quantizers are fitted to; a BD-rate needs four.
      rd_lambda: the λ that everything is trained for.
      learning_rate: Adam's; shallow transforms, whose weights are small, learn at a tenth.
      crop_size: side of the training crops, a multiple of 64.
      batch_size: crops a step.
      held_out: the fraction of the photographs that is not trained on.
      measured: how many of those are measured.
      seed: of initialization, crops and noise.
    """

    folder: Path = Path("runs/equal_training")
    analysis_channels: tuple[int, ...] = (32, 48, 64)
    latent_channels: int = 192
    hyper_channels: int = 48
    hyperprior_steps: int = 600
    synthesis_steps: int = 200
    steps: int = 300
    refit_steps: int = 40
    lambdas: tuple[float, ...] = (0.00125, 0.0025, 0.005, 0.01)
    rd_lambda: float = 0.01
    learning_rate: float = 1e-3
    crop_size: int = 128
    batch_size: int = 4
    held_out: float = 0.05
    measured: int = 10
    seed: int = 0

    def __post_init__(self):
        check_counts(self, 1, "measured")
        check_counts(self, 0, "hyperprior_steps", "synthesis_steps", "steps")
        self.anchor(self.model("jpeg_like"))
        self.refit_settings()

    def model(
        self, synthesis: str, channels: int | tuple[int, ...] = (), kernels: int | tuple[int, ...] = ()
    ) -> ModelConfig:
        """The model with this synthesis; everything else is the same for all."""
        return ModelConfig(
            analysis_channels=self.analysis_channels,
            latent_channels=self.latent_channels,
            hyper_channels=self.hyper_channels,
            synthesis=synthesis,
            synthesis_channels=channels,
            synthesis_kernels=kernels,
        )

    def anchor(self, model: ModelConfig) -> AnchorSettings:
        """The settings of stages 1 and 3."""
        shared = ("rd_lambda", "learning_rate", "crop_size", "batch_size", "held_out", "seed", "hyperprior_steps")
        return AnchorSettings(
            model=model,
            steps=self.hyperprior_steps + self.steps,
            decay_fraction=0.5,
            **{name: getattr(self, name) for name in shared},
        )

    def refit_settings(self) -> RefitSettings:
        """The settings of the quantizers' fit."""
        shared = ("lambdas", "crop_size", "batch_size", "seed")
        return RefitSettings(steps=self.refit_steps, **{name: getattr(self, name) for name in shared}, **AS_PUBLISHED)


@functools.cache
def synthesis_flops(config: ModelConfig) -> float:
    """Counts a synthesis' operations per pixel, multiply and add apart; the analysis beside it has no effect."""
    return complexity(dataclasses.replace(config, analysis="linear"))["synthesis"].flops


def narrowed(config: ModelConfig, flops: float) -> ModelConfig:
    """Finds the widest deep synthesis, all layers of one width, that costs at most this much per pixel.

    Raises:
      LicError: even the narrowest costs more.
    """

    def cost(width: int) -> float:
        return synthesis_flops(with_width(config, width))

    widths = range(NARROWEST, WIDEST + 1)
    affordable = bisect.bisect(widths, flops, key=cost)
    if not affordable:
        least = cost(NARROWEST)
        raise LicError(
            f"a {config.synthesis} synthesis costs {least:,.0f} FLOPs per pixel or more, not {flops:,.0f}; give more"
        )
    return with_width(config, widths[affordable - 1])


def with_width(config: ModelConfig, width: int) -> ModelConfig:
    """A deep synthesis with all its layers of one width."""
    return dataclasses.replace(config, synthesis_channels=(width,) * 3)


def model_name(config: ModelConfig) -> str:
    """Names a model after its synthesis, widths and kernels: the parts in which models of an experiment differ."""
    widths = () if config.synthesis == "jpeg_like" else dict.fromkeys(config.synthesis_channels)
    sizes = [*(f"n{width}" for width in widths), *(f"k{kernel}" for kernel in kernel_sizes(config.synthesis_layers))]
    return "_".join([config.synthesis, *sizes])


@functools.lru_cache(maxsize=1)
def training_photographs(images: Path, held_out: float, crop_size: int) -> data.PhotographFolder:
    """The photographs that models learn from."""
    return data.load_folder(images, held_out, crop_size)[0]


def trained_model(training: EqualTraining, config: ModelConfig, images: Path) -> Path:
    """The file of a trained and refitted model; it is trained first if it is not there."""
    folder = kept_path(training.folder, model_name(config), _origin(training, images, config))

    def model() -> Refitted:
        photographs = training_photographs(images, training.held_out, training.crop_size)
        first, last = training_stages(training.anchor(config))
        params = {**_start(training, config, photographs), **_trained_hyperprior(training, images, photographs)}
        if not is_shallow(config.synthesis_layers):
            params = _scaled_to_its_data(training, params, first.model, photographs)
        params = run_stage(training, _synthesis_stage(training, config, first.model), params, photographs, folder)
        params = run_stage(training, last, params, photographs, folder)
        return refit(training, config, params, photographs)

    def write(path: Path, model: Refitted) -> None:
        save_bundle(path, model.config, model.params, training.rd_lambda, training.lambdas, *model.quantizers)

    return find_or_make(folder / "model.safetensors", model, write, lambda path: path)


def _origin(training: EqualTraining, images: Path, config: ModelConfig | None = None) -> Origin:
    """Everything that decides a training; without a model, that of the hyperprior that all share."""
    settings = dataclasses.asdict(training)
    decisive = {name: value for name, value in settings.items() if name not in ("folder", "measured")}
    model = None if config is None else dataclasses.asdict(config)
    return Origin("", [decisive, model], files_digest(image_paths(images)))


def klt_params(config: ModelConfig, photographs: data.PhotographFolder, rd_lambda: float, seed: int) -> dict:
    """The parameters of a model at its KLT start."""
    some = photographs.photographs[:: max(1, len(photographs) // KLT_PHOTOGRAPHS)]
    return klt_start(initialize(config, jax.random.key(seed)), config, some, rd_lambda, seed)


def _start(training: EqualTraining, config: ModelConfig, photographs: data.PhotographFolder) -> dict:
    return klt_params(config, photographs, training.rd_lambda, training.seed)


def _scaled_to_its_data(training: EqualTraining, params: dict, linear: CodecModel, photographs) -> dict:
    """Scales a random deep synthesis: its first layer to the latents, its last to the photographs' contrast.

    Otherwise it would begin with images ten times too bright and too dark, and spend its steps on that.
    """
    image = to_network_domain(data.fixed_crops(photographs, training.crop_size, 16, training.seed))
    run = jax.jit(linear.apply, static_argnames="method")
    latent, _ = run({"params": params}, image, method="encode")
    synthesis = {name: dict(layer) for name, layer in params["synthesis"].items()}
    synthesis["layer_0"]["kernel"] /= np.sqrt(np.mean(np.square(latent)))
    scaled = {**params, "synthesis": synthesis}
    synthesis["layer_3"]["kernel"] *= np.std(image) / np.std(run({"params": scaled}, latent, method="decode"))
    return scaled


def _trained_hyperprior(training: EqualTraining, images: Path, photographs: data.PhotographFolder) -> dict:
    """The hyperprior that every training begins from: it has learned on the KLT, whatever the synthesis."""
    config = training.model("jpeg_like")
    later = {"synthesis_steps": 0, "steps": 0, "refit_steps": 1, "lambdas": (training.rd_lambda,)}
    folder = kept_path(training.folder, "hyperprior", _origin(dataclasses.replace(training, **later), images))
    first, _ = training_stages(training.anchor(config))
    params = run_stage(training, first, _start(training, config, photographs), photographs, folder)
    return {part: params[part] for part in first.model.prior.parts}


def _synthesis_stage(training: EqualTraining, config: ModelConfig, linear: CodecModel) -> Stage:
    pace = 0.1 if is_shallow(config.synthesis_layers) else 1.0
    schedule = optax.cosine_decay_schedule(pace * training.learning_rate, max(training.synthesis_steps, 1))
    optimizer = optax.chain(optax.clip_by_global_norm(1.0), optax.adam(schedule))
    return Stage("synthesis", linear, 0, training.synthesis_steps, ("synthesis",), optimizer)


def run_stage(
    training: EqualTraining, stage: Stage, params: dict, photographs: data.PhotographFolder, folder: Path
) -> dict:
    """The parameters after a stage, going on from its last checkpoint in the folder."""
    make_folder(folder)
    settings = training.anchor(stage.model.config)
    manager = checkpoint.open_checkpoints(folder / stage.name, keep=1)
    state = begin_stage(stage, jax.tree.map(jnp.asarray, params))
    if manager.latest_step() is not None:
        state = checkpoint.restore(manager, manager.latest_step(), state)
    done, steps = int(state.step) - stage.first_step, stage.last_step - stage.first_step
    take_step = jax.jit(lambda state, pixels: training_step(settings, stage, state, pixels), donate_argnums=0)
    batches = data.crop_batches(photographs, training.crop_size, training.batch_size, training.seed, start=done)
    progress = tqdm(range(done + 1, steps + 1), initial=done, total=steps, desc=stage.name, unit="step")
    for step in progress:
        state, result = take_step(state, next(batches))
        if step % 20 == 0:
            terms = f"bpp {float(result.bpp):.3f} mse {float(result.mse):.1f} loss {float(result.objective):.3f}"
            progress.set_postfix_str(terms, refresh=False)
        if step % CHECKPOINT_EVERY == 0 or step == steps:
            checkpoint.save(manager, int(state.step), state)
    manager.close()
    return state.params


class Refitted(NamedTuple):
    """A trained model with its hyper synthesis in integers, and its quantizers as a file holds them."""

    config: ModelConfig
    params: dict
    quantizers: tuple


def refit(training: EqualTraining, config: ModelConfig, params: dict, photographs: data.PhotographFolder) -> Refitted:
    """Fits quantizers to the weights as they are stored."""
    settings = training.refit_settings()
    params = jax.tree.map(np.asarray, in_stored_precision(params))
    crops = data.fixed_crops(photographs, training.crop_size, CALIBRATION_CROPS, training.seed)
    config, params = in_integers(config, params, crops)
    batches = data.crop_batches(photographs, training.crop_size, training.batch_size, training.seed)
    quantizers = fit_quantizers(
        CodecModel(config), params, batches, settings, training.rd_lambda, training.seed, "refit"
    )
    return Refitted(config, params, in_fixed_point(quantizers))
