"""The command line: `lic compress | decompress | info | evaluate | complexity | train | refit`.

Each command is a typed function, made into a parser by tyro. Frameworks are imported by the commands that need one,
when they run.
"""

import json
import sys
from pathlib import Path
from typing import Annotated

import tyro

from lic_jax import zoo
from lic_jax.errors import LicError
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
) -> None:
    """Compress an image to a stream."""
    from lic_jax.codec import load
    from lic_jax.files import write_bytes
    from lic_jax.images import read_image

    pixels = read_image(image)
    data = load(model).compress(pixels, rate)
    write_bytes(stream, data)
    bpp = 8 * len(data) / (pixels.shape[0] * pixels.shape[1])
    print(f"{stream}: {len(data):,} bytes, {bpp:.3f} bpp")


def decompress(
    stream: Annotated[Positional[Path], tyro.conf.arg(metavar="IN", help="a stream written by `lic compress`")],
    image: Annotated[Positional[Path], tyro.conf.arg(metavar="OUT", help="the image to write, e.g. a PNG")],
    model: Model = zoo.DEFAULT,
) -> None:
    """Decompress a stream to an image."""
    from lic_jax import bitstream
    from lic_jax.files import read_bytes
    from lic_jax.images import check_image_path, write_image

    check_image_path(image)
    data = read_bytes(stream)
    bitstream.unpack(data)

    from lic_jax.codec import load

    write_image(image, load(model).decompress(data))


def info(
    stream: Annotated[Positional[Path], tyro.conf.arg(metavar="FILE", help="a stream written by `lic compress`")],
    as_json: Annotated[bool, tyro.conf.arg(name="json", help="print JSON instead of text")] = False,
) -> None:
    """Show what a stream holds, without decoding it."""
    from lic_jax import bitstream
    from lic_jax.files import read_bytes
    from lic_jax.quantization.fixed_point import RATE_UNITS

    data = read_bytes(stream)
    held = bitstream.unpack(data)
    facts = {
        "file": str(stream),
        "width": held.width,
        "height": held.height,
        "bytes": len(data),
        "bpp": 8 * len(data) / (held.width * held.height),
        "rate": held.rate_units / RATE_UNITS,
        "model": zoo.name_of(held.fingerprint),
        "fingerprint": held.fingerprint.hex(),
        "version": bitstream.VERSION,
        "coder": bitstream.CODERS[held.coder],
        "segments": {
            "header": bitstream.HEADER_BYTES,
            "hyper_latent": len(held.hyper_latent),
            "latent": len(held.latent),
        },
    }
    if as_json:
        print(json.dumps(facts, indent=1))
        return
    print(f"{stream}: {held.width}×{held.height} pixels, {len(data):,} bytes, {facts['bpp']:.3f} bpp")
    print(
        f"model {facts['model'] or 'unknown'} ({facts['fingerprint']}), rate {facts['rate']:g}, {facts['coder']} coder"
    )
    print("segments: " + ", ".join(f"{name} {size:,} bytes" for name, size in facts["segments"].items()))


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


def exit_code_of(error: LicError) -> int:
    """Says what is wrong in one line and gives the exit code for it."""
    print(f"lic: {error}", file=sys.stderr)
    return 2


COMMANDS = {
    "compress": compress,
    "decompress": decompress,
    "info": info,
    "evaluate": evaluate,
    "complexity": complexity,
    "train": train,
    "refit": refit,
}


def main(arguments: list[str] | None = None) -> int:
    """Runs a command: 0 when done, 2 when what was given cannot be used, 130 when interrupted."""
    try:
        tyro.extras.subcommand_cli_from_dict(
            COMMANDS, prog="lic", description="Learned image compression with light decoders.", args=arguments
        )
    except LicError as error:
        return exit_code_of(error)
    except KeyboardInterrupt:
        print("lic: interrupted", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
