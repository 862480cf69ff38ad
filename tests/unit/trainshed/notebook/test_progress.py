"""Progress while a program waits."""

import sys
from types import ModuleType
from typing import Any

import pytest

from tests.support.fake_api import FakeApi, make_job, make_states
from trainshed.notebook.progress import live_view


class Notebook:
    """A notebook that records what it displays."""

    kernel = None

    def __init__(self) -> None:
        self.displayed: list[str] = []

    def display(self, view: Any, **_: Any) -> "Notebook":
        self.displayed.append(view._repr_html_())
        return self

    def update(self, view: Any) -> None:
        self.displayed.append(view._repr_html_())


@pytest.fixture
def notebook(monkeypatch: pytest.MonkeyPatch) -> Notebook:
    notebook = Notebook()
    ipython, its_display = ModuleType("IPython"), ModuleType("IPython.display")
    monkeypatch.setattr(ipython, "get_ipython", lambda: notebook, raising=False)
    monkeypatch.setattr(its_display, "display", notebook.display, raising=False)
    monkeypatch.setitem(sys.modules, "IPython", ipython)
    monkeypatch.setitem(sys.modules, "IPython.display", its_display)
    return notebook


def test_in_a_notebook_the_waited_for_job_is_shown_in_one_place(notebook: Notebook) -> None:
    api = FakeApi()
    api.connect().wait(api.add(*make_states(make_job())))
    assert "queued" in notebook.displayed[0]
    assert "succeeded" in notebook.displayed[-1]


def test_without_progress_a_notebook_shows_nothing(notebook: Notebook) -> None:
    api = FakeApi()
    api.connect().wait(api.add(*make_states(make_job())), progress=False)
    assert notebook.displayed == []


def test_a_program_shows_nothing_unless_it_is_asked_to(capsys: pytest.CaptureFixture[str]) -> None:
    api = FakeApi()
    api.connect().wait(api.add(*make_states(make_job())))
    assert capsys.readouterr().err == ""
    api.connect().wait(api.add(*make_states(make_job())), progress=True)
    assert "3/3" in capsys.readouterr().err


def test_in_interactive_python_progress_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "ps1", ">>> ", raising=False)
    with live_view(None) as show:
        assert show
