"""Output of the command line: results go to stdout, messages to stderr."""

import io
import json
import os
import select
import signal
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import TypeVar

import typer
from pydantic import BaseModel
from rich.console import Console, RenderableType
from rich.text import Text

from trainshed.cli.formatting import printable

_UNBOUNDED = 10_000  # columns
_LOOK_S = 0.5  # between checks that stdout is still read

R = TypeVar("R", bound=BaseModel | Sequence[BaseModel])


def stdout() -> Console:
    """Return the console for results.

    Outside a terminal the console is as wide as any line: each row of a table is one line, and no column is
    left out.
    """
    return _Console(file=sys.stdout, highlight=False, width=None if sys.stdout.isatty() else _UNBOUNDED)


class _Console(Console):
    def on_broken_pipe(self) -> None:
        """Raise the error for `CommandGroup`, which exits with 0; rich would exit with 1."""
        raise


@contextmanager
def while_read() -> Iterator[None]:
    """In this block, end the program with exit code 0 soon after the reader of its stdout, such as `head`.

    A program that waits for output would otherwise not notice the reader's end before its next write.
    """
    try:
        output = sys.stdout.fileno()
    except io.UnsupportedOperation:  # stdout is not a file
        yield
        return
    poll = select.poll()
    poll.register(output, 0)  # an error or a hangup is always reported

    def look(_number: int, _frame: FrameType | None) -> None:
        if poll.poll(0):
            discard()
            sys.exit(0)  # not an OSError, after which the client would reconnect

    before = signal.signal(signal.SIGALRM, look)
    signal.setitimer(signal.ITIMER_REAL, _LOOK_S, _LOOK_S)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def discard() -> None:
    """Discard further output; Python's buffered output would otherwise raise the error again at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def show(*results: RenderableType) -> None:
    """Show results to people, on stdout."""
    console = stdout()
    for result in results:
        console.print(result)


def show_on_stderr(result: RenderableType) -> None:
    """Show people the subject of a question, on stderr."""
    Console(file=sys.stderr, highlight=False).print(result)


def say(text: str, style: str = "") -> None:
    """Write a message to people, without control characters, on stderr, so that results can be piped."""
    console = Console(file=sys.stderr, highlight=False)
    # outside a terminal a message stays on one line, for grep
    console.print(Text(printable(text, allowed="\n\t"), style), soft_wrap=not console.is_terminal)


@contextmanager
def progress_bar() -> Iterator[Callable[[str, int, int], None] | None]:
    """Yield a function that shows, on stderr, how much of a task is done; None outside a terminal."""
    console = Console(file=sys.stderr, highlight=False)
    if not console.is_terminal:
        yield None
        return
    # imported here, since only one command needs it
    from rich.progress import MofNCompleteColumn, Progress, TaskID

    with Progress(*Progress.get_default_columns(), MofNCompleteColumn(), console=console) as bars:
        tasks: dict[str, TaskID] = {}

        def show(subject: str, done: int, total: int) -> None:
            if subject not in tasks:
                tasks[subject] = bars.add_task(subject.capitalize(), total=total)
            bars.update(tasks[subject], completed=done, total=total)

        yield show


def write_json(document: BaseModel | Sequence[BaseModel] | Mapping[str, object]) -> None:
    """Write one JSON document to stdout."""
    if isinstance(document, BaseModel):
        plain: object = document.model_dump(mode="json")
    elif isinstance(document, Mapping):
        plain = document
    else:
        plain = [item.model_dump(mode="json") for item in document]
    typer.echo(json.dumps(plain, indent=2))


def write_result(
    result: R, rendered: Callable[[R], RenderableType], *, as_json: bool, if_empty: str = ""
) -> None:
    """Write a command's result as JSON, or for people; instead of an empty list, say `if_empty`."""
    if as_json:
        write_json(result)
    elif result or not if_empty:
        show(rendered(result))
    else:
        say(if_empty)


def confirm(result: BaseModel | Mapping[str, object], message: str, *, as_json: bool) -> None:
    """Write the result of a command's change as JSON, or say the message."""
    if as_json:
        write_json(result)
    else:
        say(message)
