"""Your own data: any iterator of uint8 batches trains and refits. Here it draws shaded discs."""

from collections.abc import Iterator

import numpy as np

from lic_jax.training.loop import Data


def disc(rng: np.random.Generator, side: int) -> np.ndarray:
    """A shaded disc on a shaded ground, uint8 [side, side, 3]."""
    rows, columns = np.mgrid[:side, :side] / side - rng.random(2)[:, None, None]
    inside = (rows**2 + columns**2 < rng.uniform(0.02, 0.2))[..., None]
    ground, slope = rng.uniform(0, 255, (2, 3)), rng.normal(0, 40, (2, 3))
    shade = rows[..., None] * slope[0] + columns[..., None] * slope[1]
    return np.clip(np.where(inside, ground[0], ground[1]) + shade + rng.normal(0, 3, shade.shape), 0, 255).astype(
        np.uint8
    )


def batches(start: int, batch_size: int = 4, side: int = 64, seed: int = 0) -> Iterator[np.ndarray]:
    """Batches from step `start` on; batch i depends on i alone, so a training that resumes sees the same."""
    step = start
    while True:
        rng = np.random.default_rng((seed, step))
        yield np.stack([disc(rng, side) for _ in range(batch_size)])
        step += 1


def discs() -> Data:
    """For `train_anchor(settings, discs(), out)`."""
    rng = np.random.default_rng(1)
    images = [disc(rng, 64) for _ in range(64)]
    return Data(batches, np.stack(images[:16]), images[16:])
