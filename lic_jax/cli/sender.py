"""The commands of `lic` for senders and researchers: typed functions from which tyro makes parsers.

A command that needs a framework imports it when it runs.
"""

import argparse
import contextlib
import dataclasses
import functools
import json
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import tyro

from lic_jax.cli import receiver
from lic_jax.encoding.method import SearchSettings
from lic_jax.errors import LicError
from lic_jax.extras import quiet_tensorflow
from lic_jax.registry import CODERS, DEFAULT_CODER, SEARCHES
from lic_jax.training.settings import AnchorSettings, RefitSettings
from lic_jax.zoo import shipped

Positional = tyro.conf.Positional
Model = Annotated[str, tyro.conf.arg(metavar="MODEL", help="a shipped model's name, or a file written by `lic refit`")]
Flat = tyro.conf.OmitArgPrefixes

_ANCHOR, _REFIT = AnchorSettings(), RefitSettings()


Rate = Annotated[
    float | None,
    tyro.conf.arg(help="0 is the smallest file, fractions lie between fitted rates; by default the middle fitted rate"),
]
Iterations = Annotated[
    int, tyro.conf.arg(help="steps to search for a better stream that decodes as quickly; 0 encodes in one shot")
]
SearchMethod = Annotated[
    str,
    tyro.conf.arg(
        metavar="|".join(SEARCHES),
        help="stochastic Gumbel annealing (sga, hundreds of iterations), gradient descent (refinement, tens), "
        "or rounding by rate and distortion (rounding, one to three)",
    ),
]


Bpp = Annotated[float | None, tyro.conf.arg(help="instead of a rate: bits per pixel, hit to 1 in 100")]
Psnr = Annotated[float | None, tyro.conf.arg(help="instead of a rate: PSNR in dB, hit to 0.05")]
MaxBytes = Annotated[int | None, tyro.conf.arg(help="instead of a rate: the largest file of at most this many bytes")]
TimeLimit = Annotated[
    float | None,
    tyro.conf.arg(
        metavar="SECONDS",
        help="end each search by then, with the best stream so far; compiling first may exceed it",
    ),
]


def compress(
    image: Annotated[Positional[Path], tyro.conf.arg(metavar="IN", help="an 8-bit image without transparency")],
    stream: Annotated[Positional[Path], tyro.conf.arg(metavar="OUT", help="the file to write")],
    rate: Rate = None,
    bpp: Bpp = None,
    psnr: Psnr = None,
    max_bytes: MaxBytes = None,
    iterations: Iterations = 0,
    method: SearchMethod = "sga",
    time_limit: TimeLimit = None,
    model: Model = shipped.DEFAULT,
    coder: Annotated[
        str, tyro.conf.arg(metavar="|".join(CODERS), help="tfc needs the extra of that name")
    ] = DEFAULT_CODER,
) -> None:
    """Compress an image to a stream."""
    from lic_jax.codec.codec import load
    from lic_jax.io.files import check_writable, write_bytes
    from lic_jax.io.images import SUFFIXES, read_image

    if stream.suffix.lower() in SUFFIXES:
        raise LicError(
            f"{stream} ends like an image file; streams end in .lic: name it {stream.with_suffix('.lic').name}"
        )
    search = _search(iterations, method, time_limit)
    check_writable(stream)
    pixels = read_image(image)
    with progress_bar(iterations) as progress, progress.interruptible() if iterations else contextlib.nullcontext():
        data = load(model).compress(
            pixels, rate, bpp=bpp, psnr=psnr, max_bytes=max_bytes, **search, on_progress=progress.report, coder=coder
        )
    write_bytes(stream, data)
    bpp = 8 * len(data) / (pixels.shape[0] * pixels.shape[1])
    stopped_at = progress.stopped_at
    stopped = "" if stopped_at is None else f" (interrupted at iteration {stopped_at}: the best so far)"
    print(f"{stream}: {len(data):,} bytes, {bpp:.3f} bpp{stopped}")


