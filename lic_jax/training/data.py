"""Makes batches of random crops from a folder of photographs, by grain.

The pipeline is random-access: batch i is a function of (folder, seed, i) alone. So a training that resumes at step i
sees exactly the same batches as one without a break.
"""

import dataclasses
import hashlib
from pathlib import Path

import grain
import numpy as np
from jaxtyping import UInt8
from PIL import Image
from tqdm import tqdm

from lic_jax.errors import LicError
from lic_jax.io.images import image_paths, read_image


@dataclasses.dataclass(frozen=True, eq=False)
class PhotographFolder:
    """The decoded photographs of a folder, and the names of skipped files with the reason."""

    names: tuple[str, ...]
    photographs: tuple[UInt8[np.ndarray, "_height _width 3"], ...]
    skipped: tuple[tuple[str, str], ...]

    def __len__(self) -> int:
        return len(self.photographs)

    def __getitem__(self, index: int) -> UInt8[np.ndarray, "height width 3"]:
        return self.photographs[index]


def load_photographs(paths: list[Path], smallest_side: int) -> PhotographFolder:
    """Decodes photographs into memory as RGB, as `images.read_image` does.

    Args:
      paths: image files.
      smallest_side: images with a shorter side are skipped, like images that cannot be read as 8-bit RGB.

    Raises:
      LicError: no photograph is left.
    """
    names, photographs, skipped = [], [], []
    for path in paths:
        try:
            pixels = read_image(path)
        except LicError as error:
            skipped.append((path.name, str(error)))
            continue
        if min(pixels.shape[:2]) < smallest_side:
            skipped.append((path.name, f"{pixels.shape[1]}×{pixels.shape[0]} is smaller than {smallest_side} pixels"))
            continue
        names.append(path.name)
        photographs.append(pixels)
    if not paths:
        raise LicError("there are no photographs to load; give a folder with more images")
    if not photographs:
        name, reason = skipped[0]
        raise LicError(f"none of the {len(paths)} images can be used ({name}: {reason}); give other photographs")
    return PhotographFolder(tuple(names), tuple(photographs), tuple(skipped))


def load_folder(folder: Path, held_out: float, smallest_side: int) -> tuple[PhotographFolder, PhotographFolder]:
    """Loads a folder's photographs: (to train on, held out). Skipped files are counted and named on the terminal.

    If the held-out part is empty or unusable, validation uses the training photographs.

    Raises:
      LicError: no such folder, or no photograph in it to train on.
    """
    training_paths, held_out_paths = split_held_out(image_paths(folder), held_out)
    training = load_photographs(training_paths, smallest_side)
    skipped = list(training.skipped)
    try:
        validation = load_photographs(held_out_paths, smallest_side)
        skipped += validation.skipped
    except LicError as error:
        reason = f"no held-out photograph can be used ({error})"
        if not held_out_paths:
            reason = "the folder holds too few photographs to hold one out"
        tqdm.write(f"{reason}; validating on those to train on")
        validation = training
    for name, reason in skipped:
        tqdm.write(f"skipped {name}: {reason}")
    tqdm.write(f"{len(training)} photographs to train on, {len(validation)} to validate on, {len(skipped)} skipped")
    return training, validation


def split_held_out(paths: list[Path], fraction: float) -> tuple[list[Path], list[Path]]:
    """Splits files into (training, held out) by a hash of the name, so that new files move none of the others."""

    def position(path: Path) -> float:
        return int.from_bytes(hashlib.sha256(path.name.encode()).digest()[:4]) / 2**32

    training = [path for path in paths if position(path) >= fraction]
    held_out = [path for path in paths if position(path) < fraction]
    return training, held_out


@dataclasses.dataclass(frozen=True)
class RandomCrop(grain.transforms.RandomMap):
    """Cuts a random square of a photograph at a random smaller scale, mirrored half of the time.

    The scale is log-uniform in [min_scale, 1], as far as the photograph is large enough. Downscaling shows textures at
    more sizes and hides the blocks of the photographs' own JPEG compression.
    """

    size: int
    min_scale: float = 0.5

    def random_map(  # pyright: ignore[reportIncompatibleMethodOverride]  # grain's has no types: it seems to return None
        self, photograph: UInt8[np.ndarray, "height width 3"], rng: np.random.Generator
    ) -> UInt8[np.ndarray, "size size 3"]:
        height, width, _ = photograph.shape
        largest = min(height, width, self.size / self.min_scale)
        side = min(int(self.size * (largest / self.size) ** rng.random()), height, width)
        top, left = rng.integers(height - side + 1), rng.integers(width - side + 1)
        crop = photograph[top : top + side, left : left + side]
        if side != self.size:
            crop = np.asarray(Image.fromarray(crop).resize((self.size, self.size), Image.Resampling.LANCZOS))
        return np.ascontiguousarray(crop[:, ::-1] if rng.random() < 0.5 else crop)


def crop_batches(
    photographs: PhotographFolder, crop_size: int, batch_size: int, seed: int, start: int = 0, min_scale: float = 0.5
):
    """Returns an endless iterator over batches uint8 [batch, crop, crop, 3], from batch `start` on."""
    return random_batches(photographs, RandomCrop(crop_size, min_scale), batch_size, seed, start)


def random_batches(source, cut: grain.transforms.RandomMap, batch_size: int, seed: int, start: int):
    """Returns an endless iterator over batches of random cuts of a source's arrays, from batch `start` on.

    Batch i is a function of (source, seed, i) alone.
    """
    dataset = (
        grain.MapDataset.source(source)
        .seed(seed)
        .shuffle()
        .repeat()
        .random_map(cut)
        .batch(batch_size, drop_remainder=True)  # of an endless row nothing remains; else grain overflows on size 1
    )
    options = grain.ReadOptions(num_threads=2, prefetch_buffer_size=8)
    return iter(dataset[start:].to_iter_dataset(options))


def fixed_crops(
    photographs: PhotographFolder, crop_size: int, count: int, seed: int
) -> UInt8[np.ndarray, "count size size 3"]:
    """Cuts a fixed set of crops at full scale, for validation: crop i is from photograph i mod len."""
    rng = np.random.default_rng(seed)
    crops = []
    for index in range(count):
        photograph = photographs[index % len(photographs)]
        top = rng.integers(photograph.shape[0] - crop_size + 1)
        left = rng.integers(photograph.shape[1] - crop_size + 1)
        crops.append(photograph[top : top + crop_size, left : left + crop_size])
    return np.stack(crops)
