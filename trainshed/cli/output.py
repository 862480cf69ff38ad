"""Output of the command line: results go to stdout, messages to stderr."""

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

import typer
from pydantic import BaseModel
from rich.console import Console, RenderableType
from rich.text import Text

from trainshed.cli.formatting import printable

_UNBOUNDED = 10_000  # columns

R = TypeVar("R", bound=BaseModel | Sequence[BaseModel])


def stdout() -> Console:
    """Return the console for results.

    Outside a terminal it is as wide as any line: each row of a table is one line there, and nothing is left
    out.
    """
    return _Console(file=sys.stdout, highlight=False, width=None if sys.stdout.isatty() else _UNBOUNDED)


class _Console(Console):
    def on_broken_pipe(self) -> None:
        """Leave it to the group of commands, for which it is no failure: rich would exit with 1."""
        raise


def show(*results: RenderableType) -> None:
    """Show results to people, on stdout."""
    console = stdout()
    for result in results:
        console.print(result)


def show_on_stderr(result: RenderableType) -> None:
    """Show people what a question is about, on stderr."""
    Console(file=sys.stderr, highlight=False).print(result)


def say(text: str, style: str = "") -> None:
    """Write a message to people, without control characters, on stderr, so that results can be piped."""
    console = Console(file=sys.stderr, highlight=False)
    # outside a terminal a message stays on one line, for grep
    console.print(Text(printable(text, allowed="\n\t"), style), soft_wrap=not console.is_terminal)


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
    """Write what a command has read: as JSON, or for people; instead of an empty list, say `if_empty`."""
    if as_json:
        write_json(result)
    elif result or not if_empty:
        show(rendered(result))
    else:
        say(if_empty)


def confirm(result: BaseModel | Mapping[str, object], message: str, *, as_json: bool) -> None:
    """Write what a command has changed, as JSON, or say the message."""
    if as_json:
        write_json(result)
    else:
        say(message)
