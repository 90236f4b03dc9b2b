"""A frozen anchor and the crops of an experiment, analysed once for every fit."""

import dataclasses
import functools
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, UInt8

from experiments.lab.kept import files_digest
from experiments.lab.photographs import spread
from experiments.lab.samples import sample_photographs
from lic_jax.distortion.base import to_network_domain
from lic_jax.errors import LicError
from lic_jax.io.images import RGB, image_paths, read_image
from lic_jax.model import CodecModel
from lic_jax.training import data
from lic_jax.training.settings import AS_PUBLISHED, RefitSettings, check_counts
from lic_jax.zoo import shipped
from lic_jax.zoo.bundle import Bundle, load_bundle


@dataclasses.dataclass(frozen=True)
class FitSettings:
    """The settings that all fits of an experiment share. The defaults suit two processor cores.

    Attributes:
      images: a folder of photographs, some of which are held out to judge on. Without a folder, fits see the left
        halves of scikit-image's sample photographs and are judged on the right halves.
      model: a shipped model's name or a file; its weights are the anchor.
      folder: where fits are kept.
      steps: of a fit.
      batch_size: crops a step.
      crops: to fit to.
      judged_crops: held out, to judge on.
      crop_size: side of the crops, a multiple of 64.
      held_out: the fraction of the photographs that is not fitted to.
      measured: the number of photographs held out that are compressed, if the experiment measures real streams.
      seed: of the crops.
      as_published: fits STanH as in its paper, not as it ships: one staircase for all latents, free on both sides, and
        one for hyper latents.
    """

    images: Path | None = None
    model: str = shipped.DEFAULT
    folder: Path = Path("runs/refits")
    steps: int = 60
    batch_size: int = 4
    crops: int = 256
    judged_crops: int = 64
    crop_size: int = 128
    held_out: float = 0.05
    measured: int = 6
    seed: int = 0
    as_published: bool = False

    def __post_init__(self):
        check_counts(self, 1, "crops", "judged_crops", "measured")
        self.refit_settings()

    def check_curve(self, lambdas: tuple[float, ...]) -> None:
        """Raises LicError unless these λ can be fitted and make a curve."""
        if len(lambdas) < 4:
            raise LicError(f"lambdas {lambdas} are too few for a BD-rate; give four or more")
        self.refit_settings(lambdas=lambdas)

    def refit_settings(self, **changes) -> RefitSettings:
        """The settings of one fit: the shared ones with these changes."""
        shared = {name: getattr(self, name) for name in ("steps", "batch_size", "crop_size")}
        return RefitSettings(**{**(AS_PUBLISHED if self.as_published else {}), **shared, **changes})


class Encoded(NamedTuple):
    """Crops and the latents that the anchor's analyses compute from them."""

    pixels: UInt8[np.ndarray, "count size size 3"]
    latent: Float[np.ndarray, "count h w latent"]
    hyper_latent: Float[np.ndarray, "count h/4 w/4 hyper"]

    def batch(self, index) -> tuple[Array, Array, Array]:
        """(image in the network's domain, latent, hyper latent) of some crops, as an objective takes them."""
        return to_network_domain(jnp.asarray(self.pixels[index])), self.latent[index], self.hyper_latent[index]


class Anchor(NamedTuple):
    """A frozen model and the crops of an experiment, analysed by it.

    Attributes:
      bundle: the model's weights and its own quantizers.
      model: its functions.
      weights: the digest of its file.
      to_fit: crops that quantizers are fitted to.
      to_judge: crops of other photographs, that fits are judged on.
    """

    bundle: Bundle
    model: CodecModel
    weights: str
    to_fit: Encoded
    to_judge: Encoded


def photographs_of(settings: FitSettings) -> tuple[dict[str, RGB], dict[str, RGB]]:
    """Photographs by name: (to fit to, held out). Of a folder, at most one photograph for each crop.

    Raises:
      LicError: no such folder, or no photograph of it is held out.
    """
    if settings.images is None:
        samples = sample_photographs()
        middle = {name: image.shape[1] // 2 for name, image in samples.items()}
        return (
            {name: image[:, : middle[name]] for name, image in samples.items()},
            {name: image[:, middle[name] :] for name, image in samples.items()},
        )
    to_fit, held_out = data.split_held_out(image_paths(settings.images), settings.held_out)
    if not held_out or not to_fit:
        part = "held out; raise" if to_fit else "left to fit to; lower"
        raise LicError(f"no photograph of {settings.images} is {part} --held-out or give a folder of more")
    return tuple(
        {path.name: image for path in spread(paths, count) if min((image := read_image(path)).shape[:2]) >= side}
        for paths, count, side in (
            (to_fit, settings.crops, settings.crop_size),
            (held_out, settings.judged_crops, settings.crop_size),
        )
    )


def crops_of(photographs: dict[str, RGB], size: int, count: int, seed: int) -> UInt8[np.ndarray, "count size size 3"]:
    """Crops at full scale of photographs in turn.

    Raises:
      LicError: none is large enough.
    """
    usable = {name: image for name, image in photographs.items() if min(image.shape[:2]) >= size}
    if not usable:
        raise LicError(f"no image is as large as a crop of {size}×{size}; give larger ones or a smaller --crop-size")
    return data.fixed_crops(data.PhotographFolder(tuple(usable), tuple(usable.values()), ()), size, count, seed)


@functools.partial(jax.jit, static_argnums=0)
def _encode(model: CodecModel, params: dict, pixels: Array):
    return model.apply({"params": params}, to_network_domain(pixels), method="encode")


def encoded(model: CodecModel, params: dict, crops: UInt8[np.ndarray, "count size size 3"]) -> Encoded:
    """Crops with their latents."""
    batches = [_encode(model, params, batch) for batch in np.array_split(crops, -(-len(crops) // 16))]
    latent, hyper_latent = (np.concatenate(parts) for parts in zip(*batches, strict=True))
    return Encoded(crops, latent, hyper_latent)


def load_anchor(settings: FitSettings, path: Path | None = None) -> Anchor:
    """Loads the experiment's anchor, or another file's, and analyses crops to fit to and crops to judge on."""
    path = path or shipped.path_of(settings.model)
    bundle = load_bundle(path)
    model = CodecModel(bundle.config)
    counts = (settings.crops, settings.judged_crops)
    parts = [
        encoded(model, bundle.params, crops_of(photographs, settings.crop_size, count, settings.seed))
        for photographs, count in zip(photographs_of(settings), counts, strict=True)
    ]
    return Anchor(bundle, model, files_digest([path]), *parts)
