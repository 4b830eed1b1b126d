"""Each notebook and its ``.py`` say the same, and its outputs are kept. That they run is tested by nbmake."""

from pathlib import Path

import jupytext
import pytest

NOTEBOOKS = sorted((Path(__file__).parents[1] / "notebooks").glob("*.ipynb"))


def test_there_are_notebooks():
    assert len(NOTEBOOKS) == 7


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_is_its_py_file_with_outputs(path):
    notebook, script = jupytext.read(path), jupytext.read(path.with_suffix(".py"))
    cells = [[(cell.cell_type, cell.source) for cell in one.cells] for one in (notebook, script)]
    assert cells[0] == cells[1]
    outputs = [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]
    assert outputs
    assert not [output for output in outputs if output.output_type == "error"]
    assert not [output for output in outputs if output.get("name") == "stderr"]
    if path.stem != "dataset_tour":
        assert [output for output in outputs if {"image/png", "image/svg+xml"} & output.get("data", {}).keys()]
