"""Is a shallow decoder better than a deep one that was narrowed until it costs the same?

The shallow one is `two_layer`. The deep one, `cnn`, has four transposed convolutions with LeakyReLU between them, all
of the one width that brings its cost to the shallow one's, counted by `lic_jax.evaluation.complexity`; wider ones may
stand beside it. All are trained equally (`experiments.lab.trainings`): same analysis, same crops, same steps.

Only the start cannot be equal: the two-layer synthesis begins as the inverse KLT, a deep one at random. The steps in
which each synthesis learns alone are meant to make up for that; the rest of the gap is part of the answer, and a longer
training (`--synthesis-steps`, `--steps`) may answer differently.

    python -m experiments.questions.shrunk_decoder PHOTOGRAPHS

writes results/shrunk_decoder.csv, a row a model and λ, and results/shrunk_decoder.png. Rates are real streams of
photographs held out of the folder.
"""

import dataclasses
from pathlib import Path

import matplotlib.pyplot as plt
import tyro

from experiments.lab.command_line import run
from experiments.lab.curves import bd_rate_of
from experiments.lab.measurements import MeasuredPoint, ReferencePoint, jpeg_points, measured_models
from experiments.lab.pictures import Label, light_grid, save_picture, write_labels
from experiments.lab.provenance import Answer, Output
from experiments.lab.trainings import EqualTraining, model_name, narrowed, synthesis_flops
from lic_jax.config import ModelConfig

STYLES = (("o-", "tab:blue"), ("s--", "black"), ("^--", "0.4"), ("v--", "0.6"))
"""Of the curves, the shallow one first."""


@dataclasses.dataclass(frozen=True)
class Settings(Output):
    """The settings of this question.

    Attributes:
      images: a folder of photographs; some of them are held out and measured.
      deep: the deep synthesis: "cnn", "gdn" or "elic".
      budgets: the cost that each deep one may have, in multiples of the shallow one's.
      hidden_channels: of the shallow one.
      training: the settings that all models share.
    """

    images: tyro.conf.Positional[Path]
    deep: str = "cnn"
    budgets: tuple[float, ...] = (1, 4)
    hidden_channels: int = 24
    training: tyro.conf.OmitArgPrefixes[EqualTraining] = EqualTraining()

    def models(self) -> list[ModelConfig]:
        """The shallow one, then the deep ones by cost."""
        shallow = self.training.model("two_layer", self.hidden_channels)
        deep, cost = self.training.model(self.deep, (1, 1, 1)), synthesis_flops(shallow)
        return [shallow, *(narrowed(deep, budget * cost) for budget in sorted(self.budgets))]


def draw(curves: dict[str, list[MeasuredPoint]], jpeg: list[ReferencePoint], path: Path) -> None:
    """Rate against PSNR, each curve named at its end."""
    figure, axes = plt.subplots(figsize=(7.6, 4.8))
    points = [point for curve in curves.values() for point in curve]
    low, high = min(p.psnr_db for p in points) - 0.5, max(p.psnr_db for p in points) + 0.5
    widest = max(p.bpp for p in points)
    visible = [point for point in jpeg if point.bpp <= widest and low <= point.psnr_db <= high]
    labels = []
    for (name, curve), (style, color) in zip(curves.items(), STYLES, strict=False):
        axes.plot([p.bpp for p in curve], [p.psnr_db for p in curve], style, color=color, linewidth=1.7)
        kind, width = name.split("_n")
        text = f"{kind.replace('_', '-')}, width {width.split('_')[0]}: {curve[0].synthesis_flops:,.0f} FLOPs/pixel"
        labels.append(Label(widest, curve[-1].psnr_db, text, color))
    if visible:
        axes.plot([p.bpp for p in visible], [p.psnr_db for p in visible], ":", color="0.5")
        labels.append(Label(widest, visible[-1].psnr_db, "JPEG 4:4:4", "0.5"))
    axes.set(xlim=(0, widest * 1.75), ylim=(low, high))
    write_labels(axes, labels)
    axes.set(xlabel="rate in bits per pixel (file sizes)", ylabel="PSNR in dB")
    axes.set_title("Equal steps and crops; two-layer starts at the KLT, the deep ones at random", fontsize=10)
    light_grid(axes)
    save_picture(figure, path)


def main(settings: Settings) -> None:
    answer = Answer(settings, "shrunk_decoder.csv", "shrunk_decoder.png")
    models = settings.models()
    curves = measured_models(settings.training, models, settings.images)
    jpeg = jpeg_points(settings.training, settings.images)
    answer.write("shrunk_decoder.csv", [point for curve in curves.values() for point in curve])
    draw(curves, jpeg, answer.path("shrunk_decoder.png"))
    shallow = curves[model_name(models[0])]
    print("model         FLOPs per pixel  objective by λ                  BD-rate % against the shallow one, JPEG")
    for name, curve in curves.items():
        objectives = "  ".join(f"{point.objective:.3f}" for point in curve)
        rates = f"{bd_rate_of(curve, shallow):+.1f}  {bd_rate_of(curve, jpeg):+.1f}"
        print(f"{name:18}  {curve[0].synthesis_flops:9,.0f}  {objectives}  {rates}")
    print(answer)


if __name__ == "__main__":
    run(main, Settings, __doc__)
