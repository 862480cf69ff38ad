"""The notebook of the documentation runs on a real stack, in a real kernel."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient

from shared.settings import Settings
from tests.support.paths import ROOT
from trainshed.local import ports
from trainshed.local.stack import LocalStack

NOTEBOOK = ROOT / "docs/notebook.ipynb"

pytestmark = pytest.mark.timeout(240)


@pytest.fixture
def notebook() -> Any:
    read: Any = nbformat.read  # it has no types
    return read(NOTEBOOK, as_version=4)


@pytest.fixture
def _stack(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A running stack, which a kernel that is started now uses."""
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    for variable in ("IPYTHONDIR", "JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR"):
        monkeypatch.setenv(variable, str(tmp_path / "jupyter"))
    settings = Settings(data_dir=tmp_path, port=ports.find_free("127.0.0.1"))
    with LocalStack(settings) as stack:
        monkeypatch.setenv("TRAINSHED_URL", stack.url)
        yield


def shown(cell: Any, kind: str) -> str:
    """What a cell displays in a form, such as `text/html`; what it prints is `text/plain`."""
    outputs = [output.get("data", {"text/plain": output.get("text", "")}) for output in cell.outputs]
    return "\n".join(data[kind] for data in outputs if kind in data)


def test_the_notebook_is_stored_without_outputs(notebook: Any) -> None:
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell for cell in cells if cell.outputs or cell.execution_count is not None] == []


@pytest.mark.usefixtures("_stack")
def test_the_notebook_submits_follows_sweeps_predicts_and_compares(notebook: Any) -> None:
    NotebookClient(notebook, timeout=120, kernel_name="python3").execute()

    cells = {cell.source: cell for cell in notebook.cells if cell.cell_type == "code"}

    def html(source: str) -> str:
        [cell] = [cell for text, cell in cells.items() if text.splitlines()[-1] == source]
        return shown(cell, "text/html")

    [stream] = [cell for text, cell in cells.items() if "client.stream" in text]
    assert shown(stream, "text/plain").splitlines()[-1].endswith(" succeeded")
    assert "succeeded" in html("client.wait(job)")
    assert html("metrics").count("<svg") == 2
    assert "val_accuracy" in html("metrics.to_frame()")
    assert "true \\ predicted" in html("client.evaluation(job)")
    assert "learning_rate" in html("sweep.to_frame()")
    assert "evaluation_accuracy" in html("client.compare(job, best)")
    assert "data:image/png;base64," in html("client.predict(drawing, client.job(best))")
