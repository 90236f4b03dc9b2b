"""Models that differ in their synthesis alone, trained equally and measured on photographs that none has seen.

Every training begins from one file but for its synthesis, and each later step is the same for all (crops, λ, seed):

1. *hyperprior*: the KLT start, on which the hyperprior learns; once, for all models together.
2. *synthesis*: the synthesis learns alone, the rest stays. A shallow one begins as the inverse KLT; a deep one, for
   which there is no such start, begins at random, scaled to its latents, and these steps are there to teach it what
   the others begin with.
3. *everything* learns.
4. *refit*: quantizers for a few λ, with the hyper synthesis in integers, as a codec's model has it.
5. *measurement*: real streams of whole photographs that were held out of the training folder.

What is made lies in `runs/equal_training/<model and settings>`; experiments that ask for the same model share it, and
one that was killed goes on from there.
"""

import csv
import dataclasses
import functools
import hashlib
import json
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import UInt8
from tqdm import tqdm

from lic_jax.codec.codec import Codec
from lic_jax.config import SHALLOW_SYNTHESES, ModelConfig
from lic_jax.errors import LicError
from lic_jax.evaluation.classical import CLASSICAL, decode
from lic_jax.evaluation.complexity import complexity
from lic_jax.evaluation.measurement import write_csv
from lic_jax.evaluation.metrics import blockiness, mean_squared_error, ms_ssim, psnr
from lic_jax.io.files import make_folder
from lic_jax.io.images import image_paths, read_image
from lic_jax.model import CodecModel, initialize, model_of, to_network_domain
from lic_jax.training import checkpoint, data
from lic_jax.training.anchor import Stage, begin_stage, training_stages, training_step
from lic_jax.training.deployment import in_fixed_point, in_integers
from lic_jax.training.klt import klt_start
from lic_jax.training.refit import fit_quantizers
from lic_jax.training.settings import AS_PUBLISHED, AnchorSettings, RefitSettings, check_counts
from lic_jax.zoo.bundle import in_stored_precision, load_bundle, save_bundle

WIDEST = 512
"""The widest deep synthesis that `narrowed` looks for."""

CHECKPOINT_EVERY = 100
"""Steps between the checkpoints that a killed training goes on from."""

KLT_PHOTOGRAPHS = 256
"""How many photographs the KLT is taken of, about."""

CALIBRATION_CROPS = 256
"""How many crops the integers of the hyper synthesis are scaled by."""


@dataclasses.dataclass(frozen=True)
class EqualTraining:
    """What all models of an experiment have in common. The defaults fit two processor cores.

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


class MeasuredPoint(NamedTuple):
    """A model at one fitted rate: means over the photographs. `bpp` counts the bytes of real streams.

    `objective` is bpp + λ·MSE; FLOPs are per pixel, multiply and add counted apart; decoding is the synthesis and the
    hyper synthesis, the latter after its hidden channels that never fire were left out.
    """

    model: str
    rd_lambda: float
    bpp: float
    psnr_db: float
    ms_ssim: float
    blockiness: float
    objective: float
    synthesis_flops: float
    decoding_flops: float


class ReferencePoint(NamedTuple):
    """A classical codec at one quality: means over the same photographs, real files."""

    codec: str
    quality: int
    bpp: float
    psnr_db: float
    ms_ssim: float
    blockiness: float


@functools.cache
def synthesis_flops(config: ModelConfig) -> float:
    """What a synthesis costs per pixel, multiply and add counted apart; the analysis beside it does not matter."""
    return complexity(dataclasses.replace(config, analysis="linear"))["synthesis"].flops


def narrowed(config: ModelConfig, flops: float) -> ModelConfig:
    """A deep synthesis, all layers of one width, as wide as this cost per pixel allows.

    Raises:
      LicError: even the narrowest costs more.
    """
    of_width = lambda width: dataclasses.replace(config, synthesis_channels=(width,) * 3)
    low, high = 2, WIDEST + 1
    if synthesis_flops(of_width(low)) > flops:
        least = synthesis_flops(of_width(low))
        raise LicError(f"a {config.synthesis} synthesis costs {least:,.0f} FLOPs per pixel or more, not {flops:,.0f}")
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if synthesis_flops(of_width(middle)) <= flops else (low, middle)
    return of_width(low)


def model_name(config: ModelConfig) -> str:
    """What distinguishes a model from the others of its experiment: synthesis, widths, kernels."""
    widths = () if config.synthesis == "jpeg_like" else dict.fromkeys(config.synthesis_channels)
    sizes = [*(f"n{width}" for width in widths), *(f"k{kernel}" for kernel in config.kernel_sizes)]
    return "_".join([config.synthesis, *sizes])


def held_out_photographs(training: EqualTraining, images: Path) -> dict[str, UInt8[np.ndarray, "height width 3"]]:
    """The photographs to measure on, spread evenly over those that trainings leave out.

    Raises:
      LicError: no such folder, or none is held out.
    """
    _, paths = data.split_held_out(image_paths(images), training.held_out)
    if not paths:
        raise LicError(f"no photograph of {images} is held out; raise --held-out or give a folder of more")
    chosen = np.unique(np.linspace(0, len(paths) - 1, min(training.measured, len(paths))).round().astype(int))
    return {paths[index].name: read_image(paths[index]) for index in chosen}


@functools.lru_cache(maxsize=1)
def training_photographs(images: Path, held_out: float, crop_size: int) -> data.PhotographFolder:
    """The photographs that models learn from."""
    return data.load_folder(images, held_out, crop_size)[0]


def trained_model(training: EqualTraining, config: ModelConfig, images: Path) -> Path:
    """The file of a trained and refitted model; what is not there yet is made."""
    folder = training.folder / f"{model_name(config)}_{_digest(training, images)}"
    model = folder / "model.safetensors"
    if not model.exists():
        photographs = training_photographs(images, training.held_out, training.crop_size)
        first, last = training_stages(training.anchor(config))
        params = {**_klt_params(training, config, photographs), **_trained_hyperprior(training, images, photographs)}
        if config.synthesis not in SHALLOW_SYNTHESES:
            params = _scaled_to_its_data(training, params, first.model, photographs)
        params = run_stage(training, _synthesis_stage(training, config, first.model), params, photographs, folder)
        params = run_stage(training, last, params, photographs, folder)
        refit(training, config, params, photographs, model)
    return model


def _digest(training: EqualTraining, images: Path) -> str:
    """Eight digits that differ wherever settings or photographs do."""
    settings = {
        name: value for name, value in dataclasses.asdict(training).items() if name not in ("folder", "measured")
    }
    names = [path.name for path in image_paths(images)]
    return hashlib.sha256(json.dumps([settings, names]).encode()).hexdigest()[:8]


def _klt_params(training: EqualTraining, config: ModelConfig, photographs: data.PhotographFolder) -> dict:
    some = photographs.photographs[:: max(1, len(photographs) // KLT_PHOTOGRAPHS)]
    return klt_start(initialize(config, jax.random.key(training.seed)), config, some, training.rd_lambda, training.seed)


def _scaled_to_its_data(training: EqualTraining, params: dict, linear: CodecModel, photographs) -> dict:
    """A deep synthesis at random, its first layer scaled to the latents and its last to the photographs' contrast.

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
    folder = training.folder / f"hyperprior_{_digest(dataclasses.replace(training, **later), images)}"
    first, _ = training_stages(training.anchor(config))
    params = run_stage(training, first, _klt_params(training, config, photographs), photographs, folder)
    return {part: params[part] for part in first.model.prior_parts}


