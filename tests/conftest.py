"""What tests of several folders need: the data beside the repository, and a model small enough to test with.

A test that asks for something that is absent is skipped with the reason.
"""

import os
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

OLDEST = version("jaxlib") == "0.4.34"
"""Whether this is the lane of the oldest versions (constraints-oldest.txt)."""

CACHE = Path(__file__).parents[1] / ".pytest_cache"

# Tests start other processes, and each would compile the source of JAX and of this library again where Python is told
# to write no bytecode beside the sources.
if sys.dont_write_bytecode:
    sys.dont_write_bytecode, sys.pycache_prefix = False, str(CACHE / "bytecode")
    os.environ["PYTHONPYCACHEPREFIX"] = sys.pycache_prefix
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

# Tests compile much and compute little: LLVM's optimizations cost minutes here and gain nothing, and a program that one
# test compiled serves the next, in other processes, too.
os.environ.setdefault(
    "XLA_FLAGS",
    "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true"
    + ("" if OLDEST else " --xla_cpu_use_fusion_emitters=false"),
)
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(CACHE / "jax"))
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.3")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
# Threads of matrix products wait for each other actively: of lanes that share two cores, each would wait for the other.
# NumPy must not be loaded yet, which is why pyproject.toml leaves jaxtyping's pytest plugin out.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import jax
import jaxtyping
import numpy as np
import pytest
from hypothesis import settings
from jaxtyping import install_import_hook
from PIL import Image

# Every call checks its arrays against the signature (tests/typechecks.py). Where a signature says JAX's array, whatever
# JAX takes for one is as good.
# The oldest lane goes without: its jaxtyping would check a pytree's placeholders, too.
if not OLDEST:
    jaxtyping.Array = jax.typing.ArrayLike
    install_import_hook("lic_jax", "typechecks.check")

from lic_jax.config import ModelConfig

# How long an example takes says how busy the machine is.
settings.register_profile("without deadlines", deadline=None)
settings.load_profile("without deadlines")

SHARED = Path(__file__).resolve().parents[1].parent / "shared"


@pytest.fixture
def unchecked():
    """Asked for by what passes arrays that signatures forbid: the library has to say so itself."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


@pytest.fixture(scope="session")
def run_python():
    """Runs a program in a process of its own: (program, *arguments, other_environment, **settings) → what it prints.

    The other environment is that of the interpreter which LIC_OTHER_PYTHON names.
    """

    def run(program, *arguments, other_environment=False, **settings):
        python = os.environ.get("LIC_OTHER_PYTHON") if other_environment else sys.executable
        if not python:
            pytest.skip("LIC_OTHER_PYTHON names no Python of another environment; `make test-tfc` sets it")
        root = str(Path(__file__).parents[1])
        environment = {**os.environ, "JAX_COMPILATION_CACHE_DIR": "", "PYTHONPATH": root}
        if other_environment:
            refused = " --xla_cpu_use_fusion_emitters=false"  # by JAX 0.4.34
            environment["XLA_FLAGS"] = os.environ["XLA_FLAGS"].replace(refused, "")
        environment |= settings
        command = [python, "-c", program, *map(str, arguments)]
        process = subprocess.run(command, env=environment, capture_output=True, text=True)
        assert process.returncode == 0, process.stderr
        return process.stdout.strip()

    return run


def _folder(*names):
    folder = SHARED.joinpath(*names)
    if not folder.is_dir():
        pytest.skip(f"the shared folder {folder} is absent")
    return folder


@pytest.fixture(scope="session")
def reference():
    """Numbers computed with the published implementations; its README says what they are."""
    return _folder("reference")


@pytest.fixture(scope="session")
def kodak():
    """The 24 test photographs."""
    return _folder("data", "kodak")


@pytest.fixture(scope="session")
def train_photographs():
    """The photographs to train on."""
    return _folder("data", "train")


@pytest.fixture(scope="session")
def samples():
    """The photographs inside scikit-image: `samples.astronaut()` and its like."""
    return pytest.importorskip("skimage.data", reason="scikit-image comes with the extra lic-jax[experiments]")


@pytest.fixture(scope="session")
def training_works():
    """Asked for by what trains: the oldest versions' orbax cannot keep trainings."""
    from lic_jax.training import checkpoint

    if not checkpoint.SUPPORTED:
        pytest.skip(f"orbax-checkpoint {checkpoint.ORBAX} cannot keep trainings")


@pytest.fixture(scope="session")
def photographs():
    """Sixteen small synthetic photographs, uint8 RGB: smooth shading with edges and some grain."""
    rng = np.random.default_rng(0)
    rows, columns = np.mgrid[:96, :128] / 96
    images = []
    for _ in range(16):
        slope, phase, colour = rng.normal(size=(3, 3))
        shading = np.sin(3 * (slope[0] * rows + slope[1] * columns) + phase[0])[..., None] * colour
        edge = (rows * phase[1] + columns * phase[2] > 0.3)[..., None] * slope
        grain = rng.normal(scale=0.05, size=(96, 128, 3))
        images.append(np.clip(127 + 50 * (shading + edge + grain), 0, 255).astype(np.uint8))
    return images


@pytest.fixture(scope="session")
def photograph_folder(photographs, tmp_path_factory):
    """The same photographs as PNG files."""
    folder = tmp_path_factory.mktemp("photographs")
    for index, image in enumerate(photographs):
        Image.fromarray(image).save(folder / f"{index:02}.png")
    return folder


@pytest.fixture(scope="session")
def tiny_config():
    """The whole architecture in a few thousand weights; its analysis is one layer, because compiling takes the time."""
    return ModelConfig(
        analysis="linear", latent_channels=12, hyper_channels=4, synthesis="two_layer", synthesis_channels=12
    )


@pytest.fixture(scope="session")
def tiny_params(tiny_config, photographs):
    """Weights at the KLT start: untrained, but already a codec."""
    import jax

    from lic_jax.model import initialize
    from lic_jax.training.klt import klt_start

    return klt_start(initialize(tiny_config, jax.random.key(0)), tiny_config, photographs, 0.01, seed=0)


@pytest.fixture(scope="session")
def tiny_model_file(tiny_config, tiny_params, photographs, tmp_path_factory):
    """A codec's model with three unfitted rates."""
    from lic_jax.training.deployment import in_fixed_point, in_integers
    from lic_jax.training.refit import start_quantizers
    from lic_jax.training.settings import RefitSettings
    from lic_jax.zoo.bundle import save_bundle

    settings = RefitSettings(lambdas=(0.0025, 0.01, 0.04))
    path = tmp_path_factory.mktemp("model") / "tiny.safetensors"
    quantizers = in_fixed_point(start_quantizers(tiny_config, settings, 0.01))
    config, params = in_integers(tiny_config, tiny_params, np.stack(photographs)[:, :64, :128])
    save_bundle(path, config, params, 0.01, settings.lambdas, *quantizers)
    return path
