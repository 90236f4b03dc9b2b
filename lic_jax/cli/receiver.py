"""The commands of a device that only decodes: `decompress`, `info`, `transcode` and `export-receiver`.

argparse parses them. They import at most NumPy, constriction and Pillow; the coder tfc needs its extra.
"""

import argparse
import importlib.util
import json
from pathlib import Path

from lic_jax.errors import LicError, naming
from lic_jax.registry import CODERS


def decompress(stream: Path, image: Path, model: str | None = None) -> None:
    """Decompress a stream to an image."""
    from lic_jax.io.files import read_bytes
    from lic_jax.io.images import check_image_path, write_image

    check_image_path(image)
    data = read_bytes(stream)
    decoder = _decoder(model or _model_of(stream, data))
    with naming(stream):
        pixels = decoder.decompress(data)
    write_image(image, pixels)


def _model_of(stream: Path, data: bytes) -> str:
    """Finds the shipped model that made a stream; for another model's stream the default, whose decoder refuses it."""
    from lic_jax.io import container
    from lic_jax.zoo import shipped

    with naming(stream):
        return shipped.name_of(container.unpack(data).fingerprint) or shipped.DEFAULT


def _decoder(model: str):
    """Loads the decoder in C or NumPy; for a deep synthesis JAX's, if JAX is installed."""
    from lic_jax.transforms.description import is_shallow
    from lic_jax.zoo import shipped

    deep = not is_shallow(shipped.config_of(model).synthesis_layers)
    if deep and importlib.util.find_spec("jax"):
        from lic_jax.codec.codec import load
    else:
        from lic_jax.codec.loading import load_decoder as load
    return load(model)


def info(stream: Path | None, as_json: bool = False, decoder: bool = False) -> None:
    """Show a stream's size, rate, model and segments, without decoding it; or the decoder that would be used."""
    if decoder:
        _show_decoder()
        return
    if stream is None:
        raise LicError("info needs a stream to show; name one, or ask for --decoder")
    from lic_jax.io import container
    from lic_jax.io.files import read_bytes
    from lic_jax.quantization.fixed_point import RATE_UNITS
    from lic_jax.zoo import shipped

    data = read_bytes(stream)
    with naming(stream):
        held = container.unpack(data)
    facts = {
        "file": str(stream),
        "width": held.width,
        "height": held.height,
        "bytes": len(data),
        "bpp": 8 * len(data) / (held.width * held.height),
        "rate": held.rate_units / RATE_UNITS,
        "model": shipped.name_of(held.fingerprint),
        "fingerprint": held.fingerprint.hex(),
        "version": container.VERSION,
        "coder": held.coder,
        "segments": {
            "header": container.HEADER_BYTES,
            "hyper_latent": len(held.hyper_latent),
            "latent": len(held.latent),
        },
    }
    if as_json:
        print(json.dumps(facts, indent=1))
        return
    print(f"{stream}: {held.width}×{held.height} pixels, {len(data):,} bytes, {facts['bpp']:.3f} bpp")
    model = facts["model"] or "not shipped, decompress with --model"
    print(f"model {model} ({facts['fingerprint']}), rate {facts['rate']:g}, coder {facts['coder']}")
    print("segments: " + ", ".join(f"{name} {size:,} bytes" for name, size in facts["segments"].items()))


def _show_decoder() -> None:
    """Prints for each shipped model whether C or NumPy decodes it, and why."""
    from lic_jax.codec.native_decoder import reason_against
    from lic_jax.zoo import shipped
    from lic_jax.zoo.bundle import load_receiver

    for name in shipped.names():
        reason = reason_against(load_receiver(shipped.path_of(name)))
        print(f"{name}: NumPy, because {reason}" if reason else f"{name}: C")


def export_receiver(model: str, receiver: Path) -> None:
    """Write what a device needs of a model, as one file for the C decoder."""
    from lic_jax.io.files import write_bytes
    from lic_jax.zoo import shipped
    from lic_jax.zoo.bundle import load_receiver
    from lic_jax.zoo.receiver_file import to_receiver_file

    file = to_receiver_file(load_receiver(shipped.path_of(model)))
    write_bytes(receiver, file)
    print(f"{receiver}: {len(file):,} bytes")


def transcode(stream: Path, transcoded: Path, coder: str, model: str | None = None) -> None:
    """Change the coder of a stream; its symbols, and so the image, stay the same."""
    from lic_jax.codec.decoder import SymbolDecoder
    from lic_jax.io.files import read_bytes, write_bytes
    from lic_jax.zoo import shipped
    from lic_jax.zoo.bundle import load_receiver

    data = read_bytes(stream)
    decoder = SymbolDecoder(load_receiver(shipped.path_of(model or _model_of(stream, data))))
    with naming(stream):
        other = decoder.transcode(data, coder)
    write_bytes(transcoded, other)
    print(f"{transcoded}: {len(other):,} bytes, coder {coder}; {stream}: {len(data):,} bytes")


_MODEL_HELP = "a shipped model's name, or a file of `lic refit`; by default the shipped model that made the stream"


def parser() -> argparse.ArgumentParser:
    """Makes the parser of the commands of this file."""
    root = argparse.ArgumentParser(prog="lic", description="Learned image compression with light decoders.")
    commands = root.add_subparsers(required=True, metavar="COMMAND")
    command = commands.add_parser("decompress", help=decompress.__doc__, description=decompress.__doc__)
    command.add_argument("stream", type=Path, metavar="IN", help="a stream written by `lic compress`")
    command.add_argument("image", type=Path, metavar="OUT", help="the image to write, e.g. a PNG")
    command.add_argument("--model", help=_MODEL_HELP)
    command.set_defaults(run=decompress)
    command = commands.add_parser("info", help=info.__doc__, description=info.__doc__)
    command.add_argument("stream", type=Path, nargs="?", metavar="FILE", help="a stream written by `lic compress`")
    command.add_argument("--decoder", action="store_true", help="show whether C or NumPy decodes the shipped models")
    command.add_argument("--json", action="store_true", dest="as_json", help="print JSON instead of text")
    command.set_defaults(run=info)
    command = commands.add_parser("transcode", help=transcode.__doc__, description=transcode.__doc__)
    command.add_argument("stream", type=Path, metavar="IN", help="a stream written by `lic compress`")
    command.add_argument("transcoded", type=Path, metavar="OUT", help="the file to write")
    command.add_argument("--coder", choices=tuple(CODERS), required=True, help="tfc needs the extra of that name")
    command.add_argument("--model", help=_MODEL_HELP)
    command.set_defaults(run=transcode)
    text = export_receiver.__doc__
    command = commands.add_parser("export-receiver", help=text, description=text)
    command.add_argument("model", metavar="MODEL", help="a shipped model's name, or a file of `lic refit`")
    command.add_argument("receiver", type=Path, metavar="OUT", help="the file to write")
    command.set_defaults(run=export_receiver)
    return root


COMMANDS = {
    "decompress": decompress,
    "info": info,
    "transcode": transcode,
    "export-receiver": export_receiver,
}
