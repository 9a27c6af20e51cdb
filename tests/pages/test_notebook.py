"""examples/first_steps.ipynb: runs from top to bottom, offline, and is committed without outputs."""

from __future__ import annotations

import json

import pytest
from code_blocks import ROOT
from live import environment_of_a_program

NOTEBOOK = ROOT / "examples" / "first_steps.ipynb"
_PRINT = "import json; print(json.dumps({**scores, 'changed': changed, 'points': points.shape[1]}))"


def test_it_holds_no_outputs() -> None:
    cells = json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]
    code = [cell for cell in cells if cell["cell_type"] == "code"]
    assert code and all(cell["outputs"] == [] and cell["execution_count"] is None for cell in code)
    assert NOTEBOOK.stat().st_size < 10_000


@pytest.mark.slow
def test_it_runs(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    nbclient = pytest.importorskip("nbclient", exc_type=ImportError)
    nbformat = pytest.importorskip("nbformat", exc_type=ImportError)
    pytest.importorskip("ipykernel", exc_type=ImportError)
    for name, value in environment_of_a_program(OMP_NUM_THREADS="1", IPYTHONDIR=str(tmp_path)).items():
        monkeypatch.setenv(name, value)
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    notebook.cells.append(nbformat.v4.new_code_cell(_PRINT))
    nbclient.NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(tmp_path)}}).execute()
    found = json.loads(notebook.cells[-1].outputs[0].text)
    assert found["coarse"] < found["MagNet-Fast"] < found["MagNet"]
    assert found["points"] == 1024 * 2048 // 10 and 0 < found["changed"] <= found["points"]
    pictures = [out for cell in notebook.cells if cell.cell_type == "code" for out in cell.outputs if "data" in out]
    assert sum("image/png" in picture.data for picture in pictures) == 3
