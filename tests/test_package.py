"""The package's tables of contents are complete: its own names, and the modules that each folder lists."""

import ast
import re
from pathlib import Path

import pytest

import lic_jax

PACKAGE = Path(lic_jax.__file__).parent
FOLDERS = sorted(path.parent for path in PACKAGE.glob("*/**/__init__.py"))


def test_checkers_see_the_names_that_load_lazily():
    imports = [
        node for node in ast.walk(ast.parse((PACKAGE / "__init__.py").read_text())) if type(node) is ast.ImportFrom
    ]
    seen = {name.name: node.module for node in imports for name in node.names if node.module.startswith("lic_jax.")}
    assert seen == lic_jax._HOMES
    assert sorted(seen) == sorted(lic_jax.__all__) == sorted(dir(lic_jax))
    assert all(getattr(lic_jax, name) is not None for name in seen)


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: str(folder.relative_to(PACKAGE)))
def test_a_folder_lists_its_modules(folder):
    contents = ast.get_docstring(ast.parse((folder / "__init__.py").read_text()))
    entries = re.findall(r"^- (`.*?`): ", contents, re.MULTILINE)
    modules = {path.stem for path in folder.glob("*.py")} | {path.parent.name for path in folder.glob("*/__init__.py")}
    assert {name for entry in entries for name in re.findall(r"`(.*?)`", entry)} == modules - {"__init__", "__main__"}
