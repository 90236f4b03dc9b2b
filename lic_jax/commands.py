"""The commands of `lic` that a sender or a researcher runs: typed functions that tyro makes parsers of.

Frameworks are imported by the commands that need one, when they run.
"""

import json
import os
from pathlib import Path
from typing import Annotated, Literal

import tyro

from lic_jax import cli, zoo
from lic_jax.bitstream import CODERS
from lic_jax.errors import LicError
from lic_jax.extras import quiet_tensorflow
from lic_jax.training.settings import AnchorSettings, RefitSettings

Positional = tyro.conf.Positional
Model = Annotated[str, tyro.conf.arg(metavar="MODEL", help="a shipped model's name, or a file written by `lic refit`")]
Flat = tyro.conf.OmitArgPrefixes

_ANCHOR, _REFIT = AnchorSettings(), RefitSettings()


def compress(
    image: Annotated[Positional[Path], tyro.conf.arg(metavar="IN", help="an 8-bit image without transparency")],
    stream: Annotated[Positional[Path], tyro.conf.arg(metavar="OUT", help="the file to write")],
    rate: Annotated[
        float | None,
        tyro.conf.arg(help="0 is the smallest file, fractions lie between fitted rates; by default the middle one"),
    ] = None,
    model: Model = zoo.DEFAULT,
    coder: Annotated[Literal[CODERS], tyro.conf.arg(help="tfc needs the extra of that name")] = CODERS[0],
) -> None:
    """Compress an image to a stream."""
    from lic_jax.codec import load
    from lic_jax.files import write_bytes
    from lic_jax.images import SUFFIXES, read_image

    if stream.suffix.lower() in SUFFIXES:
        raise LicError(
            f"{stream} is named like an image, and a stream is none; name it {stream.with_suffix('.lic').name}"
        )
    pixels = read_image(image)
    data = load(model).compress(pixels, rate, coder)
    write_bytes(stream, data)
    bpp = 8 * len(data) / (pixels.shape[0] * pixels.shape[1])
    print(f"{stream}: {len(data):,} bytes, {bpp:.3f} bpp")


def evaluate(
    folder: Annotated[Positional[Path], tyro.conf.arg(metavar="DIR", help="a folder of images")],
    csv: Annotated[Path | None, tyro.conf.arg(help="write every measurement here")] = None,
    rates: Annotated[tuple[float, ...], tyro.conf.arg(help="by default the fitted ones and two between each")] = (),
    model: Model = zoo.DEFAULT,
) -> None:
    """Measure rate, quality and time on a folder of images, from real files' bytes."""
    from lic_jax.codec import load
    from lic_jax.evaluation.codec import MeasuredRow, default_rates, evaluate_folder, mean_table, write_csv

    codec = load(model)
    rows: list[MeasuredRow] = evaluate_folder(codec, folder, rates or default_rates(codec.bundle.highest_rate))
    print(mean_table(rows))
    if csv is not None:
        write_csv(csv, rows)


def complexity(
    model: Annotated[
        Positional[str],
        tyro.conf.arg(metavar="MODEL", help="a shipped model, a weights file, or a JSON file with a configuration"),
    ] = zoo.DEFAULT,
    as_json: Annotated[bool, tyro.conf.arg(name="json", help="print JSON instead of a table")] = False,
) -> None:
    """Count a model's parameters and its operations per pixel, transform by transform."""
    from lic_jax.evaluation.complexity import complexity, complexity_table

    costs = complexity(zoo.config_of(model))
    if as_json:
        print(json.dumps({part: {**cost._asdict(), "flops": cost.flops} for part, cost in costs.items()}, indent=1))
    else:
        print(complexity_table(costs))


def models(as_json: Annotated[bool, tyro.conf.arg(name="json", help="print JSON instead of a table")] = False) -> None:
    """List the models that ship: size, cost of decoding, Kodak BD-rate, where each was trained."""
    from lic_jax.evaluation.complexity import complexity, decoding

    facts = {
        name: {
            "bytes": zoo.path_of(name).stat().st_size,
            "decoding_flops_per_pixel": decoding(complexity(zoo.config_of(name))).flops,
            **measured,
        }
        for name, measured in zoo.measured_facts().items()
    }
    if as_json:
        print(json.dumps(facts, indent=1, ensure_ascii=False))
        return
    print(f"{'':10} {'size':>9} {'decoding':>16}  Kodak BD-rate against")
    print(f"{'model':10} {'':>9} {'FLOPs per pixel':>16} {'JPEG':>10} {'WebP':>10}   trained on")
    for name, fact in facts.items():
        bd_rates = "".join(f" {fact['kodak_bd_rate_percent'][other]:+8.1f} %" for other in ("jpeg", "webp"))
        size, flops = f"{fact['bytes'] / 1e6:6.1f} MB", fact["decoding_flops_per_pixel"]
        print(f"{name:10} {size} {flops:16,.0f}{bd_rates}   {fact['trained']}")


def train(
    images: Annotated[Positional[Path], tyro.conf.arg(metavar="DIR", help="a folder of photographs")],
    out: Annotated[Path, tyro.conf.arg(help="checkpoints, log and weights; the same command goes on from there")],
    settings: Flat[AnchorSettings] = _ANCHOR,
) -> None:
    """Train an anchor; killed at any moment, the same command goes on where it was."""
    from lic_jax.training.anchor import train_anchor

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
    """Fit one pair of quantizers for each λ against a frozen anchor."""
    from lic_jax.training.refit import refit_anchor

    print(refit_anchor(settings, anchor, images, out))


def import_(
    folder: Annotated[
        Positional[Path], tyro.conf.arg(metavar="DIR", help="a training's: config.json and train/checkpoints/ckpt-*")
    ],
    out: Annotated[Positional[Path], tyro.conf.arg(metavar="OUT", help="the anchor to write: a weights file")],
) -> None:
    """Import a published training (TensorFlow) as an anchor; needs the extra tfc."""
    from lic_jax.zoo.training_folder import import_training

    import_training(folder, out)
    print(f"{out} written; fit its quantizers with `lic refit {out} PHOTOS --out model.safetensors`")


COMMANDS = {
    "compress": compress,
    "decompress": cli.decompress,
    "info": cli.info,
    "transcode": cli.transcode,
    "evaluate": evaluate,
    "complexity": complexity,
    "models": models,
    "train": train,
    "refit": refit,
    "import": import_,
}


def keep_compiled_programs() -> None:
    """Lets JAX, not yet imported, keep what it compiles in the user's cache folder; its own variables come first."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "lic_jax"
    os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(cache))
    os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.2")


def run(arguments: list[str]) -> None:
    """Parses a command line and runs its command."""
    keep_compiled_programs()
    quiet_tensorflow()  # which Flax imports where it is installed
    tyro.extras.subcommand_cli_from_dict(
        COMMANDS, prog="lic", description="Learned image compression with light decoders.", args=arguments
    )
