"""Does a refit gain as much with other transforms and priors as with ours?

Small models are trained shortly, all with the same crops, steps and λ, and quantizers fitted to each. The models are
far from their best, so they are not compared. Compared are the gains of their fits: bpp + λ·MSE of fitted quantizers
against that of uniform ones with the step of each λ.

The default models vary one thing at a time: the analysis (`cnn`, `gdn`), the synthesis (`two_layer`, `jpeg_like`, the
deep `cnn`, which begins at random where shallow ones begin as the inverse KLT), and the prior (with a hyper latent, or
`factorized` alone).

    python -m experiments.questions.architectures PHOTOGRAPHS

writes results/architectures.csv, a row a model and λ, and results/architectures.png. Rates are estimated from the
priors, on crops held out. Trainings lie in runs/refits/architectures, and a killed one goes on from its checkpoint.
"""

import dataclasses
from pathlib import Path
from typing import NamedTuple

import jax
import matplotlib.pyplot as plt
import numpy as np
import tyro

from experiments.lab.anchors import FitSettings, crops_of, load_anchor, photographs_of
from experiments.lab.command_line import run
from experiments.lab.fits import fit, judge
from experiments.lab.kept import Origin, files_digest, find_or_make, kept_path
from experiments.lab.pictures import Label, light_grid, save_picture, write_labels
from experiments.lab.provenance import Answer, Output
from lic_jax.config import ModelConfig
from lic_jax.entropy.priors.base import prior_of
from lic_jax.errors import LicError
from lic_jax.io.images import image_paths
from lic_jax.training.deployment import in_fixed_point, in_integers
from lic_jax.training.loop import train_anchor
from lic_jax.training.refit import start_quantizers
from lic_jax.training.settings import AnchorSettings
from lic_jax.zoo.bundle import in_stored_precision, save_bundle

STYLES = (("o-", "tab:blue"), ("s-", "black"), ("^--", "0.3"), ("v--", "0.5"), ("D:", "tab:orange"), ("x:", "0.65"))


@dataclasses.dataclass(frozen=True)
class Settings(FitSettings, Output):
    """The settings of this question, beside those that all fits share; `model` has no effect.

    Attributes:
      images: a folder of photographs.
      models: each as analysis/synthesis/prior.
      analysis_channels: widths of the analyses' hidden convolutions, and of a deep synthesis'.
      latent_channels: C.
      hyper_channels: of the hyper latent and its transforms.
      prior_steps: of the prior alone, on the KLT.
      training_steps: of everything.
      rd_lambda: the λ of the trainings.
      lambdas: the λ of the fits, increasing.
    """

    images: tyro.conf.Positional[Path | None] = None
    models: tuple[str, ...] = (
        "cnn/two_layer/hyperprior",
        "gdn/two_layer/hyperprior",
        "cnn/jpeg_like/hyperprior",
        "cnn/cnn/hyperprior",
        "cnn/two_layer/factorized",
    )
    analysis_channels: tuple[int, int, int] = (32, 48, 64)
    latent_channels: int = 96
    hyper_channels: int = 32
    prior_steps: int = 200
    training_steps: int = 100
    rd_lambda: float = 0.01
    lambdas: tuple[float, ...] = (0.0025, 0.01, 0.04)

    def __post_init__(self):
        super().__post_init__()
        if self.images is None:
            raise LicError("models are trained on a folder of photographs; give one")
        for name in self.models:
            self.training(name)
        self.refit_settings(lambdas=self.lambdas)

    def training(self, name: str) -> AnchorSettings:
        """The training of a model by its name.

        Raises:
          LicError: the name is not three known ones.
        """
        if name.count("/") != 2:
            raise LicError(f"model {name!r} is not analysis/synthesis/prior; give e.g. cnn/two_layer/hyperprior")
        analysis, synthesis, prior = name.split("/")
        widths = {"jpeg_like": (), "two_layer": (24,), "two_layer_residual": (12,)}
        config = ModelConfig(
            analysis=analysis,
            analysis_channels=self.analysis_channels,
            latent_channels=self.latent_channels,
            prior=prior,
            hyper_channels=self.hyper_channels,
            synthesis=synthesis,
            synthesis_channels=widths.get(synthesis, self.analysis_channels),
        )
        return AnchorSettings(
            config,
            rd_lambda=self.rd_lambda,
            crop_size=self.crop_size,
            batch_size=self.batch_size,
            hyperprior_steps=self.prior_steps,
            steps=self.prior_steps + self.training_steps,
            learning_rate=1e-3,
            decay_fraction=0.5,
            seed=self.seed,
            held_out=self.held_out,
            validate_every=100,
        )


