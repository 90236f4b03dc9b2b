"""Latents of a frozen analysis, kept in memory: what a prior is trained on, many times faster than on images."""

import dataclasses
from collections.abc import Iterator, Sequence
from functools import partial

import grain
import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image
from tqdm import tqdm

from lic_jax.config import HYPER_STRIDE, LATENTS_PER_HYPER
from lic_jax.distortion.base import to_network_domain
from lic_jax.model import CodecModel
from lic_jax.training.data import random_batches
from lic_jax.transforms.buckets import Bucketed

SMALLEST_SCALE = 0.5


def views(
    photographs: Sequence[UInt8[np.ndarray, "_height _width 3"]], smallest_side: int, seed: int
) -> Iterator[UInt8[np.ndarray, "_rows _columns 3"]]:
    """Yields each photograph twice: as it is, and mirrored at a random smaller scale; sides are multiples of 64.

    Args:
      photographs: images of any sizes; smaller ones than the side are left out.
      smallest_side: no view has a shorter side, in pixels.
      seed: the seed of the scales, log-uniform from a half.
    """
    rng = np.random.default_rng(seed)
    for photograph in photographs:
        side = min(photograph.shape[:2])
        scale = max(SMALLEST_SCALE ** rng.random(), smallest_side / side)
        if side < smallest_side:
            continue
        smaller = Image.fromarray(photograph[:, ::-1])
        width, height = (max(smallest_side, round(scale * length)) for length in smaller.size)
        for view in (photograph, np.asarray(smaller.resize((width, height), Image.Resampling.LANCZOS))):
            yield view[: view.shape[0] // HYPER_STRIDE * HYPER_STRIDE, : view.shape[1] // HYPER_STRIDE * HYPER_STRIDE]


def latents_of(
    model: CodecModel,
    params: dict,
    photographs: Sequence[UInt8[np.ndarray, "_height _width 3"]],
    smallest_side: int,
    seed: int,
) -> list[Float[np.ndarray, "_h _w latent"]]:
    """Computes the latents of `views` in half precision, about 0.6 MB a photograph of 0.25 megapixels.

    Args:
      model, params: the anchor.
      photographs, smallest_side, seed: as in `views`.
    """
    encode = Bucketed(partial(model.apply, method="encode"), HYPER_STRIDE, to_network_domain)
    variables = {"params": params}
    seen = tqdm(views(photographs, smallest_side, seed), total=2 * len(photographs), desc="latents", unit="image")
    return [np.asarray(encode(variables, [view[None]])[0][0][0], np.float16) for view in seen]


@dataclasses.dataclass(frozen=True)
class RandomWindow(grain.transforms.RandomMap):
    """Cuts a random square of a latent, at whole positions of its hyper latent."""

    side: int

    def random_map(  # pyright: ignore[reportIncompatibleMethodOverride]  # grain's has no types: it seems to return None
        self, latent: Float[np.ndarray, "h w latent"], rng: np.random.Generator
    ) -> Float[np.ndarray, "side side latent"]:
        top, left = (
            LATENTS_PER_HYPER * rng.integers((length - self.side) // LATENTS_PER_HYPER + 1)
            for length in latent.shape[:2]
        )
        return latent[top : top + self.side, left : left + self.side].astype(np.float32)


def latent_batches(
    latents: Sequence[Float[np.ndarray, "_h _w latent"]], side: int, batch_size: int, seed: int, start: int = 0
):
    """Returns an endless iterator over batches float32 [batch, side, side, C], from batch `start` on."""
    return random_batches(latents, RandomWindow(side), batch_size, seed, start)
