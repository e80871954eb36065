"""The tour runs from top to bottom on a fresh machine, and what is committed is clean."""

import re
import shutil
import sys
from pathlib import Path

import nbformat
import pytest
from jupyter_client.kernelspec import KernelSpec
from jupyter_client.manager import AsyncKernelManager
from nbclient import NotebookClient

ROOT = Path(__file__).parents[1]
NOTEBOOK = ROOT / "mugato.ipynb"
MAX_BYTES = 1_500_000
TIMEOUT_S = 300
ABSOLUTE_PATH = re.compile(r"(?<![\w.:/])/(?:home|root|tmp|usr|opt|work|Users|private|var)/")


class ThisInterpreter(AsyncKernelManager):
    """Starts kernels under the interpreter of the tests, whatever is installed for Jupyter."""

    @property
    def kernel_spec(self) -> KernelSpec:
        argv = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
        return KernelSpec(argv=argv, display_name="Python 3", language="python")


@pytest.fixture(scope="module")
def committed() -> nbformat.NotebookNode:
    return nbformat.read(NOTEBOOK, as_version=4)


@pytest.mark.thorough
def test_runs_from_top_to_bottom_on_a_fresh_machine(tmp_path, monkeypatch):
    monkeypatch.setenv("JUPYTER_RUNTIME_DIR", str(tmp_path / "jupyter"))
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "minari"))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    notebook = nbformat.read(shutil.copy(NOTEBOOK, tmp_path), as_version=4)
    client = NotebookClient(
        notebook,
        kernel_manager_class=ThisInterpreter,
        timeout=TIMEOUT_S,
        resources={"metadata": {"path": str(tmp_path)}},
    )
    client.execute()  # raises CellExecutionError
    assert "Warning" not in "".join(texts(notebook, "stderr"))


def test_committed_outputs_are_whole_and_clean(committed):
    code = [cell for cell in committed.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    assert not any(o.output_type == "error" for cell in code for o in cell.outputs)
    assert not list(texts(committed, "stderr"))
    assert NOTEBOOK.stat().st_size < MAX_BYTES


def test_committed_text_holds_no_absolute_paths(committed):
    written = [cell.source for cell in committed.cells] + list(texts(committed, "stdout"))
    assert not [match for text in written for match in ABSOLUTE_PATH.findall(text)]


def texts(notebook: nbformat.NotebookNode, stream: str):
    """Return what the cells wrote to a stream."""
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            if output.output_type == "stream" and output.name == stream:
                yield output.text
