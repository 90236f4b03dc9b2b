"""How much of a photograph can a number of latent channels hold, before any quantization?

    python -m experiments.questions.channel_ceiling PHOTOGRAPHS

A linear codec's channels are the principal axes of 16×16×3 patches, and trainings begin with them (the KLT start).
The axes are those of the photographs to train on; the PSNR is that of the photographs held out, projected onto the
first axes. Writes results/channel_ceiling.csv, a row a photograph and number of channels, and
results/channel_ceiling.png.
"""

import dataclasses
from pathlib import Path
from typing import NamedTuple

import matplotlib.pyplot as plt
import numpy as np
import tyro
from jaxtyping import Float
from tqdm import tqdm

from experiments.lab.command_line import run
from experiments.lab.pictures import light_grid, save_picture
from experiments.lab.provenance import Answer, Output
from lic_jax.distortion.base import psnr
from lic_jax.io.images import RGB
from lic_jax.training.data import load_folder
from lic_jax.training.klt import PATCH, principal_axes

EVERY = 8
"""The axes are computed from every eighth photograph."""


@dataclasses.dataclass(frozen=True)
class Settings(Output):
    """The settings of this question.

    Attributes:
      images: a folder of photographs; some of them are held out.
      channels: how many of the axes.
      held_out: the fraction of the photographs that is measured.
      seed: of the patches.
    """

    images: tyro.conf.Positional[Path]
    channels: tuple[int, ...] = (48, 64, 96, 128, 160, 192, 256, 320)
    held_out: float = 0.05
    seed: int = 0


class Row(NamedTuple):
    """A row of channel_ceiling.csv."""

    image: str
    channels: int
    psnr_db: float


def ceilings(photograph: RGB, axes: Float[np.ndarray, "768 count"], channels: tuple[int, ...]) -> list[float]:
    """The PSNR of a photograph's whole patches, projected onto the first axes."""
    height, width = (side // PATCH * PATCH for side in photograph.shape[:2])
    blocks = photograph[:height, :width].reshape(height // PATCH, PATCH, width // PATCH, PATCH, 3)
    patches = blocks.transpose(0, 2, 1, 3, 4).reshape(-1, PATCH * PATCH * 3) - 127.5
    kept = np.cumsum(np.sum((patches @ axes) ** 2, axis=0))
    lost = np.sum(patches**2) - kept
    return [float(psnr(lost[count - 1] / patches.size)) for count in channels]


def draw(rows: list[Row], path: Path) -> None:
    """The mean, and the thirds of the photographs from the busiest on."""
    figure, axes = plt.subplots(figsize=(6.4, 4.2))
    channels = list(dict.fromkeys(row.channels for row in rows))
    sorted_psnr = np.array([sorted(row.psnr_db for row in rows if row.channels == count) for count in channels])
    thirds = np.array_split(sorted_psnr, 3, axis=1)
    for name, third, style in zip(("busiest", "middle", "smoothest"), thirds, (":", "--", "-."), strict=True):
        axes.plot(channels, third.mean(axis=1), style, color="0.45", label=f"the {name} third")
    axes.plot(channels, sorted_psnr.mean(axis=1), "o-", color="tab:blue", label="all photographs held out")
    axes.set(xlabel="channels", ylabel="PSNR in dB, mean over photographs", xticks=channels)
    axes.set_title("Photographs projected onto the first principal axes of 16×16×3 pixels", fontsize=10)
    axes.legend(frameon=False, fontsize=8)
    light_grid(axes)
    save_picture(figure, path)


def main(settings: Settings) -> None:
    answer = Answer(settings, "channel_ceiling.csv", "channel_ceiling.png")
    photographs, held_out = load_folder(settings.images, settings.held_out, PATCH)
    axes, _ = principal_axes(photographs.photographs[::EVERY], max(settings.channels), settings.seed)
    rows = []
    for name, photograph in tqdm(zip(held_out.names, held_out.photographs, strict=True), total=len(held_out)):
        found = ceilings(photograph, axes, settings.channels)
        rows += [Row(name, *point) for point in zip(settings.channels, found, strict=True)]
    answer.write("channel_ceiling.csv", rows)
    draw(rows, answer.path("channel_ceiling.png"))
    print("channels  PSNR dB: all, and by thirds from the busiest on")
    for count in settings.channels:
        own = sorted(row.psnr_db for row in rows if row.channels == count)
        thirds = "  ".join(f"{np.mean(third):5.1f}" for third in np.array_split(own, 3))
        print(f"{count:8}  {np.mean(own):5.1f}   {thirds}")
    print(answer)


if __name__ == "__main__":
    run(main, Settings, __doc__)