class ArchitecturePoint(NamedTuple):
    """A row of architectures.csv: fitted quantizers on crops held out; the gain is against uniform ones."""

    model: str
    rd_lambda: float
    uniform_objective: float
    objective: float
    estimated_bpp: float
    psnr_db: float
    gain_percent: float


def trained(settings: Settings, name: str) -> Path:
    """The file of a trained model with uniform quantizers; it is trained if it is not there."""
    training = settings.training(name)
    decisive = [dataclasses.asdict(training), settings.lambdas, settings.crops]
    origin = Origin("", decisive, files_digest(image_paths(settings.images)))
    folder = kept_path(settings.folder / "architectures", name, origin)

    def model() -> tuple[ModelConfig, dict]:
        params = jax.tree.map(np.asarray, train_anchor(training, settings.images, folder))
        config, params = training.model, in_stored_precision(params)
        if not prior_of(config).is_exact:
            photographs, _ = photographs_of(settings)
            config, params = in_integers(
                config, params, crops_of(photographs, settings.crop_size, settings.crops, settings.seed)
            )
        return config, params

    def write(path: Path, model: tuple[ModelConfig, dict]) -> None:
        config, params = model
        uniform = start_quantizers(config, settings.refit_settings(lambdas=settings.lambdas), settings.rd_lambda)
        save_bundle(path, config, params, settings.rd_lambda, settings.lambdas, *in_fixed_point(uniform))

    return find_or_make(folder / "model.safetensors", model, write, lambda path: path)


def points_of(settings: Settings, name: str) -> list[ArchitecturePoint]:
    """Compares fitted quantizers with uniform ones on a model."""
    anchor = load_anchor(settings, trained(settings, name))
    own = settings.refit_settings(lambdas=settings.lambdas)
    uniform = start_quantizers(anchor.bundle.config, own, anchor.bundle.rd_lambda)
    fitted = fit(settings, anchor, own, f"architectures_{name.replace('/', '_')}").quantizers
    start, end = (judge(anchor, quantizers, settings.lambdas) for quantizers in (uniform, fitted))
    gains = 100 * (end.objective / start.objective - 1)
    columns = zip(settings.lambdas, start.objective, end.objective, end.bpp, end.psnr_db, gains, strict=True)
    return [ArchitecturePoint(name, *map(float, column)) for column in columns]


def draw(rows: list[ArchitecturePoint], path: Path) -> None:
    """The gain by λ, a line a model."""
    figure, axes = plt.subplots(figsize=(6.4, 4.4))
    names = list(dict.fromkeys(row.model for row in rows))
    labels = []
    for name, (style, color) in zip(names, STYLES * len(names), strict=False):
        own = [row for row in rows if row.model == name]
        axes.plot([row.rd_lambda for row in own], [row.gain_percent for row in own], style, color=color)
        labels.append(Label(own[-1].rd_lambda, own[-1].gain_percent, name.replace("_", "-").replace("/", " / "), color))
    lambdas = [row.rd_lambda for row in own]
    axes.axhline(0, color="0.8", linewidth=1)
    axes.set(xlabel="λ", ylabel="bpp + λ·MSE, fitted against uniform, in %", xscale="log")
    axes.set_xticks(lambdas, [f"{rd_lambda:g}" for rd_lambda in lambdas])
    axes.minorticks_off()
    axes.set_title("What fitted quantizers gain: analysis / synthesis / prior", fontsize=10)
    light_grid(axes)
    write_labels(axes, labels)
    save_picture(figure, path)


def main(settings: Settings) -> None:
    answer = Answer(settings, "architectures.csv", "architectures.png")
    rows = [point for name in settings.models for point in points_of(settings, name)]
    answer.write("architectures.csv", rows)
    draw(rows, answer.path("architectures.png"))
    print("model                          gain % by λ             PSNR dB by λ")
    for name in settings.models:
        own = [row for row in rows if row.model == name]
        gains = "  ".join(f"{row.gain_percent:+6.2f}" for row in own)
        qualities = "  ".join(f"{row.psnr_db:5.2f}" for row in own)
        print(f"{name:30} {gains}  {qualities}")
    print(answer)


if __name__ == "__main__":
    run(main, Settings, __doc__)
