import os
import subprocess
import sys

import pytest

from lic_jax import registry
from lic_jax.errors import LicError

REGISTRIES = {name: value for name, value in vars(registry).items() if isinstance(value, registry.Registry)}


@pytest.mark.parametrize("name", REGISTRIES)
def test_every_name_stands_for_something(name):
    of_name = REGISTRIES[name]
    assert len(of_name) > 0
    for entry in of_name:
        assert of_name[entry] is of_name[entry] and entry in of_name


def test_an_unknown_name_lists_the_known_ones():
    with pytest.raises(LicError, match=r"distortion 'psnr' is unknown; known: ms_ssim, mse"):
        registry.DISTORTIONS["psnr"]


def test_a_name_that_is_taken_is_refused_and_the_same_thing_twice_is_not():
    own = registry.Registry("part", {"built_in": "lic_jax.distortion.mse:mse"})
    own.register("mine", test_an_unknown_name_lists_the_known_ones)
    own.register("mine", test_an_unknown_name_lists_the_known_ones)
    for name in ("mine", "built_in"):
        with pytest.raises(LicError, match=f"part '{name}' is taken"):
            own.register(name, object())


def test_names_load_no_framework(run_python):
    program = "import sys, lic_jax.registry, lic_jax.codec.decoder; print({'jax', 'flax', 'tyro'} & set(sys.modules))"
    assert run_python(program) == "set()"


def test_a_plugin_beside_the_user_is_found(tmp_path):
    """As the documentation has it: a console script, whose path lacks the current folder."""
    text = "from lic_jax import registry\nregistry.DISTORTIONS.register('mine', print)\n"
    (tmp_path / "mine.py").write_text(text)
    program = (
        "import sys; sys.path.pop(0); from lic_jax import registry as r; r.import_plugins(); print(*r.DISTORTIONS)"
    )
    environment = {**os.environ, "LIC_PLUGINS": "mine"}
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert done.stdout.split()[-1:] == ["mine"], done.stderr


def test_a_plugin_that_is_missing_is_named(monkeypatch):
    monkeypatch.setenv("LIC_PLUGINS", "json, no_such_module")
    with pytest.raises(LicError, match="LIC_PLUGINS names no_such_module"):
        registry.import_plugins()