def compress_many(
    folder: Annotated[Positional[Path], tyro.conf.arg(metavar="DIR", help="a folder of images")],
    out: Annotated[Positional[Path], tyro.conf.arg(metavar="OUT", help="the folder for the streams, photo.png.lic")],
    rate: Rate = None,
    bpp: Bpp = None,
    psnr: Psnr = None,
    max_bytes: MaxBytes = None,
    iterations: Iterations = 0,
    method: SearchMethod = "sga",
    time_limit: TimeLimit = None,
    model: Model = shipped.DEFAULT,
) -> int:
    """Compress every image of a folder that has no stream yet; run again, it continues and keeps existing streams."""
    from tqdm import tqdm

    from lic_jax.codec.codec import load
    from lic_jax.encoding.rate_control import check_wishes
    from lic_jax.io.folders import compress_images, stream_paths

    search = _search(iterations, method, time_limit)
    check_wishes(rate=rate, bpp=bpp, psnr=psnr, max_bytes=max_bytes)
    paths = stream_paths(folder, out)
    codec = load(model)
    if rate is not None:
        codec.bundle.rate_units(rate)
    encode = lambda pixels: codec.compress(pixels, rate, bpp=bpp, psnr=psnr, max_bytes=max_bytes, **search)
    with tqdm(total=len(paths), unit="image", disable=None) as bar:
        outcome = compress_images(encode, paths, lambda path: bar.update())
    print(f"{out}: {outcome.written} streams written, {outcome.skipped} existed")
    for path, reason in outcome.failures:
        print(f"lic: {path} was left out: {reason}", file=sys.stderr)
    return 1 if outcome.failures else 0


def _search(iterations: int, method: str, time_limit: float | None) -> dict:
    """Collects the arguments of a search for `Codec.compress`.

    Raises:
      LicError: a setting is invalid.
    """
    if time_limit is not None and iterations == 0:
        raise LicError(f"the time limit of {time_limit:g} seconds needs a search; give --iterations, too")
    SearchSettings(iterations, method, time_limit).check()
    return {"iterations": iterations, "method": method, "time_limit": time_limit}


class SearchProgress:
    """The progress bar of searches, one after another; Ctrl-C ends them with the best so far.

    Attributes:
      step: the last finished step.
      interrupted: whether to stop.
      stopped_at: the step at which an interrupted search stopped.
    """

    def __init__(self, bar):
        self.step, self.interrupted, self.stopped_at, self._bar = 0, False, None, bar

    def report(self, progress) -> bool:
        """Shows the best so far; returns True if the search should stop."""
        if progress.step < self.step:
            self._bar.reset()
            self.step = 0
        self._bar.total = progress.steps
        self._bar.update(progress.step - self.step)
        self.step = progress.step
        self._bar.set_postfix_str(
            f"bpp {progress.bpp:.3f} psnr {progress.psnr_db:.2f} objective {progress.objective:.4f}", refresh=False
        )
        if self.interrupted and self.stopped_at is None:
            self.stopped_at = self.step
        return self.interrupted

    @contextlib.contextmanager
    def interruptible(self) -> Iterator[None]:
        """Makes Ctrl-C end the search with the best so far; a second Ctrl-C interrupts at once."""
        before = signal.signal(signal.SIGINT, self._interrupt)
        try:
            yield
        finally:
            signal.signal(signal.SIGINT, before)

    def _interrupt(self, *_) -> None:
        self.interrupted = True
        signal.signal(signal.SIGINT, signal.default_int_handler)


@contextlib.contextmanager
def progress_bar(iterations: int, **bar) -> Iterator[SearchProgress]:
    """Shows the progress of searches on the terminal; nothing for encoding in one shot."""
    from tqdm import tqdm

    with tqdm(total=iterations, unit="iteration", disable=None if iterations else True, **bar) as shown:
        yield SearchProgress(shown)


