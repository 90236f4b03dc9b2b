"""What does each option of the quantizers buy, against the same fit without it?

    python -m experiments.questions.quantizer_options PHOTOGRAPHS

Quantizers are fitted to a model's frozen weights once plainly and once for each option, with the same crops and steps
and from the same start, and measured by real streams of photographs that are held out of the folder. Writes
results/quantizer_options.csv, a row an option and λ, and results/quantizer_options.png. Fitted models are kept in
`--folder`: killed, the same command goes on from there. `--steps` and its like scale it up. The default's short fit has
not converged: it favours options that learn soon.
"""

import dataclasses
import itertools
from pathlib import Path
from typing import NamedTuple

import matplotlib.pyplot as plt
import numpy as np
import tyro
from tqdm import tqdm

from experiments.lab.command_line import run
from experiments.lab.curves import bd_rate_of
from experiments.lab.kept import Origin, files_digest, find_or_make, kept_path
from experiments.lab.measurements import held_out_photographs
from experiments.lab.models import save_refitted
from experiments.lab.pictures import Label, light_grid, save_picture, write_labels
from experiments.lab.provenance import Answer, Output
from experiments.lab.trainings import EqualTraining
from lic_jax.codec.codec import Codec
from lic_jax.errors import unknown_name
from lic_jax.evaluation.metrics import mean_squared_error, psnr
from lic_jax.io.images import image_paths
from lic_jax.model import CodecModel
from lic_jax.training import data
from lic_jax.training.refit import fit_quantizers
from lic_jax.training.refit_objective import Quantizers
from lic_jax.training.settings import AS_PUBLISHED, RefitSettings
from lic_jax.zoo import shipped
from lic_jax.zoo.bundle import Bundle, load_bundle

PLAIN = "plain"
"""The fit that the others are measured against."""

OPTIONS = {
    PLAIN: {},
    "rows": {"row_knots": 8},
    "rows of 16 knots": {"row_knots": 16},
    "midpoints": {"bin_edges": "midpoints"},
    "z kept": {"hyper_quantizer": "kept"},
    "rows, z kept": {"row_knots": 8, "hyper_quantizer": "kept"},
    "symmetric": {"symmetric": True},
    "rows, z kept, symmetric": {"row_knots": 8, "hyper_quantizer": "kept", "symmetric": True},
    "126 components for y": {"latent_components": 126},
    "62 components for z": {"hyper_components": 62},
}
"""The settings that each option changes; the plain fit is that of the paper."""

SHIPPED = "rows, z kept, symmetric"


@dataclasses.dataclass(frozen=True)
class Settings(Output):
    """The settings of this question.

    Attributes:
      images: a folder of photographs; some of them are held out and measured.
      start: the model whose weights are frozen: one that ships, or a file.
      options: of `OPTIONS`; "plain" is always there.
      lambdas: the trade-offs; a BD-rate needs four.
      steps: of each fit.
      learning_rate: Adam's at the start.
      crop_size: side of the crops, a multiple of 64.
      batch_size: crops a step.
      held_out: the fraction of the photographs that is not fitted to, as in the trainings.
      measured: how many of those are measured.
      seed: of the crops.
      folder: where fitted models are kept.
    """

    images: tyro.conf.Positional[Path]
    start: str = shipped.DEFAULT
    options: tuple[str, ...] = tuple(OPTIONS)[1:]
    lambdas: tuple[float, ...] = (0.0025, 0.005, 0.02, 0.08)
    steps: int = 120
    learning_rate: float = 1e-2
    crop_size: int = 128
    batch_size: int = 2
    held_out: float = 0.05
    measured: int = 8
    seed: int = 0
    folder: Path = Path("runs/quantizer_options")

    def __post_init__(self):
        for option in self.options:
            if option not in OPTIONS:
                raise unknown_name("option", option, tuple(OPTIONS))
        self.refit_settings(PLAIN)

    def refit_settings(self, option: str) -> RefitSettings:
        """How an option's quantizers are fitted."""
        shared = ("lambdas", "steps", "learning_rate", "crop_size", "batch_size", "seed")
        return RefitSettings(**{name: getattr(self, name) for name in shared}, **{**AS_PUBLISHED, **OPTIONS[option]})


class OptionPoint(NamedTuple):
    """A row of quantizer_options.csv: means over the photographs; `bpp` counts the bytes of real streams.

    `objective` is bpp + λ·MSE; `change_percent` is its own against the plain fit's, `bd_rate_percent` the whole
    curve's.
    """

    option: str
    rd_lambda: float
    bpp: float
    psnr_db: float
    objective: float
    change_percent: float
    bd_rate_percent: float


