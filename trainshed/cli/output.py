"""Where output goes: results to stdout, words about them to stderr."""

import json
import sys
from collections.abc import Iterable, Mapping

import typer
from pydantic import BaseModel
from rich.console import Console, RenderableType
from rich.text import Text


def stdout() -> Console:
    """The console for results."""
    return Console(file=sys.stdout, highlight=False)


def show(*results: RenderableType) -> None:
    """Show results to people."""
    console = stdout()
    for result in results:
        console.print(result)


def say(text: str, style: str = "") -> None:
    """Say something about what is going on, on stderr, so that results can be piped."""
    console = Console(file=sys.stderr, highlight=False)
    # what is not a terminal keeps a sentence on one line, for grep
    console.print(Text(text, style), soft_wrap=not console.is_terminal)


def write_json(document: BaseModel | Iterable[BaseModel] | Mapping[str, object]) -> None:
    """Write one JSON document to stdout."""
    if isinstance(document, BaseModel):
        plain: object = document.model_dump(mode="json")
    elif isinstance(document, Mapping):
        plain = document
    else:
        plain = [one.model_dump(mode="json") for one in document]
    typer.echo(json.dumps(plain, indent=2))