def evaluate(
    folder: Annotated[Positional[Path], tyro.conf.arg(metavar="DIR", help="a folder of images")],
    csv: Annotated[Path | None, tyro.conf.arg(help="the file for every measurement")] = None,
    rates: Annotated[
        tuple[float, ...], tyro.conf.arg(help="by default the fitted rates and two between each pair")
    ] = (),
    iterations: Iterations = 0,
    method: SearchMethod = "sga",
    time_limit: TimeLimit = None,
    model: Model = shipped.DEFAULT,
) -> int:
    """Measure rate, quality and time on a folder of images, from real files; Ctrl-C keeps the images done so far."""
    from lic_jax.codec.codec import load
    from lic_jax.evaluation.measurement import (
        SearchingCodec,
        default_rates,
        evaluate_folder,
        mean_rows,
        mean_table,
    )
    from lic_jax.io.files import check_writable, make_folder
    from lic_jax.io.tables import write_csv

    search = _search(iterations, method, time_limit)
    if csv is not None:
        make_folder(csv.parent)
        check_writable(csv)
    codec = load(model)
    rates = rates or default_rates(codec.bundle.highest_rate)
    rows, interrupted = [], False
    with progress_bar(iterations, position=1, leave=False) as progress:
        measured = warm_up = codec
        if iterations:
            measured = SearchingCodec(codec, **search, on_progress=progress.report)
            warm_up = SearchingCodec(codec, iterations=1, method=method)
        try:
            for image_rows in evaluate_folder(measured, folder, rates, warm_up):
                rows += image_rows
        except KeyboardInterrupt:
            interrupted = True
            if not rows:
                raise
    rows += mean_rows(rows)
    print(mean_table(rows))
    if csv is not None:
        write_csv(csv, rows)
    if interrupted:
        print(f"lic: interrupted; measured the first {len(rows) // len(rates) - 1} images", file=sys.stderr)
    return 130 if interrupted else 0


def complexity(
    model: Annotated[
        Positional[str],
        tyro.conf.arg(metavar="MODEL", help="a shipped model, a weights file, or a JSON file with a configuration"),
    ] = shipped.DEFAULT,
    as_json: Annotated[bool, tyro.conf.arg(name="json", help="print JSON instead of a table")] = False,
) -> None:
    """Count a model's parameters and its operations per pixel, transform by transform."""
    from lic_jax.evaluation.complexity import complexity, complexity_table, with_sums

    costs = with_sums(complexity(shipped.config_of(model)))
    if as_json:
        print(
            json.dumps(
                {part: {**dataclasses.asdict(cost), "flops": cost.flops} for part, cost in costs.items()}, indent=1
            )
        )
    else:
        print(complexity_table(costs))


def models(as_json: Annotated[bool, tyro.conf.arg(name="json", help="print JSON instead of a table")] = False) -> None:
    """List the shipped models: size, decoding cost, Kodak BD-rate, and where each was trained."""
    from lic_jax.evaluation.complexity import complexity, decoding

    facts = {
        name: {
            "bytes": shipped.path_of(name).stat().st_size,
            "decoding_flops_per_pixel": decoding(complexity(shipped.config_of(name))).flops,
            **measured,
        }
        for name, measured in shipped.measured_facts().items()
    }
    if as_json:
        print(json.dumps(facts, indent=1, ensure_ascii=False))
        return
    print(f"{'':10} {'size':>9} {'decoding':>16}  Kodak BD-rate against")
    print(f"{'model':10} {'':>9} {'FLOPs per pixel':>16} {'JPEG':>10} {'WebP':>10} {'AVIF':>10}   trained on")
    for name, fact in facts.items():
        bd_rates = "".join(f" {fact['kodak_bd_rate_percent'][other]:+8.1f} %" for other in ("jpeg", "webp", "avif"))
        size, flops = f"{fact['bytes'] / 1e6:6.1f} MB", fact["decoding_flops_per_pixel"]
        print(f"{name:10} {size} {flops:16,.0f}{bd_rates}   {fact['trained']}")


