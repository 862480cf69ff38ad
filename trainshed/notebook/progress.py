"""A display of progress while a program waits, in a notebook or in a terminal."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from shared.lifecycle import TERMINAL, JobState
from shared.schemas import Job, Sweep
from trainshed.notebook import html

Show = Callable[[Job | Sweep], None]


@contextmanager
def live_view(wanted: bool | None) -> Iterator[Show | None]:
    """Yield a function that shows a job or a sweep in place of the previous one, or None to show nothing.

    Args:
        wanted: whether to show progress; if None, only where a person waits, in a notebook or in interactive
            Python.
    """
    display = _notebook_display()
    if wanted is False or (wanted is None and not display and not hasattr(sys, "ps1")):
        yield None
    elif display:
        yield _in_notebook(display)
    else:
        with _in_terminal() as show:
            yield show


def _notebook_display() -> Callable[..., Any] | None:
    """Return IPython's function that displays an object, or None outside a notebook."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython else None
    if shell is None or not hasattr(shell, "kernel"):
        return None
    from IPython.display import display

    return display


class _View:
    """A job or a sweep with its HTML, for a notebook to display."""

    def __init__(self, shown: Job | Sweep) -> None:
        self._shown = shown

    def _repr_html_(self) -> str:
        return html.job(self._shown) if isinstance(self._shown, Job) else html.sweep(self._shown)


def _in_notebook(display: Callable[..., Any]) -> Show:
    handles: list[Any] = []

    def show(shown: Job | Sweep) -> None:
        if handles:
            handles[0].update(_View(shown))
        else:
            handles.append(display(_View(shown), display_id=True))

    return show


@contextmanager
def _in_terminal() -> Iterator[Show]:
    # imported here, since a program that shows no progress does not need it
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True)) as progress:
        task = progress.add_task("", total=None)

        def show(shown: Job | Sweep) -> None:
            text, done, total = _summary(shown)
            progress.update(task, description=text, completed=done, total=total)

        yield show


def _summary(shown: Job | Sweep) -> tuple[str, int, int | None]:
    """Return a description of a job or a sweep, and its done and total numbers of epochs or jobs."""
    if isinstance(shown, Job):
        now = shown.progress
        return f"{shown.phase or shown.state}", now.epoch if now else 0, now.epochs if now else None
    unfinished = sum(shown.states.get(state, 0) for state in JobState if state not in TERMINAL)
    total = sum(shown.states.values())
    return "jobs of the sweep", total - unfinished, total