def fitted_model(settings: Settings, option: str) -> Bundle:
    """An option's model, from its file if it was fitted before."""
    path = shipped.path_of(settings.start)
    start, refit_settings = load_bundle(path), settings.refit_settings(option)

    def fitted() -> Quantizers:
        photographs, _ = data.load_folder(settings.images, settings.held_out, settings.crop_size)
        batches = data.crop_batches(photographs, settings.crop_size, settings.batch_size, settings.seed)
        return fit_quantizers(
            CodecModel(start.config), start.params, batches, refit_settings, start.rd_lambda, settings.seed,
            f"refit {option}",
        )  # fmt: skip

    decisive = [dataclasses.asdict(refit_settings), settings.held_out, settings.seed]
    origin = Origin(files_digest([path]), decisive, files_digest(image_paths(settings.images)))
    return find_or_make(
        kept_path(settings.folder, option, origin, ".safetensors"),
        fitted,
        lambda path, quantizers: save_refitted(path, start, settings.lambdas, quantizers),
        load_bundle,
    )


def measured_points(option: str, codec: Codec, photographs: dict) -> list[OptionPoint]:
    """A model at its fitted rates, not yet compared."""
    measured = []
    for image in tqdm(photographs.values(), desc=f"measure {option}", unit="image"):
        analysed = codec.analyse(image)
        streams = [codec.code(analysed, rate) for rate in range(len(codec.bundle.lambdas))]
        decoded = codec.decompress_batch(streams)
        measured.append(
            [
                (8 * len(stream) / image[..., 0].size, psnr(shown, image), mean_squared_error(shown, image))
                for stream, shown in zip(streams, decoded, strict=True)
            ]
        )
    means = np.mean(measured, axis=0).tolist()
    return [
        OptionPoint(option, rd_lambda, bpp, psnr_db, bpp + rd_lambda * mse, 0.0, 0.0)
        for rd_lambda, (bpp, psnr_db, mse) in zip(codec.bundle.lambdas, means, strict=True)
    ]


def compared(points: list[OptionPoint], plain: list[OptionPoint]) -> list[OptionPoint]:
    """An option's rows, against the plain fit's."""
    bd_rate = bd_rate_of(points, plain)
    return [
        point._replace(change_percent=100 * (point.objective / reference.objective - 1), bd_rate_percent=bd_rate)
        for point, reference in zip(points, plain, strict=True)
    ]


def draw(rows: list[OptionPoint], path: Path) -> None:
    """Draws the change of bpp + λ·MSE, a line an option; the shipped option is blue."""
    figure, axes = plt.subplots(figsize=(6.5, 4.6))
    options = [option for option in dict.fromkeys(row.option for row in rows) if option != PLAIN]
    styles = itertools.cycle([(shade, marker) for marker in "os^" for shade in ("0", "0.35", "0.6")])
    labels = []
    for option, (shade, marker) in zip(options, styles, strict=False):
        own = [row for row in rows if row.option == option]
        color = "tab:blue" if option == SHIPPED else shade
        axes.plot([r.rd_lambda for r in own], [r.change_percent for r in own], marker=marker, color=color, markersize=4)
        text = f"{option}: BD-rate {own[0].bd_rate_percent:+.1f} %"
        labels.append(Label(own[-1].rd_lambda, own[-1].change_percent, text, color))
    axes.axhline(0, color="0.8", linewidth=1, zorder=0)
    axes.set(xscale="log", xlabel="λ", ylabel="change of bpp + λ·MSE in % (file sizes)")
    axes.set_title("What options of the quantizers change, against the plain fit", fontsize=10)
    lambdas = list(dict.fromkeys(row.rd_lambda for row in rows))
    axes.set_xticks(lambdas, [f"{rd_lambda:g}" for rd_lambda in lambdas])
    axes.minorticks_off()
    light_grid(axes)
    write_labels(axes, labels)
    save_picture(figure, path)


def main(settings: Settings) -> None:
    answer = Answer(settings, "quantizer_options.csv", "quantizer_options.png")
    training = EqualTraining(held_out=settings.held_out, measured=settings.measured)
    photographs = held_out_photographs(training, settings.images)
    rows: list[OptionPoint] = []
    for option in dict.fromkeys((PLAIN, *settings.options)):
        points = measured_points(option, Codec(fitted_model(settings, option)), photographs)
        rows += compared(points, rows[: len(points)] or points)
        answer.write("quantizer_options.csv", rows)
        changes = "  ".join(f"{row.change_percent:+.2f} %" for row in rows[-len(points) :])
        print(f"{option}: BD-rate {rows[-1].bd_rate_percent:+.2f} %, bpp + λ·MSE by λ {changes}", flush=True)
    draw(rows, answer.path("quantizer_options.png"))
    print(answer)


if __name__ == "__main__":
    run(main, Settings, __doc__)
