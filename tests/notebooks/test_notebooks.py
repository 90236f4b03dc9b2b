"""Notebooks run from top to bottom, hold no logic of their own, and are small."""

import ast
import json
import sys
from pathlib import Path

import matplotlib.pyplot as plt
import pytest

FOLDER = Path(__file__).parents[2] / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))


@pytest.fixture(params=NOTEBOOKS, ids=lambda path: path.stem)
def path(request):
    return request.param


def sources_of(path):
    """The text of each cell with code."""
    cells = json.loads(path.read_text())["cells"]
    return ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]


def test_a_notebook_only_calls_what_it_imports(path):
    assert path.stat().st_size < 1e6
    cells = [cell for cell in json.loads(path.read_text())["cells"] if cell["cell_type"] == "code"]
    assert all(cell["outputs"] for cell in cells if "plot" in "".join(cell["source"]))
    for source in sources_of(path):
        statements = {type(statement) for statement in ast.parse(source).body}
        assert statements <= {ast.Import, ast.ImportFrom, ast.Assign, ast.Expr, ast.For}


def test_a_notebook_runs_from_top_to_bottom(path, monkeypatch):
    """Its cells, which are plain Python, in this process: it has imported most of what they import."""
    pytest.importorskip("ipykernel", reason="needs the extra notebooks (make test)")
    monkeypatch.chdir(FOLDER)
    monkeypatch.setattr(sys, "path", [*sys.path])
    names = {}
    for source in sources_of(path):
        exec(source, names)
        for number in plt.get_fignums():
            plt.figure(number).canvas.draw()
        plt.close("all")