def train(
    images: Annotated[Positional[Path], tyro.conf.arg(metavar="DIR", help="a folder of photographs")],
    out: Annotated[Path, tyro.conf.arg(help="folder for checkpoints, log and weights; run again, training continues")],
    settings: Flat[AnchorSettings] = _ANCHOR,
) -> None:
    """Train an anchor, the model that `lic refit` fits quantizers to; run again, a killed training continues.

    With --start, model and λ are that file's, except where flags are given.
    """
    from lic_jax.training.loop import train_anchor

    train_anchor(settings, images, out)
    weights = out / "anchor.safetensors"
    print(f"{weights} written; fit its quantizers with `lic refit {weights} {images} --out model.safetensors`")


def refit(
    anchor: Annotated[
        Positional[str], tyro.conf.arg(metavar="ANCHOR", help="weights written by `lic train`, or a model to fit anew")
    ],
    images: Annotated[Positional[Path], tyro.conf.arg(metavar="DIR", help="a folder of photographs")],
    out: Annotated[Path, tyro.conf.arg(help="the model to write: weights and quantizers, for `--model`")],
    settings: Flat[RefitSettings] = _REFIT,
) -> None:
    """Fit one pair of quantizers for each λ to a frozen anchor, the model that `lic train` made."""
    from lic_jax.training.deployment import refit_anchor

    print(refit_anchor(settings, anchor, images, out))


def import_(
    folder: Annotated[
        Positional[Path], tyro.conf.arg(metavar="DIR", help="has config.json and train/checkpoints/ckpt-*")
    ],
    out: Annotated[Positional[Path], tyro.conf.arg(metavar="OUT", help="the anchor to write: a weights file")],
) -> None:
    """Import a published training (TensorFlow) as an anchor; needs the extra tfc."""
    from lic_jax.zoo.published.training_folder import import_training

    import_training(folder, out)
    print(f"{out} written; fit its quantizers with `lic refit {out} PHOTOS --out model.safetensors`")


COMMANDS = {
    "compress": compress,
    "compress-many": compress_many,
    **receiver.COMMANDS,
    "evaluate": evaluate,
    "complexity": complexity,
    "models": models,
    "train": train,
    "refit": refit,
    "import": import_,
}


def keep_compiled_programs() -> None:
    """Lets JAX, before its import, cache compiled programs in the user's cache folder; JAX's own variables win."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "lic_jax"
    os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(cache))
    os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.2")


def _training_defaults(arguments: list[str]) -> AnchorSettings:
    """Returns the default flags of a training: those of the model that it starts from, if any.

    A codec's model has a hyper synthesis in integers, without unused channels; training uses floats at the same widths.
    """
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--start", nargs="?")
    start = parser.parse_known_args(arguments)[0].start
    if start in (None, "None"):
        return _ANCHOR
    config, rd_lambda = shipped.config_of(start), shipped.rd_lambda_of(start)
    if config.hyper_arithmetic == "integer":
        config = dataclasses.replace(config, hyper_arithmetic="float")
    return dataclasses.replace(_ANCHOR, model=config, start=start, rd_lambda=rd_lambda)


def run(arguments: list[str]) -> int:
    """Parses a command line, runs its command and returns the exit code."""
    keep_compiled_programs()
    quiet_tensorflow()  # Flax imports TensorFlow if it is installed
    commands = dict(COMMANDS)
    if arguments[:1] == ["train"]:
        commands["train"] = functools.partial(train, settings=_training_defaults(arguments[1:]))
    code = tyro.extras.subcommand_cli_from_dict(
        commands, prog="lic", description="Learned image compression with light decoders.", args=arguments
    )
    return code or 0
