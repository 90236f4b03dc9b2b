"""How long does a device wait that starts `lic decompress` anew for each image, and for what?

    python benchmarks/cold_start.py [IMAGE]     # by default scikit-image's astronaut, tiled to 768×512

Whole processes, in turn, medians: Python alone; with NumPy and Pillow, which every image needs; with all that the
command imports; and the command, from a stream to a PNG.
"""

import subprocess
import sys
import tempfile
from pathlib import Path

from decode import sample
from timing import median_seconds

from lic_jax.codec.codec import load
from lic_jax.io.images import read_image

PROGRAMS = {
    "Python": "pass",
    "… NumPy and Pillow": "import numpy, PIL.Image",
    "… all imports": "import lic_jax.cli.receiver, lic_jax.io.images, lic_jax.codec.decoder, constriction",
}


def main() -> None:
    image = read_image(sys.argv[1]) if len(sys.argv) > 1 else sample()
    with tempfile.TemporaryDirectory() as folder:
        stream, decoded = Path(folder, "image.lic"), Path(folder, "image.png")
        stream.write_bytes(load().compress(image))
        decompress = f"from lic_jax.cli.main import main; main(['decompress', {str(stream)!r}, {str(decoded)!r}])"
        programs = {**PROGRAMS, "lic decompress": decompress}
        seconds = median_seconds({name: lambda program=program: run(program) for name, program in programs.items()}, 9)
    for name, value in seconds.items():
        print(f"{name:20} {value:6.2f} s")
    print(f"imports: {seconds['… all imports'] - seconds['Python']:.2f} s of {seconds['lic decompress']:.2f}")


def run(program: str) -> None:
    subprocess.run([sys.executable, "-c", program], check=True, stdout=subprocess.DEVNULL)


if __name__ == "__main__":
    main()