def _synthesis_stage(training: EqualTraining, config: ModelConfig, linear: CodecModel) -> Stage:
    pace = 0.1 if config.synthesis in SHALLOW_SYNTHESES else 1.0
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


def refit(
    training: EqualTraining, config: ModelConfig, params: dict, photographs: data.PhotographFolder, path: Path
) -> None:
    """Fits quantizers to the weights as they are stored, and writes a codec's model."""
    settings = training.refit_settings()
    params = jax.tree.map(np.asarray, in_stored_precision(params))
    crops = data.fixed_crops(photographs, training.crop_size, CALIBRATION_CROPS, training.seed)
    config, params = in_integers(config, params, crops)
    batches = data.crop_batches(photographs, training.crop_size, training.batch_size, training.seed)
    quantizers = fit_quantizers(model_of(config), params, batches, settings, training.rd_lambda, training.seed, "refit")
    save_bundle(path, config, params, training.rd_lambda, settings.lambdas, *in_fixed_point(quantizers))


def measured_points(training: EqualTraining, config: ModelConfig, images: Path) -> list[MeasuredPoint]:
    """A model at its fitted rates, trained if need be."""
    path = trained_model(training, config, images)
    rows = path.with_name(f"measured_{training.measured}.csv")
    if not rows.exists():
        codec = Codec(load_bundle(path))
        write_csv(rows, _measure(codec, model_name(config), held_out_photographs(training, images)))
    with rows.open(newline="") as file:
        return [MeasuredPoint(row.pop("model"), *map(float, row.values())) for row in csv.DictReader(file)]


def _measure(codec: Codec, name: str, photographs: dict) -> list[MeasuredPoint]:
    costs = complexity(codec.bundle.config)
    flops = costs["synthesis"].flops, (costs["synthesis"] + costs["hyper_synthesis"]).flops
    measured = []
    for image in tqdm(photographs.values(), desc=f"measure {name}", unit="image"):
        analysed = codec.analyse(image)
        streams = [codec.code(analysed, rate) for rate in range(len(codec.bundle.lambdas))]
        measured.append([_quality(stream, codec.decompress(stream), image) for stream in streams])
    points = []
    for rd_lambda, (*quality, mse) in zip(codec.bundle.lambdas, np.mean(measured, axis=0).tolist(), strict=True):
        points.append(MeasuredPoint(name, rd_lambda, *quality, quality[0] + rd_lambda * mse, *flops))
    return points


def _quality(stream: bytes, decoded: np.ndarray, image: np.ndarray) -> tuple[float, ...]:
    """(bpp, PSNR, MS-SSIM, blockiness, mean squared error) of one stream."""
    bpp = 8 * len(stream) / (image.shape[0] * image.shape[1])
    return bpp, psnr(decoded, image), ms_ssim(decoded, image), blockiness(decoded), mean_squared_error(decoded, image)


def jpeg_points(training: EqualTraining, images: Path) -> list[ReferencePoint]:
    """JPEG 4:4:4 on the same photographs."""
    photographs = held_out_photographs(training, images)
    points = []
    for quality in CLASSICAL["jpeg"].qualities:
        streams = {name: CLASSICAL["jpeg"].encode(image, quality) for name, image in photographs.items()}
        rows = [_quality(stream, decode(stream), photographs[name]) for name, stream in streams.items()]
        points.append(ReferencePoint("jpeg", quality, *np.mean(rows, axis=0).tolist()[:4]))
    return points


def measured_models(
    training: EqualTraining, configs: list[ModelConfig], images: Path
) -> dict[str, list[MeasuredPoint]]:
    """Each model's curve by its name, trained one after the other."""
    curves = {}
    for index, config in enumerate(configs, 1):
        name = model_name(config)
        print(f"[{index}/{len(configs)}] {name}: {synthesis_flops(config):,.0f} FLOPs per pixel", flush=True)
        curves[name] = measured_points(training, config, images)
    return curves
