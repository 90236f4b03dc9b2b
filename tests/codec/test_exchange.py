"""A stream written in one environment is read in another, by JAX and by NumPy: the same symbols, the same image.

The other environment is a process of its own; and, where LIC_OTHER_PYTHON names its interpreter, one of other versions
of everything (`make test-tfc`).
"""

import numpy as np
import pytest

from lic_jax.codec.codec import Codec
from lic_jax.codec.decoder import Decoder
from lic_jax.evaluation.metrics import psnr
from lic_jax.zoo import shipped
from lic_jax.zoo.bundle import load_bundle

ELSEWHERE = """
import sys
from pathlib import Path
import numpy as np
from lic_jax.codec.codec import Codec
from lic_jax.codec.decoder import Decoder
from lic_jax.zoo.bundle import load_bundle
bundle, folder = load_bundle(Path(sys.argv[1])), Path(sys.argv[2])
codec, decoder = Codec(bundle), Decoder(bundle)
for stream in folder.glob("*.here"):
    data = stream.read_bytes()
    hyper_symbols, symbols = decoder.symbols(data)
    images = {"jax": codec.decompress(data), "numpy": decoder.decompress(data)}
    np.savez(stream.with_suffix(".npz"), hyper_symbols=hyper_symbols, symbols=symbols, **images)
    stream.with_suffix(".there").write_bytes(codec.compress(np.load(folder / "image.npy"), float(stream.stem)))
"""


def largest_difference(first, second):
    return np.max(np.abs(first.astype(int) - second))


@pytest.mark.parametrize(
    ("model", "other_environment", "flags"),
    [
        ("tiny", False, {"JAX_ENABLE_X64": "1", "XLA_FLAGS": ""}),
        ("tiny", True, {}),
        ("shipped", True, {}),
    ],
    ids=["tiny, other flags", "tiny, other versions", "shipped, other versions"],
)
def test_what_one_writes_the_other_reads(
    run_python, tiny_model_file, photographs, tmp_path, model, other_environment, flags
):
    path = {"tiny": tiny_model_file, "shipped": shipped.path_of()}[model]
    codec, decoder = Codec(load_bundle(path)), Decoder(load_bundle(path))
    np.save(tmp_path / "image.npy", photographs[2])
    streams = {rate: codec.compress(photographs[2], rate) for rate in (0, 1.3, codec.bundle.highest_rate)}
    for rate, data in streams.items():
        (tmp_path / f"{rate:.1f}.here").write_bytes(data)
    run_python(ELSEWHERE, path, tmp_path, other_environment=other_environment, **flags)
    for rate, data in streams.items():
        with np.load(tmp_path / f"{rate:.1f}.npz") as there:
            for name, symbols in zip(("hyper_symbols", "symbols"), decoder.symbols(data), strict=True):
                np.testing.assert_array_equal(there[name], symbols)
            for name in ("jax", "numpy"):
                assert largest_difference(there[name], codec.decompress(data)) <= 1
        data = (tmp_path / f"{rate:.1f}.there").read_bytes()
        assert largest_difference(decoder.decompress(data), codec.decompress(data)) <= 1
        quality_there, quality_here = (
            psnr(codec.decompress(stream), photographs[2]) for stream in (data, streams[rate])
        )
        assert quality_there == pytest.approx(quality_here, abs=0.1)


SEARCHING = """
import sys
import numpy as np
from pathlib import Path
from lic_jax.codec.codec import Codec
from lic_jax.zoo.bundle import load_bundle
codec, image = Codec(load_bundle(Path(sys.argv[1]))), np.load(sys.argv[2])
for method in sys.argv[3:]:
    print(codec.compress(image, 1, iterations=1, method=method).hex())
"""


def test_searches_work_with_64_bits(run_python, tiny_model_file, photographs, tmp_path):
    image, decoder = photographs[2], Decoder(load_bundle(tiny_model_file))
    np.save(tmp_path / "image.npy", image)
    arguments = tiny_model_file, tmp_path / "image.npy", "rounding", "sga"
    for line in run_python(SEARCHING, *arguments, JAX_ENABLE_X64="1").splitlines():
        assert decoder.decompress(bytes.fromhex(line)).shape == image.shape
