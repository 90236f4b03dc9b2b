"""Every script can be imported: none names a module that has moved."""

import importlib
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SCRIPTS = sorted(
    path
    for folder in ("experiments", "benchmarks")
    for path in (ROOT / folder).rglob("*.py")
    if path.name not in ("__init__.py", "__main__.py")
)


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_script_can_be_imported(path, monkeypatch):
    monkeypatch.setattr(sys, "path", [str(path.parent), *sys.path])
    if path.is_relative_to(ROOT / "benchmarks"):
        monkeypatch.delitem(sys.modules, path.stem, raising=False)
        importlib.import_module(path.stem)
        monkeypatch.delitem(sys.modules, path.stem)
    else:
        importlib.import_module(".".join(path.relative_to(ROOT).with_suffix("").parts))
