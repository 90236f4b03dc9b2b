"""Curves of rate and distortion: comparing them, and drawing ours beside JPEG, WebP and AVIF."""

from pathlib import Path
from typing import NamedTuple

import matplotlib.pyplot as plt
import numpy as np
from tqdm import tqdm

from experiments.lab.pictures import save_picture
from lic_jax.codec.codec import Codec
from lic_jax.config import ModelConfig
from lic_jax.distortion.base import mse_of_psnr, psnr
from lic_jax.errors import LicError
from lic_jax.evaluation.classical import CLASSICAL, measure
from lic_jax.evaluation.measurement import measure_image
from lic_jax.evaluation.rate_distortion import bd_rate
from lic_jax.io.images import RGB
from lic_jax.model import CodecModel
from lic_jax.training.curve import evaluate_quantizers
from lic_jax.training.refit_objective import Quantizers


class CodecPoint(NamedTuple):
    """A codec at one rate: the mean over some photographs. For reference codecs `rate` is their quality."""

    codec: str
    kind: str
    rate: float
    bpp: float
    psnr_db: float
    ms_ssim: float


def reference_curves(photographs: dict[str, RGB]) -> list[CodecPoint]:
    """JPEG, WebP and AVIF at their qualities, means over the photographs."""
    points = []
    for name, codec in CLASSICAL.items():
        for quality in tqdm(codec.qualities, desc=name, unit="quality"):
            measured = np.mean([measure(codec, image, quality) for image in photographs.values()], axis=0)
            points.append(CodecPoint(name, "reference", quality, *measured.tolist()))
    return points


OTHERS = {
    "avif": ("-", "0.45", "AVIF 4:4:4"),
    "webp": ("--", "0.45", "WebP"),
    "jpeg": (":", "0.45", "JPEG 4:4:4"),
    "small": ("-.", "tab:blue", "lic_jax, the model small"),
}
"""The line, colour and label of the curves beside our own."""


def draw_curves(points: list[CodecPoint], path: Path, title: str) -> None:
    """Rate against PSNR, readable in greyscale."""
    figure, axes = plt.subplots(figsize=(7.2, 4.8), layout="constrained")
    for codec, (style, color, label) in OTHERS.items():
        curve = sorted((point.bpp, point.psnr_db) for point in points if point.codec == codec)
        if curve:
            axes.plot(*zip(*curve, strict=True), style, color=color, linewidth=1.6, label=label)
    ours = sorted((point.bpp, point.psnr_db, point.kind) for point in points if point.codec == "lic_jax")
    axes.plot([bpp for bpp, _, _ in ours], [psnr for _, psnr, _ in ours], "-", color="tab:blue", linewidth=1.8)
    for kind, face, label in (
        ("fitted", "tab:blue", "lic_jax: one anchor, refitted quantizers"),
        ("interpolated", "white", "lic_jax: quantizers interpolated between them"),
    ):
        curve = [(bpp, psnr) for bpp, psnr, own_kind in ours if own_kind == kind]
        axes.plot(*zip(*curve, strict=True), "o", color="tab:blue", markerfacecolor=face, markersize=5.5, label=label)
    widest = max(bpp for bpp, _, _ in ours) * 1.15
    visible = [point.psnr_db for point in points if point.bpp <= widest]
    axes.set(xlim=(0, widest), ylim=(min(visible) - 0.5, max(visible) + 0.5))
    axes.set(xlabel="rate in bits per pixel (file size)", ylabel="PSNR in dB", title=title)
    axes.grid(color="0.9")
    axes.legend(frameon=False, loc="lower right")
    save_picture(figure, path)


def print_bd_rates(points: list[CodecPoint], ours: str = "lic_jax") -> None:
    """Prints the BD-rate of one of our curves against each reference codec, or why it is undefined."""
    curve = {
        codec: np.array([(point.bpp, point.psnr_db) for point in points if point.codec == codec]).T
        for codec in (ours, *CLASSICAL)
    }
    for codec in CLASSICAL:
        try:
            print(f"{ours}: BD-rate against {codec} {bd_rate(*curve[ours], *curve[codec]):+.1f} %")
        except LicError as error:
            print(f"{ours}: BD-rate against {codec} undefined ({error})")


class CurvePoint(NamedTuple):
    """A fitted rate: means over some photographs, by real streams; `objective` is bpp + λ·MSE."""

    rd_lambda: float
    bpp: float
    psnr_db: float
    objective: float


def real_curve(codec: Codec, photographs: dict[str, RGB], description: str) -> list[CurvePoint]:
    """The codec's fitted rates on photographs, by real streams."""
    rates = range(len(codec.bundle.lambdas))
    progress = tqdm(photographs.items(), desc=description, unit="image")
    rows = [measure_image(codec, name, image, rates) for name, image in progress]
    bpp, psnr_db = np.array([[(row.bpp, row.psnr_db) for row in image_rows] for image_rows in rows]).transpose(2, 0, 1)
    mse = mse_of_psnr(psnr_db)
    means = (term.mean(axis=0).tolist() for term in (bpp, psnr_db, bpp + np.asarray(codec.bundle.lambdas) * mse))
    return [CurvePoint(*point) for point in zip(codec.bundle.lambdas, *means, strict=True)]


def estimated_points(
    config: ModelConfig, params: dict, quantizers: Quantizers, image: RGB, lambdas: tuple[float, ...]
) -> list[tuple[float, float]]:
    """Estimated bpp and PSNR in dB of an image with each of some quantizers; its sides are multiples of 64."""
    bpp, mse = evaluate_quantizers(CodecModel(config), params, quantizers, image[None], lambdas, batch_size=1)
    return [(float(rate), float(psnr(error))) for rate, error in zip(bpp, mse, strict=True)]


def bd_rate_of(points, reference) -> float:
    """The BD-rate in percent of points against others; NaN, with the reason on the terminal, where it is undefined."""
    columns = [[getattr(p, name) for p in curve] for curve in (points, reference) for name in ("bpp", "psnr_db")]
    try:
        return bd_rate(*columns)
    except LicError as error:
        tqdm.write(f"no BD-rate: {error}")
        return float("nan")


def cost_against(points, reference, rd_lambda: float) -> float:
    """How much more bpp + λ·MSE the best of some points has than the best of others, in percent.

    MSE is read off the mean PSNR. Unlike a BD-rate it is defined for curves that have no quality in common.
    """
    ours, others = (min(p.bpp + rd_lambda * mse_of_psnr(p.psnr_db) for p in curve) for curve in (points, reference))
    return 100 * (ours / others - 1)
