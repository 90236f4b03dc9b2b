"""Many refits of one frozen anchor: crops analysed once, every fit kept, all judged on what none was fitted to.

The anchor's weights never change, so the latents of a set of crops do not either: they are computed once and serve
every fit. A fit lies in `runs/refits/<name>_<digest>`, where the digest is of all that decides it; an experiment that
was killed goes on behind its last whole fit, and experiments that ask for the same fit share it.
"""

import dataclasses
import functools
import hashlib
import io
import itertools
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, UInt8
from tqdm import tqdm

from experiments.lab.samples import sample_photographs
from lic_jax.codec.codec import Codec
from lic_jax.errors import LicError
from lic_jax.evaluation.measurement import measure_image
from lic_jax.io.files import make_folder, read_bytes, write_bytes
from lic_jax.io.images import RGB, image_paths, read_image
from lic_jax.model import CodecModel, model_of, to_network_domain
from lic_jax.training import data
from lic_jax.training.anchor_objective import psnr
from lic_jax.training.deployment import in_fixed_point
from lic_jax.training.refit import refit, start_quantizers
from lic_jax.training.refit_objective import Quantizers, hard_objective
from lic_jax.training.settings import AS_PUBLISHED, RefitSettings, check_counts
from lic_jax.zoo import shipped
from lic_jax.zoo.bundle import Bundle, load_bundle, save_bundle

SMOOTHED = 10
"""Steps whose mean is drawn: batches differ more than fits do."""


@dataclasses.dataclass(frozen=True)
class Refits:
    """What all fits of an experiment have in common. The defaults fit two processor cores.

    Attributes:
      images: a folder of photographs, some of which are held out to judge on; without one, the left halves of
        scikit-image's sample photographs to fit to and the right halves to judge on.
      model: a shipped model's name or a file; its weights are the anchor.
      folder: where fits are kept.
      steps: of a fit.
      batch_size: crops a step.
      crops: to fit to.
      judged_crops: held out, to judge on.
      crop_size: side of the crops, a multiple of 64.
      held_out: the fraction of the photographs that is not fitted to.
      measured: how many of those are compressed, where an experiment measures real streams.
      seed: of the crops.
      as_published: whether STanH is fitted as in its paper and not as it ships: one staircase for all latents, free on
        both sides, and one for hyper latents.
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
        self.settings()

    def check_curve(self, lambdas: tuple[float, ...]) -> None:
        """Raises LicError unless these λ can be fitted and make a curve."""
        if len(lambdas) < 4:
            raise LicError(f"lambdas {lambdas} are too few for a BD-rate; give four or more")
        self.settings(lambdas=lambdas)

    def settings(self, **changes) -> RefitSettings:
        """The settings of a fit that differs from the experiment's in these."""
        shared = {name: getattr(self, name) for name in ("steps", "batch_size", "crop_size")}
        return RefitSettings(**{**(AS_PUBLISHED if self.as_published else {}), **shared, **changes})


class Encoded(NamedTuple):
    """Crops and what the anchor's analyses make of them."""

    pixels: UInt8[np.ndarray, "count size size 3"]
    latent: Float[np.ndarray, "count h w latent"]
    hyper_latent: Float[np.ndarray, "count h/4 w/4 hyper"]

    def batch(self, index) -> tuple[Array, Array, Array]:
        """(image in the network's domain, latent, hyper latent) of some crops, as an objective takes them."""
        return to_network_domain(jnp.asarray(self.pixels[index])), self.latent[index], self.hyper_latent[index]


class Anchor(NamedTuple):
    """A frozen model and the crops of an experiment, analysed by it."""

    bundle: Bundle
    model: CodecModel
    to_fit: Encoded
    to_judge: Encoded


class Fit(NamedTuple):
    """K fitted pairs of quantizers, and what was seen on the way.

    Attributes:
      quantizers: the stack of K.
      beta: the inverse temperature of each step, in units of 1/step of the uniform quantizer.
      gap: mean |s_β(v) − hard(v)| of the latents of each step's batch, in steps of the uniform quantizer.
      objective: bpp + λ·MSE of each step's batch and each pair, with soft decisions, estimated.
    """

    quantizers: Quantizers
    beta: Float[np.ndarray, " steps"]
    gap: Float[np.ndarray, " steps"]
    objective: Float[np.ndarray, "steps K"]


