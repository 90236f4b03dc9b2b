"""Notebooks run from top to bottom, hold no logic of their own, and are small."""

import ast
import json
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[2] / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))


@pytest.fixture(params=NOTEBOOKS, ids=lambda path: path.stem)
def path(request):
    return request.param


def test_a_notebook_only_calls_what_it_imports(path):
    assert path.stat().st_size < 1e6
    cells = [cell for cell in json.loads(path.read_text())["cells"] if cell["cell_type"] == "code"]
    assert all(cell["outputs"] for cell in cells if "plot" in "".join(cell["source"]))
    for cell in cells:
        statements = {type(statement) for statement in ast.parse("".join(cell["source"])).body}
        assert statements <= {ast.Import, ast.ImportFrom, ast.Assign, ast.Expr, ast.For}


def test_a_notebook_runs_from_top_to_bottom(path, samples):
    nbclient = pytest.importorskip("nbclient")
    import nbformat

    notebook = nbformat.read(path, as_version=4)
    nbclient.NotebookClient(notebook, timeout=120, resources={"metadata": {"path": str(FOLDER)}}).execute()
