"""Does a larger kernel rid a JPEG-like synthesis of its blocks, and what does it cost?

One transposed convolution with stride 16 makes the image. Kernel 16 tiles it, as JPEG's inverse transform does; a
larger one lets blocks overlap. Everything else is trained equally (`experiments.lab.trainings`), from the same inverse
KLT in the central 16×16 taps: the taps outside begin at zero, and a short training fills them only in part.

    python -m experiments.questions.kernel_size PHOTOGRAPHS

writes results/kernel_size.csv, a row a kernel and λ, and results/kernel_size.png. Rates are real streams of
photographs held out of the folder; blockiness is `lic_jax.evaluation.metrics.blockiness` of the decoded photographs
on the grid of 16 pixels.
"""

import dataclasses
from pathlib import Path
from typing import NamedTuple

import matplotlib.pyplot as plt
import numpy as np
import tyro

from experiments.lab.command_line import run
from experiments.lab.curves import bd_rate_of
from experiments.lab.measurements import MeasuredPoint, held_out_photographs, measured_models
from experiments.lab.pictures import Label, light_grid, save_picture, write_labels
from experiments.lab.provenance import Answer, Output
from experiments.lab.trainings import EqualTraining, model_name
from lic_jax.errors import LicError
from lic_jax.evaluation.metrics import blockiness


@dataclasses.dataclass(frozen=True)
class Settings(Output):
    """The settings of this question.

    Attributes:
      images: a folder of photographs; some of them are held out and measured.
      kernels: the sizes; the first is the one that the others are compared with.
      training: the settings that all models share.
    """

    images: tyro.conf.Positional[Path]
    kernels: tuple[int, ...] = (16, 18, 20, 26, 32)
    training: tyro.conf.OmitArgPrefixes[EqualTraining] = EqualTraining()

    def __post_init__(self):
        if len(set(self.kernels)) < max(2, len(self.kernels)):
            raise LicError(f"kernels {self.kernels} are no comparison; give two or more different sizes")


class KernelPoint(NamedTuple):
    """A row of kernel_size.csv; `bd_rate_percent` is the whole curve's, against the first kernel."""

    kernel: int
    rd_lambda: float
    bpp: float
    psnr_db: float
    ms_ssim: float
    blockiness: float
    photographs_blockiness: float
    objective: float
    synthesis_flops: float
    decoding_flops: float
    bd_rate_percent: float


def rows_of(curves: dict[int, list[MeasuredPoint]], photographs_blockiness: float) -> list[KernelPoint]:
    """The CSV's rows from each kernel's curve."""
    first = next(iter(curves.values()))
    rows = []
    for kernel, curve in curves.items():
        rate = bd_rate_of(curve, first)
        for point in curve:
            _, rd_lambda, bpp, psnr_db, ms_ssim, blocks, *rest = point
            rows.append(
                KernelPoint(kernel, rd_lambda, bpp, psnr_db, ms_ssim, blocks, photographs_blockiness, *rest, rate)
            )
    return rows


def draw(rows: list[KernelPoint], path: Path) -> None:
    """Rate–distortion and blockiness against the kernel's size."""
    figure, (rate_axes, blocks_axes) = plt.subplots(1, 2, figsize=(10.4, 4.2), gridspec_kw={"wspace": 0.28})
    kernels = list(dict.fromkeys(row.kernel for row in rows))
    by_kernel = {row.kernel: row for row in rows}
    rates = [by_kernel[kernel].bd_rate_percent for kernel in kernels]
    rate_axes.plot(kernels, rates, "o-", color="tab:blue", linewidth=1.8)
    for kernel, rate in zip(kernels, rates, strict=True):
        flops = f"{by_kernel[kernel].synthesis_flops:,.0f}"
        rate_axes.annotate(flops, (kernel, rate), (6, 6), textcoords="offset points", fontsize=8, color="0.35")
    rate_axes.axhline(0, color="0.8", linewidth=1)
    rate_axes.set(ylabel=f"BD-rate against kernel {kernels[0]} in % (file sizes)")
    rate_axes.set_title("Rate at equal PSNR; the numbers are FLOPs per pixel", fontsize=10)

    lambdas = list(dict.fromkeys(row.rd_lambda for row in rows))
    labels = []
    for rd_lambda, grey in zip(lambdas, np.linspace(0, 0.6, len(lambdas)), strict=True):
        curve = [row for row in rows if row.rd_lambda == rd_lambda]
        blocks_axes.plot([row.kernel for row in curve], [row.blockiness for row in curve], "o-", color=str(grey))
        text = f"{np.mean([row.bpp for row in curve]):.2f} bpp"
        labels.append(Label(kernels[-1], curve[-1].blockiness, text, str(grey)))
    photographs = rows[0].photographs_blockiness
    blocks_axes.axhline(photographs, color="tab:blue", linestyle=":")
    blocks_axes.annotate(
        "the photographs themselves", (kernels[0], photographs), (0, -3), textcoords="offset points", va="top",
        fontsize=9, color="tab:blue",
    )  # fmt: skip
    blocks_axes.set(ylabel="difference across the 16-pixel grid ÷ elsewhere")
    blocks_axes.set_title("Blockiness of the decoded photographs", fontsize=10)
    for axes in (rate_axes, blocks_axes):
        axes.set(xlabel="kernel size in pixels (stride 16)", xticks=kernels)
        axes.margins(x=0.16, y=0.12)
        light_grid(axes)
    write_labels(blocks_axes, labels)
    save_picture(figure, path)


def main(settings: Settings) -> None:
    answer = Answer(settings, "kernel_size.csv", "kernel_size.png")
    training = settings.training
    photographs = held_out_photographs(training, settings.images)
    configs = {kernel: training.model("jpeg_like", kernels=kernel) for kernel in settings.kernels}
    curves = measured_models(training, list(configs.values()), settings.images)
    rows = rows_of(
        {kernel: curves[model_name(config)] for kernel, config in configs.items()},
        float(np.mean([blockiness(image) for image in photographs.values()])),
    )
    answer.write("kernel_size.csv", rows)
    draw(rows, answer.path("kernel_size.png"))
    print("kernel  FLOPs per pixel  BD-rate %  blockiness by λ")
    for kernel in settings.kernels:
        own = [row for row in rows if row.kernel == kernel]
        blocks = "  ".join(f"{row.blockiness:.3f}" for row in own)
        print(f"{kernel:6}  {own[0].synthesis_flops:15,.0f}  {own[0].bd_rate_percent:+9.1f}  {blocks}")
    print(answer)


if __name__ == "__main__":
    run(main, Settings, __doc__)