class Judged(NamedTuple):
    """What K pairs make of the crops held out: means, hard decisions, rates estimated."""

    bpp: Float[np.ndarray, " K"]
    psnr_db: Float[np.ndarray, " K"]
    objective: Float[np.ndarray, " K"]


def photographs_of(refits: Refits) -> tuple[dict[str, RGB], dict[str, RGB]]:
    """Photographs by name: (to fit to, held out). Of a folder, as many as there are crops of each.

    Raises:
      LicError: no such folder, or nothing in it that is held out.
    """
    if refits.images is None:
        samples = sample_photographs()
        middle = {name: image.shape[1] // 2 for name, image in samples.items()}
        return (
            {name: image[:, : middle[name]] for name, image in samples.items()},
            {name: image[:, middle[name] :] for name, image in samples.items()},
        )
    to_fit, held_out = data.split_held_out(image_paths(refits.images), refits.held_out)
    if not held_out or not to_fit:
        part = "held out; raise" if to_fit else "left to fit to; lower"
        raise LicError(f"no photograph of {refits.images} is {part} --held-out or give a folder of more")
    return tuple(
        {path.name: image for path in _spread(paths, count) if min((image := read_image(path)).shape[:2]) >= side}
        for paths, count, side in (
            (to_fit, refits.crops, refits.crop_size),
            (held_out, refits.judged_crops, refits.crop_size),
        )
    )


def _spread(items: list, count: int) -> list:
    """`count` of them, spread evenly; all if there are fewer."""
    positions = np.linspace(0, len(items) - 1, min(count, len(items)))
    return [items[index] for index in positions.round().astype(int)]


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


def load_anchor(refits: Refits, path: Path | None = None) -> Anchor:
    """The experiment's anchor, or another file's, and its crops, of photographs to fit to and of those held out."""
    bundle = load_bundle(path or shipped.path_of(refits.model))
    model = model_of(bundle.config)
    counts = (refits.crops, refits.judged_crops)
    parts = [
        encoded(model, bundle.params, crops_of(photographs, refits.crop_size, count, refits.seed))
        for photographs, count in zip(photographs_of(refits), counts, strict=True)
    ]
    return Anchor(bundle, model, *parts)


def batch_indices(count: int, batch_size: int, seed: int) -> Iterator[Int[np.ndarray, " batch"]]:
    """Which of `count` crops each batch is of, without end."""
    rng = np.random.default_rng(seed)
    while True:
        yield rng.integers(count, size=batch_size)


def fit(
    refits: Refits, anchor: Anchor, settings: RefitSettings, name: str, seed: int = 0, start: Quantizers | None = None
) -> Fit:
    """A fit to the anchor's crops, or what is kept of it.

    Args:
      refits: the experiment.
      anchor: what is fitted to which crops.
      settings: how; its seed is of the stochastic annealing alone, its crop size says nothing here.
      name: of the file and beside the progress bar.
      seed: of the drawing of batches.
      start: quantizers to begin with; uniform ones if None.
    """
    bundle = anchor.bundle
    if start is None:
        start = start_quantizers(bundle.config, settings, bundle.rd_lambda)
    decisive = [dataclasses.asdict(settings), bundle.rd_lambda, bundle.fingerprint.hex(), seed]
    path = refits.folder / f"{name}_{digest_of(decisive, (*anchor.to_fit, *jax.tree.leaves(start)))}.npz"
    if path.exists():
        return _read_fit(path, start)
    params = jax.tree.map(jnp.asarray, bundle.params)
    process = refit(anchor.model, params, settings, bundle.rd_lambda, settings.seed, start)
    state = process.init()
    seen = []
    batches = itertools.islice(batch_indices(len(anchor.to_fit.pixels), settings.batch_size, seed), settings.steps)
    progress = tqdm(batches, total=settings.steps, desc=name, unit="step")
    for index in progress:
        beta = float(state.beta)
        state, results = process.update_encoded(state, *anchor.to_fit.batch(index))
        seen.append((beta, float(state.gap), np.asarray(results.objective)))
        progress.set_postfix_str(f"loss {float(jnp.mean(results.objective)):.3f}", refresh=False)
    fitted = Fit(state.quantizers, *(np.asarray(column) for column in zip(*seen, strict=True)))
    _write_fit(path, fitted)
    return fitted


def smooth(values: Float[np.ndarray, " steps"]) -> Float[np.ndarray, " steps-9"]:
    """The means of `SMOOTHED` neighbouring steps, as far as there are so many."""
    width = min(SMOOTHED, len(values))
    return np.convolve(values, np.full(width, 1 / width), mode="valid")


def digest_of(settings, arrays: Iterable) -> str:
    """Eight digits that differ wherever settings, anything that JSON holds, or arrays do."""
    digest = hashlib.sha256(json.dumps(settings).encode())
    for array in arrays:
        digest.update(np.ascontiguousarray(array))
    return digest.hexdigest()[:8]


_SEEN = Fit._fields[1:]


def _write_fit(path: Path, fitted: Fit) -> None:
    file = io.BytesIO()
    np.savez(file, *jax.tree.leaves(fitted.quantizers), **dict(zip(_SEEN, fitted[1:], strict=True)))
    make_folder(path.parent)
    write_bytes(path, file.getvalue())


def _read_fit(path: Path, start: Quantizers) -> Fit:
    """The fit of a file, whose quantizers have the structure of what they began as."""
    with np.load(io.BytesIO(read_bytes(path))) as file:
        leaves = [jnp.asarray(file[name]) for name in file if name not in _SEEN]
        quantizers = jax.tree.unflatten(jax.tree.structure(start), leaves)
        return Fit(quantizers, *(file[name] for name in _SEEN))


@functools.partial(jax.jit, static_argnums=0)
def _measure(model: CodecModel, params: dict, quantizers: Quantizers, lambdas: Array, *batch):
    results = jax.vmap(lambda pair, rd_lambda: hard_objective(model, params, pair, *batch, rd_lambda))(
        quantizers, lambdas
    )
    return results.bpp, results.mse


def judge(anchor: Anchor, quantizers: Quantizers, lambdas: tuple[float, ...]) -> Judged:
    """What K pairs make of the crops held out."""
    batches = np.array_split(np.arange(len(anchor.to_judge.pixels)), -(-len(anchor.to_judge.pixels) // 16))
    measured = [
        _measure(anchor.model, anchor.bundle.params, quantizers, jnp.asarray(lambdas), *anchor.to_judge.batch(index))
        for index in batches
    ]
    bpp, mse = np.average(np.asarray(measured), axis=0, weights=[len(index) for index in batches])
    return Judged(bpp, np.asarray(psnr(mse)), bpp + np.asarray(lambdas) * mse)


def codec_of(refits: Refits, bundle: Bundle, quantizers: Quantizers, lambdas: tuple[float, ...], name: str) -> Codec:
    """A codec with an anchor's weights and these quantizers, by way of the file that would ship."""
    path = refits.folder / f"{name}.safetensors"
    make_folder(path.parent)
    save_bundle(path, bundle.config, bundle.params, bundle.rd_lambda, lambdas, *in_fixed_point(quantizers))
    return Codec(load_bundle(path))


class CurvePoint(NamedTuple):
    """A fitted rate on some photographs: means, real streams; `objective` is bpp + λ·MSE."""

    rd_lambda: float
    bpp: float
    psnr_db: float
    objective: float


def real_curve(codec: Codec, photographs: dict[str, RGB], description: str) -> list[CurvePoint]:
    """The codec's fitted rates on photographs, by real streams."""
    rates = range(len(codec.bundle.lambdas))
    progress = tqdm(photographs.items(), desc=description, unit="image")
    rows = [measure_image(codec, name, image, rates) for name, image in progress]
    bpp, psnr_db = np.array([[(row.bpp, row.psnr_db) for row in of_image] for of_image in rows]).transpose(2, 0, 1)
    mse = 255**2 * 10 ** (-psnr_db / 10)
    means = (term.mean(axis=0).tolist() for term in (bpp, psnr_db, bpp + np.asarray(codec.bundle.lambdas) * mse))
    return [CurvePoint(*point) for point in zip(codec.bundle.lambdas, *means, strict=True)]
